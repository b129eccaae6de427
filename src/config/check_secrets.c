/* Secrets do not stand in a configuration: it is shown, copied, backed up and put under version
 * control. What looks like one is refused, and never repeated in the message. */

#include "base/text.h"
#include "config/read_int.h"

#include <string.h>
#include <strings.h>

#define ELSEWHERE "keep it with `citadel secrets set NAME`, and give its option {credential: NAME}"

#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define WORD UPPER "abcdefghijklmnopqrstuvwxyz_-"

/* How tokens of well-known services begin, and how many of which characters follow at least. They
 * begin words: the "sk-" of /mnt/disk-one/models is none. */
static const struct {
    const char *start;
    const char *letters;
    size_t len;
    const char *what;
} tokens[] = {
    {"hf_", WORD, 30, "a Hugging Face token"},
    {"sk-", WORD, 20, "an API key"},
    {"ghp_", WORD, 30, "a GitHub token"},
    {"github_pat_", WORD, 20, "a GitHub token"},
    {"glpat-", WORD, 20, "a GitLab token"},
    {"xoxb-", WORD, 20, "a Slack token"},
    {"glsa_", WORD, 20, "a Grafana token"},
    {"AKIA", UPPER, 16, "an AWS access key"},
    {"https://hooks.slack.com/services/", WORD "/", 20,
     "the address of a Slack webhook, which is a secret"},
    {"-----BEGIN", WORD, 0, "a private key or certificate"},
};

struct secret_spot {
    const char *what; /* NULL: there is none */
    const char *at;
    size_t len;
};

static struct secret_spot
find_token(const char *text)
{
    for (size_t i = 0; i < ARRAY_SIZE(tokens); i++)
        for (const char *at = strstr(text, tokens[i].start); at;
             at = strstr(at + 1, tokens[i].start)) {
            size_t start = strlen(tokens[i].start), len = strspn(at + start, tokens[i].letters);
            if ((at == text || !strchr(WORD, at[-1])) && len >= tokens[i].len)
                return (struct secret_spot){tokens[i].what, at, start + len};
        }
    return (struct secret_spot){0};
}

/* SCHEME://USER:PASSWORD@HOST */
static struct secret_spot
find_password(const char *text)
{
    const char *user = strstr(text, "://");
    size_t len = user ? strcspn(user + 3, "/?#") : 0;
    const char *at = user ? memchr(user + 3, '@', len) : NULL;
    const char *colon = at ? memchr(user + 3, ':', (size_t)(at - user - 3)) : NULL;
    return colon
               ? (struct secret_spot){"a URL with a password", colon + 1, (size_t)(at - colon - 1)}
               : (struct secret_spot){0};
}

/* ...?token=SECRET, of any URL. */
static struct secret_spot
find_key_in_query(const char *text)
{
    static const char *const names[] = {"token",  "access_token", "key",       "api_key", "apikey",
                                        "secret", "password",     "signature", "sig",     "auth"};
    const char *scheme = strstr(text, "://"), *at = scheme ? strchr(scheme, '?') : NULL;
    for (; at && *at; at = strchr(at + 1, '&')) {
        size_t len = strcspn(at + 1, "=&#"), value = strcspn(at + 1 + len, "&# '\"");
        if (at[1 + len] != '=' || value < 9)
            continue;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            if (strlen(names[i]) == len && strncasecmp(at + 1, names[i], len) == 0)
                return (struct secret_spot){"a URL with a key", at + 2 + len, value - 1};
    }
    return (struct secret_spot){0};
}

static struct secret_spot
find_secret(const char *text)
{
    struct secret_spot (*const finders[])(const char *) = {find_token, find_key_in_query,
                                                           find_password};
    struct secret_spot spot = {0};
    for (size_t i = 0; i < ARRAY_SIZE(finders) && !spot.what; i++)
        spot = finders[i](text);
    return spot;
}

