#include "backup/snapshot.h"

#include "backup/snapshot_int.h"
#include "base/mem.h"
#include "crash.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static const struct snapshot_head head = {.begun_ns = 1700000000000000001,
                                          .host = "gpu1",
                                          .subject = "models",
                                          .name = "phi3",
                                          .type = "daily",
                                          .source = "/models/phi3"};

#define BIG_BLOCKS (SNAPSHOT_BLOCKS_MAX + 1) /* more than a record has */

static const struct snapshot_entry entries[] = {
    {.kind = SNAPSHOT_DIRECTORY, .mode = 0755, .path = ""},
    {.kind = SNAPSHOT_DIRECTORY, .mode = 01777, .path = "a", .mtime_ns = -1},
    {.kind = SNAPSHOT_FILE, .path = "a/big", .size = BIG_BLOCKS * UINT64_C(10), .inode = 7},
    {.kind = SNAPSHOT_SYMLINK, .path = "a/link", .target = "../../etc/passwd"},
    {.kind = SNAPSHOT_FILE, .path = "a.b", .flags = SNAPSHOT_CHANGED | SNAPSHOT_SPARSE},
    {.kind = SNAPSHOT_HARDLINK, .path = "z", .target = "a/big"},
};

static struct snapshot_block
block_of(size_t i)
{
    struct snapshot_block block = {.bytes = 10};
    put_u64(block.id.bytes, i);
    return block;
}

static int
write_entry(struct snapshot_writer *w, const struct snapshot_entry *e, struct err *reterr)
{
    static struct snapshot_block blocks[BIG_BLOCKS];
    struct snapshot_entry full = *e;
    full.uid = 1000;
    full.owner = "citadel";
    full.group = "";
    full.target = e->target ? e->target : "";
    for (size_t i = 0; i < BIG_BLOCKS; i++)
        blocks[i] = block_of(i);
    int r = snapshot_add(w, &full, reterr);
    if (r == 0 && e->size > 0)
        r = snapshot_add_xattr(w, "user.one", "1", 1, reterr);
    if (r == 0 && e->size > 0)
        r = snapshot_add_xattr(w, "user.none", NULL, 0, reterr);
    return r == 0 && e->size > 0 ? snapshot_add_blocks(w, blocks, BIG_BLOCKS, reterr) : r;
}

static int
write_snapshot(char ret_name[HASH_SHA256_HEX], struct err *reterr)
{
    _cleanup_close_ int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct snapshot_end end = {.new_blocks = 3, .ended_ns = 5, .sums = {9}};
    struct snapshot_writer *w = NULL;
    int r = snapshot_begin(&(struct object_place){.dir = dir}, &head, &w, reterr);
    for (size_t i = 0; i < ARRAY_SIZE(entries) && r == 0; i++)
        r = write_entry(w, &entries[i], reterr);
    if (r == 0)
        r = snapshot_commit(w, &end, ret_name, reterr);
    snapshot_writer_free(w);
    return r;
}

static bool
read_back(struct buf *file)
{
    char name[HASH_SHA256_HEX], digest[HASH_SHA256_HEX];
    buf_init(file, MIB);
    if (write_snapshot(name, NULL) < 0)
        return false;
    _cleanup_free_ char *path = mem_printf("%s/%s", tap_dir(), name);
    if (file_read(path, file, NULL) < 0)
        return false;
    hash_sha256_text(file->data, file->len, digest);
    return strcmp(name, digest) == 0;
}

/* How many entries, or the error. */
static int
read_all(const void *bytes, size_t len, struct err *reterr)
{
    static struct snapshot_reader r;
    struct snapshot_head got;
    struct snapshot_entry e;
    int k = snapshot_open(bytes, len, &r, &got, reterr), count = 0;
    if (k < 0)
        return k;
    while ((k = snapshot_next(&r, &e, reterr)) > 0)
        count++;
    return k < 0 ? k : count;
}

