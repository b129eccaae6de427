/* The shared state: how it comes to be, its lock, and what time does to it. */

#include "sim/nvml/fake_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAGIC (UINT64_C(0x6b61667600000000) | sizeof(struct fake_state))

uint64_t
fake_now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void
fake_futex_wait(unsigned *word, unsigned value, int64_t timeout_ms)
{
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    (void)syscall(SYS_futex, word, FUTEX_WAIT, value, timeout_ms < 0 ? NULL : &timeout, NULL, 0);
}

void
fake_futex_wake(unsigned *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static int
init_state(struct fake_state *state, const char *dir, struct err *reterr)
{
    char description[PATH_MAX];
    pthread_mutexattr_t attr;
    (void)snprintf(description, sizeof(description), "%s/gpus", dir);
    int r = fake_describe(state, description, reterr);
    if (r < 0)
        return r;
    state->advanced_us = fake_now_us();
    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    (void)pthread_mutex_init(&state->mutex, &attr);
    (void)pthread_mutexattr_destroy(&attr);
    state->magic = MAGIC;
    return 0;
}

static struct fake_state *
map(int fd)
{
    void *p = mmap(NULL, sizeof(struct fake_state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* As device files are: whoever may enter the directory may use what is in it, whoever came first. */
static int
open_to_all(const char *path, int flags)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0666);
    if (fd >= 0)
        (void)fchmod(fd, 0666); /* the umask took from it; another's it is already */
    return fd;
}

/* Makes the state under a name of its own and links it into place, so that nobody ever maps half a
 * state; when several do so at once, the first link stands. */
static int
create_state(const char *dir, const char *path, struct err *reterr)
{
    char temporary[PATH_MAX];
    (void)snprintf(temporary, sizeof(temporary), "%s/state.%d.%d", dir, getpid(), gettid());
    _cleanup_close_ int fd = open_to_all(temporary, O_EXCL);
    if (fd < 0)
        return err_set_errno(reterr, errno, "%s", temporary);
    int r = ftruncate(fd, sizeof(struct fake_state)) < 0 ? -errno : 0;
    struct fake_state *state = r == 0 ? map(fd) : NULL;
    if (!state) {
        r = err_set_errno(reterr, errno, "%s", temporary);
    } else {
        r = init_state(state, dir, reterr);
        (void)munmap(state, sizeof(*state));
    }
    if (r == 0 && link(temporary, path) < 0 && errno != EEXIST)
        r = err_set_errno(reterr, errno, "%s", path);
    (void)unlink(temporary);
    return r;
}

static int
open_state(struct fake *f, const char *dir, struct err *reterr)
{
    char path[PATH_MAX];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/state", dir);
    if (access(path, F_OK) < 0) {
        int r = create_state(dir, path, reterr);
        if (r < 0)
            return r;
    }
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_errno(reterr, errno, "%s", path);
    f->state = st.st_size == sizeof(struct fake_state) ? map(fd) : NULL;
    if (!f->state || f->state->magic != MAGIC)
        return err_set(reterr, ERR_VALUE, "%s is the state of another build", path);
    return 0;
}

static int
open_claims(const char *dir, int *ret_fd, struct err *reterr)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/claims", dir);
    *ret_fd = open_to_all(path, 0);
    return *ret_fd < 0 ? err_set_errno(reterr, errno, "%s", path) : 0;
}

int
fake_open(struct fake *f, const char *dir, struct err *reterr)
{
    *f = (struct fake)FAKE_INIT;
    int r = open_state(f, dir, reterr);
    if (r == 0)
        r = open_claims(dir, &f->hold_fd, reterr);
    if (r == 0)
        r = open_claims(dir, &f->look_fd, reterr);
    if (r < 0)
        fake_close(f);
    return r;
}

void
fake_close(struct fake *f)
{
    if (f->state)
        (void)munmap(f->state, sizeof(*f->state));
    f->state = NULL;
    cleanup_close(&f->hold_fd);
    cleanup_close(&f->look_fd);
}

/* The GPU draws power and is held back for as long as nobody looks. */
static void
advance(struct fake_state *state)
{
    uint64_t now = fake_now_us();
    uint64_t passed_us = now > state->advanced_us ? now - state->advanced_us : 0;
    for (unsigned i = 0; i < state->gpu_count; i++) {
        struct fake_gpu *gpu = &state->gpus[i];
        gpu->energy_nj += gpu->power_mw * passed_us;
        for (unsigned bit = 0; bit < FAKE_REASONS; bit++)
            if (gpu->throttle >> bit & 1)
                gpu->throttled_ns[bit] += passed_us * 1000;
    }
    state->advanced_us = now;
}

struct fake_gpu *
fake_lock(struct fake *f, unsigned *ret_count)
{
    if (pthread_mutex_lock(&f->state->mutex) == EOWNERDEAD)
        (void)pthread_mutex_consistent(&f->state->mutex);
    advance(f->state);
    if (ret_count)
        *ret_count = f->state->gpu_count;
    return f->state->gpus;
}

void
fake_unlock(struct fake *f)
{
    (void)pthread_mutex_unlock(&f->state->mutex);
}
