/* From a file to a configuration, or to all that is wrong with it. */

#include "base/text.h"
#include "config/read_int.h"
#include "fmt/yaml.h"
#include "sys/account.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The tree of the largest file (50,000 nodes of 112 bytes and their texts), 256 models and the
 * sentences about them, several times over. */
#define ARENA_BYTES (32 * MIB)

#define PIPE_WAIT_MS 10000

#define HERE "./citadel.yaml"
#define SYSTEM "/etc/citadel/citadel.yaml"

/* The arena stands before what lives in it. */
struct loaded {
    struct arena arena;
    struct config config;
};

void
config_free(struct config *config)
{
    if (!config)
        return;
    struct loaded *loaded = (struct loaded *)((char *)config - offsetof(struct loaded, config));
    arena_finish(&loaded->arena);
    free(loaded);
}

void
config_freep(struct config **config)
{
    config_free(*config);
}

const struct config_model *
config_find_model(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->models.count; i++)
        if (text_eq(config->models.items[i].name, name))
            return &config->models.items[i];
    return NULL;
}

const char *
config_model_name(size_t i, const void *arg)
{
    const struct config *config = arg;
    return i < config->models.count ? config->models.items[i].name : NULL;
}

struct yaml_errors {
    struct yaml_listener listener;
    struct config_problems *problems;
};

static void
note_yaml_error(struct yaml_listener *listener, struct value_at at, const struct err *err)
{
    struct yaml_errors *errors = (struct yaml_errors *)listener;
    problem_add(errors->problems, at, err->fix, "%s", err->what);
}

static int
end(struct config_problems *problems, bool full, struct err *reterr)
{
    problem_sort(problems);
    if (full)
        return err_set(reterr, ERR_TOO_LARGE, "%s needs more memory than a configuration may have",
                       problems->file);
    if (problems->errors)
        return err_set(reterr, ERR_CONFIG_INVALID, "%s has %zu error%s", problems->file,
                       problems->errors, problems->errors == 1 ? "" : "s");
    return 0;
}

int
config_parse(const char *text, size_t len, const char *file, struct config **ret_config,
             struct config_problems *problems, struct err *reterr)
{
    struct loaded *loaded = mem_new(struct loaded);
    struct yaml_errors errors = {{note_yaml_error}, problems};
    struct loading l = {&loaded->arena, &loaded->config, problems, true};
    struct value *tree;
    arena_init(&loaded->arena, ARENA_BYTES);
    problems->file = arena_strdup(&problems->arena, file);
    assert(problems->file);
    const char *file_name = arena_strdup(l.arena, file);
    l.whole = yaml_parse_all(l.arena, text, len, &errors.listener, &tree) == 0;
    if (tree && !l.arena->full) {
        config_read(&l, tree);
        if (!l.arena->full)
            config_complete(&l);
        if (!l.arena->full) {
            config_check_secrets(&l, tree);
            config_check(&l);
        }
    }
    int r = end(problems, l.arena->full, reterr);
    if (r < 0) {
        config_free(l.config);
        return r;
    }
    l.config->name = file_name;
    *ret_config = l.config;
    return 0;
}

static int
refuse_size(struct config_problems *problems, struct err *reterr)
{
    problem_add(problems, (struct value_at){1, 1}, "1 MiB at most", "the file is too large");
    return end(problems, false, reterr);
}

static int
refuse_pipe(const char *file, struct err *reterr)
{
    int r = err_set(reterr, ERR_VALUE, "%s is a pipe, and nothing was written to it for %d s", file,
                    PIPE_WAIT_MS / 1000);
    err_fix(reterr, "name a file; or have the program begin that writes to %s", file);
    return r;
}

/* A pipe that nobody writes to must not hold us for ever. */
static int
wait_for_writer(int fd, const char *file, struct err *reterr)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    int n;
    do
        n = poll(&polled, 1, PIPE_WAIT_MS);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set_errno(reterr, errno, "%s", file);
    if (n == 0)
        return refuse_pipe(file, reterr);
    return 0;
}

/* A file that says that it is too large is not read at all; one that does not (a pipe) is not read
 * further than it may be long. */
static int
read_file(int fd, struct buf *text, struct config_problems *problems, struct err *reterr)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_set_errno(reterr, errno, "%s", problems->file);
    if (S_ISDIR(st.st_mode)) {
        int r = err_set_errno(reterr, EISDIR, "%s", problems->file);
        err_fix(reterr, "name the file itself: %s/citadel.yaml", problems->file);
        return r;
    }
    if (S_ISREG(st.st_mode) && st.st_size > (off_t)YAML_BYTES_MAX)
        return refuse_size(problems, reterr);
    for (;;) {
        char piece[16 * KIB];
        int r = S_ISFIFO(st.st_mode) ? wait_for_writer(fd, problems->file, reterr) : 0;
        if (r < 0)
            return r;
        ssize_t n = read(fd, piece, sizeof(piece));
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return err_set_errno(reterr, errno, "%s", problems->file);
        if (n == 0)
            return 0;
        buf_add(text, piece, (size_t)n);
        if (buf_error(text) < 0)
            return refuse_size(problems, reterr);
    }
}

