#include "backup/field.h"

#include "tap.h"

#include <string.h>

/* As polynomials are multiplied by hand. */
static uint8_t
by_hand(unsigned a, unsigned b)
{
    unsigned product = 0;
    for (unsigned i = 0; i < 8; i++)
        product ^= b >> i & 1 ? a << i : 0;
    for (unsigned i = 15; i >= 8; i--)
        product ^= product >> i & 1 ? 0x11du << (i - 8) : 0;
    return (uint8_t)product;
}

TEST(field_multiplies_and_inverts)
{
    CHECK_EQ(field_multiply(2, 0x80), 0x1d);
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++)
            if (field_multiply((uint8_t)a, (uint8_t)b) != by_hand(a, b))
                tap_fail(__FILE__, __LINE__, "%u * %u", a, b);
        if (a)
            CHECK_EQ(field_multiply((uint8_t)a, field_invert((uint8_t)a)), 1);
    }
}

TEST(field_adds_products)
{
    uint8_t from[] = {0, 1, 2, 0xff}, to[] = {9, 9, 9, 9};
    field_add_product(3, from, to, sizeof(to));
    CHECK(to[0] == 9 && to[1] == (9 ^ 3) && to[2] == (9 ^ 6) && to[3] == (9 ^ by_hand(3, 0xff)));
}

TEST(field_inverts_matrices)
{
    uint8_t all[] = {0, 1, 7, 3, 0, 0, 5, 9, 1}, was[sizeof(all)], unit[sizeof(all)] = {0};
    memcpy(was, all, sizeof(all));
    REQUIRE(field_invert_matrix(all, 3));
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 3; k++)
            field_add_product(was[3 * i + k], all + 3 * k, unit + 3 * i, 3);
    for (size_t i = 0; i < sizeof(unit); i++)
        CHECK_EQ(unit[i], i % 4 == 0);
    uint8_t none[] = {1, 2, 2, 4};
    CHECK(!field_invert_matrix(none, 2));
}
