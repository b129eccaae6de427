#include "backup/lock.h"

#include "backup/repository_int.h"
#include "base/mem.h"
#include "base/text.h"
#include "fmt/json.h"
#include "sys/clock.h"
#include "sys/kin.h"
#include "sys/work.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define TEXT_MAX ((size_t)(16 * KIB))
#define PARSED_MAX ((size_t)MIB)
#define PLACE_MAX 128

struct lock {
    struct loop *loop;
    struct repository *repository;
    uint8_t name[HASH_SHA256_BYTES];
    struct loop_timer beat;
    struct work touch;
    bool is_touching, is_over;
};

static const char *const words[LOCK_KINDS] = {"reads", "writes", "prunes", "unlocks"};

/* ---- who we are ---- */

/* This boot, and the numbers that processes have here: containers may share a boot. "" where it
 * is not known. */
static void
find_place(char ret[PLACE_MAX])
{
    char boot[CLOCK_BOOT_ID_LEN + 1], space[64] = "";
    ret[0] = '\0';
    if (clock_boot_id(boot) == 0 && readlink("/proc/self/ns/pid", space, sizeof(space) - 1) > 0)
        (void)snprintf(ret, PLACE_MAX, "%s %s", boot, space);
}

static void
print(struct buf *out, enum lock_kind kind, const char *what)
{
    char host[HOST_NAME_MAX + 1] = "", place[PLACE_MAX], chance[33] = "";
    uint64_t numbers[2] = {0};
    struct kin self = {0};
    struct json_writer w;
    (void)gethostname(host, sizeof(host) - 1);
    (void)!getrandom(numbers, sizeof(numbers), 0);
    (void)snprintf(chance, sizeof(chance), "%016llx%016llx", (unsigned long long)numbers[0],
                   (unsigned long long)numbers[1]);
    find_place(place);
    if (kin_look(getpid(), &self) < 0)
        place[0] = '\0';
    json_init(&w, out, false);
    json_open_map(&w, NULL);
    json_str(&w, "lock", words[kind]);
    json_strn(&w, "what", what, MIN(strlen(what), (size_t)255));
    json_strn(&w, "host", host, strlen(host));
    json_u64(&w, "pid", (uint64_t)getpid());
    json_u64(&w, "start", self.start);
    json_str(&w, "place", place);
    json_u64(&w, "at_us", clock_wall_us());
    json_str(&w, "id", chance);
    json_close_map(&w);
}

/* ---- ours ---- */

static int
write_lock(struct repository *repository, enum lock_kind kind, const char *what,
           uint8_t ret_name[HASH_SHA256_BYTES], struct err *reterr)
{
    const struct object_place place = repository_place(repository, REPOSITORY_LOCKS);
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);
    struct object_writer w;
    char name[HASH_SHA256_HEX];
    print(&text, kind, what);
    int r = object_begin(&w, &place, reterr);
    if (r < 0)
        return r;
    r = object_write(&w, text.data, text.len, reterr);
    if (r == 0)
        r = object_finish(&w, name, reterr);
    if (r == 0)
        object_digest(name, ret_name);
    object_end(&w);
    return r;
}

static int
touch(const struct lock *lock, uint64_t *ret_us, struct err *reterr)
{
    char name[HASH_SHA256_HEX];
    const struct repository *r = lock->repository;
    hash_sha256_hex(lock->name, name);
    int k = r->kind->touch(r, REPOSITORY_LOCKS, name, reterr);
    return k < 0 || !ret_us ? k : r->kind->changed(r, REPOSITORY_LOCKS, name, ret_us, reterr);
}

static void
run_touch(struct work *work)
{
    (void)!touch(container_of(work, struct lock, touch), NULL, NULL); /* who relies on it asks */
}

static void
on_touched(struct work *work, bool cancelled unused_arg)
{
    struct lock *lock = container_of(work, struct lock, touch);
    lock->is_touching = false;
    if (lock->is_over)
        free(lock);
}

static void
on_beat(struct loop_timer *timer)
{
    struct lock *lock = container_of(timer, struct lock, beat);
    if (lock->is_touching)
        return;
    lock->is_touching = true;
    lock->touch = (struct work){.run = run_touch, .done = on_touched};
    work_start(lock->loop, &lock->touch);
}

/* Of processes of this machine that have ended, as after a crash. */
static void
clear_dead(struct repository *repository, const struct lock *ours)
{
    _cleanup_locks_ struct locks all = {0};
    if (locks_read(repository, ours, &all, NULL) < 0)
        return;
    vec_foreach (&all.items, l)
        if (l->is_dead && l->silent_us < LOCK_EXPIRES_US)
            (void)!lock_remove(repository, l, NULL);
}

int
lock_take(struct loop *loop, struct repository *repository, enum lock_kind kind, const char *what,
          struct lock **ret, struct err *reterr)
{
    struct lock *lock = mem_new(struct lock);
    lock->loop = loop;
    lock->repository = repository;
    lock->beat.expired = on_beat;
    *ret = NULL;
    int r = write_lock(repository, kind, what, lock->name, reterr);
    if (r < 0) {
        free(lock);
        return kind == LOCK_READS ? 0 : r;
    }
    loop_timer_start(loop, &lock->beat, LOCK_BEAT_US, LOCK_BEAT_US);
    if (kind == LOCK_WRITES)
        clear_dead(repository, lock);
    *ret = lock;
    return 0;
}

