#include "backup/pack.h"

#include "backup/object.h"
#include "backup/pack_int.h"
#include "base/mem.h"
#include "crash.h"
#include "sys/files.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCKS 5
#define BLOCK_BYTES 50

/* A pack of small blocks, the last of which has the first as its base. */
static struct pack_record
record_of(size_t i, const uint8_t *stored, const struct block_id *base)
{
    struct pack_record r = {.form = CODEC_PLAIN,
                            .block_bytes = (uint32_t)(100 + i),
                            .stored = stored,
                            .stored_bytes = (uint32_t)(BLOCK_BYTES + i),
                            .base = i + 1 == BLOCKS ? base : NULL};
    memset(&r.id, (int)(0x90 - 7 * i), sizeof(r.id)); /* not in the order of their places */
    return r;
}

static void
make_stored(size_t i, uint8_t to[BLOCK_BYTES + BLOCKS])
{
    for (size_t k = 0; k < BLOCK_BYTES + i; k++)
        to[k] = (uint8_t)(k * 31 + i);
}

static int
read_entries(const struct pack *pack, struct pack_entries *ret, struct err *reterr)
{
    struct flow_piece piece = {pack->bytes, pack->len};
    const struct flow_source source = flow_source_memory(&piece);
    return pack_read_entries(&source, ret, reterr);
}

static int
write_pack(int dir, char ret_name[HASH_SHA256_HEX], struct err *reterr)
{
    struct pack_writer *w = NULL;
    struct pack_entries entries;
    const struct block_id base = {{1, 2, 3}};
    int r = pack_begin(&(struct object_place){.dir = dir}, &w, reterr);
    for (size_t i = 0; i < BLOCKS && r == 0; i++) {
        uint8_t stored[BLOCK_BYTES + BLOCKS];
        make_stored(i, stored);
        const struct pack_record record = record_of(i, stored, &base);
        r = pack_add(w, &record, reterr);
    }
    if (r == 0)
        r = pack_finish(w, ret_name, &entries, reterr);
    if (r == 0 && entries.count != BLOCKS)
        r = -EBADMSG;
    pack_writer_free(w);
    return r;
}

