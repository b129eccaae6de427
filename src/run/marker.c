#include "run/marker.h"

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"
#include "fmt/json.h"
#include "sys/clock.h"
#include "sys/files.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static void
print(struct buf *out, const char *by, const char *why)
{
    struct json_writer w;
    json_init(&w, out, false);
    json_open_map(&w, NULL);
    json_str(&w, "by", by);
    json_str(&w, "why", why);
    json_u64(&w, "at_us", clock_wall_us());
    json_close_map(&w);
    buf_add_char(out, '\n');
}

/* A link that leads nowhere would be a marker for us and none for systemd's conditions. */
static int
create(const char *path)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL;
    struct stat st;
    int fd = file_open(path, flags, 0644);
    if (fd == -EEXIST && lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && unlink(path) == 0)
        fd = file_open(path, flags, 0644);
    return fd;
}

/* Here no draft is renamed, since a draft has a lock that others can hold: the name is the message, and a
 * text of which the half is there is as good. */
int
run_marker_set(const char *run_dir, const char *by, const char *why, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(BYTES_MAX);
    _cleanup_free_ char *path = path_of(run_dir);
    assert(strlen(why) <= RUN_MARKER_WHY_MAX);
    int fd = create(path);
    if (fd == -ENOENT) {
        fd = file_make_dirs(run_dir, 0755, NULL);
        fd = fd < 0 ? fd : create(path);
    }
    if (fd < 0)
        return fd == -EEXIST ? 0 : root_err(reterr, fd, "cannot make '%s'", path);
    (void)fchmod(fd, 0644); /* whatever the umask: the shims read who and why */
    print(&text, by, why);
    (void)!write(fd, text.data, text.len);
    (void)close(fd);
    return 0;
}

int
run_marker_lift(const char *run_dir, struct err *reterr)
{
    _cleanup_free_ char *path = path_of(run_dir);
    return file_remove_tree(path, reterr);
}
