/* A repository on another host, by SFTP: some connections, each for one call at a time. One that is
 * lost is made anew, and what was asked of it asked again, which none of these calls minds. */

#include "backup/again.h"
#include "backup/remote.h"
#include "backup/sftp.h"
#include "base/mem.h"
#include "base/quantity.h"
#include "base/text.h"
#include "base/vec.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define TRANSFERS 4
#define LEFT_MAX 10000              /* drafts that are removed at once */
#define CONNECTIONS (TRANSFERS + 2) /* no transfer keeps a lock from being touched */

struct host {
    struct sftp_wish wish;
    char *where, *key, *known_hosts;
    pthread_mutex_t lock;
    pthread_cond_t given;
    struct sftp *idle[CONNECTIONS];
    size_t idle_count, open_count;
    size_t most;      /* connections; fewer where the other host takes no more */
    bool was_reached; /* once: from then on what is lost is looked for again */
};

/* ---- connections ---- */

static int
take(struct host *h, struct sftp **ret, struct err *reterr)
{
    (void)pthread_mutex_lock(&h->lock);
    while (h->idle_count == 0 && h->open_count >= h->most)
        (void)pthread_cond_wait(&h->given, &h->lock);
    *ret = h->idle_count > 0 ? h->idle[--h->idle_count] : NULL;
    h->open_count += !*ret;
    (void)pthread_mutex_unlock(&h->lock);
    return *ret ? 0 : sftp_start(&h->wish, ret, reterr);
}

/* One more that could not be made is no loss while there are others. *ret_reached: one was made
 * once. */
static bool
does_with_fewer(struct host *h, bool *ret_reached)
{
    (void)pthread_mutex_lock(&h->lock);
    bool has_others = h->open_count > 1;
    if (has_others)
        h->most = h->open_count - 1;
    *ret_reached = h->was_reached;
    (void)pthread_mutex_unlock(&h->lock);
    return has_others;
}

/* NULL: it was not made. One that is lost ends. */
static void
give(struct host *h, struct sftp *s)
{
    struct sftp *over = s && sftp_is_lost(s) ? s : NULL;
    (void)pthread_mutex_lock(&h->lock);
    if (s && !over)
        h->idle[h->idle_count++] = s;
    else
        h->open_count--;
    h->was_reached = h->was_reached || s;
    (void)pthread_cond_signal(&h->given);
    (void)pthread_mutex_unlock(&h->lock);
    sftp_free(over);
}

/* ---- asking ---- */

struct ask {
    int (*call)(struct sftp *s, const struct ask *ask, struct err *reterr);
    char path[PATH_MAX], draft[PATH_MAX];
    uint64_t number; /* from where, how much at most, or before when */
    void *bytes;
    size_t len;
    int file;
    uint64_t *ret_number;
    int (*each)(void *arg, const char *name, uint64_t bytes);
    void *arg;
};

static void
find_path(const struct host *h, const char *key, struct ask *ask)
{
    (void)snprintf(ask->path, sizeof(ask->path), "%s%s%s", h->wish.place.path, key[0] ? "/" : "",
                   key);
}

/* Another each time: what is left of an earlier try may still be written to. */
static void
draw_draft(struct ask *ask)
{
    uint64_t chance = 0;
    const char *name = strrchr(ask->path, '/');
    int dir = name ? (int)(name - ask->path) + 1 : 0;
    (void)!getrandom(&chance, sizeof(chance), 0);
    (void)snprintf(ask->draft, sizeof(ask->draft), "%.*s" OBJECT_DRAFT "%016llx", dir, ask->path,
                   (unsigned long long)chance);
}

/* Once; *ret_lost: it may go better another time. */
static int
try(struct host *h, struct ask *ask, bool *ret_lost, struct err *reterr)
{
    struct sftp *s = NULL;
    int r;
    while ((r = take(h, &s, reterr)) < 0 && does_with_fewer(h, ret_lost))
        give(h, NULL);
    if (r == 0) {
        r = ask->call(s, ask, reterr);
        *ret_lost = sftp_is_lost(s);
        if (r < 0)
            err_prefix(reterr, "%s", h->wish.place.host);
    }
    give(h, s);
    return r;
}

static int
run(struct host *h, struct ask *ask, const char *key, struct err *reterr)
{
    struct err err;
    bool lost = true;
    int r = -ECONNRESET;
    find_path(h, key, ask);
    for (unsigned tries = 0; tries < AGAIN_TRIES && lost; tries++) {
        if (tries > 0)
            again_wait(tries);
        r = try(h, ask, &lost, &err);
    }
    if (r < 0 && reterr)
        *reterr = err;
    return r;
}

/* ---- opening and making ---- */

static void
free_host(void *there)
{
    struct host *h = there;
    for (size_t i = 0; i < h->idle_count; i++)
        sftp_free(h->idle[i]);
    (void)pthread_mutex_destroy(&h->lock);
    (void)pthread_cond_destroy(&h->given);
    free(h->where);
    free(h->key);
    free(h->known_hosts);
    free(h);
}

