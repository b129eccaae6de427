#include "run/record.h"

#include "base/mem.h"
#include "base/quantity.h"
#include "base/text.h"
#include "fmt/json.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/log.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Who writes a record has its lock for two fsyncs; who has it for longer is stopped, stuck or mean. */
#define LOCK_US UINT64_C(5000000)
#define TRY_US UINT64_C(250000)

static const char *const hold_words[] = {
    [RUN_HOLD_PERSON] = "person",
    [RUN_HOLD_BREAKER] = "breaker",
};

static const char *const wanted_words[] = {
    [RUN_WANTED_STARTED] = "started",
    [RUN_WANTED_STOPPED] = "stopped",
};

static void
print_dir(struct buf *out, const char *state_dir, const char *name)
{
    buf_printf(out, "%s/models/%s", state_dir, name);
}

bool
run_record_has_place(const char *state_dir, const char *name)
{
    _cleanup_buf_ struct buf dir = BUF_INIT(PATH_MAX);
    print_dir(&dir, state_dir, name);
    return access(dir.data, F_OK) == 0;
}

void
run_record_path(struct buf *out, const char *state_dir, const char *name)
{
    print_dir(out, state_dir, name);
    buf_add_str(out, "/record.json");
}

void
run_record_lock_path(struct buf *out, const char *state_dir, const char *name)
{
    print_dir(out, state_dir, name);
    buf_add_str(out, "/lock");
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

static void
print_hold(struct json_writer *w, const struct run_record *record)
{
    json_open_map(w, "hold");
    json_str(w, "kind", hold_words[record->hold.kind]);
    json_str(w, "by", record->hold.by);
    json_str(w, "why", record->hold.why);
    json_u64(w, "since_us", record->hold.since_us);
    json_close_map(w);
}

static void
print_wanted(struct json_writer *w, const struct run_record *record)
{
    json_open_map(w, "wanted");
    json_str(w, "state", wanted_words[record->wanted.state]);
    json_str(w, "by", record->wanted.by);
    json_u64(w, "since_us", record->wanted.since_us);
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
    json_open_list(&w, "failed_us");
    for (size_t i = 0; i < record->failed_count; i++)
        json_u64(&w, NULL, record->failed_us[i]);
    json_close_list(&w);
    if (record->trial_us)
        json_u64(&w, "trial_us", record->trial_us);
    if (record->last.at_us)
        print_last(&w, record);
    if (record->hold.set)
        print_hold(&w, record);
    if (record->wanted.state)
        print_wanted(&w, record);
    json_close_map(&w);
    buf_add_char(out, '\n');
}

/* ---- reading ---- */

static enum err_id
id_of(const struct value *v)
{
    const char *name = value_str(v);
    enum err_id id = err_find(name);
    return name && id == ERR_NONE ? ERR_SYSTEM : id; /* an id of another release */
}

static bool
is_there(const struct value *v)
{
    return v && v->type != VALUE_NULL;
}

static bool
read_last(const struct value *v, struct run_record *record)
{
    uint64_t exit_code;
    if (!is_there(v))
        return true;
    if (!value_u64(value_get(v, "at_us"), &record->last.at_us) ||
        !value_u64(value_get(v, "exit"), &exit_code) || record->last.at_us == 0 ||
        exit_code > UINT8_MAX)
        return false;
    record->last.exit = (unsigned)exit_code;
    record->last.err.id = id_of(value_get(v, "id"));
    if (record->last.err.id != ERR_NONE)
        value_copy_str(value_get(v, "what"), record->last.err.what, sizeof(record->last.err.what));
    value_copy_str(value_get(v, "fix"), record->last.err.fix, sizeof(record->last.err.fix));
    return true;
}

static bool
read_hold(const struct value *v, struct run_record *record)
{
    if (!is_there(v))
        return true;
    record->hold.set = true;
    value_copy_str(value_get(v, "by"), record->hold.by, sizeof(record->hold.by));
    value_copy_str(value_get(v, "why"), record->hold.why, sizeof(record->hold.why));
    const char *kind = value_str(value_get(v, "kind"));
    if (kind ? text_eq(kind, hold_words[RUN_HOLD_BREAKER]) : text_eq(record->hold.by, RUN_BREAKER))
        record->hold.kind = RUN_HOLD_BREAKER;
    return value_u64(value_get(v, "since_us"), &record->hold.since_us);
}

static bool
read_wanted(const struct value *v, struct run_record *record)
{
    const char *word = value_str(value_get(v, "state"));
    if (!is_there(v))
        return true;
    for (enum run_wanted w = RUN_WANTED_STARTED; word && w <= RUN_WANTED_STOPPED; w++)
        if (text_eq(word, wanted_words[w]))
            record->wanted.state = w;
    value_copy_str(value_get(v, "by"), record->wanted.by, sizeof(record->wanted.by));
    return record->wanted.state != RUN_WANTED_UNSAID &&
           value_u64(value_get(v, "since_us"), &record->wanted.since_us);
}

/* A record of an older release has none. */
static bool
read_failed(const struct value *v, struct run_record *record)
{
    if (v && (v->type != VALUE_LIST || v->count > RUN_RECORD_FAILED_MAX))
        return false;
    for (const struct value *at = v ? v->first : NULL; at; at = at->next)
        if (!value_u64(at, &record->failed_us[record->failed_count++]))
            return false;
    return true;
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
        failures > UINT32_MAX || !read_failed(value_get(root, "failed_us"), &record) ||
        !read_last(value_get(root, "last"), &record) ||
        !read_hold(value_get(root, "hold"), &record) ||
        !read_wanted(value_get(root, "wanted"), &record))
        return err_set(reterr, ERR_SYNTAX, "it is not the record of a model");
    record.failures = (uint32_t)failures;
    (void)value_u64(value_get(root, "trial_us"), &record.trial_us);
    value_copy_str(value_get(root, "boot"), record.boot, sizeof(record.boot));
    *ret_record = record;
    return 0;
}

