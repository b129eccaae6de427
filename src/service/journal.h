#pragma once

/* What services that systemd runs have said: their lines in the journal, in the order in which they came. */

#include "base/err.h"

struct journal_wish {
    const char *const *names; /* of services */
    size_t count;
    uint64_t lines;    /* the last so many, of all together */
    uint64_t since_us; /* and none before, since 1970; 0: however old */
    bool follow;       /* and what is added: until line() says that it is enough */
    /* A line, without its end, and whose it is; false: enough. */
    bool (*line)(uint64_t at_us, const char *name, const char *text, size_t len, void *arg);
    void *arg;
};

/* How many lines there were is *ret_lines. Who may not read the journal finds it empty. */
int journal_read(const struct journal_wish *wish, uint64_t *ret_lines, struct err *reterr)
    must_check;
