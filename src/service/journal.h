#pragma once

/* What a service that systemd runs has said: its lines in the journal. */

#include "base/err.h"

struct journal_wish {
    const char *name; /* of the service */
    uint64_t lines;   /* the last so many */
    bool follow;      /* and what is added: until line() says that it is enough */
    /* A line, without its end; false: enough. */
    bool (*line)(uint64_t at_us, const char *text, size_t len, void *arg);
    void *arg;
};

/* How many lines there were is *ret_lines. Who may not read the journal finds it empty. */
int journal_read(const struct journal_wish *wish, uint64_t *ret_lines, struct err *reterr)
    must_check;