static int
refuse_open(const char *file, int errno_value, struct err *reterr)
{
    int r = err_set_errno(reterr, errno_value, "%s", file);
    if (errno_value == EACCES)
        err_fix(reterr, "the same with sudo");
    else
        err_fix(reterr, "see what leads there: namei -l %s", file);
    return r;
}

/* -ENOENT, and nothing said, when there is no such file. */
static int
load_file(const char *file, struct config **ret_config, struct config_problems *problems,
          struct err *reterr)
{
    struct buf *text = &problems->text;
    problems->file = arena_strdup(&problems->arena, file);
    if (!problems->file)
        return err_set(reterr, ERR_TOO_LARGE, "the name of the configuration is too long");
    _cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? -ENOENT : refuse_open(file, errno, reterr);
    int r = read_file(fd, text, problems, reterr);
    return r < 0 ? r : config_parse(text->data, text->len, file, ret_config, problems, reterr);
}

/* Whoever owns a directory can replace what is in it, and so can who may write it, but for one like /tmp.
 * false: *ret_why says why others could have. */
static bool
is_ours(const char *path, bool linked, char *ret_why, size_t room)
{
    char name[ACCOUNT_TEXT_MAX];
    struct stat st;
    if ((linked ? lstat(path, &st) : stat(path, &st)) < 0)
        return true; /* who opens it will tell */
    mode_t others = S_IWOTH | (st.st_gid != getegid() ? S_IWGRP : 0);
    bool shared = S_ISDIR(st.st_mode) ? (st.st_mode & others) && !(st.st_mode & S_ISVTX)
                                      : !S_ISLNK(st.st_mode) && (st.st_mode & others);
    const char *what = S_ISDIR(st.st_mode) ? "its directory" : "it";
    if (st.st_uid != 0 && st.st_uid != geteuid())
        (void)snprintf(ret_why, room, "%s belongs to %s", what,
                       account_print_user(st.st_uid, name));
    else if (shared)
        (void)snprintf(ret_why, room, "%s can be written by others (mode %03o)", what,
                       (unsigned)st.st_mode & 0777);
    else
        return true;
    return false;
}

static int
load_here(struct config **ret_config, struct config_problems *problems, struct err *reterr)
{
    char why[ACCOUNT_TEXT_MAX + 64];
    if (is_ours(".", false, why, sizeof(why)) && is_ours(HERE, true, why, sizeof(why)) &&
        is_ours(HERE, false, why, sizeof(why)))
        return load_file(HERE, ret_config, problems, reterr);
    if (access(HERE, F_OK) < 0)
        return -ENOENT;
    problem_warn(problems, (struct value_at){0}, "-c " HERE " reads it all the same",
                 HERE " is passed over: %s", why);
    return -ENOENT;
}

/* From the places where a configuration is usually. */
static int
load_usual(struct config **ret_config, struct config_problems *problems, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, 64 * KIB);
    const char *system = root_path(&arena, SYSTEM);
    int r = load_here(ret_config, problems, reterr);
    if (r == -ENOENT && system)
        r = load_file(system, ret_config, problems, reterr);
    if (r != -ENOENT)
        return r;
    bool passed_over = problems->count > 0;
    (void)err_set(reterr, ERR_CONFIG_MISSING,
                  "no configuration: -c names none, $CITADEL_CONFIG is not set, and there is "
                  "neither " HERE "%s nor %s",
                  passed_over ? " that is ours" : "", system);
    err_fix(reterr, passed_over ? "citadel ... -c " HERE ", if you trust it"
                                : "citadel config init > citadel.yaml");
    return r;
}

int
config_load(const char *file, struct config **ret_config, struct config_problems *problems,
            struct err *reterr)
{
    const char *named = file ? file : getenv("CITADEL_CONFIG");
    if (file && !*file)
        return err_set(reterr, ERR_CONFIG_MISSING, "an empty name names no configuration");
    if (!named || !*named)
        return load_usual(ret_config, problems, reterr);
    int r = load_file(named, ret_config, problems, reterr);
    if (r != -ENOENT)
        return r;
    (void)err_set(reterr, ERR_CONFIG_MISSING, "there is no %s%s", named,
                  file ? "" : ", which $CITADEL_CONFIG names");
    err_fix(reterr, "citadel config init > %s", named);
    return r;
}
