#pragma once

/* The rows of options.def as data, for the files of this room. */

#include "config/config.h"
#include "config/diff.h"

#define PRESETS_BYTES (16 * KIB) /* of an arena: defaults are a short line of options.def */

enum option_type {
    OPTION_BOOL,
    OPTION_SWITCH,
    OPTION_COUNT,
    OPTION_PORT,
    OPTION_REAL,
    OPTION_PERCENT,
    OPTION_BYTES,
    OPTION_DURATION,
    OPTION_TEXT,
    OPTION_USER,
    OPTION_HOST,
    OPTION_URL,
    OPTION_PATH,
    OPTION_PLACE,
    OPTION_REPOSITORY,
    OPTION_CHOICE,
    OPTION_TEXTS,
    OPTION_HOSTS,
    OPTION_ADDRESSES,
    OPTION_NETWORKS,
    OPTION_LISTENS,
    OPTION_PATHS,
    OPTION_DEVICES,
    OPTION_PAIRS,
    OPTION_PLACES,
    OPTION_CHAINS,
    OPTION_SECRET,
    OPTION_SCHEDULE,
    OPTION_SCHEDULES,
    OPTION_TEXT_OR_NONE, /* these five only as members of lists and maps */
    OPTION_ADDRESS,
    OPTION_NETWORK,
    OPTION_LISTEN,
    OPTION_DEVICE,
    OPTION_TYPES,
    /* Not values but sections: */
    OPTION_GROUP,
    OPTION_MAP,
};

struct word {
    const char *word;
    const char *help;
};

struct words {
    const char *name;
    const struct word *items;
    size_t count;
};

struct option {
    const char *name;
    enum option_type type;
    size_t offset; /* of the field in its section's struct */
    const char *preset;
    const char *word;
    const char *range;
    enum config_reload reload;
    const char *help;
    const struct words *words; /* of a CHOICE */
    const struct section *of;  /* of a GROUP or MAP */
};

struct section {
    const char *name;
    const char *help;
    size_t bytes; /* of its struct */
    const struct option *options;
    size_t count;
};

/* How every section's struct begins. */
struct section_head {
    const char *name;
    const struct value *given;
};

/* The field of a MAP. */
struct section_map {
    struct section_head *items; /* `of->bytes` apart */
    size_t count;
};

extern const struct section *const option_root, *const option_model, *const option_paths;

const struct option *option_find(const struct section *section, const char *name);
/* Whether it says which model it is, and so has no place among the options of all models. */
bool option_is_own(const struct option *o);
/* The default, as YAML reads it; that of a group is a map for the options of its section. NULL: none. */
struct value *option_presets(const struct option *o, struct arena *arena);
/* The option of `paths` whose value begins the default "{root}/logs", and the rest of the default;
 * NULL: the default depends on no other. */
const struct option *option_base(const char *preset, const char **ret_rest);
struct section_head *section_item(const struct section *of, const struct section_map *map,
                                  size_t i);

/* The option's field in the struct of its section: to read it, and to fill it. */
static inline const void *
option_field(const struct option *o, const void *section_struct)
{
    return (const char *)section_struct + o->offset;
}

static inline void *
option_slot(const struct option *o, void *section_struct)
{
    return (char *)section_struct + o->offset;
}