/* ---- the file ---- */

static void
put_aside(const char *path)
{
    char aside[NAME_MAX + 1];
    struct file_place place = {.dir = -1, .name = path};
    int r = file_place_open(path, &place);
    _cleanup_close_ int dir = r < 0 ? -1 : place.dir;
    int len = snprintf(aside, sizeof(aside), "%s.damaged", place.name);
    if (r < 0 || len >= (int)sizeof(aside) || fault_rename(dir, place.name, aside) == 0)
        return;
    _cleanup_free_ char *in_the_way = mem_printf("%s.damaged", path);
    if (file_remove_tree(in_the_way, NULL) == 0)
        (void)!fault_rename(dir, place.name, aside); /* else it is overwritten */
}

/* 1: what is there is no record, as *err tells. No link is followed, and no pipe waited for, as an engine
 * may have put it there. */
static int
read_text(const char *path, struct buf *text, struct err *err)
{
    struct stat st;
    _cleanup_close_ int fd = file_open(path, O_RDONLY | O_NONBLOCK, 0);
    if (fd == -ENOENT)
        return fd;
    if (fd == -ELOOP || fd == -ENXIO || (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))) {
        (void)err_set(err, ERR_SYNTAX, "it is no file");
        return 1;
    }
    int r = fd < 0 ? fd : file_read_fd(fd, text);
    if (r == -EFBIG) {
        (void)err_set(err, ERR_TOO_LARGE, "it is larger than %zu bytes", text->ceiling_bytes);
        return 1;
    }
    return r < 0 ? root_err(err, r, "cannot read '%s'", path) : 0;
}

int
run_record_load(const char *state_dir, const char *name, struct run_record *ret_record,
                struct err *reterr)
{
    _cleanup_buf_ struct buf path = BUF_INIT(PATH_MAX), text = BUF_INIT(RUN_RECORD_MAX);
    struct err err = {0};
    *ret_record = (struct run_record){0};
    run_record_path(&path, state_dir, name);
    int r = read_text(path.data, &text, &err);
    if (r == -ENOENT)
        return 0;
    if (r > 0 || (r == 0 && run_record_parse(text.data, text.len, ret_record, &err) < 0)) {
        err_prefix(&err, "%s", path.data);
        err_fix(&err, "nothing; the next that writes it puts it aside as %s.damaged", path.data);
        r = 0;
    }
    if (err.id != ERR_NONE && reterr)
        *reterr = err;
    return r;
}

/* Root writes for the account of the services, whose directory it is. That account can put another
 * file there meanwhile: only one that has no other name, and is root's, is given away. */
static int
give_to_owner(int fd, int dir)
{
    struct stat above, st;
    if (geteuid() != 0)
        return 0;
    if (fstat(dir, &above) < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_uid != 0)
        return 0;
    return fchown(fd, above.st_uid, above.st_gid) < 0 ? -errno : 0;
}

