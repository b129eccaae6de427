#include "backup/repository_int.h"
#include "base/mem.h"
#include "base/text.h"
#include "fmt/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARSED_MAX (MIB)

static const struct repository_kind *const kinds[] = {&repository_directory};

static const char *const area_names[REPOSITORY_AREAS] = {"packs", "index", "sums", "snapshots"};

const char *
repository_area_name(enum repository_area area)
{
    return area_names[area];
}

/* ---- what it is ---- */

static int
other(struct err *reterr, const char *what)
{
    return err_set(reterr, ERR_REPOSITORY_OTHER, "%s", what);
}

int
repository_parse(const char *text, size_t len, char ret_id[REPOSITORY_ID_TEXT], struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct value *top = NULL;
    uint64_t format;
    arena_init(&arena, PARSED_MAX);
    int r = json_parse(&arena, text, len, JSON_STRICT, &top, NULL, reterr);
    if (r < 0)
        return other(reterr, "'" REPOSITORY_FILE "' cannot be read as JSON");
    if (!value_u64(value_get(top, "format"), &format))
        return other(reterr, "'" REPOSITORY_FILE "' does not say which format it is");
    if (format != REPOSITORY_FORMAT) {
        r = err_set(reterr, ERR_REPOSITORY_OTHER,
                    "the repository has format %llu, and this release knows %d",
                    (unsigned long long)format, REPOSITORY_FORMAT);
        err_fix(reterr, "use the release of Citadel that made it, or a later one");
        return r;
    }
    const char *id = value_str(value_get(top, "id"));
    if (!id || strlen(id) != REPOSITORY_ID_TEXT - 1 ||
        strspn(id, "0123456789abcdef") != REPOSITORY_ID_TEXT - 1)
        return other(reterr, "'" REPOSITORY_FILE "' has no id of 32 hexadecimal digits");
    memcpy(ret_id, id, REPOSITORY_ID_TEXT);
    return 0;
}

/* ---- opening ---- */

/* "/srv/backup" and "sftp://..." differ in how they begin. */
static const struct repository_kind *
find_kind(const char *where)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (text_starts(where, kinds[i]->scheme))
            return kinds[i];
    return NULL;
}

int
repository_open(const struct repository_wish *wish, struct repository **ret, struct err *reterr)
{
    _cleanup_repository_ struct repository *r = mem_new(struct repository);
    r->where = mem_strdup(wish->where);
    r->kind = find_kind(wish->where);
    for (size_t i = 0; i < REPOSITORY_AREAS; i++)
        r->areas[i] = -1;
    if (!r->kind) {
        int k = err_set(reterr, ERR_REPOSITORY_OTHER,
                        "this release keeps backups in directories, and '%s' is none", wish->where);
        err_fix(reterr, "set backup.repository to a path, as in /mnt/citadel-backup");
        return k;
    }
    int k = r->kind->open(r, wish, reterr);
    if (k < 0)
        return k;
    *ret = take_ptr(r);
    return 0;
}

void
repository_free(struct repository *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < REPOSITORY_AREAS; i++)
        cleanup_close(&r->areas[i]);
    free(r->where);
    free(r);
}

void
repository_freep(struct repository **r)
{
    repository_free(*r);
}

/* ---- objects ---- */

static int
by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, HASH_SHA256_BYTES);
}

int
repository_list(struct repository *r, enum repository_area area, struct repository_names *ret,
                struct err *reterr)
{
    int k = r->kind->list(r, area, ret, reterr);
    if (k == 0 && ret->count > 1)
        qsort(ret->items, ret->count, sizeof(*ret->items), by_bytes);
    return k;
}

static int
get(const struct repository *r, enum repository_area area, const uint8_t digest[HASH_SHA256_BYTES],
    char ret_name[HASH_SHA256_HEX], struct err *reterr)
{
    hash_sha256_hex(digest, ret_name);
    int fd = r->kind->get(r, area, ret_name);
    return fd < 0 ? err_set_errno(reterr, -fd, "cannot read %s/%s of the repository",
                                  area_names[area], ret_name)
                  : fd;
}

static ssize_t
read_at(int fd, uint8_t *to, size_t len, uint64_t at)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(fd, to + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : (ssize_t)done;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int
repository_read(const struct repository *r, enum repository_area area,
                const uint8_t name[HASH_SHA256_BYTES], uint64_t at, void *ret_bytes, size_t len,
                struct err *reterr)
{
    char text[HASH_SHA256_HEX];
    _cleanup_close_ int fd = get(r, area, name, text, reterr);
    if (fd < 0)
        return fd;
    ssize_t n = read_at(fd, ret_bytes, len, at);
    if (n < 0)
        return err_set_errno(reterr, (int)-n, "cannot read %s/%s of the repository",
                             area_names[area], text);
    return (size_t)n == len
               ? 0
               : err_set(reterr, ERR_PACK_DAMAGED, "%s/%s of the repository ends at byte %llu",
                         area_names[area], text, (unsigned long long)(at + (size_t)n));
}

int
repository_map_fd(int fd, struct repository_object *ret)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    *ret = (struct repository_object){(const uint8_t *)"", 0};
    if (st.st_size == 0)
        return 0;
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    *ret = (struct repository_object){bytes, (size_t)st.st_size};
    return 0;
}

static bool
fits(const struct repository_object *object, const uint8_t name[HASH_SHA256_BYTES])
{
    uint8_t digest[HASH_SHA256_BYTES];
    struct hash_sha256 hash;
    hash_sha256_init(&hash);
    hash_sha256_update(&hash, object->bytes, object->len);
    hash_sha256_final(&hash, digest);
    return memcmp(digest, name, sizeof(digest)) == 0;
}

int
repository_map(const struct repository *r, enum repository_area area,
               const uint8_t name[HASH_SHA256_BYTES], bool check, struct repository_object *ret,
               struct err *reterr)
{
    char text[HASH_SHA256_HEX];
    _cleanup_close_ int fd = get(r, area, name, text, reterr);
    int k = fd < 0 ? fd : repository_map_fd(fd, ret);
    if (fd >= 0 && k < 0)
        return err_set_errno(reterr, -k, "cannot read %s/%s of the repository", area_names[area],
                             text);
    if (k < 0 || !check || fits(ret, name))
        return k;
    repository_unmap(ret);
    return err_set(reterr, area == REPOSITORY_PACKS ? ERR_PACK_DAMAGED : ERR_SNAPSHOT_DAMAGED,
                   "%s/%s of the repository is not what its name says", area_names[area], text);
}

void
repository_unmap(struct repository_object *object)
{
    if (object->len > 0)
        (void)munmap((void *)(uintptr_t)object->bytes, object->len);
    *object = (struct repository_object){0};
}
