#pragma once

/* What citadel.yaml says, as plain structs: the sections and options of options.def.
 *
 * A configuration is read once and never changed. Paths are absolute and lie under --root; words
 * that mean "nothing given" (auto, none, never) are 0, NULL or empty, and where the row says what
 * they stand for (ports, paths, names) that has been filled in. Everything lives as long as the
 * struct config, and is freed with it.
 *
 *     for (size_t i = 0; i < config->models.count; i++)
 *         use(config->models.items[i].name, config->models.items[i].port); */

#include "base/buf.h"
#include "config/types.h"
#include "fmt/json.h"
#include "fmt/value.h"

/* The structs of options.def. Each begins with its name (of a model, say; of struct config: the
 * file) and the map in the file that it was read from, NULL where there is none. */
#define config_root config /* the section `root` is struct config itself */
#define SECTION(section, help) \
    struct config_##section {  \
        const char *name;      \
        const struct value *given;
#define OPTION(section, name, type, preset, word, range, reload, help) \
    CONFIG_C_##type CONFIG_NAME_##type(name);
#define CHOICE(section, name, words, preset, reload, help) enum config_##words name;
#define GROUP(section, name, of, preset, help) struct config_##of name;
#define MAP(section, name, of, help) \
    struct {                         \
        struct config_##of *items;   \
        size_t count;                \
    } name;
#define END(section) \
    }                \
    ;
#include "config/options.def"

/* What is wrong with a file: everything in one go, in the order of the file. */
#define CONFIG_PROBLEMS_MAX 100

struct config_problem {
    struct value_at at; /* line 0: of the file as a whole */
    bool warning;       /* the configuration is accepted all the same */
    const char *found;
    const char *allowed; /* may be empty */
};

struct config_problems {
    struct arena arena;
    const char *file;
    struct config_problem items[CONFIG_PROBLEMS_MAX];
    size_t count;
    size_t left_out; /* beyond the ceiling */
    size_t errors;   /* of all, without warnings */
};

void config_problems_init(struct config_problems *problems);
void config_problems_finish(struct config_problems *problems);
#define _cleanup_config_problems_ _cleanup_(config_problems_finish)

/* A line each: "citadel.yaml:4:11: models.phi3.port is 70000: a port from 1 to 65535, or auto". */
void config_problems_print(const struct config_problems *problems, struct buf *out);
/* Writes a list of {file, line, column, severity, found, allowed}. */
void config_problems_json(const struct config_problems *problems, struct json_writer *w,
                          const char *name);

/* The file to read: `file` when not NULL, else what $CITADEL_CONFIG holds, else ./citadel.yaml, else
 * /etc/citadel/citadel.yaml under the root. The problems are filled (warnings too, on success). */
int config_load(const char *file, struct config **ret_config, struct config_problems *problems,
                struct err *reterr) must_check;
int config_parse(const char *text, size_t len, const char *file, struct config **ret_config,
                 struct config_problems *problems, struct err *reterr) must_check;
void config_free(struct config *config);
void config_freep(struct config **config);
#define _cleanup_config_ _cleanup_(config_freep)

const struct config_model *config_find_model(const struct config *config, const char *name);

/* When a schedule comes due, for OnCalendar= of a systemd timer; NULL: never. */
#define CONFIG_CALENDAR_MAX 32
const char *config_schedule_calendar(const struct config_schedule *schedule,
                                     char text[CONFIG_CALENDAR_MAX]);

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

/* What differs between two configurations, and what that needs. */
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

void config_diff(const struct config *from, const struct config *to, struct config_diff *ret_diff);
void config_diff_finish(struct config_diff *diff);
