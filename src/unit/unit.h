#pragma once

/* The units of systemd that a configuration and its plan ask for, as text: byte for byte the same
 * whenever the same is asked. Pure: nothing is looked at, nothing is written.
 *
 *     citadel-storage.service, citadel-gpu.service          before the models
 *     citadel-gateway.socket and .service, citadel-monitor.service
 *     citadel-NAME.service                                  one a model that can work here
 *     citadel-models.target                                 all of them
 *     citadel-backup-*.service and .timer, ...              what is done at its time (job.def)
 *     citadel.sysusers, citadel.tmpfiles, citadel.rules     for the host, where the configuration has
 *                                                           other names than those of `make install`
 *
 * What starts with the machine says so in WantedBy=; the generator makes the links.
 *
 * What a unit may do, and why, is a table: directive.def.
 *
 * What they take for granted: the program has the verbs that they call; `config_file` is what they
 * are to read; `storage setup` has made the directories below a mount point, the others come from
 * tmpfiles.d. systemd 252 or newer: no line is of a newer one. */

#include "base/err.h"

struct arena;
struct config;
struct plan;

struct unit_input {
    const struct config *config;
    const struct plan *plan;
    const char *program;     /* "/usr/bin/citadel" */
    const char *config_file; /* that of the current generation */
    /* Whether the program has the verb that a command begins with; what has none is not started with the
     * machine. NULL: it has all. */
    bool (*has_verb)(const char *command);
    bool explain; /* each line with its reason, as a comment before it */
};

struct unit_file {
    const char *name; /* "citadel-phi3.service" */
    const char *text;
};

struct unit_set {
    const struct unit_file *files; /* by name */
    size_t count;
};

/* All of it lives in the arena; UNIT_BYTES are enough for any. ERR_UNIT_TEXT: a path that systemd
 * cannot be told. */
#define UNIT_BYTES (16 * MIB)
int unit_render(const struct unit_input *input, struct arena *arena, struct unit_set *ret_set,
                struct err *reterr) must_check;

/* The first line of every unit. */
#define UNIT_HEAD "# Made by citadel from its configuration; `citadel apply` replaces it.\n"

/* Whether a file of this name can be a unit of Citadel. */
#define UNIT_NAME_BYTES 128 /* with its end */
bool unit_is_ours(const char *name);

/* By its name, or by that of its service: "phi3". NULL: there is none. */
const struct unit_file *unit_find(const struct unit_set *set, const char *name);

/* What a unit that runs needs when its file has changed, and whether it starts with the machine; of
 * a text of ours. */
enum unit_care {
    UNIT_CARE_NONE,       /* it does not last, or does nothing itself */
    UNIT_CARE_RELOAD,     /* what it did is done anew, and nothing stops that needs it */
    UNIT_CARE_RESTART,    /* itself alone */
    UNIT_CARE_STOP_FIRST, /* before any starts: they may need the memory that it has */
};
enum unit_care unit_care_of(const char *text);
bool unit_is_wanted(const char *text);
bool unit_has_gpus(const char *text); /* of a model: it is given some */

/* The lines by which it is seen what reading its configuration anew would change: config/diff.h. */
#define UNIT_AT_START "X-CitadelOptions"
#define UNIT_LIVE "X-CitadelLive"
#define UNIT_ENGINE "X-CitadelEngine" /* likewise what it is started with: plan_engine_print() */
/* The value of the first line of a directive; "" where there is none. */
void unit_value_of(const char *text, const char *directive, char *ret, size_t room);
/* How one text differs from another. */
enum unit_difference {
    UNIT_DIFFERS_NOT,
    UNIT_DIFFERS_AT_BOOT, /* in what starts it alone, which is nothing to one that runs */
    UNIT_DIFFERS_LIVE,    /* in UNIT_LIVE beside, and in nothing else */
    UNIT_DIFFERS,
};
enum unit_difference unit_compare(const char *from, const char *to);