static int
open_host(const struct repository_wish *wish, void **ret, struct err *reterr)
{
    const struct repository_access *access = &wish->access;
    struct host *h = mem_new(struct host);
    (void)pthread_mutex_init(&h->lock, NULL);
    (void)pthread_cond_init(&h->given, NULL);
    h->most = CONNECTIONS;
    h->where = mem_strdup(wish->where);
    h->wish.key = h->key = access->ssh_key ? mem_strdup(access->ssh_key) : NULL;
    h->wish.known_hosts = h->known_hosts =
        access->ssh_known_hosts ? mem_strdup(access->ssh_known_hosts) : NULL;
    int r = sftp_parse(h->where, &h->wish.place, reterr);
    if (r == 0 && strlen(h->wish.place.path) > PATH_MAX - REMOTE_KEY_MAX - OBJECT_DRAFT_MAX)
        r = err_set(reterr, ERR_REPOSITORY_OTHER, "'%s' has a path that is too long", h->where);
    if (r < 0)
        free_host(h);
    else
        *ret = h;
    return r;
}

/* Each directory of the path, then those of the areas. */
static int
do_make(struct sftp *s, const struct ask *ask, struct err *reterr)
{
    char path[PATH_MAX + REMOTE_KEY_MAX];
    int r = 0;
    for (const char *end = ask->path; r == 0 && *end;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        (void)snprintf(path, sizeof(path), "%.*s", (int)(end - ask->path), ask->path);
        struct sftp_file file;
        if (sftp_stat(s, path, &file, NULL) < 0 || !file.is_directory)
            r = sftp_make_directory(s, path, reterr);
    }
    for (enum repository_area i = 0; i < REPOSITORY_AREAS && r == 0; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", ask->path, repository_area_name(i));
        r = sftp_make_directory(s, path, reterr);
    }
    return r;
}

static int
make(void *there, struct err *reterr)
{
    return run(there, &(struct ask){.call = do_make}, "", reterr);
}

/* ---- files ---- */

static int
do_size(struct sftp *s, const struct ask *ask, struct err *reterr)
{
    struct sftp_file file;
    int r = sftp_stat(s, ask->path, &file, reterr);
    if (r == 0)
        *ask->ret_number = file.bytes;
    return r;
}

static int
size(void *there, const char *key, uint64_t *ret_bytes, struct err *reterr)
{
    return run(there, &(struct ask){.call = do_size, .ret_number = ret_bytes}, key, reterr);
}

static int
on_name(void *arg, const char *name, const struct sftp_file *file)
{
    const struct ask *ask = arg;
    return file->is_file ? ask->each(ask->arg, name, file->bytes) : 0;
}

static int
do_list(struct sftp *s, const struct ask *ask, struct err *reterr)
{
    return sftp_list(s, ask->path, on_name, (void *)(uintptr_t)ask, reterr);
}

static int
list(void *there, const char *area, int (*each)(void *arg, const char *name, uint64_t bytes),
     void *arg, struct err *reterr)
{
    return run(there, &(struct ask){.call = do_list, .each = each, .arg = arg}, area, reterr);
}

static int
do_read(struct sftp *s, const struct ask *ask, struct err *reterr)
{
    return sftp_read(s, ask->path, ask->number, ask->bytes, ask->len, reterr);
}

static int
read_part(void *there, const char *key, uint64_t at, void *ret_bytes, size_t len,
          struct err *reterr)
{
    struct ask ask = {.call = do_read, .number = at, .bytes = ret_bytes, .len = len};
    return run(there, &ask, key, reterr);
}

static int
do_fetch(struct sftp *s, const struct ask *ask, struct err *reterr)
{
    return sftp_fetch(s, ask->path, ask->file, ask->number, reterr);
}

static int
fetch(void *there, const char *key, int to, uint64_t most, struct err *reterr)
{
    return run(there, &(struct ask){.call = do_fetch, .file = to, .number = most}, key, reterr);
}

/* A full disk is a failure like others to the protocol, so it is asked for. */
static int
look_for_room(struct sftp *s, const struct ask *ask, const char *dir, int r, struct err *reterr)
{
    struct stat st;
    uint64_t room = 0;
    quantity_text has, needs;
    if (fstat(ask->file, &st) < 0 || sftp_free_bytes(s, dir, &room, NULL) < 0 ||
        room > (uint64_t)st.st_size)
        return r;
    r = err_set(reterr, ERR_STORAGE_FULL,
                "the disk of the other host has room for %s, and %s are to go to '%s'",
                quantity_show_bytes(room, has), quantity_show_bytes((uint64_t)st.st_size, needs),
                ask->path);
    err_fix(reterr, "make room there, or let go of what is old: citadel backup prune");
    return r;
}

