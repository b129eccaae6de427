#include "run/record.h"

#include "base/text.h"
#include "fmt/json.h"
#include "sys/files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

void
run_record_path(struct buf *out, const char *state_dir, const char *name)
{
    buf_printf(out, "%s/models/%s.json", state_dir, name);
}

static void
print_last(struct json_writer *w, const struct run_record *record)
{
    const struct err *err = &record->last.err;
    json_open_map(w, "last");
    json_u64(w, "at_us", record->last.at_us);
    json_u64(w, "exit", record->last.exit);
    json_str(w, "id", err->id == ERR_NONE ? NULL : err_row(err->id)->name);
    json_str(w, "what", err->id == ERR_NONE ? NULL : err->what);
    json_str(w, "fix", err->fix[0] ? err->fix : NULL);
    json_close_map(w);
}

void
run_record_print(const struct run_record *record, struct buf *out)
{
    struct json_writer w;
    json_init(&w, out, true);
    json_open_map(&w, NULL);
    json_u64(&w, "failures", record->failures);
    json_str(&w, "boot", record->boot);
    if (record->last.at_us)
        print_last(&w, record);
    if (record->hold.set) {
        json_open_map(&w, "hold");
        json_str(&w, "by", record->hold.by);
        json_str(&w, "why", record->hold.why);
        json_u64(&w, "since_us", record->hold.since_us);
        json_close_map(&w);
    }
    json_close_map(&w);
    buf_add_char(out, '\n');
}

/* ---- reading ---- */

/* A sentence, cut to its room and without what could drive a terminal. */
static void
take_text(char *to, size_t room, const struct value *v)
{
    const char *text = value_str(v);
    text_make_safe(to, room, snprintf(to, room, "%s", text ? text : ""));
}

static enum err_id
id_of(const struct value *v)
{
    const char *name = value_str(v);
    for (enum err_id id = ERR_NONE + 1; name && id < ERR_COUNT; id++)
        if (text_eq(err_row(id)->name, name))
            return id;
    return name ? ERR_SYSTEM : ERR_NONE; /* an id of another release */
}

static bool
read_last(const struct value *v, struct run_record *record)
{
    uint64_t exit_code;
    if (!v)
        return true;
    if (!value_u64(value_get(v, "at_us"), &record->last.at_us) ||
        !value_u64(value_get(v, "exit"), &exit_code) || exit_code > UINT8_MAX)
        return false;
    record->last.exit = (unsigned)exit_code;
    record->last.err.id = id_of(value_get(v, "id"));
    take_text(record->last.err.what, sizeof(record->last.err.what), value_get(v, "what"));
    take_text(record->last.err.fix, sizeof(record->last.err.fix), value_get(v, "fix"));
    return true;
}

static bool
read_hold(const struct value *v, struct run_record *record)
{
    if (!v)
        return true;
    record->hold.set = true;
    take_text(record->hold.by, sizeof(record->hold.by), value_get(v, "by"));
    take_text(record->hold.why, sizeof(record->hold.why), value_get(v, "why"));
    return value_u64(value_get(v, "since_us"), &record->hold.since_us);
}

int
run_record_parse(const char *text, size_t len, struct run_record *ret_record, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct run_record record = {0};
    struct value *root;
    uint64_t failures;
    arena_init(&arena, 16 * RUN_RECORD_MAX);
    int r = json_parse(&arena, text, len, JSON_STRICT, &root, NULL, reterr);
    if (r < 0)
        return r;
    if (root->type != VALUE_MAP || !value_u64(value_get(root, "failures"), &failures) ||
        failures > UINT32_MAX || !read_last(value_get(root, "last"), &record) ||
        !read_hold(value_get(root, "hold"), &record))
        return err_set(reterr, ERR_SYNTAX, "it is not the record of a model");
    record.failures = (uint32_t)failures;
    take_text(record.boot, sizeof(record.boot), value_get(root, "boot"));
    *ret_record = record;
    return 0;
}

/* ---- the file ---- */

static void
put_aside(const char *path, struct err *reterr)
{
    char aside[PATH_MAX];
    int len = snprintf(aside, sizeof(aside), "%s.damaged", path);
    if (len < (int)sizeof(aside) && rename(path, aside) == 0)
        err_fix(reterr, "nothing; it was put aside as %s", aside);
    err_prefix(reterr, "%s", path);
}

int
run_record_load(const char *state_dir, const char *name, struct run_record *ret_record,
                struct err *reterr)
{
    _cleanup_buf_ struct buf path = BUF_INIT(PATH_MAX), text = BUF_INIT(RUN_RECORD_MAX);
    struct err err = {0};
    *ret_record = (struct run_record){0};
    run_record_path(&path, state_dir, name);
    int r = file_read(path.data, &text, &err);
    if (r == -ENOENT)
        return 0;
    if (r == 0 && run_record_parse(text.data, text.len, ret_record, &err) < 0)
        put_aside(path.data, &err);
    if (err.id != ERR_NONE && reterr)
        *reterr = err;
    return r;
}

int
run_record_save(const char *state_dir, const char *name, const struct run_record *record,
                struct err *reterr)
{
    _cleanup_buf_ struct buf path = BUF_INIT(PATH_MAX), text = BUF_INIT(RUN_RECORD_MAX);
    buf_printf(&path, "%s/models", state_dir);
    int r = file_make_dirs(path.data, 0755, reterr);
    if (r < 0)
        return r;
    buf_clear(&path);
    run_record_path(&path, state_dir, name);
    run_record_print(record, &text);
    assert(buf_error(&text) == 0);
    return file_write(path.data, text.data, text.len, 0644, reterr);
}
