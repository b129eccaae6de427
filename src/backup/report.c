#include "backup/report.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- one snapshot ---- */

static bool
is_good(const struct marks *marks, const struct block_id *name, bool *ret_damaged)
{
    const struct mark *good = marks_find(marks, MARK_GOOD, name),
                      *bad = marks_find(marks, MARK_DAMAGED, name);
    *ret_damaged = bad && (!good || bad->at_ns >= good->at_ns);
    return good && !*ret_damaged;
}

static void
count(struct report_row *row, const struct snapshot_row *s, const struct marks *marks)
{
    struct block_id name;
    bool damaged = false;
    object_digest(s->name, name.bytes);
    const bool good = is_good(marks, &name, &damaged);
    row->total_bytes += s->end.bytes;
    row->new_bytes += s->end.new_bytes;
    row->stored_bytes += s->end.stored_bytes;
    if (marks_find(marks, MARK_DELETED, &name)) {
        row->deleted++;
        return;
    }
    row->snapshots++;
    row->good += good;
    row->damaged += damaged;
    if (good && s->head.begun_ns > row->newest_good_ns)
        row->newest_good_ns = s->head.begun_ns;
    if (s->head.begun_ns <= row->newest_ns)
        return;
    row->newest_ns = s->head.begun_ns;
    row->newest = s;
    row->bytes = s->end.bytes;
}

/* ---- all ---- */

static int
by_words(const void *a, const void *b)
{
    const struct report_row *x = a, *y = b;
    int order = strcmp(x->subject, y->subject);
    if (order == 0)
        order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->host, y->host);
}

const struct report_row *
report_find(const struct report *report, const char *host, const char *subject, const char *name)
{
    vec_foreach (&report->rows, row)
        if (text_eq(row->host, host) && text_eq(row->subject, subject) && text_eq(row->name, name))
            return row;
    return NULL;
}

static struct report_row *
row_of(struct report *report, const struct snapshot_head *head)
{
    const struct report_row *found = report_find(report, head->host, head->subject, head->name);
    if (found)
        return &report->rows.items[found - report->rows.items];
    struct report_row *row = vec_add(&report->rows);
    *row = (struct report_row){.host = head->host, .subject = head->subject, .name = head->name};
    return row;
}

void
report_make(const struct snapshots *all, const struct marks *marks, struct report *ret)
{
    *ret = (struct report){0};
    for (size_t i = 0; i < all->count; i++) {
        const struct snapshot_row *s = &all->rows[i];
        ret->unread += s->is_damaged;
        if (s->is_damaged)
            continue;
        count(row_of(ret, &s->head), s, marks);
        count(&ret->all, s, marks);
    }
    if (ret->rows.count > 1)
        qsort(ret->rows.items, ret->rows.count, sizeof(struct report_row), by_words);
}

void
report_finish(struct report *report)
{
    vec_finish(&report->rows);
}

bool
report_is_late(const struct report_row *row, uint64_t now_us, uint64_t interval_us)
{
    const int64_t newest_us = row->newest_ns / 1000;
    const uint64_t late_us = interval_us + interval_us / 4;
    return interval_us > 0 && (newest_us <= 0 || (uint64_t)newest_us + late_us < now_us);
}

double
report_dedup(const struct report_row *row)
{
    return row->new_bytes ? (double)row->total_bytes / (double)row->new_bytes : 0;
}

double
report_compression(const struct report_row *row)
{
    return row->stored_bytes ? (double)row->new_bytes / (double)row->stored_bytes : 0;
}
