/* Whether the gateway keeps what is said. */

#include "doctor/doctor_int.h"

void
doctor_check_prompts(struct doctor *d)
{
    const struct config *c = d->config;
    if (c->gateway.log_prompts)
        doctor_add(d, "", DOCTOR_FAILS, "`gateway: {log_prompts: false}`, unless it is meant so",
                   "what is asked and answered is kept, word by word, in %s/services/prompts.log",
                   c->paths.logs);
    else
        doctor_add(d, "", DOCTOR_HOLDS, "", "it is kept nowhere");
}
