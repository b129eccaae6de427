#include "secrets/store.h"

#include "base/buf.h"
#include "base/text.h"
#include "secrets/store_int.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *dir, *start, *word;
} forms[SECRET_FORMS] = {
    [SECRET_ENCRYPTED] = {"/etc/credstore.encrypted", "citadel.", "encrypted"},
    [SECRET_PLAIN] = {"/etc/credstore", "citadel-plain.", "plain"},
};

const char *
secret_form_word(enum secret_form form)
{
    return forms[form].word;
}

const char *
secret_file_name(enum secret_form form, const char *name, char text[SECRET_FILE_MAX])
{
    (void)snprintf(text, SECRET_FILE_MAX, "%s%s", forms[form].start, name);
    return text;
}

int
secret_check_name(const char *name, struct err *reterr)
{
    const char *value = strchr(name, '=');
    if (text_is_name(name))
        return 0;
    if (value) {
        int r = err_set(reterr, ERR_SECRET_NAME,
                        "no value is given behind '%.*s': all users of this machine could see it",
                        (int)MIN(value - name + 1, 80), name);
        err_fix(reterr, "if it was one, have it changed; then citadel secrets set NAME");
        return r;
    }
    int r = err_set(reterr, ERR_SECRET_NAME, "no secret can be called '%.80s'", name);
    err_fix(reterr,
            "begin with a small letter or digit, go on with these, '-', '_' and '.': %d at most",
            TEXT_NAME_MAX);
    return r;
}

int
secret_store_open(struct arena *arena, struct secret_store *ret_store, struct err *reterr)
{
    /* What systemd itself asks to know whether it runs the machine. */
    const char *why_not = root_is_set() ? "below --root is another machine than this"
                          : access("/run/systemd/system", F_OK) != 0
                              ? "systemd does not run this machine"
                              : NULL;
    *ret_store =
        (struct secret_store){.creds = why_not ? NULL : "systemd-creds", .why_not = why_not};
    for (int form = 0; form < SECRET_FORMS; form++)
        ret_store->dirs[form] = root_path(arena, forms[form].dir);
    return arena->full ? err_set_errno(reterr, ENOMEM, "the store of secrets") : 0;
}

bool
secret_store_is_open(const struct secret_store *store, enum secret_form form)
{
    struct stat st;
    if (stat(store->dirs[form], &st) < 0)
        return false;
    return (st.st_mode & 0077) || (st.st_uid != 0 && st.st_uid != geteuid());
}

static char *
path_of(const struct secret_store *store, enum secret_form form, const char *name)
{
    char file[SECRET_FILE_MAX];
    return mem_printf("%s/%s", store->dirs[form], secret_file_name(form, name, file));
}

/* A descriptor of a file that is there, or -errno. */
static int
open_one(const struct secret_store *store, enum secret_form form, const char *name)
{
    _cleanup_free_ char *path = path_of(store, form, name);
    return file_open(path, O_RDONLY | O_NONBLOCK, 0);
}

/* ---- keeping ---- */

/* A file keeps its mode when it is replaced; what a person has made there is closed first. */
static int
write_one(const struct secret_store *store, enum secret_form form, const char *name,
          const char *bytes, size_t len, struct err *reterr)
{
    _cleanup_free_ char *path = path_of(store, form, name);
    int r = file_make_dirs(store->dirs[form], 0700, reterr);
    if (r < 0)
        return r;
    _cleanup_close_ int old = open_one(store, form, name);
    if (old >= 0 && fchmod(old, 0600) < 0)
        return err_set_errno(reterr, errno, "the mode of '%s'", path);
    return file_write(path, bytes, len, 0600, reterr);
}

static int
remove_one(const struct secret_store *store, enum secret_form form, const char *name, bool *ret_was,
           struct err *reterr)
{
    struct file_place place;
    _cleanup_free_ char *path = path_of(store, form, name);
    int r = file_place_open(path, &place);
    if (r == -ENOENT) /* not even the directory */
        return 0;
    if (r == 0) {
        _cleanup_close_ int dir = place.dir;
        r = fault_unlink(dir, place.name, false);
        *ret_was |= r == 0;
        if (r == 0)
            r = fault_sync(dir);
    }
    if (r == 0 || r == -ENOENT)
        return file_remove_draft(path, reterr);
    return root_err(reterr, r, "cannot remove '%s'", path);
}

/* Where there is no systemd-creds, nothing was ever encrypted by it. Where there is one that fails, a value
 * that was safe must not lie open for it. */
static int
put_encrypted(const struct secret_store *store, const char *name, const struct secret *value,
              bool *ret_done, struct err *ret_why_not, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(CREDS_BYTES_MAX);
    char file[SECRET_FILE_MAX];
    if (!store->creds) {
        (void)err_set(ret_why_not, ERR_SECRET_CREDS, "%s", store->why_not);
        return 0;
    }
    secret_file_name(SECRET_ENCRYPTED, name, file);
    int r = creds_encrypt(store->creds, file, value, &text, ret_why_not);
    *ret_done = r == 0;
    if (r == 0)
        return write_one(store, SECRET_ENCRYPTED, name, text.data, text.len, reterr);
    if (r == -ENOENT)
        return 0;
    if (geteuid() != 0) { /* whom the host's key is closed to */
        r = err_set(reterr, ERR_NOT_PERMITTED, "%s", ret_why_not->what);
        err_fix(reterr, "the same with sudo");
        return r;
    }
    if (reterr)
        *reterr = *ret_why_not;
    err_fix(reterr,
            "see `systemd-creds setup`; or keep it in clear text: citadel secrets set %s --plain",
            name);
    return r;
}

