#include "gpu/lease_int.h"

#include "base/quantity.h"
#include "base/vec.h"
#include "gpu/gate.h"
#include "sys/clock.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SUFFIX ".json"
/* What is done under the gate is a few system calls: longer, and its holder is stopped or stuck. */
#define GATE_WAIT_MS 5000

static int
open_dir(const char *run, bool make, int *ret_dir, struct err *reterr)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/leases", run) >= (int)sizeof(path))
        return err_set_errno(reterr, ENAMETOOLONG, "%s", run);
    return lease_dir_open(path, make, ret_dir, reterr);
}

/* Reads one file. With `clear`, which needs the gate, what nobody holds is removed: in between a
 * file could only have been replaced by one who has the gate. */
static int
read_one(int dir, const char *name, bool clear, struct gpu_leases *leases)
{
    struct gpu_lease lease;
    int r = lease_file_read(dir, name, &lease);
    if (r == 0 && clear)
        (void)unlinkat(dir, name, 0);
    if (r <= 0)
        return r;
    if (leases->count == GPU_LEASES_MAX)
        return -E2BIG;
    vec_push(leases, lease);
    return 0;
}

static int
by_name(const void *a, const void *b)
{
    const struct gpu_lease *x = a, *y = b;
    return strcmp(x->holder.name, y->holder.name);
}

/* A file that is held but cannot be read may stand for any lease: nothing can be counted then. */
static int
read_all(int dir, bool clear, struct gpu_leases *leases, struct err *reterr)
{
    DIR *d = file_open_dir(dir, ".", 0);
    int r = 0;
    if (!d)
        return err_set_errno(reterr, errno, "reading the leases");
    for (struct dirent *e; r == 0 && (e = readdir(d));) {
        bool is_draft = e->d_name[0] == '.' && text_ends(e->d_name, LEASE_DRAFT_SUFFIX);
        if (is_draft && clear)
            (void)unlinkat(dir, e->d_name, 0);
        if (e->d_name[0] == '.' || !text_ends(e->d_name, SUFFIX))
            continue;
        r = read_one(dir, e->d_name, clear, leases);
        if (r == -E2BIG)
            r = err_set(reterr, ERR_GPU_LEASE_FILE, "more than %d leases", GPU_LEASES_MAX);
        else if (r < 0)
            r = err_set(reterr, ERR_GPU_LEASE_FILE, "lease file '%s' cannot be read: %s", e->d_name,
                        strerror(-r));
    }
    (void)closedir(d);
    if (leases->count > 1) /* whatever the file system's order is, everybody is told the same */
        qsort(leases->items, leases->count, sizeof(*leases->items), by_name);
    return r;
}

int
gpu_leases_read(struct gpu_leases *ret_leases, const char *run, struct err *reterr)
{
    _cleanup_close_ int dir = -1;
    struct gpu_leases leases = {0};
    struct err err = {0};
    int r = open_dir(run, false, &dir, &err);
    if (r == 0)
        r = read_all(dir, false, &leases, &err);
    else if (r == -ENOENT)
        r = 0; /* nobody has ever taken one */
    if (r == 0) {
        *ret_leases = leases;
        return 0;
    }
    gpu_leases_finish(&leases);
    if (reterr)
        *reterr = err;
    return r;
}

void
gpu_leases_finish(struct gpu_leases *leases)
{
    vec_finish(leases);
}

/* Adds a lease's share of a GPU to *sum; false when it is all of it. */
static bool
add_share(const struct gpu_lease *lease, const char *uuid, uint64_t *sum)
{
    for (size_t i = 0; i < lease->part_count; i++) {
        const struct gpu_lease_part *part = &lease->parts[i];
        if (strcmp(part->uuid, uuid) == 0 &&
            (part->exclusive || __builtin_add_overflow(*sum, part->bytes, sum)))
            return false;
    }
    return true;
}

uint64_t
gpu_leases_sum(const struct gpu_leases *leases, const char *uuid, uint64_t total_bytes)
{
    uint64_t sum = 0;
    vec_foreach (leases, lease) {
        if (!add_share(lease, uuid, &sum))
            return total_bytes;
    }
    return MIN(sum, total_bytes);
}

/* Those who have a part of a GPU: "chat 40.0 GiB, embed 12.0 GiB". */
static void
name_holders(const struct gpu_leases *leases, const char *uuid, struct buf *out)
{
    vec_foreach (leases, lease) {
        for (size_t i = 0; i < lease->part_count; i++) {
            const struct gpu_lease_part *part = &lease->parts[i];
            quantity_text text;
            if (strcmp(part->uuid, uuid) == 0)
                buf_printf(out, "%s%s %s", out->len ? ", " : "", lease->holder.name,
                           part->exclusive ? "all" : quantity_show_bytes(part->bytes, text));
        }
    }
}

