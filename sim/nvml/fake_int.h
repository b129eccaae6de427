#pragma once

/* What the library and fake.c share. */

#include "sim/nvml/fake.h"

struct fake_claim {
    unsigned used; /* set last, cleared first */
    unsigned gpu;
    pid_t pid;        /* as seen in pid_space */
    ino_t pid_space;  /* the inode of the owner's PID namespace */
    uint64_t started; /* clock ticks after boot: tells a pid from its next user */
    uint64_t bytes;
    uint64_t since_us;
};

struct fake_event {
    unsigned gpu;
    uint64_t type, data;
};

struct fake_state {
    uint64_t magic; /* with the size: a state of another build is refused */
    pthread_mutex_t mutex;
    char driver[NVML_VERSION_BYTES];
    unsigned cuda_version; /* 1000 * major + 10 * minor */
    uint64_t advanced_us;
    unsigned gpu_count;
    struct fake_gpu gpus[FAKE_GPUS_MAX];
    struct fake_claim claims[FAKE_CLAIMS_MAX];
    struct fake_fault faults[FAKE_FAULTS_MAX];
    unsigned fault_count;
    unsigned fault_epoch; /* futex: grows when the faults are cleared */
    unsigned hangs;       /* futex */
    unsigned event_count; /* futex; event n is in events[n % FAKE_EVENTS_MAX] */
    struct fake_event events[FAKE_EVENTS_MAX];
};

/* fake_describe.c: the GPUs of a text, or of none. */
int fake_describe(struct fake_state *state, const char *path, struct err *reterr) must_check;

/* With the lock held: ends the claims of those who are gone. */
void fake_reap(struct fake *f);
void fake_memory_locked(struct fake *f, unsigned gpu, struct fake_memory *ret);

/* Whether this process can see the owner of a claim under claim->pid. */
bool fake_sees(const struct fake_claim *claim);

/* With the lock held, which it gives back while a call hangs: the code the call is to answer. */
int fake_fault_check(struct fake *f, const char *call, int gpu);

/* Waits until *word is no longer value, or for timeout_ms; -1 waits on. Wakes may be for nothing. */
void fake_futex_wait(unsigned *word, unsigned value, int64_t timeout_ms);
void fake_futex_wake(unsigned *word);
uint64_t fake_now_us(void);
