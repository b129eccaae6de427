/* A secret on its way to who uses it. */

#include "secrets/use.h"

#include "base/buf.h"
#include "base/text.h"
#include "config/config.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_BYTES (16 * KIB)    /* its two paths */
#define NAMES_BYTES_MAX (1 * MIB) /* of all that a configuration names */

/* Names under which a service may find it. */
struct names {
    const char *items[SECRET_FORMS];
    size_t count;
    char text[SECRET_FORMS][SECRET_FILE_MAX];
};

static void
names_of(const struct secret_use *use, struct names *ret_names)
{
    *ret_names =
        (struct names){.items = {use->option}, .count = use->secret->kind != CONFIG_SECRET_NONE};
    if (use->secret->kind != CONFIG_SECRET_CREDENTIAL)
        return;
    for (int form = 0; form < SECRET_FORMS; form++)
        ret_names->items[form] =
            secret_file_name((enum secret_form)form, use->secret->where, ret_names->text[form]);
    ret_names->count = SECRET_FORMS;
}

/* The first that is there; NULL: none. */
static char *
find_own(const struct secret_use *use)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    struct names names;
    names_of(use, &names);
    for (size_t i = 0; dir && i < names.count; i++) {
        char *path = mem_printf("%s/%s", dir, names.items[i]);
        if (access(path, F_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

int
secret_fetch_of(const struct config *config, const struct config_secret *secret,
                struct secret *ret_value, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct secret_use *uses;
    size_t count;
    arena_init(&arena, NAMES_BYTES_MAX);
    int r = secret_uses(config, &arena, &uses, &count);
    if (r < 0)
        return err_set(reterr, ERR_TOO_LARGE, "the configuration names too many secrets");
    for (size_t i = 0; i < count; i++)
        if (uses[i].secret == secret)
            return secret_fetch(&uses[i], ret_value, reterr);
    return 0;
}

const char *
secret_fetch_path(const struct secret_use *use, struct arena *arena)
{
    _cleanup_free_ char *own = find_own(use);
    if (own)
        return arena_strdup(arena, own);
    return use->secret->kind == CONFIG_SECRET_FILE ? use->secret->where : NULL;
}

/* ---- from where it is kept ---- */

static int
read_file(const struct secret_use *use, const char *path, struct secret *ret_value,
          struct err *reterr)
{
    struct stat st;
    /* O_NONBLOCK: a pipe has no writer until we have seen that it is one, perhaps never. */
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return err_set(reterr, ERR_SECRET_NONE, "%s asks for a secret in '%s', which is not there",
                       use->option, path);
    if (fd < 0)
        return err_set_errno(reterr, errno, "%s, in '%s'", use->option, path);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(reterr, ERR_SECRET_VALUE, "%s asks for a secret in '%s', which is no file",
                       use->option, path);
    int r = secret_read(fd, ret_value, reterr);
    if (r < 0)
        err_prefix(reterr, "%s, in '%s'", use->option, path);
    return r;
}

static int
read_variable(const struct secret_use *use, struct secret *ret_value, struct err *reterr)
{
    const char *value = getenv(use->secret->where);
    if (!value || !*value)
        return err_set(reterr, ERR_SECRET_NONE, "%s asks for a secret in $%s, which is not set",
                       use->option, use->secret->where);
    if (strlen(value) > SECRET_BYTES_MAX)
        return err_set(reterr, ERR_SECRET_VALUE, "%s, in $%s: longer than %zu bytes", use->option,
                       use->secret->where, (size_t)SECRET_BYTES_MAX);
    secret_set(ret_value, value);
    return 0;
}

static int
read_store(const struct secret_use *use, struct secret *ret_value, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct secret_store store;
    arena_init(&arena, STORE_BYTES);
    int r = secret_store_open(&arena, &store, reterr);
    if (r == 0)
        r = secret_store_get(&store, use->secret->where, ret_value, reterr);
    if (r < 0)
        err_prefix(reterr, "%s", use->option);
    return r;
}

static int
read_kept(const struct secret_use *use, struct secret *ret_value, struct err *reterr)
{
    switch (use->secret->kind) {
    case CONFIG_SECRET_FILE:
        return read_file(use, use->secret->where, ret_value, reterr);
    case CONFIG_SECRET_ENV:
        return read_variable(use, ret_value, reterr);
    case CONFIG_SECRET_CREDENTIAL:
        return read_store(use, ret_value, reterr);
    case CONFIG_SECRET_NONE:
        break;
    }
    secret_finish(ret_value);
    return 0;
}

int
secret_fetch(const struct secret_use *use, struct secret *ret_value, struct err *reterr)
{
    _cleanup_free_ char *own = find_own(use);
    return own ? read_file(use, own, ret_value, reterr) : read_kept(use, ret_value, reterr);
}

/* ---- to a service ---- */

/* A file that is missing keeps a unit of systemd from starting, too; the rest is just not there. */
static int
hand_one(const char *dir, const struct secret_use *use, struct err *reterr)
{
    _cleanup_secret_ struct secret value = {0};
    struct names names;
    struct err err = {0};
    int r = read_kept(use, &value, &err);
    if (r < 0 && err.id == ERR_SECRET_NONE && use->secret->kind != CONFIG_SECRET_FILE)
        return 0;
    if (r < 0) {
        if (reterr)
            *reterr = err;
        return r;
    }
    names_of(use, &names);
    _cleanup_free_ char *path = mem_printf("%s/%s", dir, names.items[0]);
    return file_write(path, secret_reveal(&value), strlen(secret_reveal(&value)), 0400, reterr);
}

int
secrets_hand(const char *dir, const struct secret_use *uses, size_t count, struct err *reterr)
{
    struct err ignored;
    int r = file_remove_tree(dir, reterr);
    if (r == 0)
        r = file_make_dirs(dir, 0700, reterr);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = hand_one(dir, &uses[i], reterr);
    if (r < 0)
        (void)!file_remove_tree(dir, &ignored);
    return r;
}