/* A GPU that is leased whole needs no reserve: nobody else will want it. */
static int
check_part(const struct gpu_leases *leases, const struct gpu_lease *lease,
           const struct gpu_lease_part *part, uint64_t reserve, struct err *reterr)
{
    uint64_t taken = gpu_leases_sum(leases, part->uuid, part->total_bytes);
    uint64_t wanted = 0, kept = MIN(reserve, part->total_bytes);
    if (!add_share(lease, part->uuid, &wanted)) {
        wanted = part->total_bytes;
        kept = 0;
    }
    if (wanted <= part->total_bytes - kept && taken <= part->total_bytes - kept - wanted)
        return 0;
    _cleanup_buf_ struct buf holders = BUF_INIT(256);
    quantity_text want_text, taken_text, total_text;
    name_holders(leases, part->uuid, &holders);
    int r =
        err_set(reterr, taken ? ERR_GPU_LEASED : ERR_GPU_TOO_SMALL,
                "%s of GPU %s: %s of %s are leased%s%s%s", quantity_show_bytes(wanted, want_text),
                part->uuid, quantity_show_bytes(taken, taken_text),
                quantity_show_bytes(part->total_bytes, total_text), holders.len ? " (" : "",
                holders.data, holders.len ? ")" : "");
    err_fix(reterr, "%slower gpu_memory_fraction", taken ? "stop one of them, or " : "");
    return r;
}

static int
check(const struct gpu_leases *leases, const struct gpu_lease *lease, uint64_t reserve,
      struct err *reterr)
{
    vec_foreach (leases, other) {
        if (strcmp(other->holder.name, lease->holder.name) != 0)
            continue;
        int r = err_set(reterr, ERR_GPU_LEASED, "%s runs already, as process %u",
                        other->holder.name, other->holder.pid);
        err_fix(reterr, "citadel stop %s", other->holder.name);
        return r;
    }
    for (size_t i = 0; i < lease->part_count; i++) {
        int r = check_part(leases, lease, &lease->parts[i], reserve, reterr);
        if (r < 0)
            return r;
    }
    return 0;
}

static void
sign(struct gpu_holder *holder)
{
    holder->pid = (unsigned)getpid();
    holder->since_us = clock_wall_us();
}

static int
take_in(int dir, struct gpu_lease *lease, uint64_t reserve, struct err *reterr)
{
    _cleanup_gpu_leases_ struct gpu_leases leases = {0};
    _cleanup_close_ int gate = -1;
    char name[TEXT_NAME_MAX + sizeof(SUFFIX)];
    int r = gate_enter(dir, "gate", GATE_WAIT_MS, &gate);
    if (r == -ETIMEDOUT)
        return err_set(reterr, ERR_GPU_LEASED, "a process has kept the leases shut for %d s",
                       GATE_WAIT_MS / 1000);
    if (r < 0)
        return err_set_errno(reterr, -r, "the gate of the leases");
    r = read_all(dir, true, &leases, reterr);
    if (r == 0)
        r = check(&leases, lease, reserve, reterr);
    if (r < 0)
        return r;
    sign(&lease->holder);
    (void)snprintf(name, sizeof(name), "%s" SUFFIX, lease->holder.name);
    r = lease_file_put(dir, name, lease, &lease->fd);
    return r < 0 ? err_set_errno(reterr, -r, "writing the lease of %s", lease->holder.name) : 0;
}

int
gpu_lease_take(struct gpu_lease *lease, const char *run, uint64_t reserve_bytes, struct err *reterr)
{
    assert(text_is_name(lease->holder.name) && lease->part_count <= GPU_LEASE_PARTS_MAX);
    _cleanup_close_ int dir = -1;
    lease->fd = lease->dir = -1;
    int r = open_dir(run, true, &dir, reterr);
    if (r == 0)
        r = take_in(dir, lease, reserve_bytes, reterr);
    if (r == 0)
        lease->dir = take_fd(&dir);
    return r;
}

/* Removed while it is locked: nobody else can have put one of this name there. */
void
gpu_lease_release(struct gpu_lease *lease)
{
    char name[TEXT_NAME_MAX + sizeof(SUFFIX)];
    (void)snprintf(name, sizeof(name), "%s" SUFFIX, lease->holder.name);
    if (lease->fd >= 0)
        (void)unlinkat(lease->dir, name, 0);
    cleanup_close(&lease->fd);
    cleanup_close(&lease->dir);
}
