#pragma once

/* The unit harness. A test registers itself and returns when a REQUIRE fails:
 *
 *     TEST(size_with_fraction)
 *     {
 *         REQUIRE(quantity_parse_bytes("1.5KiB", &n, NULL) == 0);
 *         CHECK_EQ(n, 1536);
 *     }
 *
 * Every test file runs in a child of its own, so that a crash fails its test and no other; what the
 * file's tests leak fails at its end. A test that leaves a descriptor open, or closes one that was
 * open, fails; so does one that takes longer than a minute. */

#include "base/util.h"

#include <string.h>

struct tap_test {
    const char *file;
    const char *name;
    int line;
    void (*run)(void);
    struct tap_test *next;
};

void tap_register(struct tap_test *test);
void tap_fail(const char *file, int line, const char *fmt, ...) printf_like(3, 4);
void tap_skip(const char *reason); /* the test must return next */
/* Said if the test fails: which row it was. */
void tap_note(const char *fmt, ...) printf_like(1, 2);

bool tap_check_eq(const char *file, int line, const char *what, long long got, long long want);
bool tap_check_str(const char *file, int line, const char *what, const char *got, const char *want);

/* A directory for this test alone, removed after it. */
const char *tap_dir(void);
/* What the heap has given out now, under AddressSanitizer too. */
size_t tap_heap_bytes(void);
/* How often the heap was asked for room, from the first call on; 0 without AddressSanitizer. */
size_t tap_heap_asked(void);
/* A path below the top of the source tree, as in "tests/data/NAME"; until the next call. */
const char *tap_source(const char *path);

#define TEST(name_)                                                               \
    static void test_##name_(void);                                               \
    static struct tap_test tap_##name_ = {                                        \
        .file = __FILE__, .name = #name_, .line = __LINE__, .run = test_##name_}; \
    __attribute__((constructor)) static void tap_register_##name_(void)           \
    {                                                                             \
        tap_register(&tap_##name_);                                               \
    }                                                                             \
    static void test_##name_(void)

#define CHECK(expr) ((expr) ? (void)0 : tap_fail(__FILE__, __LINE__, "%s", #expr))
#define CHECK_EQ(got, want) \
    ((void)tap_check_eq(__FILE__, __LINE__, #got, (long long)(got), (long long)(want)))
#define CHECK_STR(got, want) ((void)tap_check_str(__FILE__, __LINE__, #got, (got), (want)))

#define REQUIRE(expr)                                  \
    do {                                               \
        if (!(expr)) {                                 \
            tap_fail(__FILE__, __LINE__, "%s", #expr); \
            return;                                    \
        }                                              \
    } while (0)