/* A file that root made here before the directory was given to us we may not open, but make anew. */
static void
take_over(const struct file_place *place)
{
    struct stat dir, st;
    if (fstat(place->dir, &dir) == 0 && dir.st_uid == geteuid() &&
        fstatat(place->dir, place->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_uid != geteuid())
        (void)!fault_unlink(place->dir, place->name, false);
}

/* Opened as ours, or as that of whose directory it is. */
static int
open_ours(const char *path, int flags)
{
    struct file_place place;
    int r = file_place_open(path, &place);
    if (r < 0)
        return r;
    _cleanup_close_ int dir = place.dir;
    if (flags & O_CREAT)
        take_over(&place);
    _cleanup_close_ int fd = file_open(path, flags, 0600);
    r = fd < 0 ? fd : give_to_owner(fd, dir);
    return r < 0 ? r : take_fd(&fd);
}

static int
save(const char *path, const struct run_record *record, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(RUN_RECORD_MAX);
    run_record_print(record, &text);
    assert(buf_error(&text) == 0);
    int r = file_write(path, text.data, text.len, 0644, reterr);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open_ours(path, O_RDONLY | O_NONBLOCK);
    return fd < 0 ? root_err(reterr, fd, "%s", path) : 0;
}

/* Held for as long as a small file takes to be written; ends with the descriptor. */
static int
take_lock(const char *state_dir, const char *name, uint64_t limit_us, struct err *reterr)
{
    quantity_text waited;
    _cleanup_buf_ struct buf dir = BUF_INIT(PATH_MAX), path = BUF_INIT(PATH_MAX);
    print_dir(&dir, state_dir, name);
    int r = file_make_dirs(dir.data, 0755, reterr);
    if (r < 0)
        return r;
    run_record_lock_path(&path, state_dir, name);
    _cleanup_close_ int fd = open_ours(path.data, O_RDWR | O_CREAT);
    if (fd < 0)
        return root_err(reterr, fd, "%s", path.data);
    r = file_lock(fd, limit_us);
    if (r == 0)
        return take_fd(&fd);
    if (r != -EWOULDBLOCK)
        return err_set_errno(reterr, -r, "locking %s", path.data);
    r = err_set(reterr, ERR_CHANGE_BUSY, "another process has kept %s for %s", path.data,
                quantity_print_us(limit_us, waited));
    err_fix(reterr,
            "the same again; if it stays so, see who: `fuser %s`, where an engine has no business",
            path.data);
    return r;
}

static int
change_within(uint64_t limit_us, const char *state_dir, const char *name,
              void (*change)(struct run_record *record, const void *arg), const void *arg,
              struct run_record *ret_record, struct err *reterr)
{
    _cleanup_buf_ struct buf path = BUF_INIT(PATH_MAX);
    struct run_record record;
    struct err damaged = {0};
    _cleanup_close_ int lock = take_lock(state_dir, name, limit_us, reterr);
    if (lock < 0)
        return lock;
    int r = run_record_load(state_dir, name, &record, &damaged);
    if (r < 0) {
        if (reterr)
            *reterr = damaged;
        return r;
    }
    run_record_path(&path, state_dir, name);
    if (damaged.id != ERR_NONE) {
        put_aside(path.data);
        log_err(&damaged);
    }
    change(&record, arg);
    r = save(path.data, &record, reterr);
    if (r == 0 && ret_record)
        *ret_record = record;
    return r;
}

int
run_record_change(const char *state_dir, const char *name,
                  void (*change)(struct run_record *record, const void *arg), const void *arg,
                  struct run_record *ret_record, struct err *reterr)
{
    return change_within(LOCK_US, state_dir, name, change, arg, ret_record, reterr);
}

int
run_record_try(const char *state_dir, const char *name,
               void (*change)(struct run_record *record, const void *arg), const void *arg,
               struct run_record *ret_record, struct err *reterr)
{
    return change_within(TRY_US, state_dir, name, change, arg, ret_record, reterr);
}

/* ---- changes ---- */

void
run_record_fail(struct run_record *record, uint64_t at_us)
{
    const size_t last = RUN_RECORD_FAILED_MAX - 1;
    if (record->failures < UINT32_MAX)
        record->failures++;
    if (record->failed_count > last) {
        memmove(record->failed_us, record->failed_us + 1, last * sizeof(*record->failed_us));
        record->failed_count = last;
    }
    record->failed_us[record->failed_count++] = at_us;
}

void
run_record_ended(struct run_record *record, const void *arg)
{
    const struct run_record_end *end = arg;
    record->last.at_us = end->at_us;
    record->last.exit = end->exit;
    record->last.err = *end->why;
    if (clock_boot_id(record->boot) < 0)
        record->boot[0] = '\0';
    if (end->exit == EXIT_CODE_FAILED && !end->asked)
        run_record_fail(record, end->at_us);
}

void
run_record_forgive(struct run_record *record, const void *unused unused_arg)
{
    record->failures = 0;
    record->failed_count = 0;
    record->trial_us = 0;
}

void
run_record_wish(struct run_record *record, const void *arg)
{
    const struct run_record_wish *wish = arg;
    record->wanted.state = wish->state;
    record->wanted.since_us = clock_wall_us();
    text_make_safe(record->wanted.by, sizeof(record->wanted.by),
                   snprintf(record->wanted.by, sizeof(record->wanted.by), "%s", wish->by));
    if (wish->state != RUN_WANTED_STARTED)
        return;
    record->hold.set = false;
    run_record_forgive(record, NULL);
}
