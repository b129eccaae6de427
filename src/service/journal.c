#include "service/journal.h"

#include "service/libsystemd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES_MAX (64 * KIB) /* of a line that is shown; the rest of it is cut */

struct reader {
    const struct libsystemd *sd;
    sd_journal *journal;
    const struct journal_wish *wish;
    uint64_t told;
    bool enough;
};

static int
tell_entry(struct reader *r)
{
    static const char field[] = "MESSAGE=";
    const void *data;
    size_t len;
    uint64_t at_us = 0;
    int n = r->sd->journal_get_data(r->journal, "MESSAGE", &data, &len);
    if (n < 0)
        return n == -ENOENT ? 0 : n;
    (void)r->sd->journal_get_realtime_usec(r->journal, &at_us);
    size_t skip = MIN(len, sizeof(field) - 1);
    r->told++;
    r->enough = !r->wish->line(at_us, (const char *)data + skip, len - skip, r->wish->arg);
    return 0;
}

static int
tell_rest(struct reader *r)
{
    int n = 0;
    while (n >= 0 && !r->enough && (n = r->sd->journal_next(r->journal)) > 0)
        n = tell_entry(r);
    return n;
}

static int
seek(struct reader *r)
{
    char unit[300];
    (void)snprintf(unit, sizeof(unit), "_SYSTEMD_UNIT=citadel-%s.service", r->wish->name);
    int n = r->sd->journal_add_match(r->journal, unit, 0);
    if (n >= 0)
        n = r->sd->journal_set_data_threshold(r->journal, LINE_BYTES_MAX);
    if (n >= 0)
        n = r->sd->journal_seek_tail(r->journal);
    /* On the first of the last lines; for none of them, on the one before what will be added. */
    if (n >= 0)
        n = r->sd->journal_previous_skip(r->journal, MAX(r->wish->lines, 1));
    return n > 0 && r->wish->lines ? tell_entry(r) : n;
}

static int
read_journal(struct reader *r)
{
    int n = seek(r);
    if (n >= 0)
        n = tell_rest(r);
    while (n >= 0 && r->wish->follow && !r->enough) {
        n = r->sd->journal_wait(r->journal, UINT64_MAX);
        if (n >= 0 || n == -EINTR)
            n = tell_rest(r);
    }
    return n;
}

int
journal_read(const struct journal_wish *wish, uint64_t *ret_lines, struct err *reterr)
{
    struct reader reader = {.wish = wish};
    int r = libsystemd_load(&reader.sd, reterr);
    if (r < 0)
        return r;
    r = reader.sd->journal_open(&reader.journal, SD_JOURNAL_LOCAL_ONLY);
    if (r >= 0) {
        r = read_journal(&reader);
        reader.sd->journal_close(reader.journal);
    }
    if (r < 0)
        return err_set_errno(reterr, -r, "the journal cannot be read");
    *ret_lines = reader.told;
    return 0;
}