int
secret_store_put(const struct secret_store *store, const char *name, const struct secret *value,
                 enum secret_form *ret_form, struct err *ret_why_not, struct err *reterr)
{
    const char *text = secret_reveal(value);
    bool encrypted = false, was = false;
    int r = secret_check_name(name, reterr);
    if (r == 0)
        r = put_encrypted(store, name, value, &encrypted, ret_why_not, reterr);
    if (r == 0 && !encrypted)
        r = write_one(store, SECRET_PLAIN, name, text, strlen(text), reterr);
    if (r == 0)
        r = remove_one(store, encrypted ? SECRET_PLAIN : SECRET_ENCRYPTED, name, &was, reterr);
    if (r == 0)
        *ret_form = encrypted ? SECRET_ENCRYPTED : SECRET_PLAIN;
    return r;
}

static int
none(const char *name, struct err *reterr)
{
    int r = err_set(reterr, ERR_SECRET_NONE, "there is no secret '%s'", name);
    err_fix(reterr, "citadel secrets set %s; citadel secrets list shows those that are", name);
    return r;
}

/* Of two forms the plain one goes first: as long as one is there, it is what holds. */
int
secret_store_remove(const struct secret_store *store, const char *name, struct err *reterr)
{
    bool was = false;
    int r = secret_check_name(name, reterr);
    for (int form = SECRET_FORMS - 1; r == 0 && form >= 0; form--)
        r = remove_one(store, (enum secret_form)form, name, &was, reterr);
    return r == 0 && !was ? none(name, reterr) : r;
}

/* ---- reading ---- */

static int
get_encrypted(const struct secret_store *store, const char *name, struct secret *ret_value,
              struct err *reterr)
{
    char file[SECRET_FILE_MAX];
    _cleanup_free_ char *path = path_of(store, SECRET_ENCRYPTED, name);
    secret_file_name(SECRET_ENCRYPTED, name, file);
    if (!store->creds)
        return err_set(reterr, ERR_SECRET_CREDS, "'%s' is encrypted, and %s", path, store->why_not);
    return creds_decrypt(store->creds, file, path, ret_value, reterr);
}

int
secret_store_get(const struct secret_store *store, const char *name, struct secret *ret_value,
                 struct err *reterr)
{
    int r = secret_check_name(name, reterr);
    for (int form = 0; r == 0 && form < SECRET_FORMS; form++) {
        _cleanup_close_ int fd = open_one(store, (enum secret_form)form, name);
        if (fd == -ENOENT)
            continue;
        if (fd < 0)
            return err_set_errno(reterr, -fd, "cannot read the secret '%s' in %s", name,
                                 store->dirs[form]);
        r = form == SECRET_PLAIN ? secret_read(fd, ret_value, reterr)
                                 : get_encrypted(store, name, ret_value, reterr);
        if (r < 0)
            err_prefix(reterr, "the secret '%s'", name);
        return r;
    }
    return r < 0 ? r : none(name, reterr);
}

/* ---- listing ---- */

struct listing {
    struct arena *arena;
    struct secret_kept *items;
    size_t count;
};

static struct secret_kept *
find(const struct listing *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (text_eq(l->items[i].name, name))
            return &l->items[i];
    return NULL;
}

static int
list_one(struct listing *l, DIR *d, const char *file, enum secret_form form, struct err *reterr)
{
    struct stat st;
    const char *name = file + strlen(forms[form].start);
    if (!text_starts(file, forms[form].start) || !text_is_name(name) || find(l, name) ||
        fstatat(dirfd(d), file, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return 0;
    if (l->count == SECRETS_MAX)
        return err_set(reterr, ERR_TOO_LARGE, "there are more than %d secrets", SECRETS_MAX);
    l->items[l->count++] = (struct secret_kept){
        .name = arena_strdup(l->arena, name),
        .form = form,
        .since_us = (uint64_t)st.st_mtim.tv_sec * 1000000 + (uint64_t)(st.st_mtim.tv_nsec / 1000),
    };
    return 0;
}

static int
list_dir(struct listing *l, const char *dir, enum secret_form form, struct err *reterr)
{
    DIR *d = file_open_dir(AT_FDCWD, dir, 0);
    int r = 0;
    if (!d)
        return errno == ENOENT ? 0 : err_set_errno(reterr, errno, "cannot read '%s'", dir);
    for (struct dirent *e; r == 0 && (e = readdir(d));)
        r = list_one(l, d, e->d_name, form, reterr);
    (void)closedir(d);
    return r;
}

static int
compare(const void *a, const void *b)
{
    return strcmp(((const struct secret_kept *)a)->name, ((const struct secret_kept *)b)->name);
}

int
secret_store_list(const struct secret_store *store, struct arena *arena,
                  struct secret_kept **ret_items, size_t *ret_count, struct err *reterr)
{
    struct listing l = {.arena = arena,
                        .items = arena_alloc(arena, SECRETS_MAX * sizeof(*l.items))};
    int r = arena->full ? err_set_errno(reterr, ENOMEM, "the list of secrets") : 0;
    for (int form = 0; r == 0 && form < SECRET_FORMS; form++)
        r = list_dir(&l, store->dirs[form], (enum secret_form)form, reterr);
    if (r == 0 && arena->full)
        r = err_set_errno(reterr, ENOMEM, "the list of secrets");
    if (r < 0)
        return r;
    qsort(l.items, l.count, sizeof(*l.items), compare);
    *ret_items = l.items;
    *ret_count = l.count;
    return 0;
}
