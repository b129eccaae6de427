/* Memory of processes.
 *
 * A claim counts for as long as its owner lives, which is told in two ways that must agree:
 *   - a lock on the byte of its slot, held by a descriptor of the owner. It ends with the owner
 *     whatever ends it, and is seen from every PID namespace; but a forked child keeps it;
 *   - pid and start time, which a child does not have; but only within the owner's PID namespace. */

#include "sim/nvml/fake_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ino_t
own_pid_space(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
}

/* "4711 (a name) S 1 4711 ...": the n-th field as proc(5) counts them, from 3 on. The name may hold
 * anything. */
static const char *
stat_field(const char *text, unsigned n)
{
    const char *p = strrchr(text, ')');
    for (unsigned field = 2; p && field < n; field++)
        p = strchr(p + 1, ' ');
    return p ? p + 1 : "";
}

/* Start time in clock ticks, 0 for a process that is gone, or a zombie, which has no memory unless
 * threads of it go on. */
static uint64_t
start_time(pid_t pid)
{
    char path[48], text[512];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (len <= 0)
        return 0;
    text[len] = '\0';
    char state = *stat_field(text, 3);
    if (state == 'X' || (state == 'Z' && strtol(stat_field(text, 20), NULL, 10) <= 1))
        return 0;
    return strtoull(stat_field(text, 22), NULL, 10);
}

static struct flock
lock_of(unsigned slot, short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
}

bool
fake_sees(const struct fake_claim *claim)
{
    return claim->pid_space == own_pid_space();
}

static bool
is_alive(const struct fake *f, unsigned slot)
{
    const struct fake_claim *claim = &f->state->claims[slot];
    struct flock lock = lock_of(slot, F_WRLCK);
    if (fcntl(f->look_fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK)
        return false;
    return !fake_sees(claim) || start_time(claim->pid) == claim->started;
}

void
fake_reap(struct fake *f)
{
    for (unsigned i = 0; i < FAKE_CLAIMS_MAX; i++) {
        struct fake_claim *claim = &f->state->claims[i];
        if (!claim->used || is_alive(f, i))
            continue;
        claim->used = 0;
        if (f->state->gpus[claim->gpu].keeps_memory)
            f->state->gpus[claim->gpu].stuck_bytes += claim->bytes;
    }
}

void
fake_memory_locked(struct fake *f, unsigned gpu, struct fake_memory *ret)
{
    const struct fake_gpu *g = &f->state->gpus[gpu];
    fake_reap(f);
    *ret = (struct fake_memory){
        .total_bytes = g->total_bytes,
        .reserved_bytes = g->reserved_bytes,
        .used_bytes = g->stuck_bytes,
    };
    for (unsigned i = 0; i < FAKE_CLAIMS_MAX; i++)
        if (f->state->claims[i].used && f->state->claims[i].gpu == gpu)
            ret->used_bytes += f->state->claims[i].bytes;
    uint64_t taken = ret->reserved_bytes + ret->used_bytes;
    ret->free_bytes = taken < ret->total_bytes ? ret->total_bytes - taken : 0;
}

void
fake_memory(struct fake *f, unsigned gpu, struct fake_memory *ret)
{
    (void)fake_lock(f, NULL);
    fake_memory_locked(f, gpu, ret);
    fake_unlock(f);
}

/* A slot whose byte could be locked: a child of a dead owner may still hold that of a free slot. */
static int
lock_free_slot(struct fake *f)
{
    for (unsigned i = 0; i < FAKE_CLAIMS_MAX; i++) {
        struct flock lock = lock_of(i, F_WRLCK);
        if (!f->state->claims[i].used && fcntl(f->hold_fd, F_OFD_SETLK, &lock) == 0)
            return (int)i;
    }
    return -ENOSPC;
}

static int
claim_locked(struct fake *f, unsigned gpu, uint64_t bytes)
{
    struct fake_memory memory;
    fake_memory_locked(f, gpu, &memory);
    if (bytes > memory.free_bytes)
        return -ENOMEM;
    int slot = lock_free_slot(f);
    if (slot < 0)
        return slot;
    struct fake_claim *claim = &f->state->claims[slot];
    *claim = (struct fake_claim){
        .gpu = gpu,
        .pid = getpid(),
        .pid_space = own_pid_space(),
        .started = start_time(getpid()),
        .bytes = bytes,
        .since_us = fake_now_us(),
    };
    __atomic_store_n(&claim->used, 1, __ATOMIC_RELEASE);
    return slot;
}

int
fake_claim(struct fake *f, unsigned gpu, uint64_t bytes, unsigned *ret_claim)
{
    unsigned count;
    (void)fake_lock(f, &count);
    int r = gpu < count ? claim_locked(f, gpu, bytes) : -ENODEV;
    fake_unlock(f);
    if (r < 0)
        return r;
    *ret_claim = (unsigned)r;
    return 0;
}

void
fake_release(struct fake *f, unsigned claim)
{
    struct flock lock = lock_of(claim, F_UNLCK);
    assert(claim < FAKE_CLAIMS_MAX);
    (void)fake_lock(f, NULL);
    f->state->claims[claim].used = 0;
    (void)fcntl(f->hold_fd, F_OFD_SETLK, &lock);
    fake_unlock(f);
}
