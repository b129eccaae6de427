/* The files of several services, as one: every line begins with its time, to the millisecond and in the
 * time of this place, so that texts can be compared. One that does not stays behind the one before it. */

#include "base/text.h"
#include "base/vec.h"
#include "cli/logs.h"
#include "service/list.h"
#include "service/log_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct line {
    const char *time; /* its own, or that of the line before */
    const char *text; /* behind its own */
    size_t len;
    const char *name;
    size_t order; /* in which it was read */
};

struct reading {
    const struct logs *logs;
    struct buf *texts; /* one a service */
    VEC(struct line) lines;
    char since[LOGS_TIME_LEN + 1];
    size_t found;
};

static int
compare(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    int order = memcmp(x->time, y->time, LOGS_TIME_LEN);
    return order ? order : x->order < y->order ? -1 : 1;
}

static void
split(struct reading *r, const struct buf *text, const char *name)
{
    const char *end, *time = "0000-00-00 00:00:00.000";
    for (const char *at = text->data; (end = strchr(at, '\n')); at = end + 1) {
        bool has_time = logs_has_time(at, (size_t)(end - at));
        const char *from = has_time ? at + LOGS_TIME_LEN + 1 : at;
        time = has_time ? at : time;
        const size_t order = r->lines.count;
        if (memcmp(time, r->since, strlen(r->since)) >= 0)
            vec_push(&r->lines, ((struct line){time, from, (size_t)(end - from), name, order}));
    }
}

/* One that has none, among several, is passed over. */
static int
read_one(struct reading *r, size_t i)
{
    const struct logs *logs = r->logs;
    struct err err = {0};
    _cleanup_free_ char *path = service_log_path(logs->config, logs->names[i]);
    buf_init(&r->texts[i], LOGS_TEXT_MAX / logs->count);
    int more = log_file_tail(path, logs->lines, &r->texts[i], &err);
    if (more == -ENOENT && logs->count > 1)
        return 0;
    if (more < 0) {
        if (more == -ENOENT)
            err_fix(&err, "citadel up %s; it writes one", logs->names[i]);
        logs->cli->err = err;
        return more;
    }
    if (more)
        cli_note(logs->cli, "older lines of %s are left out: %zu MiB of them are shown",
                 logs->names[i], (size_t)(LOGS_TEXT_MAX / logs->count / MIB));
    r->found++;
    split(r, &r->texts[i], logs->names[i]);
    return 0;
}

static void
show(const struct reading *r)
{
    size_t count = r->lines.count;
    for (size_t i = count > r->logs->lines ? count - r->logs->lines : 0; i < count; i++) {
        const struct line *l = &r->lines.items[i];
        char time[LOGS_TIME_LEN + 1] = "";
        if (l->text == l->time + LOGS_TIME_LEN + 1)
            memcpy(time, l->time, LOGS_TIME_LEN);
        if (!logs_show(r->logs, time, l->name, l->text, l->len))
            return;
    }
}

int
logs_read_files(const struct logs *logs)
{
    struct reading reading = {.logs = logs};
    int r = 0;
    logs_since(logs, reading.since);
    reading.texts = mem_alloc((logs->count + 1) * sizeof(*reading.texts));
    for (size_t i = 0; r == 0 && i < logs->count; i++)
        r = read_one(&reading, i);
    if (r == 0 && reading.found == 0)
        r = err_set(&logs->cli->err, ERR_NOT_FOUND, "there is no log of %s", logs->asked);
    if (reading.lines.count)
        qsort(reading.lines.items, reading.lines.count, sizeof(struct line), compare);
    if (r == 0 && logs->count == 1 && !logs->since_us)
        (void)logs_show_text(logs, reading.texts[0].data, reading.texts[0].len); /* as it is */
    else if (r == 0)
        show(&reading);
    for (size_t i = 0; i < logs->count; i++)
        if (reading.texts[i].data)
            buf_finish(&reading.texts[i]);
    free(reading.texts);
    vec_finish(&reading.lines);
    return r;
}
