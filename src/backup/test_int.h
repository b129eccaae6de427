#pragma once

/* For tests of backup: a directory with all kinds of things in it, a repository, and both ways between. */

#include "backup/object.h"
#include "backup/restore.h"
#include "backup/save.h"
#include "backup/scan.h"
#include "backup/verify.h"
#include "base/mem.h"
#include "loop_rig.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

struct backup_rig {
    struct loop_rig loop;
    struct repository *repository;
    char source[300], where[300], copies[300];
    struct repository_access access;
    unsigned threads;
    bool dry;
    const char *password; /* of one that is encrypted */
    unsigned parity_percent;
    bool delta;
    const char *name; /* of the model; NULL: "phi3" */
    struct save_told told;
    struct restore_told restored;
    int r;
    struct err err;
};

static inline void
backup_rig_ended(int r, const struct err *err, void *arg)
{
    struct backup_rig *rig = arg;
    rig->r = r;
    rig->err = *err;
    loop_stop(rig->loop.loop);
}

static inline void
fill_noise(uint8_t *to, size_t len, uint64_t state)
{
    for (size_t i = 0; i < len; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        to[i] = (uint8_t)(state >> 56);
    }
}

/* Long ago, so that it is not taken for fresh; but its ctime is now. */
static inline int
rig_write(struct backup_rig *rig, const char *name, const void *bytes, size_t len)
{
    _cleanup_free_ char *path = mem_printf("%s/%s", rig->source, name);
    _cleanup_close_ int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0640);
    const struct timespec times[2] = {{1600000000, 1}, {1600000000, 123456789}};
    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
        return -EIO;
    return futimens(fd, times);
}

static inline int
rig_write_noise(struct backup_rig *rig, const char *name, size_t len, uint64_t seed)
{
    _cleanup_free_ uint8_t *bytes = malloc(len + 1);
    fill_noise(bytes, len, seed);
    return rig_write(rig, name, bytes, len);
}

/* Two tensors, the larger of more than one block. */
static inline int
rig_write_weights(struct backup_rig *rig, const char *name, uint64_t seed)
{
    static const char header[] =
        "{\"a\": {\"dtype\": \"BF16\", \"shape\": [600000], \"data_offsets\": [0, 1200000]}, "
        "\"b\": {\"dtype\": \"F8_E4M3\", \"shape\": [1000], \"data_offsets\": [1200000, 1201000]}}";
    const size_t len = 8 + sizeof(header) - 1 + 1201000;
    _cleanup_free_ uint8_t *bytes = malloc(len);
    uint64_t header_len = sizeof(header) - 1;
    memcpy(bytes, &header_len, 8);
    memcpy(bytes + 8, header, sizeof(header) - 1);
    fill_noise(bytes + 8 + header_len, 1201000, seed);
    for (size_t i = 9 + header_len; i < len; i += 2) /* few exponents, as weights have */
        bytes[i] = (uint8_t)(0x3c | (bytes[i] & 0x81));
    return rig_write(rig, name, bytes, len);
}

static inline char *
rig_path(const struct backup_rig *rig, const char *name)
{
    return mem_printf("%s/%s", rig->source, name);
}

static inline bool
rig_fill(struct backup_rig *rig)
{
    static const char text[] = "{\"architectures\": [\"Phi3ForCausalLM\"]}\n";
    _cleanup_free_ char *sub = rig_path(rig, "sub"), *link = rig_path(rig, "sub/link"),
                        *hard = rig_path(rig, "sub/zhard"), *config = rig_path(rig, "config.json"),
                        *fifo = rig_path(rig, "fifo"), *sparse = rig_path(rig, "sparse"),
                        *none = rig_path(rig, "sub/none");
    if (mkdir(rig->source, 0750) < 0 || mkdir(sub, 01711) < 0 || mkdir(none, 0700) < 0 ||
        rig_write(rig, "config.json", text, sizeof(text) - 1) < 0 ||
        rig_write(rig, "empty", "", 0) < 0 || rig_write(rig, "sub/a \\ b\n", "x", 1) < 0 ||
        rig_write(rig, "sparse", "end", 3) < 0 || truncate(sparse, 3 * MIB) < 0 ||
        rig_write_weights(rig, "model.safetensors", 1) < 0 ||
        rig_write_noise(rig, "tokenizer.bin", 700000, 2) < 0)
        return false;
    (void)setxattr(config, "user.origin", "here", 4, 0); /* where there are attributes */
    return symlink("../config.json", link) == 0 && link[0] && mkfifo(fifo, 0600) == 0 &&
           linkat(AT_FDCWD, config, AT_FDCWD, hard, 0) == 0;
}

