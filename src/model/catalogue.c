#include "base/text.h"
#include "model/model_int.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The directories that are models: found, sorted, then read. */

#define ARENA_MAX (256 * MIB)

struct place {
    const char *name; /* "llama-3.1-8b", "meta-llama/Llama-3.1-8B" */
    dev_t device;
    ino_t inode;
    bool link;
    bool dangling;
    bool file; /* a GGUF file */
};

struct walk {
    struct model_catalogue *catalogue;
    dev_t device; /* of the models directory: a link back to it is not followed */
    ino_t inode;
    VEC(struct place) places;
};

static DIR *
open_dir(int parent, const char *name)
{
    return file_open_dir(parent, name, O_NONBLOCK);
}

/* A file that only models, and what comes with them, have. */
static bool
is_sign(const char *name)
{
    static const char *const names[] = {"config.json",    "adapter_config.json", "params.json",
                                        "tokenizer.json", "tokenizer.model",     "snapshots"};
    static const char *const endings[] = {".safetensors", ".gguf", ".safetensors.index.json",
                                          ".bin",         ".pth",  ".incomplete"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (text_eq(name, names[i]))
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++)
        if (text_ends(name, endings[i]))
            return true;
    return false;
}

static bool
is_model(int parent, const char *name)
{
    DIR *dir = open_dir(parent, name);
    bool sign = false;
    if (!dir)
        return false;
    for (struct dirent *e; !sign && (e = readdir(dir));)
        sign = is_sign(e->d_name);
    (void)closedir(dir);
    return sign;
}

