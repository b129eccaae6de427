/* The table of types, and what is the same for all of them. */

#include "config/type_int.h"

#include "base/text.h"
#include "config/type_row_int.h"
#include "fmt/yaml.h"
#include "sys/root.h"

#include <stdio.h>
#include <string.h>

/* What a list or map given as a default may need: those of options.def are short. */

#define DECIMAL "[0-9]+(\\.[0-9]+)?"
#define SIZE DECIMAL " ?([KMGTP]iB|[kKMGTP]?B)"
#define TIME "(" DECIMAL "(w|d|h|ms|m|s|us))+"
#define CLOCK "([01][0-9]|2[0-3]):[0-5][0-9]"
#define SCHEDULES \
    "hourly|every [0-9]+[mh]|daily " CLOCK "|weekly [A-Za-z]+ " CLOCK "|monthly [0-9]{1,2} " CLOCK
#define ADDRESS "[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*"
#define PLACE "a path without '..': absolute, or below the active models"

#define TEXT(name_, what_, example_, fits_, path_, pattern_)                            \
    {                                                                                   \
        .bytes = sizeof(char *), .name = name_, .what = what_, .example = example_,     \
        .read = type_read_text, .write = type_write_text, .fits = fits_, .path = path_, \
        .item = OPTION_TYPES, .json = "string", .pattern = pattern_                     \
    }
#define LIST(name_, what_, example_, item_)                                                     \
    {                                                                                           \
        .bytes = sizeof(struct config_list), .name = name_, .what = what_, .example = example_, \
        .read = type_read_list, .write = type_write_list, .item = item_, .json = "array"        \
    }
#define PLAIN(c_type, name_, what_, example_, function, json_, pattern_)                    \
    {                                                                                       \
        .bytes = sizeof(c_type), .name = name_, .what = what_, .example = example_,         \
        .read = type_read_##function, .write = type_write_##function, .item = OPTION_TYPES, \
        .json = json_, .pattern = pattern_                                                  \
    }

