#include "base/text.h"
#include "model/model_int.h"

enum family_id {
#define FAMILY(name, layers, traits, values) FAMILY_##name,
#include "model/arch.def"
};

static const struct family families[] = {
#define FAMILY(name, layers, traits, values) \
    [FAMILY_##name] = {#name, params_##layers, traits, values},
#include "model/arch.def"
};

static const struct architecture architectures[] = {
#define ARCH(name, kind, inputs, family, tower) \
    {#name, MODEL_##kind, inputs, &families[FAMILY_##family], params_##tower},
#include "model/arch.def"
};

const struct architecture *
arch_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(architectures); i++)
        if (text_eq(architectures[i].name, name))
            return &architectures[i];
    return NULL;
}

const struct family *
arch_find_family(const char *model_type)
{
    for (size_t i = 0; i < ARRAY_SIZE(families); i++)
        if (text_eq(families[i].name, model_type))
            return &families[i];
    return NULL;
}