/* False for what is no directory, and no GGUF file. */
static bool
look_at(struct walk *w, int parent, const char *name, struct place *ret)
{
    struct stat self, target;
    if (name[0] == '.' || text_eq(name, "lost+found") ||
        fstatat(parent, name, &self, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    *ret = (struct place){.link = S_ISLNK(self.st_mode)};
    if (fstatat(parent, name, &target, 0) != 0) {
        ret->dangling = true;
        return ret->link;
    }
    ret->device = target.st_dev;
    ret->inode = target.st_ino;
    ret->file = S_ISREG(target.st_mode) && text_ends(name, ".gguf");
    return ret->file ||
           (S_ISDIR(target.st_mode) && !(target.st_dev == w->device && target.st_ino == w->inode));
}

static void
add_place(struct walk *w, struct place place, const char *organisation, const char *name)
{
    if (w->places.count == MODEL_CATALOGUE_MAX) {
        w->catalogue->more = true;
        return;
    }
    place.name = arena_printf(&w->catalogue->arena, "%s%s%s", organisation,
                              organisation[0] ? "/" : "", name);
    if (place.name)
        vec_push(&w->places, place);
}

/* The models of an organisation's directory; false when there are none, so that it is none. */
static bool
enter(struct walk *w, int parent, const char *organisation)
{
    DIR *dir = open_dir(parent, organisation);
    struct place place;
    bool any = false;
    if (!dir)
        return false;
    for (struct dirent *e; (e = readdir(dir)) && !w->catalogue->more;) {
        if (!look_at(w, dirfd(dir), e->d_name, &place) || place.dangling || place.file ||
            !is_model(dirfd(dir), e->d_name))
            continue;
        add_place(w, place, organisation, e->d_name);
        any = true;
    }
    (void)closedir(dir);
    return any;
}

static int
by_name(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int
find_places(struct walk *w, const char *path, struct err *reterr)
{
    DIR *dir = open_dir(AT_FDCWD, path);
    struct stat st;
    struct place place;
    if (!dir || fstat(dirfd(dir), &st) != 0) {
        int error = errno;
        if (dir)
            (void)closedir(dir);
        return err_set_errno(reterr, error, "cannot open the models directory %s", path);
    }
    w->device = st.st_dev;
    w->inode = st.st_ino;
    for (struct dirent *e; (e = readdir(dir)) && !w->catalogue->more;)
        if (look_at(w, dirfd(dir), e->d_name, &place) &&
            (place.dangling || is_model(dirfd(dir), e->d_name) || !enter(w, dirfd(dir), e->d_name)))
            add_place(w, place, "", e->d_name);
    (void)closedir(dir);
    if (w->places.count)
        qsort(w->places.items, w->places.count, sizeof(*w->places.items), by_name);
    return 0;
}

/* The place under whose name a directory is read: itself, unless it is a link to one that is
 * listed too, or to what an earlier link leads to. */
static size_t
original(const struct walk *w, size_t i)
{
    const struct place *place = &w->places.items[i];
    for (size_t j = 0; place->link && !place->dangling && j < w->places.count; j++) {
        const struct place *other = &w->places.items[j];
        if (j != i && other->inode == place->inode && other->device == place->device &&
            (!other->link || j < i))
            return j;
    }
    return i;
}

/* A model of which nothing is known but why. */
static struct model
make_unreadable(struct arena *arena, const char *dir, const struct err *err)
{
    struct model m = model_blank(arena_strdup(arena, dir));
    struct model_problem *problem = arena_new(arena, struct model_problem);
    char target[256];
    ssize_t len = readlink(dir, target, sizeof(target) - 1);
    struct err said = *err;
    if (!problem)
        return m;
    problem->id = err->id == ERR_NOT_FOUND ? MODEL_PROBLEM_MISSING : MODEL_PROBLEM_UNREADABLE;
    if (len >= 0 && err->id == ERR_NOT_FOUND) {
        target[len] = '\0';
        problem->id = MODEL_PROBLEM_DANGLING_LINK;
        (void)err_set(&said, ERR_NOT_FOUND, "%s is a link to %s, which is not there", dir, target);
    }
    problem->what = arena_strdup(arena, said.what);
    problem->fix = "";
    m.problems = problem;
    m.problems_count = 1;
    return m;
}

int
model_catalogue_add(struct model_catalogue *catalogue, const char *name, const char *dir,
                    struct err *reterr)
{
    struct arena *arena = &catalogue->arena;
    struct model m = {0};
    struct err err;
    if (model_read(arena, dir, &m, &err) < 0)
        m = make_unreadable(arena, dir, &err);
    m.name = arena_strdup(arena, name);
    if (arena->full)
        return err_set(reterr, ERR_TOO_LARGE, "the models need more than %zu bytes of memory",
                       arena->ceiling_bytes);
    vec_push(&catalogue->models, m);
    return 0;
}

/* "phi3", "microsoft/phi3": what a walk could have found. */
static bool
is_place_name(const char *name)
{
    const char *slash = strchr(name, '/');
    return name[0] && name[0] != '.' && name[0] != '/' &&
           (!slash || (slash[1] && slash[1] != '.' && !strchr(slash + 1, '/')));
}

int
model_catalogue_add_below(struct model_catalogue *catalogue, const char *dir, const char *name,
                          struct err *reterr)
{
    struct stat st;
    const char *path = arena_printf(&catalogue->arena, "%s/%s", dir, name);
    if (path && (!is_place_name(name) || stat(path, &st) != 0 ||
                 (!S_ISDIR(st.st_mode) && !text_ends(name, ".gguf"))))
        return -ENOENT;
    return model_catalogue_add(catalogue, name, path ? path : dir, reterr);
}

static int
add_alias(struct model_catalogue *catalogue, const char *name, size_t of)
{
    struct model m = catalogue->models.items[of];
    m.alias_of = m.name;
    m.name = name;
    vec_push(&catalogue->models, m);
    return 0;
}

static int
by_model_name(const void *a, const void *b)
{
    const struct model *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* First the directories themselves, then the links to them. */
static int
read_places(struct walk *w, const char *path, struct err *reterr)
{
    struct model_catalogue *catalogue = w->catalogue;
    size_t count = w->places.count;
    size_t *index = mem_alloc(count * sizeof(*index));
    int error = 0;
    for (size_t i = 0; error == 0 && i < count; i++) {
        const char *name = w->places.items[i].name;
        const char *dir = arena_printf(&catalogue->arena, "%s/%s", path, name);
        index[i] = catalogue->models.count;
        if (original(w, i) == i)
            error = model_catalogue_add(catalogue, name, dir ? dir : path, reterr);
    }
    for (size_t i = 0; error == 0 && i < count; i++)
        if (original(w, i) != i)
            error = add_alias(catalogue, w->places.items[i].name, index[original(w, i)]);
    if (catalogue->models.count)
        qsort(catalogue->models.items, catalogue->models.count, sizeof(struct model),
              by_model_name);
    free(index);
    return error;
}

void
model_catalogue_init(struct model_catalogue *catalogue)
{
    *catalogue = (struct model_catalogue){0};
    arena_init(&catalogue->arena, ARENA_MAX);
}

int
model_catalogue_read(const char *dir, struct model_catalogue *ret, struct err *reterr)
{
    struct model_catalogue catalogue;
    struct walk w = {.catalogue = &catalogue};
    model_catalogue_init(&catalogue);
    int error = find_places(&w, dir, reterr);
    if (error == 0)
        error = read_places(&w, dir, reterr);
    vec_finish(&w.places);
    if (error < 0)
        model_catalogue_finish(&catalogue);
    else
        *ret = catalogue;
    return error;
}

void
model_catalogue_finish(struct model_catalogue *catalogue)
{
    vec_finish(&catalogue->models);
    arena_finish(&catalogue->arena);
}

const struct model *
model_catalogue_find(const struct model_catalogue *catalogue, const char *name)
{
    vec_foreach (&catalogue->models, m)
        if (text_eq(m->name, name))
            return m;
    return NULL;
}
