/* What goes wrong: calls that fail or hang, and news that nobody wanted. */

#include "sim/nvml/fake_int.h"

#include <errno.h>
#include <string.h>

int
fake_fault(struct fake *f, const struct fake_fault *fault)
{
    struct fake_state *state = f->state;
    (void)fake_lock(f, NULL);
    bool full = state->fault_count == FAKE_FAULTS_MAX;
    if (!full) {
        state->faults[state->fault_count] = *fault;
        state->fault_count++;
    }
    fake_unlock(f);
    return full ? -ENOSPC : 0;
}

void
fake_clear_faults(struct fake *f)
{
    (void)fake_lock(f, NULL);
    f->state->fault_count = 0;
    f->state->fault_epoch++;
    fake_unlock(f);
    fake_futex_wake(&f->state->fault_epoch);
}

static int
fault_of(struct fake_state *state, const char *call, int gpu)
{
    for (unsigned i = 0; i < state->fault_count; i++) {
        struct fake_fault *fault = &state->faults[i];
        if (fault->gpu != FAKE_ANY && fault->gpu != gpu)
            continue;
        if (strcmp(fault->call, "*") != 0 && strcmp(fault->call, call) != 0)
            continue;
        if (fault->skip == 0)
            return fault->code;
        fault->skip--;
    }
    return NVML_SUCCESS;
}

int
fake_fault_check(struct fake *f, const char *call, int gpu)
{
    struct fake_state *state = f->state;
    int code;
    while ((code = fault_of(state, call, gpu)) == FAKE_HANG) {
        unsigned epoch = state->fault_epoch;
        state->hangs++;
        fake_unlock(f);
        fake_futex_wake(&state->hangs);
        while (__atomic_load_n(&state->fault_epoch, __ATOMIC_ACQUIRE) == epoch)
            fake_futex_wait(&state->fault_epoch, epoch, -1);
        (void)fake_lock(f, NULL);
    }
    return code;
}

bool
fake_await_hangs(struct fake *f, unsigned count, unsigned timeout_ms)
{
    uint64_t end_us = fake_now_us() + timeout_ms * UINT64_C(1000);
    for (;;) {
        unsigned hangs = __atomic_load_n(&f->state->hangs, __ATOMIC_ACQUIRE);
        uint64_t now_us = fake_now_us();
        if (hangs >= count)
            return true;
        if (now_us >= end_us)
            return false;
        fake_futex_wait(&f->state->hangs, hangs, (int64_t)(end_us - now_us) / 1000 + 1);
    }
}

static void
tell_locked(struct fake *f, unsigned gpu, uint64_t type, uint64_t data)
{
    struct fake_state *state = f->state;
    state->events[state->event_count % FAKE_EVENTS_MAX] = (struct fake_event){gpu, type, data};
    __atomic_store_n(&state->event_count, state->event_count + 1, __ATOMIC_RELEASE);
    fake_futex_wake(&state->event_count);
}

void
fake_xid(struct fake *f, unsigned gpu, unsigned code)
{
    unsigned count;
    (void)fake_lock(f, &count);
    assert(gpu < count);
    tell_locked(f, gpu, NVML_EVENT_XID, code);
    fake_unlock(f);
}

void
fake_ecc_error(struct fake *f, unsigned gpu, enum nvml_ecc_kind kind, enum nvml_ecc_place place)
{
    unsigned count;
    struct fake_gpu *gpus = fake_lock(f, &count);
    assert(gpu < count);
    gpus[gpu].ecc_errors[kind][NVML_ECC_VOLATILE][place]++;
    gpus[gpu].ecc_errors[kind][NVML_ECC_AGGREGATE][place]++;
    tell_locked(f, gpu,
                kind == NVML_ECC_CORRECTED ? NVML_EVENT_ECC_CORRECTED : NVML_EVENT_ECC_UNCORRECTED,
                0);
    fake_unlock(f);
}

void
fake_lose(struct fake *f, unsigned gpu)
{
    unsigned count;
    struct fake_gpu *gpus = fake_lock(f, &count);
    assert(gpu < count);
    gpus[gpu].lost = true;
    tell_locked(f, gpu, NVML_EVENT_XID, 79);
    fake_unlock(f);
}
