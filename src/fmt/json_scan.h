#pragma once

/* A few members of a large JSON object, found as it comes and without building a tree: where
 * each stands in the text, so that it can be read or replaced and every other byte stays as it
 * is. The whole text is looked at: what is no JSON is refused, and so is a member asked for that
 * is there twice, by whatever spelling of its name, since the next reader may take the other
 * one. Only that strings of others are UTF-8, and their surrogates whole, is left to him.
 *
 * Time is linear, nothing is allocated. */

#include "base/err.h"

#define JSON_SCAN_DEPTH_MAX 256
#define JSON_SCAN_NAMES_MAX 32 /* of json_scan() */
#define JSON_SCAN_NAME_MAX 64  /* of a name asked for, in bytes */
/* Of such a one as a text may spell it: each byte as an escape, and quotes. */
#define JSON_SCAN_SPELT_MAX (6 * JSON_SCAN_NAME_MAX + 2)

enum json_kind {
    JSON_ABSENT,
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING, /* with its quotes */
    JSON_LIST,
    JSON_MAP,
};

struct json_place {
    enum json_kind kind;
    size_t at, len; /* of the value in the text */
    size_t items;   /* of a list, and the first of them */
    enum json_kind first;
};

struct json_scan;

/* Strings that stand deeper, told while they are read. A name that is spelt with escapes is none of
 * these. */
enum {
    JSON_FROM = 1, /* the outermost object's members of that name lead to some, */
    JSON_WAY = 2,  /* and so do those of an object, or of one in a list, that others have led to; */
    JSON_TOLD = 4, /* and if one is a string, it is told, in either; */
    JSON_LISTED = 8, /* but it leads nowhere unless it is a list. */
    JSON_INTO = 16, /* An object of that name, where others have led to, is looked into: it leads no
                        further, */
    JSON_INNER = 32, /* and strings of such a name are told that are its own. */
};
struct json_lead {
    const char *name; /* NULL: the last one; those of JSON_FROM stand first */
    uint8_t len, flags;
};
#define JSON_NAME(name) name, sizeof(name) - 1
struct json_strings {
    const struct json_lead *leads;
    /* More of a string that is the member `lead`: as it is meant, half a surrogate pair as two bytes;
     * it is spelt in so many. ends: nothing of it is to come. */
    void (*told)(struct json_scan *s, const struct json_lead *lead, const char *bytes, size_t len,
                 size_t spelt, bool ends);
    /* An object of JSON_INTO is over; NULL: nobody is told. */
    void (*looked)(struct json_scan *s, const struct json_lead *into);
};

/* A text that comes in pieces. Whatever these are, it is read as the whole would be. */
struct json_scan {
    const char *const *names; /* as they were asked for */
    size_t count;
    struct json_place *places;
    size_t at;      /* bytes that were read */
    size_t open;    /* the member whose value is being read; count: none */
    size_t root_at; /* the object's bracket */
    bool is_empty;  /* it has no members, as far as is known */
    /* NULL: none are told; to be set behind json_scan_begin(). */
    const struct json_strings *strings;

    /* the rest is the reader's own */
    uint8_t state, number, word, hex;
    enum json_kind kind;
    bool is_name;       /* the string that is being read */
    bool leads, is_one; /* the member that was named last: to strings that are told; such a one */
    bool tells;         /* the string that is being read is told */
    const struct json_lead *lead; /* that was named last, */
    const struct json_lead *into; /* and whose object is looked into; NULL: none is, */
    unsigned into_depth;          /* where its members stand; 0: nowhere */
    uint16_t code;                /* of an escape, as far as it was read */
    unsigned depth;
    size_t token_at;
    /* A bit for each level that is open: it is an object; there may be strings that are told. */
    uint64_t maps[JSON_SCAN_DEPTH_MAX / 64], ways[JSON_SCAN_DEPTH_MAX / 64];
    size_t name_len;
    char name[JSON_SCAN_SPELT_MAX]; /* with its quotes; of one that is longer, so much */
};

/* Both arrays are of the caller, and there as long as it goes on. places[i] is the member names[i]
 * of the object that the text is, from where it begins. */
void json_scan_begin(struct json_scan *s, const char *const *names, size_t count,
                     struct json_place *places);
/* 0; or a negative errno, the place of what is wrong in the sentence: then nothing may follow. */
int json_scan_more(struct json_scan *s, const char *bytes, size_t len, struct err *reterr)
    must_check;
int json_scan_end(struct json_scan *s, struct err *reterr) must_check;

/* A text that is there as a whole; of one that is refused, places stay as they were. */
int json_scan(const char *text, size_t len, const char *const *names, size_t count,
              struct json_place *ret_places, struct err *reterr) must_check;

/* A string that was found, decoded, into room for `size` bytes with its '\0'. -EMSGSIZE: it is
 * longer; -EBADMSG: it has a character that cannot be, or NUL. */
int json_scan_text(const char *text, const struct json_place *place, char *to, size_t size)
    must_check;

/* The next byte that means something within a string: a quote, a backslash, or a control character,
 * which may not stand there; or the end. */
const char *json_past_plain(const char *at, const char *end);

/* The next byte that is no white space, in or before a value that was found: its end is one. */
const char *json_past_space(const char *at);
