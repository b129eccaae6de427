/* A first configuration: what was found on the machine, and below it every section with its defaults
 * as comments. The headings are no comments, so that taking the '#' from one line is enough: a
 * section in which every line is a comment is an empty one. */

#include "config/show.h"

#include "base/quantity.h"
#include "base/text.h"
#include "config/option_int.h"
#include "config/survey_int.h"
#include "fmt/yaml.h"

#include <string.h>

#define COLUMNS 100

static void
print_gpus(struct buf *out, const struct survey *s)
{
    if (s->gpu_count == 0)
        buf_add_str(out, "# No GPU: the NVIDIA driver shows none. `engine: sim` needs none.\n");
    else
        buf_printf(out, "# GPUs of this machine:\n");
    for (size_t i = 0; i < s->gpu_count; i++)
        buf_printf(out, "#   %zu  %s  %s\n", i, s->gpus[i].model, s->gpus[i].uuid);
}

static void
print_mount(struct buf *out, const char *point, const struct survey_mount *mount)
{
    if (mount->mounted)
        buf_printf(out, "#   %s is %s on %s\n", point, mount->type, mount->device);
    else
        buf_printf(out, "#   %s is not mounted\n", point);
}

/* A comment is one line, whatever a file on the disk is called. */
static void
print_comment(struct buf *out, const char *text)
{
    for (; *text; text++)
        buf_add_char(out, (unsigned char)*text < 0x20 || *text == 0x7F ? '?' : *text);
}

/* A path as the option `path` may name it: short, where it is below the active models. */
static const char *
short_path(const char *path)
{
    static const struct {
        const char *option, *below;
    } places[] = {{"models", "/active/"}, {"root", "/models/"}};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        const char *place = option_find(option_paths, places[i].option)->preset;
        if (text_starts(path, place) && text_starts(path + strlen(place), places[i].below))
            return path + strlen(place) + strlen(places[i].below);
    }
    return path;
}

static void
print_model(struct buf *out, const struct survey_model *m)
{
    quantity_text size;
    const char *path = short_path(m->path);
    buf_add_str(out, "  ");
    yaml_add_string(out, m->name, strlen(m->name));
    buf_printf(out, ":\n    # %s of weights in ", quantity_show_bytes(m->weights_bytes, size));
    print_comment(out, m->path);
    buf_add_str(out, "\n    path: ");
    yaml_add_string(out, path, strlen(path));
    buf_add_str(out, m->gguf ? "\n    engine: llama-server\n" : "\n");
}

static void
print_models(struct buf *out, const struct survey *s)
{
    buf_add_str(out,
                "\n# The models: a name, and what differs from the defaults. Each answers on a "
                "port of its\n# own, from 11400 on, and all of them on port 8000.\nmodels:\n");
    for (size_t i = 0; i < s->model_count; i++)
        print_model(out, &s->models[i]);
    if (s->model_count == 0)
        buf_add_str(out,
                    "  # No model was found. Put one into /mnt/citadel-models/active, give its "
                    "directory here,\n  # and take the line `enabled` out.\n"
                    "  my-model:\n    path: my-model\n    enabled: false\n");
}

static void
print_option(struct buf *out, const struct option *o, const struct value *presets, unsigned depth,
             bool in_comment)
{
    _cleanup_buf_ struct buf line = BUF_INIT(4 * KIB);
    const struct value *preset = value_get(presets, o->name);
    const char *text = preset ? preset->text : o->preset;
    const struct option *base = option_base(text, &text);
    buf_printf(&line, "%*s#%s%s: ", (int)(2 * depth), "", in_comment ? "  " : "", o->name);
    buf_printf(&line, "%s%s", base ? base->preset : "", text ? text : "...");
    if (line.len + strlen(o->help) + 4 > COLUMNS)
        buf_printf(out, "%*s# %s:\n%s\n", (int)(2 * depth), "", o->help, line.data);
    else
        buf_printf(out, "%s  # %s\n", line.data, o->help);
}

static void print_section(struct buf *out, const struct section *section,
                          const struct value *presets, unsigned depth, bool in_comment);

static void
print_inner(struct buf *out, const struct option *o, unsigned depth)
{
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, PRESETS_BYTES);
    if (depth == 0)
        buf_printf(out, "\n# %s.\n%s:\n", o->help, o->name);
    else
        buf_printf(out, "%*s%s:  # %s\n", (int)(2 * depth), "", o->name, o->help);
    if (o->type == OPTION_MAP)
        buf_printf(out, "%*s#NAME:\n", (int)(2 * depth + 2), "");
    print_section(out, o->of, option_presets(o, &arena), depth + 1, o->type == OPTION_MAP);
}

static void
print_section(struct buf *out, const struct section *section, const struct value *presets,
              unsigned depth, bool in_comment)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct option *o = &section->options[i];
        if (section == option_model && option_is_own(o))
            continue;
        if (!o->of)
            print_option(out, o, presets, depth, in_comment);
        else if (!(depth == 0 && text_eq(o->name, "models")))
            print_inner(out, o, depth);
    }
}

void
config_print_init(struct buf *out)
{
    struct survey s;
    survey_machine(&s);
    buf_add_str(out, "# citadel.yaml: what runs on this machine.\n#\n"
                     "#   citadel config check     tells what is wrong with this file\n"
                     "#   citadel config options   explains every option\n"
                     "#   citadel config show      shows what holds, defaults included\n#\n");
    print_gpus(out, &s);
    buf_add_str(out, "# Disks:\n");
    print_mount(out, "/mnt/citadel-models", &s.models_mount);
    print_mount(out, "/mnt/citadel-backup", &s.backup_mount);
    print_models(out, &s);
    buf_add_str(out, "\n# Everything below is as it is without a line. Take the # away to change "
                     "one.\n");
    print_section(out, option_root, NULL, 0, false);
    survey_finish(&s);
}
