/* What a service reads, as one number. */

#include "base/text.h"
#include "config/config.h"
#include "config/diff.h"
#include "config/show_int.h"
#include "config/type_int.h"

#include <stdio.h>
#include <string.h>

#define VALUE_BYTES (4 * MIB)
#define TEXT_BYTES (2 * MIB)
#define PATHS_MAX 5

struct digester {
    struct visitor visitor;
    enum config_part part;
    struct hash_sha256 hash;
};

/* Who watches over models sees them come and go, whatever is said of them. */
static void
enter(struct visitor *v, const char *name, bool empty unused_arg)
{
    struct digester *d = (struct digester *)v;
    if (d->part == CONFIG_LIVE && name)
        hash_sha256_update(&d->hash, name, strlen(name) + 1);
}

static void
leave(struct visitor *v unused_arg)
{
}

/* An option that a later release adds changes nothing as long as it has its default. */
static void
add_option(struct visitor *v, const struct option *o, const void *at,
           const void *inherit unused_arg, const struct trail *trail)
{
    struct digester *d = (struct digester *)v;
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_BYTES);
    char path[TRAIL_MAX];
    arena_init(&arena, VALUE_BYTES);
    const struct value *value = type_write(&arena, o, option_field(o, at));
    if ((d->part == CONFIG_AT_START && o->reload == CONFIG_RELOAD_LIVE) || !value)
        return;
    print_flow(&text, value);
    if (text_eq(text.data, o->preset))
        return;
    buf_printf(&text, "=%s\n", trail_print(trail, path));
    hash_sha256_update(&d->hash, text.data, text.len);
}

/* The first rows are of those that have that name; the last, of all others. A model's own section is
 * named by `model`. */
static void
find_paths(const struct config *config, const char *name, const char *model, enum config_part part,
           const char *ret_paths[PATHS_MAX])
{
    const char *const of_model[] = {model, "hub", "paths", NULL};
    const char *const of_storage[] = {"storage", "service", "paths", NULL};
    const char *const of_other[] = {name, "paths", NULL};
    const char *const live_of_model[] = {"log_level", NULL};
    const char *const live_of_other[] = {"", NULL}; /* all of it */
    bool is_model = config_find_model(config, name) != NULL;
    const char *const *paths = part == CONFIG_LIVE        ? is_model ? live_of_model : live_of_other
                               : is_model                 ? of_model
                               : text_eq(name, "storage") ? of_storage
                                                          : of_other;
    do
        *ret_paths++ = *paths;
    while (*paths++);
}

void
config_digest(const struct config *config, const char *name, enum config_part part,
              char ret_digest[CONFIG_PART_HEX])
{
    struct digester d = {.visitor = {enter, leave, add_option, config}, .part = part};
    char model[TEXT_NAME_MAX + sizeof("models.")], hex[HASH_SHA256_HEX];
    const char *paths[PATHS_MAX];
    uint8_t digest[HASH_SHA256_BYTES];
    (void)snprintf(model, sizeof(model), "models.%s", name);
    find_paths(config, name, model, part, paths);
    hash_sha256_init(&d.hash);
    for (const char **path = paths; *path; path++) {
        struct spot spot;
        int r = spot_find(config, *path, &spot, NULL);
        assert(r == 0);
        spot_visit(&d.visitor, &spot, *path);
    }
    hash_sha256_final(&d.hash, digest);
    hash_sha256_hex(digest, hex);
    (void)snprintf(ret_digest, CONFIG_PART_HEX, "%.16s", hex);
}
