#pragma once

/* The services that a configuration asks for: monitor and gateway, where they are enabled and there is any
 * model, and after them the models. */

#include "service/service.h"

struct config;
struct plan_engine;

struct service_list {
    struct arena *arena; /* of everything in it */
    struct service *items;
    size_t count;
    const char *const *withheld; /* variables that hold secrets; NULL behind the last */
};

/* Those beside the models, by name, in the order in which they start; NULL behind the last. */
#define SERVICE_KEEPERS 4
extern const char *const service_keepers[SERVICE_KEEPERS + 1];
bool service_is_keeper(const char *name);

/* ERR_SERVICE_NONE: there is no model of that name. */
int service_check_name(const struct config *config, const char *name, struct err *reterr)
    must_check;

/* Where the supervisor keeps what a service says; the caller frees it. */
char *service_log_path(const struct config *config, const char *name) must_check;

struct service_list_input {
    const struct config *config;
    const char *program;            /* our own path, which runs each model */
    const char *config_file;        /* what it is told to read */
    const char *const *names;       /* of those that are wanted from the beginning; none: all are */
    const struct plan_engine *vllm; /* what models on vLLM run in; NULL: it is not known */
};

/* All models that are enabled, and those that are named. */
int service_list_make(const struct service_list_input *input, struct arena *arena,
                      struct service_list *ret_list, struct err *reterr) must_check;
