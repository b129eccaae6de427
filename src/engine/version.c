#include "engine/version.h"

#include "base/mem.h"
#include "base/text.h"
#include "sys/files.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { RELEASE_PARTS = 4, PRE_KIND = 4, PRE = 5, POST = 6, DEV = 7 };

/* 0.9.dev3 < 0.9a1 < 0.9b1 < 0.9rc1 < 0.9 < 0.9.post1 */
enum { ONLY_DEV = -1, ALPHA, BETA, CANDIDATE, NO_PRE };

static const char *const pre_names[] = {[ALPHA] = "a", [BETA] = "b", [CANDIDATE] = "rc"};

#define NO_POST (-1)
#define NO_DEV INT64_MAX

/* Nine digits: builds of the day (20260915) fit. */
#define NUMBER_MAX 999999999

/* A directory of packages has a few hundred entries; what has more than this is something else. */
#define ENTRIES_MAX 100000

static bool
take_number(const char **p, int64_t *ret_n)
{
    int64_t n = 0;
    if (!isdigit((unsigned char)**p))
        return false;
    for (; isdigit((unsigned char)**p); (*p)++) {
        n = n * 10 + (**p - '0');
        if (n > NUMBER_MAX)
            return false;
    }
    *ret_n = n;
    return true;
}

static bool
take_word(const char **p, const char *word)
{
    if (!text_starts(*p, word))
        return false;
    *p += strlen(word);
    return true;
}

static bool
take_release(const char **p, int64_t *order)
{
    if (!take_number(p, &order[0]))
        return false;
    for (int i = 1; (*p)[0] == '.' && isdigit((unsigned char)(*p)[1]); i++) {
        (*p)++;
        if (i == RELEASE_PARTS || !take_number(p, &order[i]))
            return false;
    }
    return true;
}

static bool
take_pre(const char **p, int64_t *order)
{
    for (int kind = ALPHA; kind <= CANDIDATE; kind++) {
        if (!take_word(p, pre_names[kind]))
            continue;
        order[PRE_KIND] = kind;
        return take_number(p, &order[PRE]);
    }
    return true;
}

/* ".post1", and "post1" as some write it. */
static bool
take_suffix(const char **p, const char *word, int64_t *ret_n)
{
    if (!take_word(p, word) && !take_word(p, word + 1))
        return true;
    return take_number(p, ret_n);
}

static bool
take_build(const char **p)
{
    if (**p != '+')
        return true;
    do
        (*p)++;
    while (isalnum((unsigned char)**p) || **p == '.' || **p == '_' || **p == '-');
    return (*p)[-1] != '+';
}

int
engine_version_parse(const char *text, struct engine_version *ret_version, struct err *reterr)
{
    struct engine_version v = {{0, 0, 0, 0, NO_PRE, 0, NO_POST, NO_DEV}};
    const char *p = text;
    if (*p == 'v')
        p++;
    if (!take_release(&p, v.order) || !take_pre(&p, v.order) ||
        !take_suffix(&p, ".post", &v.order[POST]) || !take_suffix(&p, ".dev", &v.order[DEV]) ||
        !take_build(&p) || *p)
        return err_set(reterr, ERR_VALUE, "'%s' is not a version", text);
    if (v.order[PRE_KIND] == NO_PRE && v.order[POST] == NO_POST && v.order[DEV] != NO_DEV)
        v.order[PRE_KIND] = ONLY_DEV;
    *ret_version = v;
    return 0;
}

