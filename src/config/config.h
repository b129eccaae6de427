#pragma once

/* What citadel.yaml says, as plain structs: the sections and options of options.def.
 *
 * A configuration is read once and never changed. Paths are absolute and lie under --root; words
 * that mean "nothing given" (auto, none, never) are 0, NULL or empty, and where the row says what
 * they stand for (ports, paths, names) that has been filled in. Everything lives as long as the
 * struct config, and is freed with it.
 *
 *     for (size_t i = 0; i < config->models.count; i++)
 *         use(config->models.items[i].name, config->models.items[i].port);
 *
 * What is wrong with one: problems.h; shown and explained: show.h; compared: diff.h. */

#include "base/err.h"
#include "config/types.h"
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

struct config_problems;

/* The file to read: `file` when not NULL, else what $CITADEL_CONFIG holds, else ./citadel.yaml, else
 * /etc/citadel/citadel.yaml under the root. The problems are filled, with warnings also on success.
 *
 * A configuration names commands, and directories to be given away. So ./citadel.yaml counts only where
 * nobody but this user and root can have written it: else it is passed over, with a warning. */
int config_load(const char *file, struct config **ret_config, struct config_problems *problems,
                struct err *reterr) must_check;
int config_parse(const char *text, size_t len, const char *file, struct config **ret_config,
                 struct config_problems *problems, struct err *reterr) must_check;
void config_free(struct config *config);
void config_freep(struct config **config);
#define _cleanup_config_ _cleanup_(config_freep)

const struct config_model *config_find_model(const struct config *config, const char *name);
/* The names of all models of `arg`, a configuration, one after the other, for text_nearest(). */
const char *config_model_name(size_t i, const void *arg);

/* Whether parameters of a model may have this name: not those members of a request that decide where it
 * goes and how its answer is read. */
bool config_may_give(const char *name);
#define CONFIG_PARAMETERS_MAX 16 /* of each kind, with those of defaults */

/* The built-in value of an option of `paths`, as it is written there: for what must work without any
 * configuration. */
const char *config_path_preset(const char *name);

/* Below paths.run: while there is a file of that name, nothing starts (run/marker.h). */
#define CONFIG_EMERGENCY_NAME "emergency"

/* When a schedule comes due, for OnCalendar= of a systemd timer; NULL: never. */
#define CONFIG_CALENDAR_MAX 32
const char *config_schedule_calendar(const struct config_schedule *schedule,
                                     char text[CONFIG_CALENDAR_MAX]);