TEST(a_snapshot_tells_what_it_was_told)
{
    static struct snapshot_reader r;
    _cleanup_buf_ struct buf file;
    struct snapshot_head got;
    struct snapshot_entry e;
    struct snapshot_xattr x;
    struct snapshot_block block;
    struct snapshot_end end;
    REQUIRE(read_back(&file));
    REQUIRE(snapshot_open(file.data, file.len, &r, &got, NULL) == 0);
    CHECK_EQ(got.begun_ns, head.begun_ns);
    CHECK_STR(got.host, "gpu1");
    CHECK_STR(got.subject, "models");
    CHECK_STR(got.name, "phi3");
    CHECK_STR(got.type, "daily");
    CHECK_STR(got.source, "/models/phi3");
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
        size_t count = 0;
        REQUIRE(snapshot_next(&r, &e, NULL) == 1);
        CHECK_STR(e.path, entries[i].path);
        CHECK_STR(e.target, entries[i].target ? entries[i].target : "");
        CHECK_EQ(e.kind, entries[i].kind);
        CHECK_EQ(e.flags, entries[i].flags);
        CHECK_EQ(e.mode, entries[i].mode);
        CHECK_EQ(e.mtime_ns, entries[i].mtime_ns);
        CHECK_EQ(e.uid, 1000);
        CHECK_STR(e.owner, "citadel");
        while (snapshot_next_block(&e.blocks, &block)) {
            const struct snapshot_block want = block_of(count++);
            CHECK(memcmp(&block, &want, sizeof(want)) == 0);
        }
        CHECK_EQ(count, e.size / 10);
        if (e.size == 0)
            continue;
        CHECK(snapshot_next_xattr(&e.xattrs, &x) && x.len == 1 && x.value[0] == '1');
        CHECK_STR(x.name, "user.one");
        CHECK(snapshot_next_xattr(&e.xattrs, &x) && x.len == 0);
        CHECK(!snapshot_next_xattr(&e.xattrs, &x));
    }
    CHECK_EQ(snapshot_next(&r, &e, NULL), 0);
    CHECK_EQ(r.end.entries, ARRAY_SIZE(entries));
    CHECK_EQ(r.end.files, 2);
    CHECK_EQ(r.end.bytes, BIG_BLOCKS * 10);
    CHECK_EQ(r.end.blocks, BIG_BLOCKS);
    REQUIRE(snapshot_read_end(file.data, file.len, &end, NULL) == 0);
    CHECK(memcmp(&end, &r.end, sizeof(end)) == 0 && end.new_blocks == 3 && end.sums[0] == 9);
}