const struct type types[OPTION_TYPES] = {
    [OPTION_BOOL] = PLAIN(bool, "true|false", "true or false", NULL, bool, "boolean", NULL),
    [OPTION_SWITCH] = PLAIN(enum config_switch, "true|false|auto", "true, false or auto", NULL,
                            switch, "switch", NULL),
    [OPTION_COUNT] = PLAIN(uint32_t, "number", "a whole number", NULL, count, "integer", NULL),
    [OPTION_PORT] = PLAIN(uint16_t, "port", "a port", NULL, port, "integer", NULL),
    [OPTION_REAL] = PLAIN(double, "number", "a number", NULL, fraction, "number", NULL),
    [OPTION_PERCENT] =
        PLAIN(double, "percentage", "a percentage", "85%", fraction, "percent", DECIMAL "%"),
    [OPTION_BYTES] = PLAIN(uint64_t, "size", "a size with its unit", "512MiB, 80GiB or 500GB",
                           quantity, "quantity", SIZE),
    [OPTION_DURATION] = PLAIN(uint64_t, "duration", "a duration with its unit",
                              "90s, 15m, 2h or 7d", quantity, "quantity", TIME),
    [OPTION_TEXT] = TEXT("text", "a text in one line", NULL, type_is_any, false, NULL),
    [OPTION_USER] = TEXT("account", "the name of a system account", "citadel", type_is_user, false,
                         "[a-z_][a-z0-9_-]{0,31}"),
    [OPTION_HOST] = TEXT("host", "an address or a host name", "192.168.10.36", type_is_host, false,
                         "[A-Za-z0-9._:-]+"),
    [OPTION_URL] = TEXT("URL", "a URL with http:// or https://, without user and password",
                        "http://192.168.10.36:9090/", type_is_url, false, "https?://[^ @/?#][^ ]*"),
    [OPTION_PATH] =
        TEXT("path", "an absolute path without '..'", NULL, root_takes_absolute, true, "/.*"),
    [OPTION_PLACE] = TEXT("path", PLACE, NULL, root_takes, true, ".+"),
    [OPTION_REPOSITORY] =
        TEXT("repository", "an absolute path, sftp://USER@HOST/PATH or s3://HOST/BUCKET/PREFIX",
             NULL, type_is_repository, true, "(/|sftp://|s3://|s3[+]http://).*"),
    [OPTION_CHOICE] = PLAIN(unsigned, "word", "one of", NULL, choice, "choice", NULL),
    [OPTION_TEXTS] = LIST("list of texts", "a list", "[a, b]", OPTION_TEXT),
    [OPTION_HOSTS] =
        LIST("list of hosts", "a list of hosts", "[example.org, 192.168.10.36]", OPTION_HOST),
    [OPTION_ADDRESSES] = LIST("list of addresses", "a list of IP addresses",
                              "[127.0.0.1, 192.168.10.35]", OPTION_ADDRESS),
    [OPTION_NETWORKS] = LIST("list of networks", "a list of IP addresses and networks",
                             "[192.168.10.36, 10.0.0.0/8]", OPTION_NETWORK),
    [OPTION_LISTENS] = LIST("list of addresses", "a list of IP addresses and paths of sockets",
                            "[127.0.0.1, /run/citadel/gateway/api.sock]", OPTION_LISTEN),
    [OPTION_PATHS] =
        LIST("list of paths", "a list of absolute paths", "[/dev/nvme0n1]", OPTION_PATH),
    [OPTION_DEVICES] =
        LIST("list of GPUs", "a list of GPUs by index or UUID", "[0, 1]", OPTION_DEVICE),
    [OPTION_PAIRS] = PLAIN(struct config_pairs, "map of texts", "a map of texts", "{NAME: value}",
                           pairs, "pairs", NULL),
    [OPTION_PLACES] = PLAIN(struct config_pairs, "map of paths", "a map of paths", "{NAME: PATH}",
                            pairs, "pairs", NULL),
    [OPTION_CHAINS] = PLAIN(struct config_chains, "map of lists", "a map of lists", "{a: [b, c]}",
                            chains, "chains", NULL),
    [OPTION_SECRET] =
        PLAIN(struct config_secret, "secret", "where the secret is",
              "{file: /PATH}, {env: NAME} or {credential: NAME}", secret, "secret", NULL),
    [OPTION_SCHEDULE] = PLAIN(struct config_schedule, "schedule", "a schedule",
                              "every 15m, hourly, daily 02:00, weekly sunday 03:00 or "
                              "monthly 1 04:00",
                              schedule, "string", SCHEDULES),
    [OPTION_SCHEDULES] = PLAIN(struct config_schedules, "list of schedules", "a list of schedules",
                               "[every 15m, daily 01:00]", schedules, "schedules", NULL),
    [OPTION_TEXT_OR_NONE] = TEXT("text", "a text in one line", NULL, type_is_text, false, NULL),
    [OPTION_ADDRESS] =
        TEXT("address", "an IP address", "192.168.10.35", type_is_address, false, ADDRESS),
    [OPTION_NETWORK] = TEXT("network", "an IP address or network", "192.168.10.36 or 10.0.0.0/8",
                            type_is_network, false, "(" ADDRESS ")(/[0-9]{1,3})?"),
    [OPTION_LISTEN] =
        TEXT("address or path", "an IP address, or the absolute path of a socket",
             "127.0.0.1 or /run/citadel/gateway/api.sock", type_is_listen, true, ADDRESS "|/.*"),
    [OPTION_DEVICE] = TEXT("GPU", "the index or UUID of a GPU", "0", type_is_device, false,
                           "[0-9]+|(GPU|MIG)-.+"),
};

bool
type_range(const struct option *o, struct type_range *ret_range)
{
    const char *dots = o->range ? strstr(o->range, "..") : NULL;
    if (!dots)
        return false;
    size_t len = (size_t)(dots - o->range);
    assert(len < sizeof(ret_range->low) && strlen(dots + 2) < sizeof(ret_range->high));
    memcpy(ret_range->low, o->range, len);
    ret_range->low[len] = '\0';
    memcpy(ret_range->high, dots + 2, strlen(dots + 2) + 1);
    return true;
}