const char *
engine_version_print(const struct engine_version *version, engine_version_text text)
{
    const int64_t *o = version->order;
    char fourth[16] = "", pre[16] = "", post[20] = "", dev[20] = "";
    if (o[3])
        (void)snprintf(fourth, sizeof(fourth), ".%d", (int)o[3]);
    if (o[PRE_KIND] >= ALPHA && o[PRE_KIND] <= CANDIDATE)
        (void)snprintf(pre, sizeof(pre), "%s%d", pre_names[o[PRE_KIND]], (int)o[PRE]);
    if (o[POST] != NO_POST)
        (void)snprintf(post, sizeof(post), ".post%d", (int)o[POST]);
    if (o[DEV] != NO_DEV)
        (void)snprintf(dev, sizeof(dev), ".dev%d", (int)o[DEV]);
    (void)snprintf(text, ENGINE_VERSION_TEXT_MAX, "%d.%d.%d%s%s%s%s", (int)o[0], (int)o[1],
                   (int)o[2], fourth, pre, post, dev);
    return text;
}

static int
compare(const struct engine_version *a, const struct engine_version *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (a->order[i] != b->order[i])
            return a->order[i] < b->order[i] ? -1 : 1;
    return 0;
}

int
engine_version_compare(const struct engine_version *a, const struct engine_version *b)
{
    return compare(a, b, ARRAY_SIZE(a->order));
}

int
engine_version_compare_release(const struct engine_version *a, const struct engine_version *b)
{
    return compare(a, b, RELEASE_PARTS);
}

struct finding {
    const char *package;
    struct engine_version *ret_version;
    size_t count;
    char names[2][96]; /* of the first two metadata directories, for the sentence */
};

/* "vllm-0.11.0+cu129.dist-info" */
static bool
read_name(const char *name, struct finding *f)
{
    size_t package_len = strlen(f->package), len = strlen(name);
    static const char ending[] = ".dist-info";
    char version[ENGINE_VERSION_TEXT_MAX];
    if (strncmp(name, f->package, package_len) != 0 || name[package_len] != '-' ||
        !text_ends(name, ending))
        return false;
    size_t version_len = len - package_len - 1 - strlen(ending);
    if (version_len == 0 || version_len >= sizeof(version))
        return false;
    memcpy(version, name + package_len + 1, version_len);
    version[version_len] = '\0';
    return engine_version_parse(version, f->ret_version, NULL) == 0;
}

static void
look_in(const char *path, struct finding *f)
{
    _cleanup_dir_ DIR *dir = opendir(path);
    struct dirent *entry;
    for (size_t seen = 0; dir && seen < ENTRIES_MAX && (entry = readdir(dir)); seen++) {
        if (!read_name(entry->d_name, f))
            continue;
        if (f->count < ARRAY_SIZE(f->names))
            (void)snprintf(f->names[f->count], sizeof(f->names[0]), "%.95s", entry->d_name);
        f->count++;
    }
}

/* Debian keeps what pip installs outside an environment in dist-packages. */
static void
look_in_python(const char *lib, const char *python, struct finding *f)
{
    static const char *const places[] = {"site-packages", "dist-packages"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        _cleanup_free_ char *path = mem_printf("%s/%s/%s", lib, python, places[i]);
        look_in(path, f);
    }
}

int
engine_version_find(const char *python_env, const char *package, struct engine_version *ret_version,
                    struct err *reterr)
{
    struct engine_version version;
    struct finding f = {.package = package, .ret_version = &version};
    _cleanup_free_ char *lib = mem_printf("%s/lib", python_env);
    _cleanup_dir_ DIR *dir = opendir(lib);
    if (!dir)
        return err_set(reterr, ERR_ENGINE_NOT_INSTALLED, "there is no Python environment at %s: %s",
                       python_env, strerror(errno));
    struct dirent *entry;
    for (size_t seen = 0; seen < ENTRIES_MAX && (entry = readdir(dir)); seen++)
        if (text_starts(entry->d_name, "python3."))
            look_in_python(lib, entry->d_name, &f);
    if (f.count == 0)
        return err_set(reterr, ERR_ENGINE_NOT_INSTALLED, "%s is not installed in %s", package,
                       python_env);
    if (f.count > 1)
        return err_set(reterr, ERR_ENGINE_NOT_INSTALLED, "%s holds %s and %s: which one runs?",
                       python_env, f.names[0], f.names[1]);
    *ret_version = version;
    return 0;
}