/* Before anybody has compared it with its name. */
TEST(every_flipped_bit_of_a_snapshot_is_seen)
{
    _cleanup_buf_ struct buf file;
    struct err err;
    REQUIRE(read_back(&file));
    for (size_t bit = 0; bit < 8 * file.len; bit += bit < 8 * 2000 ? 1 : 997) {
        file.data[bit / 8] ^= (char)(1 << bit % 8);
        tap_note("bit %zu of byte %zu", bit % 8, bit / 8);
        CHECK_EQ(read_all(file.data, file.len, &err), -EBADMSG);
        CHECK_EQ(err.id, ERR_SNAPSHOT_DAMAGED);
        file.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    CHECK_EQ(read_all(file.data, file.len, &err), ARRAY_SIZE(entries));
}

TEST(a_snapshot_that_breaks_off_is_none)
{
    _cleanup_buf_ struct buf file;
    REQUIRE(read_back(&file));
    for (size_t len = 0; len < file.len; len += len < 2000 ? 1 : 97) {
        _cleanup_free_ char *bytes = malloc(len + !len); /* reads behind it are seen */
        memcpy(bytes, file.data, len);
        CHECK_EQ(read_all(bytes, len, NULL), -EBADMSG);
    }
    buf_add_char(&file, 0);
    CHECK_EQ(read_all(file.data, file.len, NULL), -EBADMSG);
}

TEST(paths_come_in_the_order_of_a_walk)
{
    static const char *const order[] = {"",    "a",     "a/\x01", "a/b", "a/b/c",    "a/b.", "a-",
                                        "a.b", "a.b/c", "a0",     "b",   "\xc3\xa4", "\xff"};
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        for (size_t k = 0; k < ARRAY_SIZE(order); k++) {
            int got = snapshot_order(order[i], order[k]);
            tap_note("'%s', '%s'", order[i], order[k]);
            CHECK_EQ((got > 0) - (got < 0), (i > k) - (i < k));
        }
}

TEST(paths_lead_nowhere_else)
{
    static const char *const good[] = {"a", "a/b", "...", ".a", "a/..b", "a b\n"};
    static const char *const bad[] = {"",  "/",  "/a",   "a/",   "a//b",
                                      ".", "..", "a/..", "../a", "a/./b"};
    char longest[SNAPSHOT_NAME_MAX + 2];
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        CHECK(snapshot_takes_path(good[i]));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        CHECK(!snapshot_takes_path(bad[i]));
    memset(longest, 'a', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    CHECK(!snapshot_takes_path(longest));
    longest[sizeof(longest) - 2] = '\0';
    CHECK(snapshot_takes_path(longest));
}

/* Two entries whose order or kinds do not fit, though each is whole. */
TEST(entries_out_of_place_are_refused)
{
    static const struct {
        struct snapshot_entry first, second;
    } rows[] = {
        {{.kind = SNAPSHOT_FILE, .path = ""}, {.kind = SNAPSHOT_FILE, .path = "a"}},
        {{.kind = SNAPSHOT_DIRECTORY, .path = "a"}, {.kind = SNAPSHOT_FILE, .path = "b"}},
        {{.kind = SNAPSHOT_DIRECTORY, .path = ""}, {.kind = SNAPSHOT_FILE, .path = "a/b"}},
        {{.kind = SNAPSHOT_DIRECTORY, .path = ""}, {.kind = SNAPSHOT_FILE, .path = ""}},
        {{.kind = SNAPSHOT_DIRECTORY, .path = ""}, {.kind = SNAPSHOT_FILE, .path = "../b"}},
        {{.kind = SNAPSHOT_DIRECTORY, .path = ""}, {.kind = SNAPSHOT_SYMLINK, .path = "b"}},
        {{.kind = SNAPSHOT_DIRECTORY, .path = ""},
         {.kind = SNAPSHOT_HARDLINK, .path = "b", .target = "../x"}},
        {{.kind = SNAPSHOT_DIRECTORY, .path = ""},
         {.kind = SNAPSHOT_HARDLINK, .path = "b", .target = "b"}},
        {{.kind = SNAPSHOT_DIRECTORY, .path = ""}, {.kind = 0, .path = "b"}},
        {{.kind = SNAPSHOT_DIRECTORY, .path = ""}, {.kind = SNAPSHOT_KINDS, .path = "b"}},
        {{.kind = SNAPSHOT_DIRECTORY, .path = ""},
         {.kind = SNAPSHOT_FILE, .path = "b", .mode = 010000}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_close_ int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_buf_ struct buf file = BUF_INIT(MIB);
        struct snapshot_writer *w = NULL;
        struct snapshot_end end = {0};
        char name[HASH_SHA256_HEX];
        struct err err;
        tap_note("row %zu", i);
        REQUIRE(snapshot_begin(&(struct object_place){.dir = dir}, &head, &w, &err) == 0);
        REQUIRE(write_entry(w, &rows[i].first, &err) == 0);
        REQUIRE(write_entry(w, &rows[i].second, &err) == 0);
        REQUIRE(snapshot_commit(w, &end, name, &err) == 0);
        snapshot_writer_free(w);
        _cleanup_free_ char *path = mem_printf("%s/%s", tap_dir(), name);
        REQUIRE(file_read(path, &file, NULL) == 0);
        CHECK_EQ(read_all(file.data, file.len, &err), -EBADMSG);
    }
}
