#pragma once

/* Errors for people, beside the negative errno that is for the machine.
 *
 * A function that can explain itself takes a last argument `struct err *reterr`, which may be
 * NULL. It is filled where the cause is known, prefixed on the way up and spoken once, at the
 * edge. A struct err owns nothing and needs no clean-up. Text from outside may be quoted in it
 * freely: bytes that could drive a terminal are replaced. */

#include "base/exit.h"
#include "base/util.h"

enum err_id {
    ERR_NONE,
#define ERR(name, id, err, exit, http, help) ERR_##name,
#include "base/err.def"
#undef ERR
    ERR_COUNT
};

struct err {
    enum err_id id;
    char what[512]; /* one sentence with the offending value, no full stop */
    char fix[256];  /* the command or change that mends it; may be empty */
};

struct err_row {
    const char *name; /* "config.unknown-key" */
    int err;          /* positive errno */
    enum exit_code exit;
    int http_status;
    const char *help;
};

/* The row of an id; for ERR_NONE a row with name NULL. */
const struct err_row *err_row(enum err_id id);

/* The id of that name; ERR_NONE: none has it, or there is no name. */
enum err_id err_find(const char *name);

/* Sets id and sentence, clears the fix. Returns the row's negative errno, so that a function can
 * end with `return err_set(reterr, ...)`. */
int err_set(struct err *reterr, enum err_id id, const char *fmt, ...) printf_like(3, 4);

/* For a failed system call: appends ": " and the text of errno_value, picks the id that fits it
 * and returns -errno_value. */
int err_set_errno(struct err *reterr, int errno_value, const char *fmt, ...) printf_like(3, 4);

/* Says how to mend it. */
void err_fix(struct err *reterr, const char *fmt, ...) printf_like(2, 3);

/* Says which of the candidates was probably meant by a word that is none of them (text_nearest());
 * else, if not NULL, what shows them. */
void err_fix_nearest(struct err *reterr, const char *word,
                     const char *(*candidate)(size_t i, const void *arg), const void *arg,
                     const char *otherwise);

/* Puts words and ": " before the sentence. */
void err_prefix(struct err *reterr, const char *fmt, ...) printf_like(2, 3);

enum exit_code err_exit(const struct err *err); /* EXIT_CODE_FAILED when no id is set */
