#pragma once

/* The services that a configuration asks for: the monitor, where it is enabled and there is anything to
 * watch, and after it the models. */

#include "service/service.h"

struct config;

struct service_list {
    struct arena *arena; /* of everything in it */
    struct service *items;
    size_t count;
    const char *const *withheld; /* variables that hold secrets; NULL behind the last */
};

/* Those beside the models, by name, in the order in which they start; NULL behind the last. */
#define SERVICE_KEEPERS 4
extern const char *const service_keepers[SERVICE_KEEPERS + 1];

/* ERR_SERVICE_NONE: there is no model of that name. */
int service_check_name(const struct config *config, const char *name, struct err *reterr)
    must_check;

/* Where the supervisor keeps what a service says; the caller frees it. */
char *service_log_path(const struct config *config, const char *name) must_check;

/* All models that are enabled, and those that are named. names, NULL at the end: of those that are
 * wanted from the beginning; none: all are. program: our own path, which runs each model;
 * config_file: what it is told to read. */
int service_list_make(struct arena *arena, const struct config *config, const char *program,
                      const char *config_file, const char *const *names,
                      struct service_list *ret_list, struct err *reterr) must_check;
