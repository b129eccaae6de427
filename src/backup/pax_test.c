#include "backup/pax.h"

#include "backup/squeeze.h"
#include "backup/test_int.h"

#include <zstd.h>

/* What an archive has become, in memory. */
static int
add(void *arg, const void *bytes, size_t len, struct err *reterr)
{
    (void)reterr;
    buf_add(arg, bytes, len);
    return buf_error(arg);
}

struct rig {
    struct buf out;
    struct pax pax;
};

static void
rig_open(struct rig *rig)
{
    buf_init(&rig->out, 1 * MIB);
    pax_begin(&rig->pax, &(struct flow_sink){add, &rig->out});
}

static struct snapshot_entry
file_named(const char *path)
{
    return (struct snapshot_entry){.kind = SNAPSHOT_FILE,
                                   .mode = 0640,
                                   .mtime_ns = INT64_C(1600000000) * 1000000000,
                                   .path = path,
                                   .target = "",
                                   .owner = "root",
                                   .group = "root"};
}

/* The records before the header, and the header; what does not stand there is "". */
static const char *
find_record(const struct rig *rig, const char *key, char ret[64 * KIB])
{
    const char *at = rig->out.data + 512;
    const char *end = at + strtoull(rig->out.data + 124, NULL, 8);
    ret[0] = '\0';
    if (rig->out.data[156] != 'x')
        return ret;
    while (at < end) {
        char *text;
        size_t len = strtoull(at, &text, 10), key_len = strlen(key);
        CHECK(len > 0 && at + len <= end && at[len - 1] == '\n' && *text == ' ');
        if (strncmp(text + 1, key, key_len) == 0 && text[1 + key_len] == '=')
            (void)snprintf(ret, 64 * KIB, "%.*s",
                           (int)((size_t)(at + len - 1 - text) - key_len - 2), text + key_len + 2);
        at += MAX(len, (size_t)1);
    }
    CHECK(at == end);
    return ret;
}

static const char *
header_of(const struct rig *rig)
{
    const char *first = rig->out.data;
    if (first[156] != 'x')
        return first;
    return first + 512 + (strtoull(first + 124, NULL, 8) + 511) / 512 * 512;
}

static void
check_sum(const char *header)
{
    unsigned sum = 8 * ' ';
    for (size_t i = 0; i < 512; i++)
        sum += i >= 148 && i < 156 ? 0 : (uint8_t)header[i];
    CHECK_EQ(strtoul(header + 148, NULL, 8), sum);
}

/* Of one entry: a record of it, and how long its header has it to be. */
struct row {
    const char *key, *want;
    const char *top;
    struct snapshot_entry e;
};

#define TEN "0123456789"
#define FIFTY TEN TEN TEN TEN TEN