static inline int
rig_unlock(struct backup_rig *rig, const char *with)
{
    _cleanup_secret_ struct secret secret = {0};
    secret_set(&secret, with);
    return repository_unlock(rig->repository, &secret, &rig->err);
}

static inline bool
rig_open_repository(struct backup_rig *rig)
{
    const struct repository_wish wish = {.where = rig->where, .access = rig->access};
    repository_free(rig->repository);
    rig->repository = NULL;
    return repository_open(&wish, &rig->repository, NULL) == 0 &&
           (!rig->password || rig_unlock(rig, rig->password) == 0);
}

/* Two keys, one of which only adds; as cheap as they may be. */
static inline bool
rig_make_keys(const char *password, struct seal_key_file ret[2])
{
    _cleanup_seal_keys_ struct seal_keys *keys = NULL;
    _cleanup_secret_ struct secret secret = {0};
    struct seal_lock locks[2] = {{.label = "main", .cost = {1, 8 * KIB}},
                                 {.label = "host", .only_adds = true, .cost = {1, 8 * KIB}}};
    int r = seal_keys_make(&keys, NULL);
    secret_set(&secret, password);
    if (r == 0)
        r = seal_keys_lock(keys, &locks[0], &secret, ret[0].bytes, NULL);
    secret_set(&secret, "only adds");
    return r == 0 && seal_keys_lock(keys, &locks[1], &secret, ret[1].bytes, NULL) == 0;
}

static inline bool
rig_open_with(struct backup_rig *rig, const char *password)
{
    struct seal_key_file keys[2];
    *rig = (struct backup_rig){.threads = 2, .password = password};
    (void)snprintf(rig->source, sizeof(rig->source), "%s/source", tap_dir());
    (void)snprintf(rig->where, sizeof(rig->where), "%s/repository", tap_dir());
    const struct repository_wish wish = {
        .where = rig->where, .make = true, .keys = keys, .keys_count = password ? 2 : 0};
    return (!password || rig_make_keys(password, keys)) && loop_rig_open(&rig->loop) &&
           rig_fill(rig) && repository_open(&wish, &rig->repository, &rig->err) == 0 &&
           rig_open_repository(rig);
}

/* On another host. */
static inline bool
rig_open_there(struct backup_rig *rig, const char *where, const struct secret *s3_key)
{
    *rig = (struct backup_rig){.threads = 2};
    (void)snprintf(rig->source, sizeof(rig->source), "%s/source", tap_dir());
    (void)snprintf(rig->copies, sizeof(rig->copies), "%s/copies", tap_dir());
    (void)snprintf(rig->where, sizeof(rig->where), "%s", where);
    rig->access = (struct repository_access){.copies = rig->copies, .s3_key = s3_key};
    const struct repository_wish wish = {.where = where, .access = rig->access, .make = true};
    return loop_rig_open(&rig->loop) && rig_fill(rig) &&
           repository_open(&wish, &rig->repository, &rig->err) == 0;
}

static inline bool
backup_rig_open(struct backup_rig *rig)
{
    return rig_open_with(rig, NULL);
}

static inline void
backup_rig_close(struct backup_rig *rig)
{
    repository_free(rig->repository);
    loop_rig_close(&rig->loop);
}

/* Beyond the time within which a change would go unseen. */
static inline void
rig_settle(struct backup_rig *rig)
{
    loop_rig_run(&rig->loop, 150000);
}

static inline int
rig_save(struct backup_rig *rig)
{
    const struct save_wish wish = {.repository = rig->repository,
                                   .source = rig->source,
                                   .host = "gpu1",
                                   .subject = "models",
                                   .name = rig->name ? rig->name : "phi3",
                                   .type = "daily",
                                   .delta = rig->delta,
                                   .parity_percent = rig->parity_percent,
                                   .threads = rig->threads,
                                   .dry = rig->dry};
    struct save *s = NULL;
    rig->r = -EINPROGRESS;
    rig->err = (struct err){0};
    int r = save_new(rig->loop.loop, &wish, backup_rig_ended, rig, &s, &rig->err);
    if (r < 0)
        return r;
    loop_rig_run(&rig->loop, LOOP_PATIENCE_US);
    rig->told = *save_told(s);
    save_free(s);
    return rig->r;
}

/* In a child, which may end in it: so with a loop of its own. */
static inline void
rig_save_in_child(void *arg)
{
    struct backup_rig *rig = arg;
    if (!loop_rig_open(&rig->loop) || !rig_open_repository(rig))
        _exit(1);
    (void)!rig_save(rig);
}

