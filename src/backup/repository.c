#include "backup/repository_int.h"
#include "base/mem.h"
#include "base/text.h"
#include "fmt/json.h"
#include "sys/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PARSED_MAX (MIB)
#define CHECK_BYTES (256 * KIB)

static const struct repository_kind *const kinds[] = {&repository_directory, &repository_sftp,
                                                      &repository_s3};

static const struct area {
    const char *name;
    enum seal_for whom;  /* of one that is encrypted; 0: what lies there is in clear all the same */
    bool is_copied;      /* of what is elsewhere this machine keeps copies */
    uint64_t most_bytes; /* of an object */
} areas[REPOSITORY_AREAS] = {
    [REPOSITORY_PACKS] = {"packs", SEAL_FOR_READERS, false, 5 * GIB},
    [REPOSITORY_INDEX] = {"index", SEAL_FOR_ALL, true, 16 * GIB},
    [REPOSITORY_SUMS] = {"sums", SEAL_FOR_READERS, false, 16 * GIB},
    [REPOSITORY_SNAPSHOTS] = {"snapshots", SEAL_FOR_READERS, true, 64 * GIB},
    [REPOSITORY_KEYS] = {"keys", 0, true, 4 * KIB},
    [REPOSITORY_MARKS] = {"marks", SEAL_FOR_ALL, true, 128 * MIB},
    [REPOSITORY_LOCKS] = {"locks", SEAL_FOR_ALL, false, 64 * KIB},
    [REPOSITORY_PARITY] = {"parity", 0, false, 5 * GIB},
};

const char *
repository_area_name(enum repository_area area)
{
    return areas[area].name;
}

static bool
is_sealed(const struct repository *r, enum repository_area area)
{
    return r->is_encrypted && areas[area].whom;
}

struct object_place
repository_place_raw(const struct repository *r, enum repository_area area)
{
    return (struct object_place){.dir = r->areas[area],
                                 .put = r->kind->put,
                                 .arg = (void *)(uintptr_t)&r->shelves[area],
                                 .keeps = areas[area].is_copied};
}

struct object_place
repository_place(const struct repository *r, enum repository_area area)
{
    struct object_place place = repository_place_raw(r, area);
    assert(!is_sealed(r, area) || r->keys);
    place.keys = is_sealed(r, area) ? r->keys : NULL;
    place.whom = areas[area].whom;
    return place;
}

uint64_t
repository_lying_bytes(const struct repository *r, uint64_t bytes)
{
    return r->is_encrypted ? seal_sealed_bytes(bytes) : bytes;
}

bool
repository_is_elsewhere(const struct repository *r)
{
    return r->kind->remote != NULL;
}

bool
repository_is_copied(enum repository_area area)
{
    return areas[area].is_copied;
}

uint64_t
repository_most_bytes(enum repository_area area)
{
    return areas[area].most_bytes;
}

/* ---- what it is ---- */

static int
other(struct err *reterr, const char *what)
{
    return err_set(reterr, ERR_REPOSITORY_OTHER, "%s", what);
}

int
repository_parse(const char *text, size_t len, struct repository_about *ret, struct err *reterr)
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
    memcpy(ret->id, id, REPOSITORY_ID_TEXT);
    const struct value *encrypted = value_get(top, "encrypted");
    ret->is_encrypted = false;
    if (encrypted && !value_bool(encrypted, &ret->is_encrypted))
        return other(reterr, "'" REPOSITORY_FILE "' does not say whether it is encrypted");
    return 0;
}

