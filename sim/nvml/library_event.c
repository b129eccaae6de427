/* News from the driver. A set belongs to one process; what it has read so far is its own. */

#include "sim/nvml/library_int.h"

#include <stdlib.h>

struct nvml_event_set {
    uint64_t types[FAKE_GPUS_MAX]; /* wanted */
    unsigned from[FAKE_GPUS_MAX];  /* events before this one were there before */
    unsigned next;
};

#define EVENT_TYPES (NVML_EVENT_ECC_CORRECTED | NVML_EVENT_ECC_UNCORRECTED | NVML_EVENT_XID)

int
nvmlDeviceGetSupportedEventTypes(struct nvml_device *device, unsigned long long *ret_types)
{
    ON(device, ret_types)
    *ret_types = EVENT_TYPES;
    return NVML_SUCCESS;
}

int
nvmlEventSetCreate(struct nvml_event_set **ret_set)
{
    NOWHERE(ret_set)
    struct nvml_event_set *set = calloc(1, sizeof(*set));
    if (!set)
        return NVML_ERROR_MEMORY;
    set->next = call.fake->state->event_count;
    *ret_set = set;
    return NVML_SUCCESS;
}

int
nvmlDeviceRegisterEvents(struct nvml_device *device, unsigned long long types,
                         struct nvml_event_set *set)
{
    ON(device, set)
    if (types & ~EVENT_TYPES)
        return NVML_ERROR_NOT_SUPPORTED;
    if (set->types[call.index] == 0)
        set->from[call.index] = call.fake->state->event_count;
    set->types[call.index] |= types;
    return NVML_SUCCESS;
}

int
nvmlEventSetFree(struct nvml_event_set *set)
{
    NOWHERE(set)
    free(set);
    return NVML_SUCCESS;
}

/* The next event that the set wants. Of one that fell too far behind, the oldest are lost. */
static bool
take(struct nvml_event_set *set, const struct fake_state *state, struct nvml_event *ret_event)
{
    if (state->event_count - set->next > FAKE_EVENTS_MAX)
        set->next = state->event_count - FAKE_EVENTS_MAX;
    while (set->next != state->event_count) {
        unsigned at = set->next++;
        const struct fake_event *event = &state->events[at % FAKE_EVENTS_MAX];
        if (!(set->types[event->gpu] & event->type) || at < set->from[event->gpu])
            continue;
        *ret_event = (struct nvml_event){device_of(event->gpu), event->type, event->data,
                                         NVML_ABSENT_U32, NVML_ABSENT_U32};
        return true;
    }
    return false;
}

static bool
has_lost(const struct nvml_event_set *set, const struct fake_state *state)
{
    for (unsigned i = 0; i < state->gpu_count; i++)
        if (set->types[i] && state->gpus[i].lost)
            return true;
    return false;
}

/* One look. NVML_ERROR_TIMEOUT: nothing yet; wait for the word to change from *ret_seen. (As a fault
 * on command it leaves *ret_word as it was.) */
static int
look(struct nvml_event_set *set, struct nvml_event *ret_event, unsigned **ret_word,
     unsigned *ret_seen)
{
    struct call call = call_begin("nvmlEventSetWait_v2");
    int code = call.code;
    if (code == NVML_SUCCESS && (!set || !ret_event))
        code = NVML_ERROR_INVALID_ARGUMENT;
    if (code == NVML_SUCCESS) {
        struct fake_state *state = call.fake->state;
        *ret_word = &state->event_count;
        *ret_seen = state->event_count;
        if (!take(set, state, ret_event))
            code = has_lost(set, state) ? NVML_ERROR_GPU_IS_LOST : NVML_ERROR_TIMEOUT;
    }
    call_end(&call);
    return code;
}

int
nvmlEventSetWait_v2(struct nvml_event_set *set, struct nvml_event *ret_event, unsigned timeout_ms)
{
    uint64_t end_us = fake_now_us() + timeout_ms * UINT64_C(1000);
    unsigned *word = NULL, seen = 0;
    for (;;) {
        int code = look(set, ret_event, &word, &seen);
        uint64_t now_us = fake_now_us();
        if (code != NVML_ERROR_TIMEOUT || !word || now_us >= end_us)
            return code;
        fake_futex_wait(word, seen, (int64_t)(end_us - now_us + 999) / 1000);
    }
}

/* The first form knew no MIG: its caller's struct ends before the instances. */
int
nvmlEventSetWait(struct nvml_event_set *set, struct nvml_event *ret_event, unsigned timeout_ms)
{
    struct nvml_event event;
    int code = nvmlEventSetWait_v2(set, ret_event ? &event : NULL, timeout_ms);
    if (code == NVML_SUCCESS) {
        ret_event->device = event.device;
        ret_event->type = event.type;
        ret_event->data = event.data;
    }
    return code;
}