static void
tell_words(const struct words *words, struct buf *out)
{
    for (size_t i = 0; i < words->count; i++)
        buf_printf(out, "%s%s",
                   i == 0                 ? " "
                   : i + 1 < words->count ? ", "
                                          : " or ",
                   words->items[i].word);
}

void
type_tell_allowed(const struct option *o, struct buf *out)
{
    const struct type *type = &types[o->type];
    struct type_range range;
    buf_add_str(out, type->what);
    if (o->type == OPTION_CHOICE)
        tell_words(o->words, out);
    bool many = strcmp(type->json, "array") == 0 || o->type == OPTION_PAIRS ||
                o->type == OPTION_PLACES || o->type == OPTION_CHAINS || o->type == OPTION_SCHEDULES;
    if (type_range(o, &range))
        buf_printf(out, many ? " (%s to %s entries)" : " from %s to %s", range.low, range.high);
    if (type->example)
        buf_printf(out, ", as in %s", type->example);
    if (o->word)
        buf_printf(out, "; or %s", o->word);
}

bool
type_refuse_because(const struct reading *r, struct value_at at, const char *allowed,
                    const char *found_fmt, ...)
{
    char path[TRAIL_MAX], found[1024];
    va_list args;
    va_start(args, found_fmt);
    (void)vsnprintf(found, sizeof(found), found_fmt, args);
    va_end(args);
    problem_add(r->problems, at, allowed, "%s %s", trail_print(r->trail, path), found);
    return false;
}

bool
type_refuse(const struct reading *r, const struct value *v)
{
    _cleanup_buf_ struct buf allowed = BUF_INIT(1024);
    type_tell_allowed(r->option, &allowed);
    if (v->type == VALUE_NULL) {
        buf_add_str(&allowed, "; or leave the line out");
        return type_refuse_because(r, v->at, allowed.data, "has no value");
    }
    if (v->type >= VALUE_LIST)
        return type_refuse_because(r, v->at, allowed.data, "is %s", value_type_name(v->type));
    /* A password must not be repeated: the message ends in logs. */
    if (strstr(v->text, "://") && strchr(v->text, '@'))
        return type_refuse_because(r, v->at, allowed.data, "has a user or password in it");
    if (v->type == VALUE_STRING && yaml_plain_type(v->text, v->len) == VALUE_NUMBER)
        return type_refuse_because(r, v->at, allowed.data, "is '%s' in quotes", v->text);
    return type_refuse_because(r, v->at, allowed.data,
                               v->type == VALUE_STRING ? "is '%.*s'" : "is %.*s",
                               (int)MIN(v->len, (size_t)120), v->text);
}

bool
type_read(const struct reading *r, const struct value *v, void *field)
{
    memset(field, 0, types[r->option->type].bytes);
    if (r->option->word && text_eq(value_str(v), r->option->word))
        return true;
    return types[r->option->type].read(r, v, field);
}

void
type_read_preset(const struct reading *r, void *field)
{
    _cleanup_arena_ struct arena arena;
    const char *text = r->option->preset;
    struct value *v, scalar = {
                         .type = yaml_plain_type(text, strlen(text)),
                         .text = text,
                         .len = strlen(text),
                         .boolean = *text == 't',
                     };
    bool yaml = *text == '[';
    arena_init(&arena, PRESETS_BYTES);
    int parsed = yaml ? yaml_parse(&arena, text, strlen(text), &v, NULL, NULL) : 0;
    bool ok = parsed == 0 && type_read(r, yaml ? v : &scalar, field);
    assert(ok || r->arena->full);
}

struct value *
type_write(struct arena *arena, const struct option *o, const void *field)
{
    static const char nothing[64];
    size_t bytes = types[o->type].bytes;
    assert(bytes <= sizeof(nothing));
    if (o->word && memcmp(field, nothing, bytes) == 0)
        return type_new(arena, VALUE_STRING, o->word);
    return types[o->type].write(arena, o, field);
}
