#include "engine/kind.h"

#include "base/util.h"

static const struct {
    const char *name, *what;
} rows[ENGINE_KIND_COUNT] = {
#define KIND(name, text, what) [ENGINE_KIND_##name] = {text, what},
    ENGINE_KINDS(KIND)
#undef KIND
};

const char *
engine_kind_name(enum engine_kind kind)
{
    assert(kind < ENGINE_KIND_COUNT);
    return rows[kind].name;
}

const char *
engine_kind_what(enum engine_kind kind)
{
    assert(kind < ENGINE_KIND_COUNT);
    return rows[kind].what;
}
