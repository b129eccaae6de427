#pragma once

/* What a body asks for: the few members that the gateway has to know, and where they stand, so that
 * some of them can be changed and every other byte goes on as it came.
 *
 * A member that is looked for and there twice, or that another reader might take for something
 * else (a stream that is "true" in quotes), is refused: engine and gateway are to read the same. */

#include "base/buf.h"
#include "base/mem.h"
#include "fmt/json_scan.h"
#include "gateway/dialect.h"

struct multipart;
struct patch_list;

#define ASK_MODEL_MAX 255 /* of a model's name, in bytes */
#define ASK_PARAMS_MAX 32

#define ASK_MEMBERS(MEMBER)                                \
    MEMBER(MODEL, "model")                                 \
    MEMBER(STREAM, "stream")                               \
    MEMBER(STREAM_OPTIONS, "stream_options")               \
    MEMBER(MAX_TOKENS, "max_tokens")                       \
    MEMBER(MAX_COMPLETION_TOKENS, "max_completion_tokens") \
    MEMBER(MAX_OUTPUT_TOKENS, "max_output_tokens")         \
    MEMBER(N, "n")                                         \
    MEMBER(BEST_OF, "best_of")                             \
    MEMBER(USER, "user")                                   \
    MEMBER(SESSION, "prompt_cache_key")                    \
    MEMBER(METADATA, "metadata")                           \
    MEMBER(SYSTEM, "system")                               \
    MEMBER(INSTRUCTIONS, "instructions")                   \
    MEMBER(MESSAGES, "messages")                           \
    MEMBER(PROMPT, "prompt")                               \
    MEMBER(QUERY, "query")                                 \
    MEMBER(QUERIES, "queries")                             \
    MEMBER(DOCUMENTS, "documents")                         \
    MEMBER(ITEMS, "items")                                 \
    MEMBER(TEXT_1, "text_1")                               \
    MEMBER(TEXT_2, "text_2")                               \
    MEMBER(DATA_1, "data_1")                               \
    MEMBER(DATA_2, "data_2")                               \
    MEMBER(INPUT, "input")                                 \
    MEMBER(PREVIOUS, "previous_response_id")               \
    MEMBER(TIER, "service_tier")                           \
    MEMBER(BACKGROUND, "background")

enum ask_member {
#define MEMBER(name, text) ASK_##name,
    ASK_MEMBERS(MEMBER)
#undef MEMBER
        ASK_MEMBER_COUNT
};

#define ASK_NUMBERS (ASK_BEST_OF - ASK_MAX_TOKENS + 1)

/* How soon it wants to be served, by "service_tier". */
enum ask_tier { ASK_TIER_PRIORITY, ASK_TIER_DEFAULT, ASK_TIER_FLEX };

/* A value as it was spelt, as far as it was kept. */
struct ask_text {
    enum json_kind kind;
    size_t at, len; /* in ask->texts */
    bool is_cut;
};

struct ask {
    char model[ASK_MODEL_MAX + 1]; /* "" when none is named */
    bool stream;
    bool include_usage;            /* the client asked for usage at the end of a stream */
    bool background;               /* of Responses: the answer may be told before there is one */
    uint64_t max_tokens;           /* of each answer; 0: not said */
    uint64_t answers;              /* to each prompt, chosen among or not; 1 at the least */
    uint64_t numbers[ASK_NUMBERS]; /* as they were said, from ASK_MAX_TOKENS on; 0: not, or none */
    enum ask_tier tier;
    struct ask_text user, session; /* who asks, and in which talk: strings, or ABSENT */
    struct ask_media {
        size_t len;             /* of what may be one, so far */
        bool is_text;           /* it is none */
        bool is_fetched;        /* it is told by its address */
        uint64_t bytes, tokens; /* of those that are over */
        /* of an object that is looked into: what may be one; its type was said, and another than
         * base64 */
        uint64_t inner_bytes, inner_tokens;
        bool is_typed, is_other;
    } media; /* pictures and sounds */

    /* of a JSON body */
    struct json_scan scan;
    struct json_place *places;                /* of all members that are looked for */
    struct ask_text values[ASK_MEMBER_COUNT]; /* of few bytes; at: in texts */
    struct buf texts;
};

extern const char *const ask_member_names[ASK_MEMBER_COUNT];

/* A JSON body, read as it comes. names: those, and behind them whatever else may be given; of the
 * caller, and there as long as the ask. */
void ask_begin(struct ask *ask, const char *const *names, size_t count);
int ask_read(struct ask *ask, const char *bytes, size_t len, struct err *reterr) must_check;
int ask_end(struct ask *ask, struct err *reterr) must_check; /* now it says what is asked for */
void ask_finish(struct ask *ask);                            /* zeroed is finished */
/* How long answers may be, and how many are made to each prompt, once the configuration has given
 * what it gives; as max_tokens and answers. */
struct ask_param;
struct ask_size {
    uint64_t max_tokens, answers;
};
struct ask_size ask_size(const struct ask *ask, const struct ask_param *params, size_t count);
/* How many prompts it has, of each of which an answer is made. */
uint64_t ask_prompts(const struct ask *ask);
/* How many texts it has that are read by themselves, where no answer is made. */
uint64_t ask_texts(const struct ask *ask);
/* How many tokens go in: an estimate by the bytes of the body. In a talk, those of
 * pictures and sounds say little. */
uint64_t ask_prompt_tokens(const struct ask *ask, uint64_t body_bytes, bool is_talk);
const char *ask_text_bytes(const struct ask *ask, const struct ask_text *text);
/* "" where there is none, or it is no string that fits. */
void ask_text_decode(const struct ask *ask, const struct ask_text *text, char *to, size_t size);
/* A form that was read to its end. */
int ask_read_form(struct ask *ask, const struct multipart *form, struct err *reterr) must_check;

/* A member of the body that the configuration gives. */
struct ask_param {
    const char *name;
    const char *json; /* its value */
    bool forced;      /* whatever the client says; else only where he says nothing */
    size_t member;    /* its name among those that are looked for */
};

struct ask_change {
    const char *model;  /* NULL: as it is */
    bool include_usage; /* ask for usage where the client did not (streams of OpenAI's dialect) */
    const struct ask_param *params;
    size_t param_count;
};

/* What of the body is to be replaced; texts are in the arena, -ENOMEM when that is full. */
int ask_change_json(const struct ask *ask, const struct ask_change *change, struct arena *arena,
                    struct patch_list *ret_list, struct err *reterr) must_check;
/* Parameters are members of JSON: a form gets none. */
int ask_change_form(const struct multipart *form, const struct ask *ask,
                    const struct ask_change *change, struct arena *arena,
                    struct patch_list *ret_list) must_check;
