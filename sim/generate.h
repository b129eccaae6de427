#pragma once

/* What the endpoints that generate text have in common. An endpoint reads its request into a
 * generation and begins it; the scheduler makes tokens, and the endpoint's dialect writes them.
 *
 * What a choice will say is known when it begins; the scheduler only tells when. */

#include "sim/ask.h"
#include "sim/batch.h"

#define GENERATE_STOPS_MAX 16
#define GENERATE_CHOICES_MAX 1024

struct generation;

struct prompt {
    const char *text; /* all of it: its words are its tokens */
    size_t len;
    const char *question; /* what is answered: its last part */
    uint64_t tokens;
};

struct choice {
    struct seq seq; /* first, so that one is the other */
    struct generation *generation;
    unsigned index;
    const struct prompt *prompt;
    const char *said, *said_end; /* all that it will say */
    const char *next;            /* of it, not told yet */
    uint64_t told_tokens;
    enum finish finish;
    const char *stop; /* the stop string that ended it, or NULL */
    bool closed;      /* the stream was told its end */
};

/* How an endpoint writes its answers. */
struct dialect {
    const char *prefix; /* of ids */
    const char *stops;  /* the member that has stop strings */
    bool many;          /* n choices may be asked for */
    void (*whole)(struct generation *g);
    /* a stream: its beginning, a token, the end of a choice, its own end */
    void (*open)(struct generation *g);
    bool (*token)(struct generation *g, struct choice *c, const char *text, size_t len);
    bool (*close)(struct generation *g, struct choice *c);
    void (*end)(struct generation *g);
};

struct generation {
    struct call *call;
    struct ask ask;
    const struct dialect *dialect;
    char id[CALL_ID_MAX];
    uint64_t created_s;
    const char *model; /* as it was asked for */
    unsigned release;

    /* wishes */
    bool stream, usage, continuous_usage, echo, ignore_eos, keep_stop, logprobs;
    uint64_t top_logprobs, max_tokens /* 0: not said */, min_tokens, n;
    const char *stops[GENERATE_STOPS_MAX];
    size_t stop_count;
    const struct value *schema; /* the answer is JSON that fits it */
    bool json;                  /* the answer is JSON */
    const char *tool;           /* the answer is a call of this one */
    char tool_id[CALL_ID_MAX];

    struct prompt *prompts;
    size_t prompt_count;
    struct choice *choices;
    size_t choice_count, unfinished;
    uint64_t prompt_tokens, cached_tokens; /* of all prompts */
    uint64_t event_count;                  /* of a stream, for dialects that number them */
    bool failed;                           /* the engine died */
    void *more;                            /* the dialect's */
};

/* NULL: answered, there is no memory. */
struct generation *generate_new(struct call *call, const struct value *body,
                                const struct dialect *dialect);
/* Model, stream, n, stop and what sampling has. */
void generate_read(struct generation *g);
/* Which tool will be called; tools in OpenAI's or in the flat form. */
void generate_read_tools(struct generation *g, const struct prompt *prompt);
/* One prompt of several parts, or more of it; a part may be a string or a list of parts with text. */
struct prompt *generate_add_prompts(struct generation *g, size_t count);
bool generate_set_prompt(struct generation *g, struct prompt *prompt, const char *text, size_t len);
/* Reads a list of messages, with a text before them (or NULL). */
void generate_read_messages(struct generation *g, const struct value *messages, const char *before);

/* 400: the prompt, with what is wanted of the model, is longer than it can be. */
void generate_refuse_length(struct call *call, uint64_t prompt, uint64_t wanted);
/* Everything is read: checks lengths, admits, and starts. */
void generate_begin(struct generation *g);

uint64_t generate_made(const struct generation *g); /* tokens told, of all choices */
const char *generate_finish_name(const struct generation *g, const struct choice *c);
/* An event of a stream. */
bool generate_send(struct generation *g, const char *type, const struct buf *data);

/* OpenAI's members, which several endpoints share. */
void generate_read_max(struct generation *g, const char *name);
void generate_read_format(struct generation *g, const struct value *format);
void generate_write_head(struct json_writer *w, const struct generation *g, const char *object);
void generate_write_usage(struct json_writer *w, const struct generation *g, uint64_t made,
                          bool whole);
void generate_send_done(struct generation *g);
void generate_write_fingerprint(struct json_writer *w, const struct generation *g);
/* How likely the n-th best token was: 0 is the one that was taken. */
double generate_logprob(uint64_t n);
