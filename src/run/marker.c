#include "run/marker.h"

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"
#include "fmt/json.h"
#include "sys/clock.h"
#include "sys/files.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define BYTES_MAX (4 * KIB)
#define TREE_MAX (64 * KIB)

static char *
path_of(const char *run_dir)
{
    return mem_printf("%s/" CONFIG_EMERGENCY_NAME, run_dir);
}

void
run_marker_read(const char *run_dir, struct run_marker *ret_marker)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf text = BUF_INIT(BYTES_MAX);
    _cleanup_free_ char *path = path_of(run_dir);
    struct value *root = NULL;
    struct stat st;
    *ret_marker = (struct run_marker){.set = lstat(path, &st) == 0};
    arena_init(&arena, TREE_MAX);
    if (!ret_marker->set || file_read(path, &text, NULL) < 0 ||
        json_parse(&arena, text.data, text.len, JSON_STRICT, &root, NULL, NULL) < 0)
        return;
    (void)value_u64(value_get(root, "at_us"), &ret_marker->at_us);
    value_copy_str(value_get(root, "by"), ret_marker->by, sizeof(ret_marker->by));
    value_copy_str(value_get(root, "why"), ret_marker->why, sizeof(ret_marker->why));
}

int
run_marker_check(const char *run_dir, struct err *reterr)
{
    struct run_marker marker;
    run_marker_read(run_dir, &marker);
    if (!marker.set)
        return 0;
    int r = err_set(reterr, ERR_EMERGENCY, "an emergency stop is in force%s%s%s%s: nothing starts",
                    marker.by[0] ? ", by " : "", marker.by, marker.why[0] ? ", because: " : "",
                    marker.why);
    err_fix(reterr, "citadel rollback emergency --lift");
    return r;
}

int
run_marker_set(const char *run_dir, const char *by, const char *why, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(BYTES_MAX);
    _cleanup_free_ char *path = path_of(run_dir);
    struct json_writer w;
    struct stat st;
    if (lstat(path, &st) == 0)
        return 0;
    json_init(&w, &text, false);
    json_open_map(&w, NULL);
    json_str(&w, "by", by);
    json_str(&w, "why", why);
    json_u64(&w, "at_us", clock_wall_us());
    json_close_map(&w);
    buf_add_char(&text, '\n');
    if (buf_error(&text) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "the reason is too long");
    int r = file_make_dirs(run_dir, 0755, reterr);
    return r < 0 ? r : file_write(path, text.data, text.len, 0644, reterr);
}

int
run_marker_lift(const char *run_dir, struct err *reterr)
{
    _cleanup_free_ char *path = path_of(run_dir);
    return file_remove_tree(path, reterr);
}
