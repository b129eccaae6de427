#include "cli/transient.h"

#include "base/text.h"
#include "base/vec.h"
#include "cli/asker.h"
#include "sys/files.h"
#include "sys/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_AGAIN_US (100 * 1000ULL)
#define RESULTS_MAX (16 * MIB)
#define FORGOTTEN_S (7 * 86400) /* what a follower that was lost has left behind */

struct following {
    struct cli *cli;
    char *messages, *results;
    off_t told; /* bytes of messages */
    struct loop *loop;
    struct loop_timer timer;
    struct proc proc;
    struct proc_watch watch;
    struct proc_end end;
};

struct words {
    VEC(const char *) list;
};

static void
tell_new(struct following *f)
{
    char bytes[4096];
    ssize_t n;
    _cleanup_close_ int fd = file_open(f->messages, O_RDONLY, 0);
    while (fd >= 0 && (n = pread(fd, bytes, sizeof(bytes), f->told)) > 0) {
        (void)!write(STDERR_FILENO, bytes, (size_t)n); /* whoever listened may have gone */
        f->told += n;
    }
}

static void
on_timer(struct loop_timer *timer)
{
    struct following *f = container_of(timer, struct following, timer);
    tell_new(f);
}

static void
on_ended(struct proc_watch *watch, const struct proc_end *end)
{
    struct following *f = container_of(watch, struct following, watch);
    f->end = *end;
    loop_stop(f->loop);
}

/* Environment that a unit does not have by itself. */
static void
add_environment(struct words *w, struct arena *arena)
{
    static const char *const names[] = {"LC_ALL", "LANG", "CITADEL_NVML", "TZ"};
    char by[64];
    vec_push(&w->list, arena_printf(arena, "--setenv=SUDO_USER=%s", cli_asker(by)));
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (getenv(names[i]))
            vec_push(&w->list, arena_printf(arena, "--setenv=%s=%s", names[i], getenv(names[i])));
}

static void
make_command(const struct following *f, const struct cli_transient *wish, const char *program,
             struct arena *arena, struct words *w)
{
    vec_push(&w->list, "systemd-run");
    vec_push(&w->list, "--quiet");
    vec_push(&w->list, "--wait");
    vec_push(&w->list, "--collect");
    vec_push(&w->list, "--service-type=exec");
    vec_push(&w->list, arena_printf(arena, "--unit=%s", wish->name));
    vec_push(&w->list, arena_printf(arena, "--description=%s", wish->what));
    vec_push(&w->list, arena_printf(arena, "--property=StandardOutput=append:%s", f->results));
    vec_push(&w->list, arena_printf(arena, "--property=StandardError=append:%s", f->messages));
    add_environment(w, arena);
    vec_push(&w->list, "--");
    vec_push(&w->list, program);
    for (const char *const *arg = wish->args; *arg; arg++)
        vec_push(&w->list, *arg);
    vec_push(&w->list, NULL);
}

static int
start(struct following *f, const struct cli_transient *wish)
{
    _cleanup_arena_ struct arena arena;
    struct words words = {0};
    char program[PATH_MAX] = "";
    arena_init(&arena, 256 * KIB);
    if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
        return err_set_errno(&f->cli->err, errno, "finding this program");
    make_command(f, wish, program, &arena, &words);
    /* In a session of its own, so that Ctrl-C ends only us. */
    const struct proc_wish command = {
        .argv = words.list.items, .fds = {-1, -1, STDERR_FILENO}, .new_session = true};
    int r = arena.full ? err_set(&f->cli->err, ERR_TOO_LARGE, "the command line is too long")
                       : proc_start(&command, &f->proc, &f->cli->err);
    vec_finish(&words.list);
    return r;
}

static int
follow(struct following *f, const struct cli_transient *wish)
{
    int r = loop_new(&f->loop, &f->cli->err);
    if (r < 0)
        return r;
    r = start(f, wish);
    if (r == 0) {
        f->timer.expired = on_timer;
        f->watch.ended = on_ended;
        r = proc_watch_start(f->loop, &f->watch, &f->proc);
        if (r < 0)
            r = err_set_errno(&f->cli->err, -r, "following %s", wish->name);
    }
    if (r == 0) {
        loop_timer_start(f->loop, &f->timer, LOOK_AGAIN_US, LOOK_AGAIN_US);
        loop_run(f->loop);
        loop_timer_stop(&f->timer);
    }
    loop_free(f->loop);
    return r;
}

/* Of systemd-run: what it has started was ended by a signal. No exit code of ours. */
#define ENDED_BY_SIGNAL 255

static int
conclude(struct following *f, const struct cli_transient *wish)
{
    _cleanup_buf_ struct buf results = BUF_INIT(RESULTS_MAX);
    char text[64];
    tell_new(f);
    int r = file_read(f->results, &results, &f->cli->err);
    if (r == -ENOENT) {
        r = err_set(&f->cli->err, ERR_SYSTEM, "systemd-run could not start %s: %s", wish->name,
                    proc_end_print(&f->end, text));
        err_fix(&f->cli->err, "journalctl -u %s", wish->name);
    }
    if (r < 0)
        return r;
    cli_print_bytes(f->cli, results.data, results.len);
    if (!f->end.killed && f->end.status == ENDED_BY_SIGNAL) {
        r = err_set(&f->cli->err, ERR_DEPLOY_FAILED, "%s was killed before it was done",
                    wish->name);
        err_fix(&f->cli->err, "citadel plan, which tells what is left; then the same again");
        return r;
    }
    if (!f->end.killed)
        return f->end.status;
    r = err_set(&f->cli->err, ERR_SYSTEM, "what follows %s ended: %s", wish->name,
                proc_end_print(&f->end, text));
    err_fix(&f->cli->err, "systemctl status %s", wish->name);
    return r;
}

/* ---- its files ---- */

static const char *const suffixes[] = {".messages", ".results"};

static bool
is_one_of_them(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++)
        if (text_ends(name, suffixes[i]))
            return true;
    return false;
}

static void
remove_forgotten(const char *dir)
{
    DIR *d = file_open_dir(AT_FDCWD, dir, 0);
    time_t now = time(NULL);
    struct stat st;
    for (struct dirent *e; d && (e = readdir(d));)
        if (is_one_of_them(e->d_name) &&
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            now - st.st_mtime > FORGOTTEN_S)
            (void)unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        (void)closedir(d);
}

int
cli_run_transient(struct cli *cli, const struct cli_transient *wish)
{
    struct following f = {.cli = cli,
                          .messages = mem_printf("%s/%s.messages", wish->dir, wish->name),
                          .results = mem_printf("%s/%s.results", wish->dir, wish->name)};
    char *const files[] = {f.messages, f.results};
    int r = file_make_dirs(wish->dir, 0755, &cli->err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++)
        r = file_remove_tree(files[i], &cli->err); /* of one that had our process number */
    if (r == 0) {
        remove_forgotten(wish->dir);
        r = follow(&f, wish);
    }
    if (r == 0)
        r = conclude(&f, wish);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        (void)unlink(files[i]);
        free(files[i]);
    }
    return r;
}
