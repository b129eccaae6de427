#include "base/hash.h"

#include "base/secret.h"
#include "base/sha256_int.h"
#include "tap.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(sha256_agrees_with_fips_180)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        /* Around the places where the length still fits, and where a block ends. */
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (size_t cut = 0; cut <= strlen(rows[i].text); cut++) {
            struct hash_sha256 h;
            uint8_t digest[HASH_SHA256_BYTES];
            char hex[HASH_SHA256_HEX];
            hash_sha256_init(&h);
            hash_sha256_update(&h, rows[i].text, cut);
            hash_sha256_update(&h, rows[i].text + cut, strlen(rows[i].text) - cut);
            hash_sha256_final(&h, digest);
            hash_sha256_hex(digest, hex);
            CHECK_STR(hex, rows[i].want);
        }
    }
}

static uint8_t
letter(size_t i)
{
    return (uint8_t)(i * 131 + (i >> 8) * 17);
}

/* Both ways of hashing blocks, for each number of lanes. */
TEST(sha256_kernels_agree)
{
    sha256_kernel own = sha256_x86(), kernel = own ? own : sha256_plain;
    enum { BLOCKS = 5 };
    uint8_t bytes[SHA256_LANES * BLOCKS * SHA256_BLOCK];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = letter(i);
    for (size_t count = 1; count <= SHA256_LANES; count++) {
        uint32_t states[2][SHA256_LANES][8];
        struct sha256_lane lanes[2][SHA256_LANES];
        for (size_t i = 0; i < 2 * count; i++) {
            uint32_t *state = states[i / count][i % count];
            for (size_t k = 0; k < 8; k++)
                state[k] = (uint32_t)(i % count * 8 + k) * 0x9E3779B9;
            lanes[i / count][i % count] =
                (struct sha256_lane){state, bytes + i % count * BLOCKS * SHA256_BLOCK};
        }
        sha256_plain(lanes[0], count, BLOCKS);
        kernel(lanes[1], count, BLOCKS);
        for (size_t i = 0; i < count; i++) {
            CHECK(memcmp(states[0][i], states[1][i], sizeof(states[0][i])) == 0);
            CHECK(lanes[0][i].bytes == lanes[1][i].bytes);
        }
    }
}

/* Streams of all lengths beside each other, at odd places, come to what each comes to alone. */
TEST(sha256_of_many_is_that_of_each)
{
    enum { STREAMS = 5, LENGTH = 700 };
    uint8_t bytes[LENGTH + STREAMS];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = letter(i);
    for (size_t step = 1; step < 300; step += 13) {
        struct hash_sha256 alone[STREAMS], beside[STREAMS];
        size_t at[STREAMS] = {0};
        for (size_t i = 0; i < STREAMS; i++) {
            hash_sha256_init(&alone[i]);
            hash_sha256_init(&beside[i]);
            hash_sha256_update(&alone[i], bytes + i, LENGTH - 100 * i);
        }
        for (bool goes_on = true; goes_on;) {
            struct hash_sha256_piece pieces[STREAMS];
            goes_on = false;
            for (size_t i = 0; i < STREAMS; i++) {
                size_t len = MIN(step * (i + 1), LENGTH - 100 * i - at[i]);
                pieces[i] = (struct hash_sha256_piece){&beside[i], bytes + i + at[i], len};
                at[i] += len;
                goes_on |= len > 0;
            }
            hash_sha256_update_many(pieces, STREAMS);
        }
        for (size_t i = 0; i < STREAMS; i++) {
            uint8_t want[HASH_SHA256_BYTES], got[HASH_SHA256_BYTES];
            hash_sha256_final(&alone[i], want);
            hash_sha256_final(&beside[i], got);
            CHECK(memcmp(want, got, sizeof(want)) == 0);
        }
    }
}

struct asker {
    pthread_t thread;
    pthread_barrier_t *start;
    uint64_t hash;
};

static void *
ask(void *arg)
{
    struct asker *a = arg;
    (void)pthread_barrier_wait(a->start);
    a->hash = hash_key("x", 1);
    return NULL;
}

/* In a process that has drawn no key yet: no test above asks for a hash. */
static int
ask_at_once(void)
{
    struct asker askers[8];
    pthread_barrier_t start;
    int r = pthread_barrier_init(&start, NULL, ARRAY_SIZE(askers));
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(askers); i++) {
        askers[i].start = &start;
        r = pthread_create(&askers[i].thread, NULL, ask, &askers[i]);
    }
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(askers); i++) {
        r = pthread_join(askers[i].thread, NULL);
        if (askers[i].hash != askers[0].hash)
            r = 1;
    }
    return r;
}

TEST(threads_that_ask_first_and_together_hash_alike)
{
    for (int i = 0; i < 30; i++) {
        int status;
        pid_t child = fork();
        if (child == 0)
            _exit(ask_at_once());
        REQUIRE(waitpid(child, &status, 0) == child);
        CHECK_EQ(status, 0);
    }
}

TEST(table_hashes_are_stable_and_spread)
{
    char text[64];
    unsigned buckets[64] = {0};
    memset(text, 'a', sizeof(text));
    for (size_t len = 0; len < sizeof(text); len++) {
        CHECK(hash_key(text, len) == hash_key(text, len));
        if (len)
            CHECK(hash_key(text, len) != hash_key(text, len - 1));
    }
    for (uint32_t i = 0; i < 64000; i++)
        buckets[hash_key(&i, sizeof(i)) % 64]++;
    /* 1000 each are expected with a deviation of 31; 200 are six of them. */
    for (size_t i = 0; i < 64; i++)
        CHECK(buckets[i] > 800 && buckets[i] < 1200);
}

TEST(a_secret_prints_as_stars)
{
    _cleanup_secret_ struct secret s = {0};
    CHECK(!secret_is_set(&s));
    CHECK_STR(secret_print(&s), "");
    secret_set(&s, "hunter2");
    CHECK(secret_is_set(&s));
    CHECK_STR(secret_print(&s), "***");
    CHECK_STR(secret_reveal(&s), "hunter2");
    secret_set(&s, secret_reveal(&s)); /* from itself */
    CHECK_STR(secret_reveal(&s), "hunter2");
    secret_set(&s, NULL);
    CHECK(!secret_is_set(&s));
}