int
repository_print(bool is_encrypted, struct buf *out, struct repository_about *ret,
                 struct err *reterr)
{
    uint8_t chance[(REPOSITORY_ID_TEXT - 1) / 2] = {0};
    char made[32];
    const time_t now = (time_t)(clock_wall_us() / 1000000);
    struct tm tm;
    if (getrandom(chance, sizeof(chance), 0) != sizeof(chance))
        return err_set_errno(reterr, errno, "cannot draw an id for the repository");
    for (size_t i = 0; i < sizeof(chance); i++)
        (void)snprintf(ret->id + 2 * i, 3, "%02x", chance[i]);
    ret->is_encrypted = is_encrypted;
    (void)strftime(made, sizeof(made), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    buf_printf(out, "{\"format\": %d, \"id\": \"%s\", \"made\": \"%s\"%s}\n", REPOSITORY_FORMAT,
               ret->id, made, is_encrypted ? ", \"encrypted\": true" : "");
    return 0;
}

int
repository_none(const char *where, struct err *reterr)
{
    int r = err_set(reterr, ERR_REPOSITORY_NONE, "there is no repository in %s", where);
    err_fix(reterr, "citadel backup init");
    return r;
}

int
repository_is_there(const char *where, struct err *reterr)
{
    int r = err_set(reterr, ERR_REPOSITORY_THERE, "there is a repository in %s already", where);
    err_fix(reterr, "citadel backup list");
    return r;
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
    for (enum repository_area i = 0; i < REPOSITORY_AREAS; i++) {
        r->areas[i] = -1;
        r->shelves[i] = (struct repository_shelf){r, i};
    }
    if (!r->kind) {
        int k = err_set(reterr, ERR_REPOSITORY_OTHER,
                        "'%s' is neither a path nor a place for SFTP or S3", wish->where);
        err_fix(reterr,
                "set backup.repository as in /mnt/citadel-backup, sftp://backup@nas/srv/citadel or "
                "s3://HOST/BUCKET");
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
    if (r->elsewhere)
        r->kind->close(r);
    for (size_t i = 0; i < REPOSITORY_AREAS; i++)
        cleanup_close(&r->areas[i]);
    seal_keys_free(r->keys);
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

/* Each once: a list that broke off and was begun anew has some of them twice. */
void
repository_names_sort(struct repository_names *names)
{
    size_t count = MIN(names->count, (size_t)1);
    if (names->count > 1)
        qsort(names->items, names->count, sizeof(*names->items), by_bytes);
    for (size_t i = 1; i < names->count; i++)
        if (by_bytes(names->items[count - 1], names->items[i]) != 0)
            memmove(names->items[count++], names->items[i], sizeof(*names->items));
    names->count = count;
}

bool
repository_names_have(const struct repository_names *sorted, const uint8_t name[HASH_SHA256_BYTES])
{
    return sorted->count > 0 &&
           bsearch(name, sorted->items, sorted->count, sizeof(*sorted->items), by_bytes) != NULL;
}

int
repository_list(struct repository *r, enum repository_area area, struct repository_names *ret,
                struct err *reterr)
{
    int k = r->kind->list(r, area, ret, reterr);
    if (k == 0)
        repository_names_sort(ret);
    return k;
}

static int
get(const struct repository *r, enum repository_area area, const uint8_t digest[HASH_SHA256_BYTES],
    char ret_name[HASH_SHA256_HEX], struct err *reterr)
{
    hash_sha256_hex(digest, ret_name);
    return r->kind->get(r, area, ret_name, reterr);
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
repository_remove(struct repository *r, enum repository_area area,
                  const uint8_t name[HASH_SHA256_BYTES], struct err *reterr)
{
    char text[HASH_SHA256_HEX];
    struct err err;
    hash_sha256_hex(name, text);
    int k = r->kind->remove(r, area, text, &err);
    if (k == 0 || k == -ENOENT)
        return 0;
    if (reterr)
        *reterr = err;
    return k;
}

int
repository_write(struct repository *r, const char *name, const void *bytes, size_t len,
                 struct err *reterr)
{
    return r->kind->write(r, name, bytes, len, reterr);
}

int
repository_find_room(const struct repository *r, uint64_t *ret_bytes, struct err *reterr)
{
    return r->kind->find_room(r, ret_bytes, reterr);
}

int
repository_tidy(struct repository *r, uint64_t before_us, struct err *reterr)
{
    return r->kind->tidy ? r->kind->tidy(r, before_us, reterr) : 0;
}

void
repository_forget(struct repository *r)
{
    if (r->kind->forget)
        r->kind->forget(r);
}

/* ---- one that is open ---- */

struct repository_file {
    const struct repository *repository;
    int fd; /* -1: parts of it are read */
    enum repository_area area;
    char name[HASH_SHA256_HEX];
    uint64_t bytes;
    struct seal_reader *seal; /* NULL: it lies there as it is */
};

/* As it lies there. */
static int
read_lying(struct repository_file *f, uint64_t at, void *ret_bytes, size_t len, struct err *reterr)
{
    const struct repository *r = f->repository;
    if (f->fd < 0)
        return r->kind->read(r, f->area, f->name, at, ret_bytes, len, reterr);
    ssize_t n = read_at(f->fd, ret_bytes, len, at);
    if (n < 0)
        return err_set_errno(reterr, (int)-n, "cannot read %s/%s of the repository",
                             areas[f->area].name, f->name);
    return (size_t)n == len
               ? 0
               : err_set(reterr, ERR_PACK_DAMAGED, "%s/%s of the repository ends at byte %llu",
                         areas[f->area].name, f->name, (unsigned long long)(at + (size_t)n));
}

static int
read_sealed(void *arg, uint64_t at, void *ret_bytes, size_t len)
{
    return read_lying(arg, at, ret_bytes, len, NULL);
}

static int
unseal(struct repository_file *f, struct err *reterr)
{
    const struct flow_source source = {.read = read_sealed, .arg = f, .bytes = f->bytes};
    assert(f->repository->keys);
    int k = seal_open(f->repository->keys, &source, &f->seal, reterr);
    if (k < 0)
        err_prefix(reterr, "%s/%s of the repository", areas[f->area].name, f->name);
    else
        f->bytes = seal_bytes(f->seal);
    return k;
}

static int
open_fd(struct repository_file *f, struct err *reterr)
{
    struct stat st;
    f->fd = f->repository->kind->get(f->repository, f->area, f->name, reterr);
    if (f->fd >= 0 && fstat(f->fd, &st) < 0)
        return err_set_errno(reterr, errno, "cannot read %s/%s of the repository",
                             areas[f->area].name, f->name);
    f->bytes = f->fd < 0 ? 0 : (uint64_t)st.st_size;
    return MIN(f->fd, 0);
}

static int
open_file(const struct repository *r, enum repository_area area,
          const uint8_t name[HASH_SHA256_BYTES], bool whole, struct repository_file **ret,
          struct err *reterr)
{
    struct repository_file *f = mem_new(struct repository_file);
    *f = (struct repository_file){.repository = r, .fd = -1, .area = area};
    hash_sha256_hex(name, f->name);
    int k = whole || !r->kind->find ? 0 : r->kind->find(r, area, f->name, &f->bytes, reterr);
    if (k == 0)
        k = open_fd(f, reterr);
    if (k >= 0 && is_sealed(r, area))
        k = unseal(f, reterr);
    if (k < 0)
        repository_close_file(f);
    else
        *ret = f;
    return MIN(k, 0);
}

int
repository_open_file(const struct repository *r, enum repository_area area,
                     const uint8_t name[HASH_SHA256_BYTES], struct repository_file **ret,
                     struct err *reterr)
{
    return open_file(r, area, name, false, ret, reterr);
}

int
repository_open_whole(const struct repository *r, enum repository_area area,
                      const uint8_t name[HASH_SHA256_BYTES], struct repository_file **ret,
                      struct err *reterr)
{
    return open_file(r, area, name, true, ret, reterr);
}

void
repository_close_file(struct repository_file *f)
{
    if (!f)
        return;
    seal_reader_free(f->seal);
    cleanup_close(&f->fd);
    free(f);
}

uint64_t
repository_file_bytes(const struct repository_file *f)
{
    return f->bytes;
}

int
repository_read_file(struct repository_file *f, uint64_t at, void *ret_bytes, size_t len,
                     struct err *reterr)
{
    int k = 0;
    if (f->seal) {
        k = seal_read(f->seal, at, ret_bytes, len, reterr);
        if (k < 0)
            err_prefix(reterr, "%s/%s of the repository", areas[f->area].name, f->name);
        return k;
    }
    return read_lying(f, at, ret_bytes, len, reterr);
}

static int
read_source(void *arg, uint64_t at, void *ret_bytes, size_t len)
{
    return repository_read_file(arg, at, ret_bytes, len, NULL);
}

struct flow_source
repository_file_source(struct repository_file *f)
{
    return (struct flow_source){.read = read_source, .arg = f, .bytes = f->bytes};
}

int
repository_read(const struct repository *r, enum repository_area area,
                const uint8_t name[HASH_SHA256_BYTES], uint64_t at, void *ret_bytes, size_t len,
                struct err *reterr)
{
    struct repository_file *f = NULL;
    int k = repository_open_file(r, area, name, &f, reterr);
    if (k == 0)
        k = repository_read_file(f, at, ret_bytes, len, reterr);
    repository_close_file(f);
    return k;
}

/* ---- all of one ---- */

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

int
repository_hash_fd(int fd, uint8_t ret[HASH_SHA256_BYTES])
{
    struct hash_sha256 hash;
    ssize_t n;
    _cleanup_free_ uint8_t *piece = mem_alloc(CHECK_BYTES);
    hash_sha256_init(&hash);
    for (uint64_t at = 0; (n = read_at(fd, piece, CHECK_BYTES, at)) > 0; at += (size_t)n)
        hash_sha256_update(&hash, piece, (size_t)n);
    hash_sha256_final(&hash, ret);
    return (int)MIN(n, 0);
}

static int
misnamed(enum repository_area area, const char *name, struct err *reterr)
{
    return err_set(reterr, area == REPOSITORY_PACKS ? ERR_PACK_DAMAGED : ERR_SNAPSHOT_DAMAGED,
                   "%s/%s of the repository is not what its name says", areas[area].name, name);
}

int
repository_check_file(struct repository_file *f, struct err *reterr)
{
    uint8_t digest[HASH_SHA256_BYTES];
    char name[HASH_SHA256_HEX];
    int k = repository_hash_fd(f->fd, digest);
    if (k < 0)
        return err_set_errno(reterr, -k, "cannot read %s/%s of the repository", areas[f->area].name,
                             f->name);
    hash_sha256_hex(digest, name);
    return strcmp(name, f->name) == 0 ? 0 : misnamed(f->area, f->name, reterr);
}

/* Of memory of its own, so that it is unmapped as what is mapped. */
static int
take_out(struct seal_reader *seal, struct repository_object *ret, struct err *reterr)
{
    const size_t len = (size_t)seal_bytes(seal);
    *ret = (struct repository_object){(const uint8_t *)"", 0};
    if (len == 0)
        return seal_read(seal, 0, NULL, 0, reterr);
    void *bytes = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED)
        return err_set_errno(reterr, errno, "cannot hold an object of %zu bytes", len);
    *ret = (struct repository_object){bytes, len};
    int k = seal_read(seal, 0, bytes, len, reterr);
    if (k < 0)
        repository_unmap(ret);
    return k;
}

/* Replaces what is mapped by what it holds. */
static int
unseal_object(const struct repository *r, bool is_draft, struct repository_object *object,
              struct err *reterr)
{
    struct repository_object sealed = *object;
    struct flow_piece piece = {sealed.bytes, sealed.len};
    const struct flow_source source = flow_source_memory(&piece);
    struct seal_reader *seal = NULL;
    assert(r->keys);
    int k = is_draft ? seal_open_draft(r->keys, &source, &seal, reterr)
                     : seal_open(r->keys, &source, &seal, reterr);
    if (k == 0)
        k = take_out(seal, object, reterr);
    seal_reader_free(seal);
    repository_unmap(&sealed);
    if (k < 0)
        *object = (struct repository_object){0};
    return k;
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
        return err_set_errno(reterr, -k, "cannot read %s/%s of the repository", areas[area].name,
                             text);
    if (k == 0 && check && !fits(ret, name)) {
        repository_unmap(ret);
        return misnamed(area, text, reterr);
    }
    if (k == 0 && is_sealed(r, area)) {
        k = unseal_object(r, false, ret, reterr);
        if (k < 0)
            err_prefix(reterr, "%s/%s of the repository", areas[area].name, text);
    }
    return k;
}

int
repository_map_draft(const struct repository *r, int fd, struct repository_object *ret)
{
    int k = repository_map_fd(fd, ret);
    return k == 0 && r->is_encrypted ? unseal_object(r, true, ret, NULL) : k;
}

void
repository_unmap(struct repository_object *object)
{
    if (object->len > 0)
        (void)munmap((void *)(uintptr_t)object->bytes, object->len);
    *object = (struct repository_object){0};
}