static inline int
rig_restore(struct backup_rig *rig, const struct restore_wish *more)
{
    struct restore_wish wish = *more;
    struct restore *r = NULL;
    wish.repository = rig->repository;
    wish.threads = rig->threads;
    object_digest(rig->told.snapshot, wish.snapshot);
    rig->r = -EINPROGRESS;
    rig->err = (struct err){0};
    int k = restore_new(rig->loop.loop, &wish, backup_rig_ended, rig, &r, &rig->err);
    if (k < 0)
        return k;
    loop_rig_run(&rig->loop, LOOP_PATIENCE_US);
    rig->restored = *restore_told(r);
    restore_free(r);
    return rig->r;
}

static inline void
rig_ignore_problem(const struct err *problem, void *arg unused_arg)
{
    tap_note("%s", problem->what);
}

/* What verifying all of it finds; or an error. */
static inline int
rig_count_problems(struct backup_rig *rig)
{
    const struct verify_wish wish = {.repository = rig->repository,
                                     .sample_percent = 100,
                                     .threads = rig->threads,
                                     .found = rig_ignore_problem};
    struct verify *v = NULL;
    rig->r = -EINPROGRESS;
    int r = verify_new(rig->loop.loop, &wish, backup_rig_ended, rig, &v, &rig->err);
    if (r < 0)
        return r;
    loop_rig_run(&rig->loop, LOOP_PATIENCE_US);
    r = rig->r < 0 ? rig->r : (int)verify_told(v)->problems;
    verify_free(v);
    return r;
}

static inline void
rig_on_problem(const struct err *problem, void *arg unused_arg)
{
    tap_fail(__FILE__, __LINE__, "%s", problem->what);
}

/* Of the whole repository; each problem fails the test. */
static inline bool
rig_is_whole(struct backup_rig *rig)
{
    const struct verify_wish wish = {.repository = rig->repository,
                                     .sample_percent = 100,
                                     .threads = rig->threads,
                                     .found = rig_on_problem};
    struct verify *v = NULL;
    rig->r = -EINPROGRESS;
    if (verify_new(rig->loop.loop, &wish, backup_rig_ended, rig, &v, &rig->err) < 0)
        return false;
    loop_rig_run(&rig->loop, LOOP_PATIENCE_US);
    bool whole = rig->r == 0 && verify_told(v)->problems == 0;
    verify_free(v);
    return whole;
}

/* All that a backup keeps of a tree, as a digest. Blocks of a sparse file may be fewer in one. */
static inline void
rig_digest(const char *path, char ret[HASH_SHA256_HEX])
{
    _cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct scan *s = NULL;
    struct scan_item item;
    struct hash_sha256 hash;
    uint8_t digest[HASH_SHA256_BYTES];
    static uint8_t bytes[64 * KIB];
    hash_sha256_init(&hash);
    if (dir < 0 || scan_open(dir, &s, NULL) < 0)
        tap_fail(__FILE__, __LINE__, "cannot scan %s", path);
    while (s && scan_next(s, &item, NULL) > 0) {
        _cleanup_free_ char *line = mem_printf(
            "%s %o %u:%u %lld.%09ld %lld %u\n", item.path, item.st.st_mode, item.st.st_uid,
            item.st.st_gid, (long long)item.st.st_mtim.tv_sec, item.st.st_mtim.tv_nsec,
            S_ISREG(item.st.st_mode) ? (long long)item.st.st_size : 0,
            S_ISDIR(item.st.st_mode) ? 0 : (unsigned)item.st.st_nlink);
        hash_sha256_update(&hash, line, strlen(line));
        if (S_ISLNK(item.st.st_mode)) {
            ssize_t n = readlinkat(item.dir, item.name, (char *)bytes, sizeof(bytes));
            hash_sha256_update(&hash, bytes, (size_t)MAX(n, 0));
        }
        if (!S_ISREG(item.st.st_mode))
            continue;
        _cleanup_close_ int fd = openat(item.dir, item.name, O_RDONLY | O_CLOEXEC);
        ssize_t n = fgetxattr(fd, "user.origin", bytes, sizeof(bytes));
        hash_sha256_update(&hash, bytes, (size_t)MAX(n, 0));
        while ((n = read(fd, bytes, sizeof(bytes))) > 0)
            hash_sha256_update(&hash, bytes, (size_t)n);
    }
    scan_free(s);
    hash_sha256_final(&hash, digest);
    hash_sha256_hex(digest, ret);
}

static inline bool
rig_is_same_tree(const char *a, const char *b)
{
    char x[HASH_SHA256_HEX], y[HASH_SHA256_HEX];
    rig_digest(a, x);
    rig_digest(b, y);
    return strcmp(x, y) == 0;
}
