#include "backup/field.h"

#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x11d
#define BYTES 256

static uint8_t products[BYTES][BYTES];
static uint8_t inverses[BYTES];

static void
make_products(unsigned a)
{
    for (unsigned b = 1; b < BYTES; b++) {
        unsigned half = products[a][b >> 1] * 2u; /* a * b = x * (a * (b >> 1)) + a, if b is odd */
        half ^= half >= BYTES ? POLYNOMIAL : 0;
        products[a][b] = (uint8_t)(half ^ (b & 1 ? a : 0));
        if (products[a][b] == 1)
            inverses[a] = (uint8_t)b;
    }
}

static void
make_tables(void)
{
    for (unsigned a = 0; a < BYTES; a++)
        make_products(a);
}

static void
need_tables(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_tables);
}

uint8_t
field_multiply(uint8_t a, uint8_t b)
{
    need_tables();
    return products[a][b];
}

uint8_t
field_invert(uint8_t a)
{
    assert(a);
    need_tables();
    return inverses[a];
}

void
field_add_product(uint8_t factor, const uint8_t *from, uint8_t *to, size_t len)
{
    need_tables();
    const uint8_t *row = products[factor];
    for (size_t i = 0; i < len; i++)
        to[i] ^= row[from[i]];
}

/* ---- matrices ---- */

static void
swap_rows(uint8_t *a, uint8_t *b, size_t len)
{
    for (size_t i = 0; a != b && i < len; i++) {
        uint8_t was = a[i];
        a[i] = b[i];
        b[i] = was;
    }
}

/* Row `at` becomes that of a unit matrix in its column; false where all rows from there have 0 in it. */
static bool
clear_column(uint8_t *matrix, uint8_t *inverse, size_t n, size_t at)
{
    size_t from = at;
    while (from < n && !matrix[from * n + at])
        from++;
    if (from == n)
        return false;
    swap_rows(matrix + at * n, matrix + from * n, n);
    swap_rows(inverse + at * n, inverse + from * n, n);
    uint8_t factor = field_invert(matrix[at * n + at]);
    for (size_t i = 0; i < n; i++) {
        matrix[at * n + i] = field_multiply(factor, matrix[at * n + i]);
        inverse[at * n + i] = field_multiply(factor, inverse[at * n + i]);
    }
    for (size_t row = 0; row < n; row++) {
        factor = matrix[row * n + at];
        if (row == at || !factor)
            continue;
        field_add_product(factor, matrix + at * n, matrix + row * n, n);
        field_add_product(factor, inverse + at * n, inverse + row * n, n);
    }
    return true;
}

bool
field_invert_matrix(uint8_t *matrix, size_t rows)
{
    uint8_t inverse[FIELD_MATRIX_MAX * FIELD_MATRIX_MAX] = {0};
    assert(rows <= FIELD_MATRIX_MAX);
    for (size_t i = 0; i < rows; i++)
        inverse[i * rows + i] = 1;
    for (size_t at = 0; at < rows; at++)
        if (!clear_column(matrix, inverse, rows, at))
            return false;
    memcpy(matrix, inverse, rows * rows);
    return true;
}