int
lock_check(const struct lock *lock, struct err *reterr)
{
    int r = lock ? touch(lock, NULL, reterr) : 0;
    if (r != -ENOENT)
        return r;
    r = err_set(reterr, ERR_LOCK_LOST,
                "somebody has removed the lock of this work in the repository %s, as that of one "
                "that has ended",
                lock->repository->where);
    err_fix(reterr, "run it again: what was stored is kept");
    return r;
}

void
lock_release(struct lock *lock)
{
    if (!lock)
        return;
    loop_timer_stop(&lock->beat);
    (void)!repository_remove(lock->repository, REPOSITORY_LOCKS, lock->name, NULL);
    lock->is_over = true;
    if (!lock->is_touching)
        free(lock);
}

/* ---- of others ---- */

static bool
parse(const char *text, size_t len, struct lock_seen *ret, uint64_t *ret_start,
      char ret_place[PLACE_MAX])
{
    _cleanup_arena_ struct arena arena;
    struct value *top = NULL;
    arena_init(&arena, PARSED_MAX);
    if (json_parse(&arena, text, len, JSON_STRICT, &top, NULL, NULL) < 0)
        return false;
    const char *word = value_str(value_get(top, "lock"));
    ret->kind = LOCK_KINDS;
    for (enum lock_kind i = 0; word && i < LOCK_KINDS; i++)
        if (text_eq(word, words[i]))
            ret->kind = i;
    value_copy_str(value_get(top, "host"), ret->host, sizeof(ret->host));
    value_copy_str(value_get(top, "what"), ret->what, sizeof(ret->what));
    value_copy_str(value_get(top, "place"), ret_place, PLACE_MAX);
    return ret->kind < LOCK_KINDS && value_u64(value_get(top, "pid"), &ret->pid) &&
           value_u64(value_get(top, "start"), ret_start);
}

static bool
has_ended(const struct lock_seen *seen, const char *place, uint64_t start)
{
    char here[PLACE_MAX];
    struct kin kin;
    find_place(here);
    if (!here[0] || !text_eq(here, place) || seen->pid > INT_MAX)
        return false;
    int r = kin_look((pid_t)seen->pid, &kin);
    return r == -ESRCH || (r == 0 && kin.start != start);
}

/* 0: it has gone; 1. One that cannot be read is somebody's all the same. */
static int
look(struct repository *repository, const uint8_t name[HASH_SHA256_BYTES], uint64_t now_us,
     struct lock_seen *ret, struct err *reterr)
{
    _cleanup_repository_object_ struct repository_object object = {0};
    char text[HASH_SHA256_HEX], place[PLACE_MAX] = "";
    uint64_t start = 0, changed_us = 0;
    *ret = (struct lock_seen){.kind = LOCK_WRITES};
    memcpy(ret->name, name, sizeof(ret->name));
    hash_sha256_hex(name, text);
    int r = repository->kind->changed(repository, REPOSITORY_LOCKS, text, &changed_us, reterr);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = repository_map(repository, REPOSITORY_LOCKS, name, true, &object, NULL);
    if (r == -ENOENT)
        return 0;
    bool is_read = r == 0 && object.len <= TEXT_MAX &&
                   parse((const char *)object.bytes, object.len, ret, &start, place);
    ret->silent_us = now_us > changed_us ? now_us - changed_us : 0;
    ret->is_dead = ret->silent_us >= LOCK_EXPIRES_US || (is_read && has_ended(ret, place, start));
    return 1;
}

int
locks_read(struct repository *repository, const struct lock *ours, struct locks *ret,
           struct err *reterr)
{
    struct repository_names names = {0};
    *ret = (struct locks){0};
    int r = touch(ours, &ret->now_us, reterr);
    if (r < 0)
        return r;
    r = repository_list(repository, REPOSITORY_LOCKS, &names, reterr);
    if (r == 0 && names.count > LOCKS_MAX)
        r = err_set(reterr, ERR_TOO_LARGE, "the repository has %zu locks, of at most %d",
                    names.count, LOCKS_MAX);
    for (size_t i = 0; i < names.count && r >= 0; i++) {
        struct lock_seen seen;
        r = look(repository, names.items[i], ret->now_us, &seen, reterr);
        seen.is_ours = memcmp(seen.name, ours->name, sizeof(seen.name)) == 0;
        if (r > 0)
            vec_push(&ret->items, seen);
    }
    free(names.items);
    if (r < 0)
        locks_finish(ret);
    return MIN(r, 0);
}

void
locks_finish(struct locks *l)
{
    vec_finish(&l->items);
}

int
lock_remove(struct repository *repository, const struct lock_seen *lock, struct err *reterr)
{
    return repository_remove(repository, REPOSITORY_LOCKS, lock->name, reterr);
}
