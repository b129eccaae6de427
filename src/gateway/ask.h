#pragma once

/* What a body asks for: the few members that the gateway has to know, and where they stand, so that
 * some of them can be changed and every other byte goes on as it came.
 *
 * A member that is there twice, or that another reader might take for something else (a stream that is
 * "true" in quotes), is refused: engine and gateway are to read the same. */

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

/* How soon it wants to be served, by "service_tier". */
enum ask_tier { ASK_TIER_PRIORITY, ASK_TIER_DEFAULT, ASK_TIER_FLEX };

struct ask {
    char model[ASK_MODEL_MAX + 1]; /* "" when none is named */
    bool stream;
    bool include_usage;  /* the client asked for usage at the end of a stream */
    bool background;     /* of Responses: the answer may be told before there is one */
    uint64_t max_tokens; /* of each answer; 0: not said */
    uint64_t answers;    /* to each prompt, chosen among or not; 1 at the least */
    enum ask_tier tier;
    struct json_place user, session; /* who asks, and in which talk: strings, or ABSENT */
    struct json_place places[ASK_MEMBER_COUNT]; /* of a JSON body */
};

int ask_read_json(struct ask *ask, const char *body, size_t len, struct err *reterr) must_check;
/* A form that was read to its end. */
int ask_read_form(struct ask *ask, const struct multipart *form, struct err *reterr) must_check;

/* A member of the body that the configuration gives. */
struct ask_param {
    const char *name;
    const char *json; /* its value */
    bool forced;      /* whatever the client says; else only where he says nothing */
};

struct ask_change {
    const char *model;  /* NULL: as it is */
    bool include_usage; /* ask for usage where the client did not (streams of OpenAI's dialect) */
    const struct ask_param *params;
    size_t param_count;
};

/* What of the body is to be replaced; texts are in the arena, -ENOMEM when that is full. A parameter
 * that the body has twice is refused. */
int ask_change_json(const struct ask *ask, const char *body, size_t len,
                    const struct ask_change *change, struct arena *arena,
                    struct patch_list *ret_list, struct err *reterr) must_check;
/* Parameters are members of JSON: a form gets none. */
int ask_change_form(const struct multipart *form, const struct ask *ask,
                    const struct ask_change *change, struct arena *arena,
                    struct patch_list *ret_list) must_check;
