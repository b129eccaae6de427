#include "backup/window.h"

#include "backup/remote.h"
#include "base/mem.h"
#include "base/text.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOWS 32
#define WINDOW_BYTES ((size_t)(2 * MIB))
#define GRAIN_BYTES ((size_t)(128 * KIB)) /* at least so much is asked for, from such places on */

struct window {
    char key[REMOTE_KEY_MAX]; /* "": nothing is there */
    uint64_t at;
    size_t len;
    uint8_t *bytes; /* NULL until it is used */
    uint64_t used;
    bool is_coming;
};

struct windows {
    int (*read)(void *arg, const char *key, uint64_t at, void *ret_bytes, size_t len,
                struct err *reterr);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t came;
    uint64_t clock;
    struct window items[WINDOWS];
};

struct windows *
windows_new(int (*read)(void *arg, const char *key, uint64_t at, void *ret_bytes, size_t len,
                        struct err *reterr),
            void *arg)
{
    struct windows *w = mem_new(struct windows);
    w->read = read;
    w->arg = arg;
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->came, NULL);
    return w;
}

void
windows_free(struct windows *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < WINDOWS; i++)
        free(w->items[i].bytes);
    (void)pthread_mutex_destroy(&w->lock);
    (void)pthread_cond_destroy(&w->came);
    free(w);
}

/* ---- with the lock held ---- */

static struct window *
find(struct windows *w, const char *key, uint64_t at)
{
    for (size_t i = 0; i < WINDOWS; i++) {
        struct window *x = &w->items[i];
        if (at >= x->at && at - x->at < x->len && text_eq(x->key, key))
            return x;
    }
    return NULL;
}

/* The one that was not used for longest; NULL: all are coming. */
static struct window *
find_free(struct windows *w)
{
    struct window *oldest = NULL;
    for (size_t i = 0; i < WINDOWS; i++) {
        struct window *x = &w->items[i];
        if (!x->is_coming && (!oldest || x->used < oldest->used))
            oldest = x;
    }
    return oldest;
}

/* What is asked for, to whole grains; who goes on where a window ends gets all that fits. */
static void
place(struct windows *w, struct window *x, const char *key, uint64_t bytes, uint64_t at, size_t len)
{
    uint64_t from = at / GRAIN_BYTES * GRAIN_BYTES;
    bool goes_on = at > 0 && find(w, key, at - 1) != NULL;
    uint64_t to = (at + len + GRAIN_BYTES - 1) / GRAIN_BYTES * GRAIN_BYTES;
    if (goes_on)
        from = at;
    if (goes_on || to - from > WINDOW_BYTES)
        to = from + WINDOW_BYTES;
    (void)snprintf(x->key, sizeof(x->key), "%s", key);
    x->at = from;
    x->len = (size_t)(MIN(to, bytes) - from);
}

/* ---- reading ---- */

/* Without the lock, while nobody else touches it. */
static int
fill(struct windows *w, struct window *x, struct err *reterr)
{
    x->is_coming = true;
    (void)pthread_mutex_unlock(&w->lock);
    if (!x->bytes)
        x->bytes = mem_alloc(WINDOW_BYTES);
    int r = w->read(w->arg, x->key, x->at, x->bytes, x->len, reterr);
    (void)pthread_mutex_lock(&w->lock);
    x->is_coming = false;
    if (r < 0)
        x->len = 0;
    (void)pthread_cond_broadcast(&w->came);
    return r;
}

int
windows_read(struct windows *w, const char *key, uint64_t bytes, uint64_t at, void *ret_bytes,
             size_t len, struct err *reterr)
{
    uint8_t *to = ret_bytes;
    int r = 0;
    if (at > bytes || len > bytes - at)
        return err_set(reterr, ERR_PACK_DAMAGED, "%s ends at byte %llu", key,
                       (unsigned long long)bytes);
    (void)pthread_mutex_lock(&w->lock);
    while (len > 0 && r == 0) {
        struct window *x = find(w, key, at), *other = x ? NULL : find_free(w);
        if (other) {
            place(w, other, key, bytes, at, len);
            r = fill(w, other, reterr);
        } else if (!x || x->is_coming) {
            (void)pthread_cond_wait(&w->came, &w->lock);
        } else {
            size_t n = MIN(len, (size_t)(x->at + x->len - at));
            memcpy(to, x->bytes + (at - x->at), n);
            x->used = ++w->clock;
            to += n;
            at += n;
            len -= n;
        }
    }
    (void)pthread_mutex_unlock(&w->lock);
    return r;
}

void
windows_drop(struct windows *w, const char *key)
{
    (void)pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < WINDOWS; i++)
        if (!w->items[i].is_coming && (!key || text_eq(w->items[i].key, key)))
            w->items[i].len = 0;
    (void)pthread_mutex_unlock(&w->lock);
}