/* An area that came with a later release is made where there is none. */
static int
store_as(struct sftp *s, const struct ask *ask, bool only_new, struct err *reterr)
{
    struct ask drawn = *ask;
    char dir[PATH_MAX];
    const char *slash = strrchr(ask->path, '/');
    int r = -ENOENT;
    (void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - ask->path) : 0, ask->path);
    for (unsigned tries = 0; tries < 2 && r == -ENOENT; tries++) {
        if (tries > 0 && sftp_make_directory(s, dir, NULL) < 0)
            break;
        draw_draft(&drawn);
        r = only_new ? sftp_store_new(s, ask->file, drawn.draft, ask->path, reterr)
                     : sftp_store(s, ask->file, drawn.draft, ask->path, reterr);
    }
    if (r == -EIO)
        r = look_for_room(s, ask, dir, r, reterr);
    if (r < 0 && !sftp_is_lost(s))
        (void)!sftp_remove(s, drawn.draft, NULL);
    return r;
}

static int
do_store(struct sftp *s, const struct ask *ask, struct err *reterr)
{
    return store_as(s, ask, false, reterr);
}

static int
do_store_new(struct sftp *s, const struct ask *ask, struct err *reterr)
{
    return store_as(s, ask, true, reterr);
}

static int
store(void *there, int from, const char *key, struct err *reterr)
{
    return run(there, &(struct ask){.call = do_store, .file = from}, key, reterr);
}

static int
store_new(void *there, int from, const char *key, struct err *reterr)
{
    return run(there, &(struct ask){.call = do_store_new, .file = from}, key, reterr);
}

static int
do_remove(struct sftp *s, const struct ask *ask, struct err *reterr)
{
    return sftp_remove(s, ask->path, reterr);
}

static int
remove_file(void *there, const char *key, struct err *reterr)
{
    return run(there, &(struct ask){.call = do_remove}, key, reterr);
}

static int
do_touch(struct sftp *s, const struct ask *ask, struct err *reterr)
{
    return sftp_touch(s, ask->path, reterr);
}

static int
touch(void *there, const char *key, struct err *reterr)
{
    return run(there, &(struct ask){.call = do_touch}, key, reterr);
}

static int
do_changed(struct sftp *s, const struct ask *ask, struct err *reterr)
{
    struct sftp_file file;
    int r = sftp_stat(s, ask->path, &file, reterr);
    if (r == 0)
        *ask->ret_number = (uint64_t)MAX(file.changed_s, (int64_t)0) * 1000000;
    return r;
}

static int
changed(void *there, const char *key, uint64_t *ret_us, struct err *reterr)
{
    return run(there, &(struct ask){.call = do_changed, .ret_number = ret_us}, key, reterr);
}

struct left {
    uint64_t before_us;
    VEC(char *) names;
};

static int
on_left(void *arg, const char *name, const struct sftp_file *file)
{
    struct left *l = arg;
    if (file->is_file && text_starts(name, OBJECT_DRAFT) && l->names.count < LEFT_MAX &&
        (uint64_t)MAX(file->changed_s, (int64_t)0) * 1000000 < l->before_us)
        vec_push(&l->names, mem_strdup(name));
    return 0;
}

static int
do_tidy(struct sftp *s, const struct ask *ask, struct err *reterr)
{
    struct left l = {.before_us = ask->number};
    int r = sftp_list(s, ask->path, on_left, &l, reterr);
    vec_foreach (&l.names, name) {
        _cleanup_free_ char *path = mem_printf("%s/%s", ask->path, *name);
        int k = r == 0 ? sftp_remove(s, path, reterr) : r;
        r = k == -ENOENT ? 0 : k;
        free(*name);
    }
    vec_finish(&l.names);
    return r;
}

static int
tidy(void *there, const char *area, uint64_t before_us, struct err *reterr)
{
    return run(there, &(struct ask){.call = do_tidy, .number = before_us}, area, reterr);
}

static int
do_find_room(struct sftp *s, const struct ask *ask, struct err *reterr)
{
    int r = sftp_free_bytes(s, ask->path, ask->ret_number, reterr);
    if (r == -EOPNOTSUPP)
        *ask->ret_number = UINT64_MAX;
    return r == -EOPNOTSUPP ? 0 : r;
}

static int
find_room(void *there, uint64_t *ret_bytes, struct err *reterr)
{
    return run(there, &(struct ask){.call = do_find_room, .ret_number = ret_bytes}, "", reterr);
}

const struct remote_kind remote_sftp = {
    .transfers = TRANSFERS,
    .open = open_host,
    .free = free_host,
    .make = make,
    .size = size,
    .list = list,
    .read = read_part,
    .fetch = fetch,
    .store = store,
    .store_new = store_new,
    .remove = remove_file,
    .touch = touch,
    .changed = changed,
    .tidy = tidy,
    .find_room = find_room,
};
