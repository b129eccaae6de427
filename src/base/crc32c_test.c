#include "base/crc32c.h"

#include "tap.h"

/* Bit by bit, as the standard has it. */
static uint32_t
slowly(const uint8_t *bytes, size_t len)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return ~crc;
}

TEST(crc32c_agrees_with_rfc_3720)
{
    uint8_t zeros[32] = {0}, ones[32], up[32];
    memset(ones, 0xff, sizeof(ones));
    for (size_t i = 0; i < sizeof(up); i++)
        up[i] = (uint8_t)i;
    CHECK_EQ(crc32c(0, zeros, sizeof(zeros)), 0x8a9136aau);
    CHECK_EQ(crc32c(0, ones, sizeof(ones)), 0x62a8ab43u);
    CHECK_EQ(crc32c(0, up, sizeof(up)), 0x46dd794eu);
    CHECK_EQ(crc32c(0, "123456789", 9), 0xe3069283u);
}

TEST(crc32c_of_pieces_is_that_of_the_whole)
{
    uint8_t bytes[67];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 37 + 11);
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        uint32_t want = slowly(bytes, len);
        for (size_t cut = 0; cut <= len; cut++)
            CHECK_EQ(crc32c(crc32c(0, bytes, cut), bytes + cut, len - cut), want);
    }
}
