/* Runs the registered tests and prints TAP 13. `unit [-l] [FILE[:NAME]...]` lists or picks. */

#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef TAP_SOURCE_ROOT
#    error "TAP_SOURCE_ROOT names the top of the source tree"
#endif

#define TEST_SECONDS_MAX 60 /* under sanitizers, on a busy machine */

static struct tap_test *tests;

/* Shared with the child that runs a file, so that a crash can be blamed on its test. */
static struct progress {
    unsigned planned, number, failed, skipped;
    const struct tap_test *running; /* NULL: none, and all that were wanted of the file are done */
} * progress;

static bool current_failed;
static const char *skip_reason;
static char note[512];
static char dir[PATH_MAX];

/* Files by name; within one, tests as they stand there, which is not how constructors run. */
static bool
is_before(const struct tap_test *a, const struct tap_test *b)
{
    int order = strcmp(a->file, b->file);
    return order ? order < 0 : a->line < b->line;
}

void
tap_register(struct tap_test *test)
{
    static const char top[] = TAP_SOURCE_ROOT "/";
    if (strncmp(test->file, top, sizeof(top) - 1) == 0)
        test->file += sizeof(top) - 1;
    struct tap_test **at = &tests;
    while (*at && is_before(*at, test))
        at = &(*at)->next;
    test->next = *at;
    *at = test;
}

void
tap_fail(const char *file, int line, const char *fmt, ...)
{
    char said[4096];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(said, sizeof(said), fmt, args);
    va_end(args);
    (void)printf("# %s:%d: failed: ", file, line);
    for (const char *c = said; *c; c++)
        (void)printf(*c == '\n' ? "\n#   " : "%c", *c);
    (void)printf(note[0] ? " (%s)\n" : "%s\n", note);
    current_failed = true;
}

void
tap_skip(const char *reason)
{
    skip_reason = reason;
}

void
tap_note(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(note, sizeof(note), fmt, args);
    va_end(args);
}

bool
tap_check_eq(const char *file, int line, const char *what, long long got, long long want)
{
    if (got != want)
        tap_fail(file, line, "%s is %lld, not %lld", what, got, want);
    return got == want;
}

bool
tap_check_str(const char *file, int line, const char *what, const char *got, const char *want)
{
    bool same = got == want || (got && want && strcmp(got, want) == 0);
    if (!same)
        tap_fail(file, line, "%s is:\n%s\nnot:\n%s", what, got ? got : "(null)",
                 want ? want : "(null)");
    return same;
}

const char *
tap_dir(void)
{
    if (!dir[0]) {
        const char *tmp = getenv("TMPDIR");
        (void)snprintf(dir, sizeof(dir), "%s/citadel-test-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(dir)) {
            perror(dir);
            abort();
        }
    }
    return dir;
}

/* AddressSanitizer's, whose heap mallinfo2() does not know. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

size_t
tap_heap_bytes(void)
{
    const struct mallinfo2 info = mallinfo2();
    return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes()
                                                   : info.uordblks + info.hblkhd;
}

int __sanitizer_install_malloc_and_free_hooks(void (*asked)(const volatile void *, size_t),
                                              void (*given_back)(const volatile void *))
    __attribute__((weak));

static size_t heap_asked;

static void
on_asked(const volatile void *room unused_arg, size_t len unused_arg)
{
    __atomic_fetch_add(&heap_asked, 1, __ATOMIC_RELAXED);
}

static void
on_given_back(const volatile void *room unused_arg)
{
}

size_t
tap_heap_asked(void)
{
    static bool counts;
    if (!counts && __sanitizer_install_malloc_and_free_hooks)
        counts = __sanitizer_install_malloc_and_free_hooks(on_asked, on_given_back) > 0;
    return __atomic_load_n(&heap_asked, __ATOMIC_RELAXED);
}

const char *
tap_source(const char *path)
{
    static char full[PATH_MAX];
    (void)snprintf(full, sizeof(full), "%s/%s", TAP_SOURCE_ROOT, path);
    return full;
}

static int
remove_entry(const char *path, const struct stat *st unused_arg, int flag unused_arg,
             struct FTW *ftw unused_arg)
{
    return remove(path);
}

static void
remove_dir(void)
{
    if (dir[0])
        (void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    dir[0] = '\0';
}

/* Which descriptors are open; tests use few, so those from 1024 on are not looked at. */
struct open_fds {
    bool open[1024];
};

