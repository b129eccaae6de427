#include "backup/job.h"

#include "backup/object.h"
#include "base/mem.h"
#include "fmt/json.h"
#include "sys/files.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPAN_MIN_US UINT64_C(3600000000) /* of what a forecast is made of */
#define FORECAST_MAX_US (UINT64_C(10) * 365 * 86400000000)

/* ---- how the storage fills ---- */

void
job_add_room(struct job *job, uint64_t at_us, uint64_t free_bytes)
{
    size_t n = job->rooms_count;
    bool replaces = n > 1 && job->rooms[n - 1].at_us < job->rooms[n - 2].at_us + JOB_ROOMS_APART_US;
    if (n == JOB_ROOMS_MAX && !replaces)
        memmove(job->rooms, job->rooms + 1, --n * sizeof(*job->rooms));
    n -= replaces;
    job->rooms[n] = (struct job_room){at_us, free_bytes};
    job->rooms_count = n + 1;
}

/* A straight line through all of them: one large model, or one pruning, is not how it goes on. */
uint64_t
job_full_us(const struct job *job)
{
    const size_t n = job->rooms_count;
    const struct job_room *first = job->rooms, *last = &job->rooms[n ? n - 1 : 0];
    double mean_us = 0, mean_bytes = 0, up = 0, across = 0;
    if (n < 2 || last->at_us < first->at_us + SPAN_MIN_US)
        return 0;
    for (size_t i = 0; i < n; i++) {
        mean_us += ((double)job->rooms[i].at_us - (double)first->at_us) / (double)n;
        mean_bytes += (double)job->rooms[i].free_bytes / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        double us = (double)job->rooms[i].at_us - (double)first->at_us - mean_us;
        up += us * ((double)job->rooms[i].free_bytes - mean_bytes);
        across += us * us;
    }
    double left_us = up < 0 ? (double)last->free_bytes / (-up / across) : INFINITY;
    return left_us < (double)FORECAST_MAX_US ? last->at_us + (uint64_t)left_us : 0;
}

/* ---- as text ---- */

static void
print_error(struct json_writer *w, const struct err *err)
{
    if (err->id == ERR_NONE) {
        json_null(w, "error");
        return;
    }
    json_open_map(w, "error");
    json_str(w, "id", err_row(err->id)->name);
    json_str(w, "what", err->what);
    json_str(w, "fix", err->fix[0] ? err->fix : NULL);
    json_close_map(w);
}

static double
ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : NAN;
}

static void
print_success(struct json_writer *w, const struct job *job)
{
    json_u64(w, "success_us", job->success_us);
    json_str(w, "snapshot", job->snapshot[0] ? job->snapshot : NULL);
    json_u64(w, "files", job->files);
    json_u64(w, "bytes", job->bytes);
    json_u64(w, "new_bytes", job->new_bytes);
    json_u64(w, "stored_bytes", job->stored_bytes);
    json_u64(w, "took_us", job->took_us);
    json_real(w, "rate_bytes", ratio(job->bytes, job->took_us) * 1e6);
    json_real(w, "dedup_ratio", ratio(job->bytes, job->new_bytes));
    json_real(w, "compression_ratio", ratio(job->new_bytes, job->stored_bytes));
    json_real(w, "verified_ratio", job->has_verified ? job->verified : NAN);
}

static void
print_rooms(struct json_writer *w, const struct job *job)
{
    const size_t n = job->rooms_count;
    const uint64_t full_us = job_full_us(job);
    if (n)
        json_u64(w, "free_bytes", job->rooms[n - 1].free_bytes);
    else
        json_null(w, "free_bytes");
    if (full_us)
        json_u64(w, "full_us", full_us);
    else
        json_null(w, "full_us");
    json_open_list(w, "rooms");
    for (size_t i = 0; i < n; i++) {
        json_open_map(w, NULL);
        json_u64(w, "at_us", job->rooms[i].at_us);
        json_u64(w, "free_bytes", job->rooms[i].free_bytes);
        json_close_map(w);
    }
    json_close_list(w);
}

void
job_print(const char *name, const struct job *job, struct buf *out)
{
    struct json_writer w;
    json_init(&w, out, true);
    json_open_map(&w, NULL);
    json_str(&w, "job", name);
    json_u64(&w, "began_us", job->began_us);
    json_u64(&w, "ended_us", job->ended_us);
    json_str(&w, "result", job->err.id == ERR_NONE ? "ok" : "failed");
    print_error(&w, &job->err);
    print_success(&w, job);
    print_rooms(&w, job);
    json_str(&w, "memory", job->memory);
    json_close_map(&w);
    buf_add_char(out, '\n');
}