TEST(what_the_header_has_no_room_for_stands_before_it)
{
    const struct row rows[] = {
        {"path", "", "m", file_named("config.json")},
        {"mtime", "", "m", file_named("config.json")},
        {"path", "", "m", file_named(FIFTY "/0123456789012345678901234567890123456789012345")},
        {"path", "m/" FIFTY "/" FIFTY, "m", file_named(FIFTY "/" FIFTY)},
        {"path", "m/" FIFTY FIFTY FIFTY "/" FIFTY FIFTY FIFTY, "m",
         file_named(FIFTY FIFTY FIFTY "/" FIFTY FIFTY FIFTY)},
        {"path", "m/größe", "m", file_named("größe")},
        {"path", "m/\xff", "m", file_named("\xff")},
        {"path", "", "m", file_named("a\nb")},
        {"path", "m/" FIFTY FIFTY "\n9 path=x\n", "m", file_named(FIFTY FIFTY "\n9 path=x\n")},
        {"size", "", "m", {.size = UINT64_C(077777777777)}},
        {"size", "8589934592", "m", {.size = UINT64_C(8) << 30}},
        {"size", "18446744073709551615", "m", {.size = UINT64_MAX}},
        {"uid", "", "m", {.uid = 07777777}},
        {"uid", "2097152", "m", {.uid = 010000000}},
        {"gid", "4294967295", "m", {.gid = UINT32_MAX}},
        {"mtime", "1600000000.000000001", "m", {.mtime_ns = INT64_C(1600000000000000001)}},
        {"mtime", "-0.500000000", "m", {.mtime_ns = -500000000}},
        {"mtime", "-2.000000000", "m", {.mtime_ns = -2000000000}},
        {"mtime", "-1.250000000", "m", {.mtime_ns = -1250000000}},
        {"mtime", "-9223372036.854775808", "m", {.mtime_ns = INT64_MIN}},
        {"uname", "", "m", {.owner = "0123456789012345678901234567890"}},
        {"uname",
         "01234567890123456789012345678901",
         "m",
         {.owner = "01234567890123456789012345678901"}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        static char text[64 * KIB];
        struct rig rig;
        struct snapshot_entry e = rows[i].e;
        e.kind = SNAPSHOT_FILE;
        e.path = e.path ? e.path : "x";
        e.target = "";
        e.owner = e.owner ? e.owner : "root";
        e.group = "root";
        tap_note("row %zu", i);
        rig_open(&rig);
        CHECK_EQ(pax_add(&rig.pax, rows[i].top, &e, NULL), 0);
        CHECK_EQ(rig.out.len % 512, 0);
        CHECK_STR(find_record(&rig, rows[i].key, text), rows[i].want);
        CHECK_EQ(header_of(&rig) + 512 - rig.out.data, rig.out.len);
        check_sum(header_of(&rig));
        check_sum(rig.out.data);
        CHECK(memcmp(header_of(&rig) + 257, "ustar\00000", 8) == 0);
        buf_finish(&rig.out);
    }
}

/* The length of a record counts its own digits: where these become one more. */
TEST(the_length_of_a_record_is_that_of_all_of_it)
{
    static char path[1200], text[64 * KIB];
    for (size_t len = 101; len < sizeof(path); len++) {
        struct rig rig;
        memset(path, 'x', len);
        struct snapshot_entry e = file_named(path);
        rig_open(&rig);
        CHECK_EQ(pax_add(&rig.pax, "", &e, NULL), 0);
        CHECK_EQ(strlen(find_record(&rig, "path", text)), len);
        buf_finish(&rig.out);
    }
}

TEST(a_file_is_filled_up_to_a_block_in_whatever_pieces_it_comes)
{
    static const size_t sizes[] = {0, 1, 511, 512, 513, 5000};
    static char bytes[5000];
    memset(bytes, 'b', sizeof(bytes));
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        for (size_t piece = 1; piece <= 5000; piece = piece * 7 + 4) {
            struct rig rig;
            struct snapshot_entry e = file_named("x");
            e.size = sizes[i];
            rig_open(&rig);
            CHECK_EQ(pax_add(&rig.pax, "", &e, NULL), 0);
            for (size_t at = 0; at < e.size; at += piece)
                CHECK_EQ(pax_write(&rig.pax, bytes, MIN(piece, e.size - at), NULL), 0);
            CHECK_EQ(pax_end(&rig.pax, NULL), 0);
            CHECK_EQ(rig.out.len, 512 + (e.size + 511) / 512 * 512 + 1024);
            CHECK(memcmp(rig.out.data + 512, bytes, e.size) == 0);
            for (size_t at = 512 + e.size; at < rig.out.len; at++)
                CHECK(rig.out.data[at] == '\0');
            buf_finish(&rig.out);
        }
}

TEST(kinds_and_devices_are_told)
{
    static const struct {
        struct snapshot_entry e;
        char type;
        const char *name, *target, *major, *minor;
    } rows[] = {
        {{.kind = SNAPSHOT_DIRECTORY, .path = ""}, '5', "m/", "", "0000000", "0000000"},
        {{.kind = SNAPSHOT_DIRECTORY, .path = "d"}, '5', "m/d/", "", "0000000", "0000000"},
        {{.kind = SNAPSHOT_SYMLINK, .path = "l", .target = "../x"},
         '2',
         "m/l",
         "../x",
         "0000000",
         "0000000"},
        {{.kind = SNAPSHOT_HARDLINK, .path = "h", .target = "d/x"},
         '1',
         "m/h",
         "m/d/x",
         "0000000",
         "0000000"},
        {{.kind = SNAPSHOT_FIFO, .path = "f"}, '6', "m/f", "", "0000000", "0000000"},
        {{.kind = SNAPSHOT_CHARACTER_DEVICE, .path = "c", .size = UINT64_C(1) << 32 | 8},
         '3',
         "m/c",
         "",
         "0000001",
         "0000010"},
        {{.kind = SNAPSHOT_BLOCK_DEVICE, .path = "b", .size = UINT64_C(259) << 32},
         '4',
         "m/b",
         "",
         "0000403",
         "0000000"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rig rig;
        struct snapshot_entry e = rows[i].e;
        e.target = e.target ? e.target : "";
        e.owner = e.group = "root";
        rig_open(&rig);
        CHECK_EQ(pax_add(&rig.pax, "m", &e, NULL), 0);
        CHECK_EQ(rig.out.len, 512);
        CHECK_EQ(rig.out.data[156], rows[i].type);
        CHECK_STR(rig.out.data, rows[i].name);
        CHECK_STR(rig.out.data + 157, rows[i].target);
        CHECK_STR(rig.out.data + 329, rows[i].major);
        CHECK_STR(rig.out.data + 337, rows[i].minor);
        CHECK_EQ(strtoull(rig.out.data + 124, NULL, 8), 0); /* none has content */
        buf_finish(&rig.out);
    }
}

static int
refuse(void *arg, const void *bytes unused_arg, size_t len unused_arg, struct err *reterr)
{
    unsigned *left = arg;
    return (*left)-- > 0 ? 0 : err_set_errno(reterr, ENOSPC, "full");
}

/* Each write in turn. */
TEST(what_cannot_be_written_ends_an_archive)
{
    unsigned failed = 0;
    for (unsigned n = 0;; n++) {
        unsigned left = n;
        struct pax p;
        struct err err = {0};
        struct snapshot_entry e = file_named("größe");
        e.size = 3;
        pax_begin(&p, &(struct flow_sink){refuse, &left});
        int r = pax_add(&p, "m", &e, &err);
        if (r == 0)
            r = pax_write(&p, "abc", 3, &err);
        if (r == 0)
            r = pax_end(&p, &err);
        if (r == 0)
            break;
        CHECK_EQ(r, -ENOSPC);
        failed++;
    }
    CHECK_EQ(failed, 11); /* a header, the five parts of a record, its padding, ... */
}

TEST(what_is_squeezed_comes_out_again_and_has_an_end)
{
    const size_t len = 3 * MIB + 17;
    _cleanup_free_ uint8_t *bytes = mem_alloc(len), *back = mem_alloc(len);
    struct buf out = BUF_INIT(8 * MIB);
    struct squeeze *s = NULL;
    fill_noise(bytes, len / 2, 5);
    REQUIRE(squeeze_new(&(struct flow_sink){add, &out}, 2, &s, NULL) == 0);
    const struct flow_sink sink = squeeze_sink(s);
    for (size_t at = 0; at < len; at += 100000)
        CHECK_EQ(sink.write(sink.arg, bytes + at, MIN(len - at, (size_t)100000), NULL), 0);
    CHECK(ZSTD_isError(ZSTD_findFrameCompressedSize(out.data, out.len)));
    CHECK_EQ(squeeze_end(s, NULL), 0);
    CHECK_EQ(ZSTD_findFrameCompressedSize(out.data, out.len), out.len);
    CHECK_EQ(ZSTD_decompress(back, len, out.data, out.len), len);
    CHECK(memcmp(back, bytes, len) == 0);
    out.data[out.len / 3] ^= 1;
    CHECK(ZSTD_isError(ZSTD_decompress(back, len, out.data, out.len)));
    squeeze_free(s);
    buf_finish(&out);
}