void
config_mask_secrets(char *text)
{
    static const char mask[] = "***";
    for (char *rest = text;;) {
        struct secret_spot spot = find_secret(rest);
        if (!spot.what)
            return;
        size_t kept = MIN(spot.len, sizeof(mask) - 1);
        char *at = rest + (spot.at - rest);
        memcpy(at, mask, kept);
        memmove(at + kept, at + spot.len, strlen(at + spot.len) + 1);
        rest = at + kept;
    }
}

static const char *
looks_like(const char *text)
{
    return find_secret(text).what;
}

static void
look_for_tokens(const struct loading *l, const struct value *v, const struct trail *trail)
{
    char path[TRAIL_MAX];
    if (v->type == VALUE_STRING) {
        const char *what = problem_is_at(l->problems, v->at) ? NULL : looks_like(v->text);
        if (what)
            problem_add(l->problems, v->at, ELSEWHERE, "%s holds what looks like %s",
                        trail_print(trail, path), what);
        return;
    }
    size_t index = 0;
    for (const struct value *m = v->first; m; m = m->next, index++) {
        struct trail inner = {.up = trail, .name = m->name, .index = index};
        if (m->name && looks_like(m->name)) /* not to be repeated, as the path would */
            problem_add(l->problems, m->name_at, ELSEWHERE, "a name that looks like %s",
                        looks_like(m->name));
        else
            look_for_tokens(l, m, &inner);
    }
}

/* HF_TOKEN, OPENAI_API_KEY, DB_PASSWORD; not TOKENIZERS_PARALLELISM, and not a path to a file. */
static bool
names_secret(const char *name)
{
    static const char *const ends[] = {"TOKEN", "_KEY", "APIKEY", "PASSWORD", "PASSWD", "SECRET"};
    size_t len = strlen(name);
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (len >= strlen(ends[i]) && strcasecmp(name + len - strlen(ends[i]), ends[i]) == 0)
            return true;
    return false;
}

static void
look_at_environment(const struct loading *l, const struct value *section, const char *path)
{
    const struct value *map = value_get(section, "extra_env");
    if (!map || map->type != VALUE_MAP)
        return;
    for (const struct value *v = map->first; v; v = v->next) {
        bool plain = v->type == VALUE_STRING && v->len > 0 && *v->text != '/';
        size_t letters =
            strspn(v->name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");
        if (v->name[letters] || (*v->name >= '0' && *v->name <= '9'))
            problem_add(l->problems, v->name_at,
                        "letters, digits and '_', not beginning with a digit",
                        "%s.extra_env has the name '%s'", path, v->name);
        if (names_secret(v->name) && plain && !looks_like(v->text))
            problem_add(l->problems, v->at, ELSEWHERE, "%s.extra_env.%s holds a secret", path,
                        v->name);
    }
}

static void
look_at_arguments(const struct loading *l, const struct value *section, const char *path)
{
    const struct value *list = value_get(section, "extra_args");
    if (!list || list->type != VALUE_LIST)
        return;
    for (const struct value *v = list->first; v; v = v->next)
        if (v->type == VALUE_STRING &&
            (text_starts(v->text, "--api-key") || text_starts(v->text, "--hf-token")))
            problem_add(l->problems, v->at, "take it out; Citadel gives engines their keys itself",
                        "%s.extra_args holds a secret, which everybody sees in the process list",
                        path);
}

void
config_check_secrets(const struct loading *l, const struct value *tree)
{
    const struct value *models = value_get(tree, "models");
    look_for_tokens(l, tree, NULL);
    look_at_environment(l, value_get(tree, "defaults"), "defaults");
    look_at_arguments(l, value_get(tree, "defaults"), "defaults");
    for (const struct value *m = models ? models->first : NULL; m; m = m->next) {
        char path[TRAIL_MAX];
        struct trail up = {.name = "models"}, trail = {.up = &up, .name = m->name};
        (void)trail_print(&trail, path);
        look_at_environment(l, m, path);
        look_at_arguments(l, m, path);
    }
}