static int
open_dir(void)
{
    return open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

struct rig {
    struct buf file;
    char name[HASH_SHA256_HEX];
    struct pack pack;
};

static bool
rig_open(struct rig *rig)
{
    _cleanup_close_ int dir = open_dir();
    struct err err;
    buf_init(&rig->file, 64 * KIB);
    if (write_pack(dir, rig->name, &err) < 0)
        return false;
    _cleanup_free_ char *path = mem_printf("%s/%s", tap_dir(), rig->name);
    if (file_read(path, &rig->file, &err) < 0)
        return false;
    rig->pack = (struct pack){(const uint8_t *)rig->file.data, rig->file.len};
    return true;
}

static bool
is_record(const struct pack_found *found, size_t i)
{
    const struct block_id base = {{1, 2, 3}};
    uint8_t stored[BLOCK_BYTES + BLOCKS];
    make_stored(i, stored);
    const struct pack_record want = record_of(i, stored, &base), *r = &found->record;
    return memcmp(&r->id, &want.id, sizeof(r->id)) == 0 && r->form == want.form &&
           r->block_bytes == want.block_bytes && r->stored_bytes == want.stored_bytes &&
           memcmp(r->stored, stored, r->stored_bytes) == 0 && !r->base == !want.base &&
           (!r->base || memcmp(r->base, &base, sizeof(base)) == 0);
}

/* By their SHA-256 the last block of the rig comes first. */
static bool
has_all(const struct pack *pack, const struct pack_entries *entries)
{
    bool all = entries->count == BLOCKS;
    for (size_t i = 0; i < entries->count && all; i++) {
        struct pack_found found;
        all = pack_read(pack, entries->items[i].at, &found, NULL) == 0 &&
              found.bytes == entries->items[i].record_bytes && is_record(&found, BLOCKS - 1 - i);
    }
    return all;
}

TEST(a_pack_gives_back_what_was_put_in)
{
    struct rig rig;
    struct pack_entries entries;
    struct err err;
    char name[HASH_SHA256_HEX];
    REQUIRE(rig_open(&rig));
    hash_sha256_text(rig.file.data, rig.file.len, name);
    CHECK_STR(rig.name, name);
    REQUIRE(read_entries(&rig.pack, &entries, &err) == 0);
    CHECK(has_all(&rig.pack, &entries));
    free(entries.items);
    CHECK_EQ(pack_salvage(&rig.pack, &entries),
             PACK_MAGIC_BYTES + BLOCKS * PACK_ENTRY_BYTES + PACK_END_BYTES);
    CHECK(has_all(&rig.pack, &entries));
    free(entries.items);
    buf_finish(&rig.file);
}

/* Each bit, wherever it is, is missed by the trailer or by just that record; the others are found. */
TEST(every_flipped_bit_of_a_pack_is_seen)
{
    struct rig rig;
    REQUIRE(rig_open(&rig));
    for (size_t bit = 0; bit < 8 * rig.file.len; bit++) {
        struct pack_entries entries, found;
        struct err err = {0};
        size_t whole = 0;
        rig.file.data[bit / 8] ^= (char)(1 << bit % 8);
        bool listed = read_entries(&rig.pack, &entries, &err) == 0;
        for (size_t i = 0; listed && i < entries.count; i++) {
            struct pack_found one;
            whole += pack_read(&rig.pack, entries.items[i].at, &one, &err) == 0;
        }
        tap_note("bit %zu of byte %zu", bit % 8, bit / 8);
        CHECK(!listed || whole == BLOCKS - 1);
        CHECK_EQ(err.id, ERR_PACK_DAMAGED);
        (void)pack_salvage(&rig.pack, &found);
        CHECK_EQ(found.count, listed ? BLOCKS - 1 : BLOCKS);
        if (listed)
            free(entries.items);
        free(found.items);
        rig.file.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    buf_finish(&rig.file);
}

TEST(a_pack_that_was_cut_off_keeps_its_first_records)
{
    struct rig rig;
    size_t before = 0;
    REQUIRE(rig_open(&rig));
    for (size_t len = 0; len < rig.file.len; len++) {
        /* of its own length, so that a read behind it is seen */
        _cleanup_free_ uint8_t *bytes = malloc(len + !len);
        const struct pack cut = {bytes, len};
        struct pack_entries entries;
        struct err err;
        memcpy(bytes, rig.file.data, len);
        CHECK_EQ(read_entries(&cut, &entries, &err), -EBADMSG);
        (void)pack_salvage(&cut, &entries);
        CHECK(entries.count == before || entries.count == before + 1);
        before = entries.count;
        free(entries.items);
    }
    CHECK_EQ(before, BLOCKS);
    buf_finish(&rig.file);
}

static bool
is_draft(const char *name)
{
    return strncmp(name, OBJECT_DRAFT, strlen(OBJECT_DRAFT)) == 0;
}

/* Whatever has a name is whole. */
static bool
is_whole(const char *name)
{
    _cleanup_free_ char *path = mem_printf("%s/%s", tap_dir(), name);
    _cleanup_buf_ struct buf file = BUF_INIT(64 * KIB);
    char digest[HASH_SHA256_HEX];
    if (file_read(path, &file, NULL) < 0)
        return false;
    hash_sha256_text(file.data, file.len, digest);
    return strcmp(name, digest) == 0;
}

/* What is in the directory, which is empty behind it. */
static void
clear_dir(size_t *ret_packs, size_t *ret_drafts)
{
    DIR *dir = opendir(tap_dir());
    *ret_packs = *ret_drafts = 0;
    assert(dir);
    for (const struct dirent *e; (e = readdir(dir));) {
        if (e->d_type != DT_REG)
            continue;
        *ret_drafts += is_draft(e->d_name);
        *ret_packs += !is_draft(e->d_name);
        CHECK(is_draft(e->d_name) || is_whole(e->d_name));
        CHECK(unlinkat(dirfd(dir), e->d_name, 0) == 0);
    }
    (void)closedir(dir);
}

static void
write_one(void *arg unused_arg)
{
    _cleanup_close_ int dir = open_dir();
    char name[HASH_SHA256_HEX];
    (void)!write_pack(dir, name, NULL);
}

TEST(a_crash_leaves_a_whole_pack_or_none)
{
    for (int torn = 0; torn < 2; torn++) {
        size_t with = 0, without = 0, packs, drafts;
        for (unsigned n = 1;; n++) {
            tap_note("torn %d, call %u", torn, n);
            bool crashed = crash_at(n, torn, write_one, NULL);
            clear_dir(&packs, &drafts);
            with += packs;
            without += packs == 0;
            REQUIRE(crashed || (packs == 1 && drafts == 0));
            if (!crashed)
                break;
        }
        CHECK(without >= 3); /* before create, write, fsync, rename */
        CHECK(with >= 2);    /* before the directory's fsync, and without a crash */
    }
}

TEST(a_disk_that_fails_leaves_no_draft)
{
    for (unsigned n = 1; n < 20; n++) {
        size_t packs, drafts;
        tap_note("call %u", n);
        fail_at(n, false, write_one, NULL);
        clear_dir(&packs, &drafts);
        CHECK(packs <= 1);
        CHECK_EQ(drafts, 0);
    }
}
