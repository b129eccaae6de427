#include "config/option_int.h"

#include "base/text.h"
#include "fmt/yaml.h"

#include <string.h>

/* One table for each set of words, and one for each section. */
#define WORDS(name) static const struct word name##_words_items[] = {
#define WORD(name, constant, word_, help_) {.word = (word_), .help = (help_)},
#define WORDS_END(name_)                                                    \
    }                                                                       \
    ;                                                                       \
    static const struct words name_##_words = {#name_, name_##_words_items, \
                                               ARRAY_SIZE(name_##_words_items)};
#include "config/words.def"

#define OFFSET(section_, field) .offset = offsetof(struct config_##section_, field)
#define SECTION(section_, help_)                 \
    static const char section_##_help[] = help_; \
    static const struct option section_##_options[] = {
#define OPTION(section_, name_, type_, preset_, word_, range_, reload_, help_) \
    {.name = #name_,                                                           \
     .type = OPTION_##type_,                                                   \
     OFFSET(section_, CONFIG_NAME_##type_(name_)),                             \
     .preset = (preset_),                                                      \
     .word = (word_),                                                          \
     .range = (range_),                                                        \
     .reload = CONFIG_RELOAD_##reload_,                                        \
     .help = (help_)},
#define CHOICE(section_, name_, words_, preset_, reload_, help_) \
    {.name = #name_,                                             \
     .type = OPTION_CHOICE,                                      \
     OFFSET(section_, name_),                                    \
     .preset = (preset_),                                        \
     .reload = CONFIG_RELOAD_##reload_,                          \
     .help = (help_),                                            \
     .words = &words_##_words},
#define GROUP(section_, name_, of_, preset_, help_) \
    {.name = #name_,                                \
     .type = OPTION_GROUP,                          \
     OFFSET(section_, name_),                       \
     .preset = (preset_),                           \
     .help = (help_),                               \
     .of = &of_##_section},
#define MAP(section_, name_, of_, help_) \
    {.name = #name_,                     \
     .type = OPTION_MAP,                 \
     OFFSET(section_, name_),            \
     .help = (help_),                    \
     .of = &of_##_section},
#define END(section_)                                                                     \
    }                                                                                     \
    ;                                                                                     \
    static const struct section section_##_section = {                                    \
        #section_, section_##_help, sizeof(struct config_##section_), section_##_options, \
        ARRAY_SIZE(section_##_options)};
#include "config/options.def"

const struct section *const option_root = &root_section;
const struct section *const option_model = &model_section;
const struct section *const option_paths = &paths_section;

const struct option *
option_find(const struct section *section, const char *name)
{
    for (size_t i = 0; i < section->count; i++)
        if (text_eq(section->options[i].name, name))
            return &section->options[i];
    return NULL;
}

const char *
config_path_preset(const char *name)
{
    const struct option *o = option_find(option_paths, name);
    assert(o && o->preset);
    return o->preset;
}

bool
option_is_own(const struct option *o)
{
    static const char *const own[] = {"path", "port", "served_names", "source"};
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (o == option_find(&model_section, own[i]))
            return true;
    return false;
}

struct value *
option_presets(const struct option *o, struct arena *arena)
{
    struct value *presets = NULL;
    if (o->preset) {
        int r = yaml_parse(arena, o->preset, strlen(o->preset), &presets, NULL, NULL);
        assert(r == 0 || arena->full);
    }
    return presets;
}

const struct option *
option_base(const char *preset, const char **ret_rest)
{
    const char *end = preset && *preset == '{' ? strchr(preset, '}') : NULL;
    size_t len = end ? (size_t)(end - preset) - 1 : 0;
    for (size_t i = 0; end && i < option_paths->count; i++) {
        const struct option *o = &option_paths->options[i];
        if (strlen(o->name) == len && strncmp(o->name, preset + 1, len) == 0) {
            *ret_rest = end + 1;
            return o;
        }
    }
    return NULL;
}

struct section_head *
section_item(const struct section *of, const struct section_map *map, size_t i)
{
    assert(i < map->count);
    return (struct section_head *)((char *)map->items + i * of->bytes);
}