static void
read_open_fds(struct open_fds *ret)
{
    DIR *d = opendir("/proc/self/fd");
    memset(ret, 0, sizeof(*ret));
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        int fd = (int)strtol(e->d_name, NULL, 10);
        if (e->d_name[0] != '.' && fd >= 0 && fd < 1024 && fd != dirfd(d))
            ret->open[fd] = true;
    }
    (void)closedir(d);
}

static void
check_fds(const struct open_fds *before)
{
    struct open_fds after;
    read_open_fds(&after);
    for (int fd = 0; fd < 1024; fd++) {
        if (after.open[fd] && !before->open[fd])
            tap_fail("tap", 0, "descriptor %d was left open", fd);
        if (!after.open[fd] && before->open[fd])
            tap_fail("tap", 0, "descriptor %d was closed", fd);
    }
}

static void
run_test(const struct tap_test *test)
{
    struct open_fds before;
    progress->running = test;
    current_failed = false;
    skip_reason = NULL;
    note[0] = '\0';
    read_open_fds(&before);
    (void)alarm(TEST_SECONDS_MAX);
    test->run();
    (void)alarm(0);
    remove_dir();
    check_fds(&before);
    progress->number++;
    if (current_failed) {
        progress->failed++;
        (void)printf("not ok %u - %s: %s\n", progress->number, test->file, test->name);
    } else if (skip_reason) {
        progress->skipped++;
        (void)printf("ok %u - %s: %s # SKIP %s\n", progress->number, test->file, test->name,
                     skip_reason);
    } else {
        (void)printf("ok %u - %s: %s\n", progress->number, test->file, test->name);
    }
    (void)fflush(stdout);
}

static bool
is_wanted(const struct tap_test *test, int argc, char **argv)
{
    char full[PATH_MAX];
    (void)snprintf(full, sizeof(full), "%s:%s", test->file, test->name);
    for (int i = 1; i < argc; i++)
        if (strstr(full, argv[i]))
            return true;
    return argc <= 1;
}

/* Runs the tests of first's file from first on, in a child; returns the first test after them.
 * After a test that ended its child, by a crash or an exit(), the next child goes on with the test
 * that follows it. */
static const struct tap_test *
run_file(const struct tap_test *first, int argc, char **argv)
{
    (void)fflush(stdout);
    progress->running = NULL;
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        exit(1);
    }
    if (child == 0) {
        for (const struct tap_test *t = first; t && strcmp(t->file, first->file) == 0; t = t->next)
            if (is_wanted(t, argc, argv))
                run_test(t);
        progress->running = NULL;
        exit(0); /* leak checks run here */
    }
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    const struct tap_test *after = first;
    while (after && strcmp(after->file, first->file) == 0)
        after = after->next;
    if (status == 0 && !progress->running)
        return after;
    progress->planned += !progress->running; /* what is found at the end is no test of the plan */
    progress->number++;
    progress->failed++;
    (void)printf("not ok %u - %s: %s (%s %d)\n", progress->number, first->file,
                 progress->running ? progress->running->name : "leak check at the end of the file",
                 WIFSIGNALED(status) ? "killed by signal" : "exit status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return progress->running ? progress->running->next : after;
}

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "-l") == 0) {
        for (const struct tap_test *t = tests; t; t = t->next)
            (void)printf("%s:%s\n", t->file, t->name);
        return 0;
    }
    progress =
        mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    /* What a test said is out before it crashes. */
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)printf("TAP version 13\n");
    for (const struct tap_test *t = tests; t; t = t->next)
        progress->planned += is_wanted(t, argc, argv);
    for (const struct tap_test *t = tests; t;)
        t = is_wanted(t, argc, argv) ? run_file(t, argc, argv) : t->next;
    (void)printf("1..%u\n", progress->planned);
    return progress->failed || progress->number == 0 || progress->number != progress->planned;
}
