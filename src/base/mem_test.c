#include "base/mem.h"

#include "tap.h"

#include <stdlib.h>

TEST(an_arena_gives_zeroed_aligned_memory)
{
    _cleanup_arena_ struct arena a;
    arena_init(&a, MIB);
    for (size_t bytes = 0; bytes < 500; bytes++) {
        unsigned char *p = arena_alloc(&a, bytes);
        REQUIRE(p);
        CHECK_EQ((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < bytes; i++)
            REQUIRE(p[i] == 0);
        memset(p, 0xAA, bytes);
    }
}

TEST(an_arena_stops_at_its_ceiling)
{
    _cleanup_arena_ struct arena a;
    size_t given = 0;
    arena_init(&a, 10000);
    while (arena_alloc(&a, 100))
        given += 100;
    CHECK(a.full);
    CHECK(given > 8000 && given <= 10000);
    CHECK(a.held_bytes <= 10000);
    CHECK(arena_alloc(&a, 1) == NULL); /* full stays, so that a builder may check once */
    arena_finish(&a);
    CHECK(!a.full);
    CHECK(arena_alloc(&a, 9900));
    CHECK(arena_alloc(&a, SIZE_MAX) == NULL);
}

/* Counted by the heap itself, whatever the sizes. */
TEST(an_arena_counts_the_room_of_its_blocks)
{
    static const size_t sizes[] = {1, 100, 3000, 5 * KIB, 90 * KIB, 130 * KIB, 300 * KIB};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        _cleanup_arena_ struct arena a;
        size_t given = 0, before = tap_heap_bytes();
        arena_init(&a, MIB);
        tap_note("%zu bytes at a time", sizes[i]);
        while (arena_alloc(&a, sizes[i]))
            given += sizes[i];
        size_t held = tap_heap_bytes() - before;
        CHECK(held <= MIB + 64 * KIB);
        CHECK(a.held_bytes <= MIB);
        CHECK(sizes[i] < 16 || given > MIB / 3);
    }
}

TEST(a_cleared_arena_takes_what_a_new_one_takes)
{
    _cleanup_arena_ struct arena a;
    arena_init(&a, 10000);
    CHECK(arena_alloc(&a, 1));
    arena_clear(&a);
    CHECK(arena_alloc(&a, 9900));
    arena_clear(&a);
    char *p = arena_alloc(&a, 9900);
    REQUIRE(p);
    CHECK(p[0] == 0 && p[9899] == 0);
}

TEST(an_arena_holds_one_large_thing)
{
    _cleanup_arena_ struct arena a;
    arena_init(&a, 8 * MIB);
    char *large = arena_alloc(&a, 5 * MIB);
    REQUIRE(large);
    memset(large, 1, 5 * MIB);
    char *small = arena_strdup(&a, "after");
    CHECK_STR(small, "after");
}

TEST(an_arena_formats)
{
    _cleanup_arena_ struct arena a;
    arena_init(&a, 4096);
    CHECK_STR(arena_printf(&a, "%s-%d", "shard", 7), "shard-7");
    CHECK_STR(arena_strndup(&a, "abcdef", 3), "abc");
    CHECK(arena_printf(&a, "%5000d", 1) == NULL);
    CHECK(a.full);
}

TEST(owned_memory_grows_zeroed)
{
    unsigned char *p = mem_alloc(4);
    memset(p, 1, 4);
    p = mem_grow(p, 4, 64);
    CHECK_EQ(p[3], 1);
    for (size_t i = 4; i < 64; i++)
        CHECK_EQ(p[i], 0);
    free(p);
    _cleanup_free_ char *text = mem_printf("%d", 42);
    CHECK_STR(text, "42");
    _cleanup_free_ char *part = mem_strndup("hello", 4);
    CHECK_STR(part, "hell");
}

TEST(ownership_is_taken)
{
    char *from = mem_strdup("mine");
    _cleanup_free_ char *to = take_ptr(from);
    CHECK(from == NULL);
    CHECK_STR(to, "mine");
    int fd = 5;
    CHECK_EQ(take_fd(&fd), 5);
    CHECK_EQ(fd, -1);
}
