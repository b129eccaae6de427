#pragma once

/* What differs between two configurations, and what that needs. */

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"

struct config;

enum config_reload {
    CONFIG_RELOAD_LIVE,    /* nothing: it takes effect at once */
    CONFIG_RELOAD_MODEL,   /* a restart of the model */
    CONFIG_RELOAD_SERVICE, /* a restart of gateway or monitor */
    CONFIG_RELOAD_DEPLOY,  /* citadel apply */
};

struct config_change {
    const char *path;  /* "models.phi3.port" */
    const char *model; /* whose option it is, else NULL */
    const char *from;  /* as written in a file; NULL: was added */
    const char *to;    /* NULL: was removed */
    enum config_reload reload;
};

struct config_diff {
    struct arena arena;
    struct config_change *items;
    size_t count;
};

/* Fails when there are more changes than can be told: half of them would be a lie. */
int config_diff(const struct config *from, const struct config *to, struct config_diff *ret_diff,
                struct err *reterr) must_check;
void config_diff_finish(struct config_diff *diff);

/* What a service reads of it, as one number. name: of a model, or "monitor", "storage"... */
enum config_part {
    CONFIG_AT_START, /* as long as it is the same, there is no need to start it anew */
    CONFIG_LIVE,     /* likewise, to have it read its configuration anew while it runs */
};
#define CONFIG_PART_HEX 17
void config_digest(const struct config *config, const char *name, enum config_part part,
                   char ret_digest[CONFIG_PART_HEX]);
