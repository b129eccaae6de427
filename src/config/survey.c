/* /proc/driver/nvidia/gpus/ADDRESS/information has lines "Model: ..." and "GPU UUID: ...".
 *
 * A model is a directory with a config.json, or a GGUF file. */

#include "config/survey_int.h"

#include "base/buf.h"
#include "base/text.h"
#include "config/config.h"
#include "config/read_int.h"
#include "sys/files.h"
#include "sys/mounts.h"
#include "sys/root.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARENA_BYTES (1 * MIB)
#define FILE_BYTES_MAX (256 * KIB)
#define ENTRIES_MAX 1000 /* of one directory that are looked at */

static const char *const places[] = {
    "/mnt/citadel-models/active",
    "/opt/citadel/models",
    "/srv/models",
    "/data/models",
    "/mnt/models",
    "/models",
};

/* The beginning of a small file; "" when there is none. */
static void
read_start(const char *path, struct buf *out)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd >= 0)
        (void)!file_read_fd(fd, out);
}

/* The names in a directory, sorted. */
static size_t
list(struct arena *arena, const char *dir, char ***ret_names)
{
    DIR *d = opendir(dir);
    char **names = arena_alloc(arena, ENTRIES_MAX * sizeof(*names));
    size_t count = 0;
    *ret_names = names;
    if (!d)
        return 0;
    for (struct dirent *e; names && count < ENTRIES_MAX && (e = readdir(d));)
        if (e->d_name[0] != '.' && (names[count] = arena_strdup(arena, e->d_name)))
            count++;
    (void)closedir(d);
    /* Insertion: at most a thousand names, nearly always a dozen. */
    for (size_t i = 1; i < count; i++)
        for (size_t k = i; k > 0 && strcmp(names[k - 1], names[k]) > 0; k--) {
            char *name = names[k];
            names[k] = names[k - 1];
            names[k - 1] = name;
        }
    return count;
}

/* GPUs. */

static void
copy_field(const char *text, const char *field, char *ret, size_t room)
{
    const char *at = strstr(text, field);
    if (!at)
        return;
    at += strlen(field);
    at += strspn(at, " \t");
    (void)snprintf(ret, room, "%.*s", (int)strcspn(at, "\n"), at);
}

static void
find_gpus(struct survey *s)
{
    _cleanup_arena_ struct arena arena;
    char **names;
    arena_init(&arena, ARENA_BYTES);
    const char *dir = root_path(&arena, "/proc/driver/nvidia/gpus");
    size_t count = dir ? list(&arena, dir, &names) : 0;
    for (size_t i = 0; i < count && s->gpu_count < SURVEY_GPUS_MAX; i++) {
        _cleanup_buf_ struct buf text = BUF_INIT(FILE_BYTES_MAX);
        const char *path = arena_printf(&arena, "%s/%s/information", dir, names[i]);
        struct survey_gpu *gpu = &s->gpus[s->gpu_count++];
        if (path)
            read_start(path, &text);
        copy_field(text.data, "Model:", gpu->model, sizeof(gpu->model));
        copy_field(text.data, "GPU UUID:", gpu->uuid, sizeof(gpu->uuid));
    }
}

/* Mounts. */

static void
find_mount(const struct mounts *mounts, const char *point, struct survey_mount *ret)
{
    const struct mount_row *row = mounts_find(mounts, point);
    if (!row)
        return;
    ret->mounted = true;
    (void)snprintf(ret->type, sizeof(ret->type), "%s", row->type);
    (void)snprintf(ret->device, sizeof(ret->device), "%s", row->source);
}

static void
find_mounts(struct survey *s)
{
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_BYTES_MAX);
    _cleanup_mounts_ struct mounts mounts = {0};
    const char *path = root_path(&s->arena, "/proc/self/mountinfo");
    if (path)
        read_start(path, &text);
    if (mounts_parse(text.data, text.len, &mounts, NULL) < 0)
        return;
    find_mount(&mounts, "/mnt/citadel-models", &s->models_mount);
    find_mount(&mounts, "/mnt/citadel-backup", &s->backup_mount);
}

/* Models. */

/* The last part of the path, as a name that no other has. */
static const char *
name_model(const struct survey *s, struct arena *arena, const char *base)
{
    char name[TEXT_NAME_MAX - 3]; /* room for "-63" behind it */
    size_t len = 0;
    for (; *base && len + 1 < sizeof(name); base++) {
        char c = *base >= 'A' && *base <= 'Z' ? (char)(*base - 'A' + 'a') : *base;
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (plain || (len > 0 && strchr("-_.", c)))
            name[len++] = c;
        else if (len > 0 && name[len - 1] != '-')
            name[len++] = '-';
    }
    name[len] = '\0';
    if (!text_is_name(name) || config_is_reserved(name))
        (void)snprintf(name, sizeof(name), "model");
    const char *unique = arena_strdup(arena, name);
    for (size_t n = 2, i = 0; unique && i < s->model_count; i++) {
        if (text_eq(s->models[i].name, unique)) {
            unique = arena_printf(arena, "%s-%zu", name, n++);
            i = (size_t)-1;
        }
    }
    return unique;
}

