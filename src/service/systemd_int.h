#pragma once

/* What systemd knows of a unit, as its properties have it. */

#include "service/bus.h"
#include "service/service.h"

struct systemd_unit {
    char load_state[16], active_state[16], sub_state[24];
    bool wanted;              /* by a target: it is started with others */
    bool condition_held;      /* of the last start */
    uint64_t since_us;        /* since 1970; 0: never */
    uint64_t condition_at_us; /* since boot; 0: never */
    /* Of a service; else as nothing was told. */
    char result[24], status_text[256];
    uint32_t main_pid, restarts;
    int32_t exit_code, exit_status; /* CLD_EXITED and such, 0: not yet; and exit status or signal */
    uint64_t restart_us;
};
extern const struct bus_wish systemd_of_service; /* fills one */

/* What that comes to in our words: all but name, kind and address. */
void systemd_tell(const struct systemd_unit *unit, struct service_status *ret_status);
