#pragma once

/* What the machines of host.h have in common. */

#include "base/text.h"
#include "deploy/host.h"

/* The name of a unit's service: "phi3" of "citadel-phi3.service"; false: it is none. */
bool deploy_service_of(const char *unit, char ret_name[TEXT_NAME_MAX + 1]);
/* Of one that does not run: how that is meant. */
int deploy_look_why(const struct config *config, const char *unit, enum deploy_life *ret,
                    struct err *reterr) must_check;
/* Before it is carried out: how often a model failed as it was says nothing of how it is now, and what the
 * breaker held for that is let go. */
int deploy_forgive(const struct config *config, const struct deploy_order *order,
                   struct err *reterr) must_check;

/* That a person wants a model to run, or to be down; of other units nothing is remembered. */
int deploy_want_model(const struct deploy_machine *machine, const char *unit, bool runs,
                      struct err *reterr) must_check;

/* How long orders of one act may take together; 0: as long as each may by itself, as a stop, whose service
 * says how long it drains. first: one of them; NULL: there is none. */
uint64_t deploy_limit_us(const struct deploy_machine *machine, const struct deploy_order *first);

void deploy_tell(void *arg, const char *line); /* arg: the machine */
struct service_status;
/* How one is that is waited for, when that has changed. */
void deploy_tell_waiting(struct deploy_machine *machine, const struct service_status *status);
void deploy_tell_order(struct deploy_machine *machine, const struct deploy_order *order);
