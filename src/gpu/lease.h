#pragma once

/* Who uses which GPU on this host, as files in the run directory: leases, and the start lock.
 *
 *   RUN/leases/NAME.json  a lease of NAME: read it with `cat`
 *   RUN/leases/gate       held for moments, while leases are counted and one is added
 *   RUN/start/gate        the start lock (gate.h)
 *   RUN/start/holder.json  who has it, in the form of a lease without GPUs
 *
 * A holder has its file locked, and the lock ends with it whatever ends it: a file that is not
 * locked says nothing, and the next that takes a lease clears it away. Whoever may read the
 * directory sees who holds what; only its owner and root can add to it, and where others could, it
 * is refused. What a file says is input nevertheless, since engines run as the owner too.
 *
 * A lease bounds what is planned, not what is used: memory.h tells that. */

#include "base/err.h"
#include "base/text.h"

#define GPU_UUID_MAX 95
#define GPU_LEASE_PARTS_MAX 32
#define GPU_LEASES_MAX 256

struct gpu_lease_part {
    char uuid[GPU_UUID_MAX + 1];
    uint64_t bytes;       /* of its memory */
    uint64_t total_bytes; /* all of its memory */
    bool exclusive;       /* the whole GPU, whatever bytes says */
};

struct gpu_holder {
    char name[TEXT_NAME_MAX + 1];
    unsigned pid;      /* as its holder sees itself: perhaps in another PID namespace */
    uint64_t since_us; /* since 1970 */
};

struct gpu_lease {
    struct gpu_holder holder;
    size_t part_count;
    struct gpu_lease_part parts[GPU_LEASE_PARTS_MAX];
    int fd;  /* of the locked file; -1 in a list */
    int dir; /* RUN/leases */
};

/* Takes a lease. The caller has set holder.name, parts and their count; the rest is set here. Of
 * each GPU reserve_bytes stay free. ERR_GPU_LEASED says who is in the way. Blocks for moments, 5 s
 * at most. The lease ends with gpu_lease_release(), or with the process. */
int gpu_lease_take(struct gpu_lease *lease, const char *run, uint64_t reserve_bytes,
                   struct err *reterr) must_check;
void gpu_lease_release(struct gpu_lease *lease);

/* The leases that are held now. */
struct gpu_leases {
    struct gpu_lease *items;
    size_t count;
    size_t room;
};
int gpu_leases_read(struct gpu_leases *ret_leases, const char *run, struct err *reterr) must_check;
void gpu_leases_finish(struct gpu_leases *leases);
#define _cleanup_gpu_leases_ _cleanup_(gpu_leases_finish)

/* The bytes of a GPU that are leased; all of them when a lease is exclusive. */
uint64_t gpu_leases_sum(const struct gpu_leases *leases, const char *uuid, uint64_t total_bytes);

/* The host-wide start lock: engines measure free memory while they start, so one starts at a time. */
struct gpu_start {
    int fd;      /* the lock */
    int wait_fd; /* or, while another has it, what to wait on */
    int told_fd; /* RUN/start/holder.json, locked */
    int dir;     /* RUN/start */
};
#define GPU_START_INIT                                    \
    {                                                     \
        .fd = -1, .wait_fd = -1, .told_fd = -1, .dir = -1 \
    }

/* 1: it is ours. 0: another has it; *ret_holder tells who (no name: it cannot be told), and when
 * start->wait_fd hangs up (LOOP_HANGUP), this is to be called again. */
int gpu_start_try(struct gpu_start *start, const char *run, const char *name,
                  struct gpu_holder *ret_holder, struct err *reterr) must_check;
void gpu_start_release(struct gpu_start *start);

/* Who has it: 1, or 0 for nobody. */
int gpu_start_holder(const char *run, struct gpu_holder *ret_holder, struct err *reterr) must_check;
