#include "unit/generator.h"

#include "base/buf.h"
#include "base/text.h"
#include "base/vec.h"
#include "sys/files.h"
#include "unit/rest.h"
#include "unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNITS_MAX 1000
#define UNIT_MAX (64 * KIB)

struct unit_copy {
    char *name;
    struct buf text;
};

struct made {
    char *path;
    bool is_dir;
};

struct copying {
    int from, to;
    const char *store;
    VEC(struct unit_copy) units;
    VEC(struct made) made; /* in this order */
    struct err *err;
};

/* ---- what is to be copied ---- */

static int
read_unit(struct copying *c, const char *name)
{
    _cleanup_close_ int fd = openat(c->from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_errno(c->err, errno, "reading %s", name);
    if (!S_ISREG(st.st_mode))
        return err_set(c->err, ERR_SYSTEM, "%s is no file", name);
    struct unit_copy *unit = vec_add(&c->units);
    unit->name = mem_strdup(name);
    buf_init(&unit->text, UNIT_MAX);
    int r = file_read_fd(fd, &unit->text);
    return r < 0 ? err_set_errno(c->err, -r, "reading %s", name) : 0;
}

static int
read_units(struct copying *c, DIR *dir)
{
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(dir));) {
        if (!unit_is_ours(e->d_name))
            continue;
        if (c->units.count == UNITS_MAX)
            return err_set(c->err, ERR_TOO_LARGE, "there are more than %d units", UNITS_MAX);
        r = read_unit(c, e->d_name);
    }
    return r;
}

/* ---- what is made of it ---- */

static void
note(struct copying *c, const char *path, bool is_dir)
{
    vec_push(&c->made, ((struct made){mem_strdup(path), is_dir}));
}

static int
write_unit(struct copying *c, const struct unit_copy *unit)
{
    _cleanup_close_ int fd =
        openat(c->to, unit->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return err_set_errno(c->err, errno, "making %s", unit->name);
    note(c, unit->name, false);
    for (size_t done = 0; done < unit->text.len;) {
        ssize_t n = write(fd, unit->text.data + done, unit->text.len - done);
        if (n < 0 && errno != EINTR)
            return err_set_errno(c->err, errno, "writing %s", unit->name);
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* TARGET.wants/UNIT; where the link leads means nothing to systemd, but for its last part. */
static int
link_unit(struct copying *c, const char *target, const char *unit)
{
    if (unit_rests(c->store, unit))
        return 0;
    _cleanup_free_ char *dir = mem_printf("%s.wants", target);
    _cleanup_free_ char *path = mem_printf("%s/%s", dir, unit);
    _cleanup_free_ char *to = mem_printf("../%s", unit);
    if (mkdirat(c->to, dir, 0755) == 0)
        note(c, dir, true);
    else if (errno != EEXIST)
        return err_set_errno(c->err, errno, "making %s", dir);
    if (symlinkat(to, c->to, path) < 0)
        return err_set_errno(c->err, errno, "making %s", path);
    note(c, path, false);
    return 0;
}

/* What we have rendered: a line each, in the last section. */
static int
link_as_wanted(struct copying *c, const struct unit_copy *unit)
{
    static const char word[] = "\nWantedBy=";
    const char *at = strstr(unit->text.data, "\n[Install]\n");
    int r = 0;
    while (r == 0 && at && (at = strstr(at, word))) {
        char target[UNIT_NAME_BYTES];
        at += strlen(word);
        int len = (int)strcspn(at, "\n");
        if (snprintf(target, sizeof(target), "%.*s", len, at) < UNIT_NAME_BYTES &&
            unit_is_ours(target) && text_ends(target, ".target"))
            r = link_unit(c, target, unit->name);
    }
    return r;
}

static int
write_all(struct copying *c)
{
    int r = 0;
    for (size_t i = 0; i < c->units.count && r == 0; i++) {
        r = write_unit(c, &c->units.items[i]);
        if (r == 0)
            r = link_as_wanted(c, &c->units.items[i]);
    }
    return r == 0 && c->units.count ? link_unit(c, "multi-user.target", "citadel-ai.target") : r;
}

static void
take_back(struct copying *c)
{
    for (size_t i = c->made.count; i-- > 0;)
        (void)unlinkat(c->to, c->made.items[i].path, c->made.items[i].is_dir ? AT_REMOVEDIR : 0);
}

static int
copy(struct copying *c, DIR *from, const char *to)
{
    _cleanup_close_ int dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_set_errno(c->err, errno, "opening %s", to);
    c->from = dirfd(from);
    c->to = dir;
    int r = read_units(c, from);
    if (r == 0)
        r = write_all(c);
    if (r < 0)
        take_back(c);
    return r;
}

int
generator_copy(const char *from, const char *store, const char *to, struct err *reterr)
{
    struct err err = {0};
    struct copying c = {.store = store, .err = reterr ? reterr : &err};
    DIR *dir = opendir(from); /* held: the link before it may move on meanwhile */
    if (!dir)
        return errno == ENOENT ? 0 : err_set_errno(c.err, errno, "opening %s", from);
    int r = copy(&c, dir, to);
    (void)closedir(dir);
    vec_foreach (&c.units, unit) {
        free(unit->name);
        buf_finish(&unit->text);
    }
    vec_foreach (&c.made, made)
        free(made->path);
    vec_finish(&c.units);
    vec_finish(&c.made);
    return r;
}

/* systemd throws away what a generator says elsewhere. */
static void
tell_kernel_log(const struct err *err)
{
    _cleanup_close_ int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0)
        (void)dprintf(fd, "<3>" GENERATOR_NAME ": no unit of Citadel is there: %s\n", err->what);
}

int
generator_main(int argc, char *const argv[])
{
    struct err err;
    if (argc != 2 && argc != 4) {
        (void)dprintf(STDERR_FILENO, "usage: " GENERATOR_NAME " NORMAL-DIR [EARLY-DIR LATE-DIR]\n");
        return EXIT_CODE_USAGE;
    }
    if (generator_copy(GENERATOR_SOURCE, GENERATOR_STORE, argv[1], &err) == 0)
        return EXIT_CODE_OK;
    (void)dprintf(STDERR_FILENO, GENERATOR_NAME ": %s\n", err.what);
    tell_kernel_log(&err);
    return EXIT_CODE_FAILED;
}
