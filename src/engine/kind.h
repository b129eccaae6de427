#pragma once

/* What a model is asked for; one row a kind, in the order in which `auto` tries them.
 *
 * KIND(NAME, "name in the config", "what it answers, for sentences") */
#define ENGINE_KINDS(KIND)                                      \
    KIND(AUTO, "auto", "requests")                              \
    KIND(CHAT, "chat", "chat completions")                      \
    KIND(COMPLETION, "completion", "text completions")          \
    KIND(EMBEDDING, "embedding", "embeddings")                  \
    KIND(RERANK, "rerank", "reranking")                         \
    KIND(SCORE, "score", "scores")                              \
    KIND(CLASSIFY, "classify", "classification")                \
    KIND(TRANSCRIPTION, "transcription", "audio transcription") \
    KIND(VISION, "vision", "chat about images")

enum engine_kind {
#define KIND(name, text, what) ENGINE_KIND_##name,
    ENGINE_KINDS(KIND)
#undef KIND
        ENGINE_KIND_COUNT
};

const char *engine_kind_name(enum engine_kind kind);
const char *engine_kind_what(enum engine_kind kind);
