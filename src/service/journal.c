#include "service/journal.h"

#include "service/libsystemd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES_MAX (64 * KIB) /* of a line that is shown; the rest of it is cut */

#define FIELD_MAX 300

struct reader {
    const struct libsystemd *sd;
    sd_journal *journal;
    const struct journal_wish *wish;
    uint64_t told;
    bool enough;
};

static int
field_of(const char *name, char field[FIELD_MAX])
{
    return snprintf(field, FIELD_MAX, "_SYSTEMD_UNIT=citadel-%s.service", name);
}

/* Whose the entry is; "" where none of those asked for. */
static const char *
name_of(struct reader *r)
{
    const void *data;
    size_t len;
    if (r->wish->count == 1)
        return r->wish->names[0];
    if (r->sd->journal_get_data(r->journal, "_SYSTEMD_UNIT", &data, &len) < 0)
        return "";
    for (size_t i = 0; i < r->wish->count; i++) {
        char field[FIELD_MAX];
        int n = field_of(r->wish->names[i], field);
        if ((size_t)n == len && memcmp(field, data, len) == 0)
            return r->wish->names[i];
    }
    return "";
}

static int
tell_entry(struct reader *r)
{
    static const char field[] = "MESSAGE=";
    const char *name = name_of(r);
    const void *data;
    size_t len;
    uint64_t at_us = 0;
    int n = r->sd->journal_get_data(r->journal, "MESSAGE", &data, &len);
    if (n < 0)
        return n == -ENOENT ? 0 : n;
    (void)r->sd->journal_get_realtime_usec(r->journal, &at_us);
    size_t skip = MIN(len, sizeof(field) - 1);
    r->told++;
    r->enough = !r->wish->line(at_us, name, (const char *)data + skip, len - skip, r->wish->arg);
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
match(struct reader *r)
{
    int n = 0;
    for (size_t i = 0; n >= 0 && i < r->wish->count; i++) {
        char field[FIELD_MAX];
        (void)field_of(r->wish->names[i], field);
        n = r->sd->journal_add_match(r->journal, field, 0); /* or one of the others of its name */
    }
    return n < 0 ? n : r->sd->journal_set_data_threshold(r->journal, LINE_BYTES_MAX);
}

/* On the first of the last lines; for none of them, on the one before what will be added. 0: there is
 * none. */
static int
seek_last(struct reader *r)
{
    int n = r->sd->journal_seek_tail(r->journal);
    return n < 0 ? n : r->sd->journal_previous_skip(r->journal, MAX(r->wish->lines, 1));
}

/* On the first line of that time, where the last lines reach further back. */
static int
seek_since(struct reader *r)
{
    uint64_t at_us;
    int n = r->sd->journal_get_realtime_usec(r->journal, &at_us);
    if (n < 0 || at_us >= r->wish->since_us)
        return n < 0 ? n : 1;
    n = r->sd->journal_seek_realtime_usec(r->journal, r->wish->since_us);
    return n < 0 ? n : r->sd->journal_next(r->journal);
}

static int
seek(struct reader *r)
{
    int n = match(r);
    if (n >= 0)
        n = seek_last(r);
    if (n > 0 && r->wish->lines && r->wish->since_us)
        n = seek_since(r);
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
