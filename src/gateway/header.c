#include "gateway/header.h"

#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    bool passes[2]; /* by header_way */
} rows[] = {
#define HEADER(name, to_engine, to_client) {name, {to_engine, to_client}},
#include "gateway/header.def"
#undef HEADER
};

static bool
is_meant(const char *row, const char *name, size_t len)
{
    size_t row_len = strlen(row);
    bool is_start = row[row_len - 1] == '-';
    return (is_start ? len > row_len : len == row_len) && strncasecmp(row, name, row_len) == 0;
}

bool
header_passes(enum header_way way, const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (is_meant(rows[i].name, name, len))
            return rows[i].passes[way];
    return false;
}
