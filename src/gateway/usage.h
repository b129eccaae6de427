#pragma once

/* What an answer cost, read while it passes: from JSON, or from the events of a stream; and whether
 * a stream came to its proper end, or was cut.
 *
 * Of a stream only whole events are passed on, each at once when its last byte came. So an event
 * can still be held back that the client did not ask for, and what is said after an engine's death
 * is not glued to half an event. One that is larger than USAGE_EVENT_MAX passes as it comes; what
 * it says of usage, failure and the end is read on its way. JSON passes so, whatever its size. */

#include "base/buf.h"
#include "gateway/dialect.h"

#define USAGE_EVENT_MAX (1 * MIB)
#define USAGE_VALUE_MAX (16 * KIB) /* of the member "usage", of what passes as it comes */

struct usage {
    bool told;                /* how many went in, or came out */
    uint64_t in, out, cached; /* tokens; cached are among those that went in */
    uint64_t absurd;          /* more than can be, which was told; 0: none was. Then nothing is */
};

enum usage_form { USAGE_JSON, USAGE_EVENTS };
struct usage_end_type;

struct usage_reader {
    struct usage usage;
    uint64_t most_in, most_out; /* that are believed; the caller may set less */
    bool complete;   /* the end of the stream, or of the object that the answer is, was there */
    bool failed;     /* an event was an error that the engine tells */
    bool pending;    /* a response is not made yet: what is told of usage is not all */
    uint64_t events; /* with data, that were passed on */
    /* Of what they say, without what is around it; in JSON, also of texts
     * that are too long to be that. */
    uint64_t text_bytes;

    /* the rest is the reader's own */
    enum dialect dialect;
    enum usage_form form;
    bool drop_usage;
    struct buf held; /* the beginning of an event */
    bool passing;    /* an event that is too large */
    uint8_t matched; /* of "data:", by the line of it that is being read */
    bool gave_held;  /* with the last piece */
    bool has_cr;     /* the last byte was a CR: an LF would belong to it */
    bool dropped;    /* the last event was not passed on */
    size_t line_len; /* of the line that is being read */
    struct usage_json {
        unsigned depth;
        bool in_text, escaped;
        bool at_name, in_name; /* a text that begins now, or has begun, is a member's name */
        bool inner;            /* names are those of a member, in which usage is looked for */
        uint8_t wanted;        /* what the value that comes, or has begun, is for; 0: nothing */
        bool keeps;            /* it has begun, and is kept */
        bool over, whole;      /* nothing more is read; it was an object, which has ended */
        bool failed;
        const struct usage_end_type *type;
        bool leads;      /* the outermost member is one in which something is said */
        bool says;       /* the text that comes next, if one does, is said; */
        bool is_said;    /* so is that one that is being read */
        size_t text_len; /* of that; */
        size_t codes;    /* escapes in it that are numbers */
        size_t name_len; /* of its beginning, if it should be a name */
        char name[20];   /* longer than any that is wanted */
    } json;
    struct buf value; /* that is kept */
};

/* drop_usage: the chunk that has usage and no choices is not passed on, since we asked for it. */
void usage_init(struct usage_reader *r, enum dialect dialect, enum usage_form form,
                bool drop_usage);
void usage_finish(struct usage_reader *r);

struct usage_piece {
    const char *bytes; /* until the next call */
    size_t len;        /* may be 0 */
};

/* Reads on in len bytes, of which *ret_used are taken; *ret_piece is to be passed on. Call again
 * with the rest until there is none. */
void usage_read(struct usage_reader *r, const char *bytes, size_t len, size_t *ret_used,
                struct usage_piece *ret_piece);

/* The body has ended as HTTP has it. An event without the empty line behind it is none, and is not
 * passed on; unless it is the end of the stream, which some leave without that line. */
void usage_end(struct usage_reader *r, struct usage_piece *ret_piece);
