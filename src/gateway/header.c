#include "gateway/header.h"

#include <string.h>
#include <strings.h>

static const struct row {
    const char *name;
    uint8_t len;
    bool passes[2]; /* by header_way */
} rows[] = {
#define HEADER(name, to_engine, to_client) {name, sizeof(name) - 1, {to_engine, to_client}},
#include "gateway/header.def"
#undef HEADER
};

static bool
is_meant(const struct row *row, const char *name, size_t len)
{
    bool is_start = row->name[row->len - 1] == '-';
    return (is_start ? len > row->len : len == row->len) &&
           strncasecmp(row->name, name, row->len) == 0;
}

bool
header_passes(enum header_way way, const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (is_meant(&rows[i], name, len))
            return rows[i].passes[way];
    return false;
}
