#include "fmt/tar.h"

#include "tap.h"

#include <stdio.h>
#include <string.h>

/* Offsets and digits as POSIX has them. */
TEST(a_file_as_others_write_it)
{
    _cleanup_buf_ struct buf out = BUF_INIT(8 * KIB);
    REQUIRE(tar_add(&out, "a/b", "hello", 5, 1700000000) && tar_end(&out));
    CHECK_EQ(out.len, 512 + 512 + 1024);
    CHECK_STR(out.data, "a/b");
    CHECK_STR(out.data + 100, "0000600");
    CHECK_STR(out.data + 124, "00000000005");
    CHECK_STR(out.data + 136, "14524770400");
    CHECK_STR(out.data + 257, "ustar");
    unsigned sum = 8 * ' ';
    for (size_t i = 0; i < 512; i++)
        sum += i < 148 || i >= 156 ? (unsigned char)out.data[i] : 0;
    char want[8];
    (void)snprintf(want, sizeof(want), "%06o", sum);
    CHECK_STR(out.data + 148, want);
    CHECK_EQ(out.data[155], ' ');
    CHECK(memcmp(out.data + 512, "hello\0\0", 7) == 0);
}

TEST(what_does_not_fit_is_refused)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1024);
    char name[102];
    memset(name, 'a', 101);
    name[101] = '\0';
    CHECK(!tar_add(&out, name, "", 0, 0));
    name[100] = '\0';
    CHECK(tar_add(&out, name, "", 0, 0));
    CHECK_EQ(out.len, 512);
    CHECK(!tar_add(&out, "b", "0123456789", 10, 0));
}

TEST(what_a_head_has_no_room_for_is_cut)
{
    char head[TAR_BLOCK], name[102];
    memset(name, 'a', 101);
    name[101] = '\0';
    tar_print_head(
        &(struct tar_head){
            .name = name, .owner = name, .type = '0', .uid = 010000000, .size = UINT64_MAX},
        head);
    CHECK(memcmp(head, name, 100) == 0);
    CHECK_STR(head + 100, "0000000");
    CHECK_STR(head + 108, "7777777");
    CHECK_STR(head + 124, "77777777777");
    CHECK_EQ(strlen(head + 265), 31);
    CHECK_EQ(strlen(head + 297), 0);
}
