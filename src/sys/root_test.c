#include "sys/root.h"

#include "sys/change.h"
#include "sys/files.h"
#include "sys/notify.h"
#include "sys/sock.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

TEST(every_path_lies_under_the_root)
{
    static const struct {
        const char *written, *want;
    } rows[] = {{"/etc/citadel", "/etc/citadel"}, {"//a///b//", "/a/b"}, {"/a", "/a"}};
    _cleanup_free_ char *real = realpath(tap_dir(), NULL);
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, 64 * KIB);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        REQUIRE(root_set("/", NULL) == 0);
        CHECK(!root_is_set());
        CHECK_STR(root_path(&arena, rows[i].written), rows[i].want);
        CHECK_STR(root_strip(rows[i].want), rows[i].want);
        REQUIRE(root_set(tap_dir(), NULL) == 0);
        CHECK(root_is_set());
        CHECK_STR(root_dir(), real);
        const char *path = root_path(&arena, rows[i].written);
        CHECK_STR(path, arena_printf(&arena, "%s%s", real, rows[i].want));
        CHECK_STR(root_strip(path), rows[i].want);
    }
    const char *beside = arena_printf(&arena, "%sx/a", real);
    CHECK_STR(root_strip(beside), beside);
    REQUIRE(root_set("/", NULL) == 0);
}

TEST(no_path_climbs_out_of_the_root)
{
    static const char *const bad[] = {"/..", "/../etc", "/a/../../b", "/a/..", "..", "a/..", ""};
    static const char *const good[] = {"/a..b", "/...", "/..a/b", "/a../b", "/"};
    char longest[ROOT_PATH_MAX + 1] = "/";
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        tap_note("%s", bad[i]);
        CHECK(!root_takes(bad[i]));
    }
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        tap_note("%s", good[i]);
        CHECK(root_takes_absolute(good[i]));
    }
    CHECK(root_takes("relative") && !root_takes_absolute("relative"));
    memset(longest + 1, 'a', ROOT_PATH_MAX - 1);
    CHECK(!root_takes(longest));
    longest[ROOT_PATH_MAX - 1] = '\0';
    CHECK(root_takes(longest));
}

TEST(a_root_must_be_there)
{
    struct err err = {0};
    CHECK_EQ(root_set("/nowhere/at/all", &err), -ENOENT);
    CHECK(strstr(err.what, "/nowhere/at/all") != NULL);
    CHECK_EQ(root_set("/dev/null", &err), -ENOTDIR);
    CHECK(!root_is_set());
}

/* ---- links ---- */

/* A root with a link that leads out of it, and one that does not. */
struct scene {
    struct arena arena;
    const char *root, *outside;
};

static bool
scene_make(struct scene *s)
{
    arena_init(&s->arena, 64 * KIB);
    s->root = arena_printf(&s->arena, "%s/root", tap_dir());
    s->outside = arena_printf(&s->arena, "%s/rootless", tap_dir()); /* begins like the root */
    const char *in = arena_printf(&s->arena, "%s/in", s->root);
    const char *out = arena_printf(&s->arena, "%s/out", s->root);
    return mkdir(s->root, 0755) == 0 && mkdir(s->outside, 0755) == 0 &&
           file_make_dirs(arena_printf(&s->arena, "%s/real", s->root), 0755, NULL) == 0 &&
           symlink("real", in) == 0 && symlink(s->outside, out) == 0 &&
           root_set(s->root, NULL) == 0;
}

static void
scene_finish(struct scene *s)
{
    arena_finish(&s->arena);
    CHECK_EQ(root_set("/", NULL), 0);
}

static size_t
entries(const char *dir)
{
    size_t count = 0;
    DIR *d = opendir(dir);
    while (d && readdir(d))
        count++;
    if (d)
        (void)closedir(d);
    return count - 2;
}

/* Each way to change something there: 0 or more, or -errno. */

static int
write_it(const char *path, struct err *err)
{
    return file_write(path, "x", 1, 0644, err);
}

static int
make_dirs(const char *path, struct err *err)
{
    return file_make_dirs(path, 0755, err);
}

static int
make_in_place(const char *path, struct err *err)
{
    int fd = file_open(path, O_WRONLY | O_CREAT, 0600);
    return fd < 0 ? root_err(err, fd, "%s", path) : close(fd);
}

static int
listen_it(const char *path, struct err *err)
{
    const struct sock_addr addr = {.family = AF_UNIX, .path = path};
    int fd = sock_listen(&addr, 0600, err);
    return fd < 0 ? fd : close(fd);
}

static int
hear_it(const char *path, struct err *err)
{
    int fd = notify_listen(path, err);
    return fd < 0 ? fd : close(fd);
}

static int
change_it(const char *path, struct err *err)
{
    _cleanup_free_ char *journal = mem_printf("%s/journal", root_dir());
    _cleanup_change_ struct change c;
    change_init(&c, journal);
    change_write(&c, path, "x", 1, 0644);
    return change_commit(&c, err);
}

static int
journal_it(const char *path, struct err *err)
{
    enum change_recovered what;
    return change_recover(path, &what, err);
}

static int (*const ways[])(const char *path, struct err *err) = {
    write_it, make_dirs, make_in_place, listen_it, hear_it, change_it, journal_it, file_remove_tree,
};

TEST(nothing_is_made_or_removed_behind_a_link_that_leaves_the_root)
{
    struct scene s;
    REQUIRE(scene_make(&s));
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        struct err err = {0};
        const char *there = arena_printf(&s.arena, "%s/out/%zu", s.root, i);
        tap_note("way %zu", i);
        CHECK_EQ(ways[i](there, &err), -EXDEV);
        CHECK_EQ(err.id, ERR_ROOT_LEFT);
        CHECK(strstr(err.what, there) && strstr(err.what, root_dir()));
        CHECK_EQ(entries(s.outside), 0);
        CHECK_EQ(ways[i](arena_printf(&s.arena, "%s/in/%zu", s.root, i), &err), 0);
        CHECK_EQ(ways[i](arena_printf(&s.arena, "%s/%zu", s.root, i), &err), 0);
    }
    scene_finish(&s);
}

TEST(a_directory_that_is_there_is_refused_too)
{
    struct scene s;
    struct err err = {0};
    REQUIRE(scene_make(&s));
    CHECK_EQ(file_make_dirs(arena_printf(&s.arena, "%s/out", s.root), 0755, &err), -EXDEV);
    CHECK_EQ(err.id, ERR_ROOT_LEFT);
    CHECK_EQ(file_make_dirs(arena_printf(&s.arena, "%s/in/a/b", s.root), 0755, &err), 0);
    scene_finish(&s);
}
