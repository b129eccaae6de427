/* The table of options told to people: one after the other, in the order of the file. */

#include "config/show.h"

#include "config/option_int.h"
#include "config/problem_int.h"
#include "config/type_int.h"
#include "fmt/yaml.h"

#include <string.h>

static const char *const reloads[] = {
    [CONFIG_RELOAD_LIVE] = "takes effect at a reload",
    [CONFIG_RELOAD_MODEL] = "restarts the model",
    [CONFIG_RELOAD_SERVICE] = "restarts the service",
    [CONFIG_RELOAD_DEPLOY] = "needs citadel apply",
};

struct teller {
    void (*tell)(const struct config_option *option, void *arg);
    void *arg;
};

static void
tell_heading(const struct teller *t, const struct option *o, const struct trail *trail)
{
    char path[TRAIL_MAX];
    struct config_option option = {
        .path = trail_print(trail, path),
        .help = o->help,
        .section = true,
    };
    t->tell(&option, t->arg);
}

static void
tell_meanings(const struct words *words, struct buf *out)
{
    for (size_t i = 0; words && i < words->count; i++)
        buf_printf(out, "%s%s: %s", i ? "; " : "", words->items[i].word, words->items[i].help);
}

static void
tell_option(const struct teller *t, const struct option *o, const struct value *preset,
            const struct trail *trail)
{
    _cleanup_buf_ struct buf allowed = BUF_INIT(1024), meanings = BUF_INIT(1024);
    char path[TRAIL_MAX];
    type_tell_allowed(o, &allowed);
    tell_meanings(o->words, &meanings);
    struct config_option option = {
        .path = trail_print(trail, path),
        .allowed = allowed.data,
        .meanings = meanings.data,
        .preset = preset ? preset->text : o->preset,
        .reload = reloads[o->reload],
        .help = o->help,
        .secret = o->type == OPTION_SECRET,
    };
    t->tell(&option, t->arg);
}

static void
tell_section(const struct teller *t, const struct section *section, const struct value *presets,
             const struct trail *trail)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct option *o = &section->options[i];
        struct trail inner = {.up = trail, .name = o->name};
        struct trail item = {.up = &inner, .name = "NAME"};
        if (!o->of) {
            tell_option(t, o, value_get(presets, o->name), &inner);
            continue;
        }
        tell_heading(t, o, &inner);
        /* Those of `defaults` are told once, under models.NAME. */
        if (section == option_root && strcmp(o->name, "defaults") == 0)
            continue;
        _cleanup_arena_ struct arena arena;
        arena_init(&arena, PRESETS_BYTES);
        tell_section(t, o->of, option_presets(o, &arena), o->type == OPTION_MAP ? &item : &inner);
    }
}

void
config_each_option(void (*tell)(const struct config_option *option, void *arg), void *arg)
{
    struct teller t = {tell, arg};
    tell_section(&t, option_root, NULL, NULL);
}
