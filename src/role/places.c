#include "role/places.h"

#include "base/mem.h"
#include "base/quantity.h"
#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define LIMIT_US UINT64_C(60000000)
#define FULL_BYTES GIB /* what is left then goes within minutes, to logs or caches */

const char *
place_word(enum place_kind kind)
{
    static const char *const words[] = {"models", "state", "backup"};
    return words[kind];
}

static void
look_at(const struct config *config, struct place *d)
{
    struct statvfs fs;
    quantity_text text;
    d->err = (struct err){0};
    if (storage_check_mount(config, d->area, &d->err) < 0)
        return;
    if (statvfs(d->path, &fs) < 0) {
        (void)err_set_errno(&d->err, errno, "cannot look at '%s'", d->path);
        return;
    }
    d->total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
    d->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (d->free_bytes < MIN(FULL_BYTES, d->total_bytes / 20)) {
        (void)err_set(&d->err, ERR_STORAGE_FULL, "the disk of '%s' is full: %s are left", d->path,
                      quantity_show_bytes(d->free_bytes, text));
        err_fix(&d->err, "remove what is not needed there: du -xh --max-depth 2 %s", d->path);
    }
}

static void
look(struct work *work)
{
    struct places *places = container_of(work, struct places, work);
    for (size_t i = 0; i < PLACE_COUNT; i++)
        look_at(places->found_for, &places->found[i]);
    jobs_load(places->found_for->paths.state, &places->found_jobs);
}

static void
end(struct places *places)
{
    jobs_finish(&places->jobs);
    jobs_finish(&places->found_jobs);
    free(places);
}

static void
on_looked(struct work *work, bool cancelled unused_arg)
{
    struct places *places = container_of(work, struct places, work);
    places->looking = places->hung = false;
    if (places->closed) {
        end(places);
        return;
    }
    loop_timer_stop(&places->limit);
    for (size_t i = 0; i < PLACE_COUNT; i++) {
        places->items[i].total_bytes = places->found[i].total_bytes;
        places->items[i].free_bytes = places->found[i].free_bytes;
        places->items[i].err = places->found[i].err;
    }
    jobs_finish(&places->jobs);
    places->jobs = places->found_jobs;
    places->found_jobs = (struct jobs){0};
    places->known = true;
    places->told(places);
}

/* Which of them it is cannot be told, but that it is one of those. */
static void
on_limit(struct loop_timer *timer)
{
    struct places *places = container_of(timer, struct places, limit);
    struct place *d = &places->items[PLACE_MODELS];
    places->known = places->hung = true;
    (void)err_set(&d->err, ERR_STORAGE_FAILED, "a disk has not answered for %llu s: %s, %s or %s",
                  (unsigned long long)LIMIT_US / 1000000, d->path, places->items[PLACE_STATE].path,
                  places->items[PLACE_BACKUP].path);
    err_fix(&d->err, "see `dmesg`");
    places->told(places);
}

void
places_look(struct places *places)
{
    if (places->looking)
        return;
    places->looking = true;
    memcpy(places->found, places->items, sizeof(places->found));
    places->found_for = places->config;
    places->work.run = look;
    places->work.done = on_looked;
    places->limit.expired = on_limit;
    loop_timer_start(places->loop, &places->limit, LIMIT_US, 0);
    work_start(places->loop, &places->work);
}

struct places *
places_new(struct loop *loop, const struct config *config, void (*told)(struct places *places),
           void *arg)
{
    struct places *places = mem_new(struct places);
    static const struct {
        enum storage_area area;
        bool needed;
    } rows[PLACE_COUNT] = {[PLACE_MODELS] = {STORAGE_models, true},
                           [PLACE_STATE] = {STORAGE_state, true},
                           [PLACE_BACKUP] = {STORAGE_backup, false}};
    *places = (struct places){.loop = loop, .told = told, .arg = arg};
    for (size_t i = 0; i < PLACE_COUNT; i++)
        places->items[i] = (struct place){.area = rows[i].area, .needed = rows[i].needed};
    places_configure(places, config);
    return places;
}

void
places_configure(struct places *places, const struct config *config)
{
    places->config = config;
    for (size_t i = 0; i < PLACE_COUNT; i++)
        places->items[i].path = storage_area_path(config, places->items[i].area);
}

void
places_free(struct places *places)
{
    loop_timer_stop(&places->limit);
    places->closed = true;
    if (!places->looking)
        end(places);
}
