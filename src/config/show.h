#pragma once

/* The configuration, and the options there are, told to people and to programs. */

#include "fmt/json.h"

struct config;

/* The effective configuration, as YAML that is read back as the same, defaults marked; `path` picks
 * a part ("models.phi3"), NULL is all. */
int config_print(const struct config *config, const char *path, struct buf *out, struct err *reterr)
    must_check;
int config_print_json(const struct config *config, const char *path, struct json_writer *w,
                      struct err *reterr) must_check;

void config_print_schema(struct buf *out); /* JSON Schema, draft 2020-12 */

/* A commented file for the machine this runs on, from cheap looks at /proc and the usual places. */
void config_print_init(struct buf *out);

/* The options, in the order of the file, for manuals. */
struct config_option {
    const char *path;     /* "gateway.port"; "models.NAME.port" */
    const char *allowed;  /* "a port from 1 to 65535" */
    const char *meanings; /* of its words; "" when it has none */
    const char *preset;   /* NULL: must be given */
    const char *reload;   /* what a change needs, in words */
    const char *help;
    bool section; /* a heading: only path and help are set */
    bool secret;
};
void config_each_option(void (*tell)(const struct config_option *option, void *arg), void *arg);
