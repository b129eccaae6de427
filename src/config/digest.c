/* What a service reads only when it starts, as one number. */

#include "base/text.h"
#include "config/diff.h"
#include "config/show_int.h"
#include "config/type_int.h"

#include <string.h>

#define VALUE_BYTES (4 * MIB)
#define TEXT_BYTES (2 * MIB)

struct digester {
    struct visitor visitor;
    struct hash_sha256 hash;
};

static void
enter(struct visitor *v unused_arg, const char *name unused_arg, bool empty unused_arg)
{
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
    if (o->reload == CONFIG_RELOAD_LIVE || !value)
        return;
    print_flow(&text, value);
    if (text_eq(text.data, o->preset))
        return;
    buf_printf(&text, "=%s\n", trail_print(trail, path));
    hash_sha256_update(&d->hash, text.data, text.len);
}

void
config_digest(const struct config *config, const char *const *paths,
              char ret_digest[HASH_SHA256_HEX])
{
    struct digester d = {.visitor = {enter, leave, add_option, config}};
    uint8_t digest[HASH_SHA256_BYTES];
    hash_sha256_init(&d.hash);
    for (; *paths; paths++) {
        struct spot spot;
        int r = spot_find(config, *paths, &spot, NULL);
        assert(r == 0);
        spot_visit(&d.visitor, &spot, *paths);
    }
    hash_sha256_final(&d.hash, digest);
    hash_sha256_hex(digest, ret_digest);
}
