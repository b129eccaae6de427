#include "backup/window.h"

#include "base/mem.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define FILE_BYTES ((size_t)(5 * MIB + 17))

/* A file whose bytes tell where they are, and how it was read. */
struct far {
    pthread_mutex_t lock;
    unsigned reads;
    uint64_t bytes;
    bool fails;
};

static uint8_t
byte_at(uint64_t at)
{
    return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

static int
read_far(void *arg, const char *key unused_arg, uint64_t at, void *ret_bytes, size_t len,
         struct err *reterr)
{
    struct far *f = arg;
    uint8_t *to = ret_bytes;
    (void)pthread_mutex_lock(&f->lock);
    f->reads++;
    f->bytes += len;
    (void)pthread_mutex_unlock(&f->lock);
    if (f->fails)
        return err_set(reterr, ERR_REMOTE_LOST, "lost");
    CHECK(at + len <= FILE_BYTES);
    for (size_t i = 0; i < len; i++)
        to[i] = byte_at(at + i);
    return 0;
}

static bool
reads_right(struct windows *w, uint64_t at, size_t len)
{
    _cleanup_free_ uint8_t *bytes = mem_alloc(len + 1);
    if (windows_read(w, "packs/a", FILE_BYTES, at, bytes, len, NULL) < 0)
        return false;
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != byte_at(at + i))
            return false;
    return true;
}

TEST(parts_of_a_file_come_as_they_are)
{
    static const size_t rows[][2] = {
        {0, 0},          {0, 1},      {FILE_BYTES - 1, 1}, {FILE_BYTES, 0},
        {0, FILE_BYTES}, {131071, 2}, {2097151, 2097154},
    };
    struct far far = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct windows *w = windows_new(read_far, &far);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%zu bytes from %zu", rows[i][1], rows[i][0]);
        CHECK(reads_right(w, rows[i][0], rows[i][1]));
    }
    windows_free(w);
}

/* A record is read for itself; who reads on is read ahead for. */
TEST(who_reads_on_asks_seldom)
{
    struct far far = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct windows *w = windows_new(read_far, &far);
    CHECK(reads_right(w, FILE_BYTES - 32, 32) && reads_right(w, FILE_BYTES - 1000, 968));
    CHECK_EQ(far.reads, 1);
    CHECK(far.bytes <= 256 * KIB);
    for (size_t at = 0; at < 4 * MIB; at += 65552)
        CHECK(reads_right(w, at, 65552));
    CHECK(far.reads <= 1 + 5);
    windows_drop(w, "packs/b");
    unsigned before = far.reads;
    CHECK(reads_right(w, 3 * MIB, 10));
    CHECK_EQ(far.reads, before);
    windows_drop(w, "packs/a");
    CHECK(reads_right(w, 3 * MIB, 10));
    CHECK_EQ(far.reads, before + 1);
    windows_free(w);
}

TEST(what_cannot_be_read_is_not_kept)
{
    struct far far = {.lock = PTHREAD_MUTEX_INITIALIZER, .fails = true};
    struct windows *w = windows_new(read_far, &far);
    struct err err = {0};
    uint8_t byte;
    CHECK(windows_read(w, "packs/a", FILE_BYTES, 0, &byte, 1, &err) < 0);
    CHECK_EQ(err.id, ERR_REMOTE_LOST);
    far.fails = false;
    CHECK(reads_right(w, 0, 1));
    CHECK_EQ(windows_read(w, "packs/a", FILE_BYTES, FILE_BYTES, &byte, 1, &err), -EBADMSG);
    CHECK_EQ(windows_read(w, "packs/a", FILE_BYTES, UINT64_MAX, &byte, 1, &err), -EBADMSG);
    CHECK(strstr(err.what, "packs/a ends at byte 5242897"));
    windows_free(w);
}

struct reader {
    struct windows *w;
    bool right;
};

static void *
read_much(void *arg)
{
    struct reader *r = arg;
    r->right = true;
    for (size_t at = 0; at + 70000 < FILE_BYTES; at += 70000)
        r->right = r->right && reads_right(r->w, at, 70000);
    return NULL;
}

/* Many that read the same ask for it about once. */
TEST(threads_wait_for_the_same_part_together)
{
    struct far far = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct reader readers[8] = {0};
    pthread_t threads[8];
    struct windows *w = windows_new(read_far, &far);
    for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
        readers[i].w = w;
        REQUIRE(pthread_create(&threads[i], NULL, read_much, &readers[i]) == 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK(readers[i].right);
    }
    CHECK(far.bytes <= 2 * FILE_BYTES);
    windows_free(w);
}