static bool
is_file(const char *dir, const char *name, uint64_t *ret_bytes)
{
    char path[4096];
    struct stat st;
    int len = snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (len < 0 || (size_t)len >= sizeof(path) || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    *ret_bytes = (uint64_t)st.st_size;
    return true;
}

static bool
is_known(const struct survey *s, const char *path)
{
    struct stat a, b;
    if (stat(path, &a) < 0)
        return true;
    for (size_t i = 0; i < s->model_count; i++) {
        _cleanup_arena_ struct arena arena;
        arena_init(&arena, 16 * KIB);
        const char *other = root_path(&arena, s->models[i].path);
        if (other && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
            return true;
    }
    return false;
}

/* Whether a configuration may hold the path. */
static bool
is_sayable(const char *path)
{
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            return false;
    return root_takes_absolute(path) && text_is_utf8(path, strlen(path));
}

static void
add_model(struct survey *s, const char *path, const char *base, uint64_t weights_bytes, bool gguf)
{
    if (s->model_count == SURVEY_MODELS_MAX || is_known(s, path) || !is_sayable(root_strip(path)))
        return;
    struct survey_model m = {
        .name = name_model(s, &s->arena, base),
        .path = arena_strdup(&s->arena, root_strip(path)),
        .weights_bytes = weights_bytes,
        .gguf = gguf,
    };
    if (m.name && m.path)
        s->models[s->model_count++] = m;
}

/* Whether the directory is a model; GGUF files in it are one each. */
static bool
look_at(struct survey *s, struct arena *arena, const char *dir, const char *base)
{
    char **names;
    size_t count = list(arena, dir, &names);
    bool config = false, gguf = false;
    uint64_t weights = 0, bytes;
    for (size_t i = 0; i < count; i++) {
        if (!is_file(dir, names[i], &bytes))
            continue;
        config = config || text_eq(names[i], "config.json");
        if (text_ends(names[i], ".safetensors") || text_ends(names[i], ".bin"))
            weights += bytes;
    }
    if (config)
        add_model(s, dir, base, weights, false);
    for (size_t i = 0; i < count && !config; i++) {
        if (!text_ends(names[i], ".gguf") || !is_file(dir, names[i], &bytes))
            continue;
        const char *path = arena_printf(arena, "%s/%s", dir, names[i]);
        char *stem = arena_strndup(arena, names[i], strlen(names[i]) - strlen(".gguf"));
        if (path && stem)
            add_model(s, path, stem, bytes, true);
        gguf = true;
    }
    return config || gguf;
}

/* Below a place: MODEL, or OWNER/MODEL. */
static void
search(struct survey *s, struct arena *arena, const char *dir, unsigned depth)
{
    char **names;
    size_t count = list(arena, dir, &names);
    for (size_t i = 0; i < count && s->model_count < SURVEY_MODELS_MAX; i++) {
        const char *inner = arena_printf(arena, "%s/%s", dir, names[i]);
        if (inner && !look_at(s, arena, inner, names[i]) && depth > 1)
            search(s, arena, inner, depth - 1);
    }
}

/* The hub's cache: models--OWNER--NAME/snapshots/REVISION. */
static void
search_hub(struct survey *s, struct arena *arena, const char *home)
{
    char **names, **revisions;
    const char *hub = arena_printf(arena, "%s/.cache/huggingface/hub", home);
    size_t count = hub ? list(arena, hub, &names) : 0;
    for (size_t i = 0; i < count; i++) {
        const char *base = names[i] + strlen("models--");
        if (!text_starts(names[i], "models--"))
            continue;
        base = strstr(base, "--") ? strstr(base, "--") + 2 : base;
        const char *dir = arena_printf(arena, "%s/%s/snapshots", hub, names[i]);
        size_t found = dir ? list(arena, dir, &revisions) : 0;
        for (size_t k = 0; k < found; k++) {
            const char *snapshot = arena_printf(arena, "%s/%s", dir, revisions[k]);
            if (snapshot && look_at(s, arena, snapshot, base))
                break;
        }
    }
}

static void
find_models(struct survey *s)
{
    _cleanup_arena_ struct arena arena;
    char **names;
    arena_init(&arena, 64 * MIB);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        const char *place = root_path(&arena, places[i]);
        if (place)
            search(s, &arena, place, 2);
    }
    const char *root = root_path(&arena, "/root"), *homes = root_path(&arena, "/home");
    if (root)
        search_hub(s, &arena, root);
    size_t count = homes ? list(&arena, homes, &names) : 0;
    for (size_t i = 0; i < count; i++) {
        const char *home = arena_printf(&arena, "%s/%s", homes, names[i]);
        if (home)
            search_hub(s, &arena, home);
    }
}

void
survey_machine(struct survey *ret_survey)
{
    *ret_survey = (struct survey){0};
    arena_init(&ret_survey->arena, ARENA_BYTES);
    find_gpus(ret_survey);
    find_mounts(ret_survey);
    find_models(ret_survey);
}

void
survey_finish(struct survey *survey)
{
    arena_finish(&survey->arena);
}