static void
take_error(const struct value *v, struct err *ret)
{
    ret->id = err_find(value_str(value_get(v, "id")));
    if (v && v->type == VALUE_MAP && ret->id == ERR_NONE)
        ret->id = ERR_BACKUP_UNSOUND; /* of a release that knows more: it is one all the same */
    value_copy_str(value_get(v, "what"), ret->what, sizeof(ret->what));
    value_copy_str(value_get(v, "fix"), ret->fix, sizeof(ret->fix));
}

static void
take_rooms(const struct value *list, struct job *ret)
{
    for (const struct value *v = list ? list->first : NULL; v && ret->rooms_count < JOB_ROOMS_MAX;
         v = v->next) {
        struct job_room *room = &ret->rooms[ret->rooms_count];
        if (value_u64(value_get(v, "at_us"), &room->at_us) &&
            value_u64(value_get(v, "free_bytes"), &room->free_bytes))
            ret->rooms_count++;
    }
}

bool
job_parse(const char *text, size_t len, struct job *ret)
{
    _cleanup_arena_ struct arena arena;
    struct value *top;
    const char *snapshot;
    arena_init(&arena, 16 * JOB_BYTES_MAX);
    *ret = (struct job){0};
    if (json_parse(&arena, text, len, JSON_STRICT, &top, NULL, NULL) < 0 ||
        !value_u64(value_get(top, "began_us"), &ret->began_us) ||
        !value_u64(value_get(top, "ended_us"), &ret->ended_us))
        return false;
    take_error(value_get(top, "error"), &ret->err);
    (void)value_u64(value_get(top, "success_us"), &ret->success_us);
    snapshot = value_str(value_get(top, "snapshot"));
    if (snapshot && strlen(snapshot) == HASH_SHA256_HEX - 1)
        value_copy_str(value_get(top, "snapshot"), ret->snapshot, sizeof(ret->snapshot));
    (void)value_u64(value_get(top, "files"), &ret->files);
    (void)value_u64(value_get(top, "bytes"), &ret->bytes);
    (void)value_u64(value_get(top, "new_bytes"), &ret->new_bytes);
    (void)value_u64(value_get(top, "stored_bytes"), &ret->stored_bytes);
    (void)value_u64(value_get(top, "took_us"), &ret->took_us);
    ret->has_verified = value_real(value_get(top, "verified_ratio"), &ret->verified);
    take_rooms(value_get(top, "rooms"), ret);
    value_copy_str(value_get(top, "memory"), ret->memory, sizeof(ret->memory));
    return true;
}

/* ---- the file ---- */

int
job_load(const char *state, const char *name, struct job *ret)
{
    _cleanup_buf_ struct buf text = BUF_INIT(JOB_BYTES_MAX);
    _cleanup_free_ char *path = mem_printf("%s/jobs/%s.json", state, name);
    *ret = (struct job){0};
    if (file_read_if_there(path, &text, NULL) > 0 && job_parse(text.data, text.len, ret))
        return 1;
    *ret = (struct job){0};
    return 0;
}

int
job_save(const char *state, const char *name, const struct job *job, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(JOB_BYTES_MAX);
    _cleanup_free_ char *dir = mem_printf("%s/jobs", state);
    _cleanup_free_ char *path = mem_printf("%s/%s.json", dir, name);
    job_print(name, job, &text);
    assert(buf_error(&text) == 0); /* all in it is bounded */
    int r = file_make_dirs(dir, 0755, reterr);
    return r < 0 ? r : file_write(path, text.data, text.len, 0644, reterr);
}

static int
by_name(const void *a, const void *b)
{
    const struct jobs_item *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* "configs.json": configs. */
static bool
take_name(const char *file, char ret_name[TEXT_NAME_MAX + 1])
{
    static const char end[] = ".json";
    const size_t len = strlen(file);
    if (!text_ends(file, end) || len > TEXT_NAME_MAX + sizeof(end) - 1)
        return false;
    (void)snprintf(ret_name, TEXT_NAME_MAX + 1, "%.*s", (int)(len - sizeof(end) + 1), file);
    return text_is_name(ret_name);
}

void
jobs_load(const char *state, struct jobs *ret)
{
    _cleanup_free_ char *path = mem_printf("%s/jobs", state);
    _cleanup_dir_ DIR *dir = file_open_dir(AT_FDCWD, path, 0);
    *ret = (struct jobs){.items = mem_alloc(JOBS_MAX * sizeof(*ret->items))};
    for (struct dirent *e; dir && ret->count < JOBS_MAX && (e = readdir(dir));) {
        struct jobs_item *item = &ret->items[ret->count];
        if (take_name(e->d_name, item->name) && job_load(state, item->name, &item->job))
            ret->count++;
    }
    qsort(ret->items, ret->count, sizeof(*ret->items), by_name);
}

void
jobs_finish(struct jobs *j)
{
    free(j->items);
    *j = (struct jobs){0};
}
