#include "model/tally.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* Beside the weights of a quantised layer stand their scales, zero points and notes, which are no
 * parameters of the model. */
static const char *const beside_weights[] = {
    "scale", "scales",       "scale_inv", "scale_2",   "zeros", "zero_point",
    "g_idx", "weight_shape", "absmax",    "quant_map", "SCB",   "weight_format",
};

static bool
is_beside_weights(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(beside_weights); i++)
        if (text_ends(name, beside_weights[i]))
            return true;
    return strstr(name, ".quant_state.") != NULL;
}

/* Several weights packed into one element: eight of 4 bits in an I32, two in a U8. */
static uint64_t
weights_per_element(const struct model_quant *quant, const struct safetensors_tensor *tensor)
{
    unsigned bits = quant->bits;
    if (bits == 0 || bits > 16)
        return 1;
    if (tensor->dtype == SAFETENSORS_I32 || tensor->dtype == SAFETENSORS_U32)
        return 32 / bits;
    return tensor->dtype == SAFETENSORS_U8 && bits == 4 ? 2 : 1;
}

static uint64_t
params_in(const struct model_quant *quant, const struct safetensors_tensor *tensor)
{
    /* Two tables that old checkpoints hold although they follow from the configuration. */
    if (text_ends(tensor->name, ".rotary_emb.inv_freq") || text_ends(tensor->name, ".position_ids"))
        return 0;
    if (quant->method == MODEL_NOT_QUANTISED)
        return tensor->elements;
    if (is_beside_weights(tensor->name))
        return 0;
    return tensor->elements * weights_per_element(quant, tensor);
}

/* Layers behind the last, which only serve to draft tokens ahead, are left on disk. */
static bool
is_draft(const struct shape *sh, const char *name)
{
    static const char layers[] = "model.layers.";
    if (text_starts(name, "mtp.") || text_starts(name, "model.mtp"))
        return true;
    return sh->d.draft_layers && text_starts(name, layers) &&
           strtoull(name + strlen(layers), NULL, 10) >= sh->d.layers;
}

/* The head, when the model is used without it, or the embedding serves as one. */
static bool
is_unused_head(const struct shape *sh, const char *name)
{
    bool tied = sh->f.tied == ANSWER_YES || (sh->f.tied == ANSWER_NONE && (sh->traits & T_TIED));
    return (sh->headless || tied) &&
           (text_eq(name, "lm_head.weight") || text_ends(name, ".lm_head.weight"));
}

/* 32 and 64 bits wide floats become 16 bits, the scales of quantised layers excepted. */
static uint64_t
gpu_bytes_of(const struct model_quant *quant, const struct safetensors_tensor *tensor)
{
    uint64_t bytes = tensor->end - tensor->begin;
    if (quant->method != MODEL_NOT_QUANTISED)
        return bytes;
    if (tensor->dtype == SAFETENSORS_F32)
        return bytes / 2;
    return tensor->dtype == SAFETENSORS_F64 ? bytes / 4 : bytes;
}

bool
tally_tensor(struct tally *tally, const struct shape *sh, const struct model_quant *quant,
             const struct safetensors_tensor *tensor)
{
    bool loaded = !is_draft(sh, tensor->name) && !is_unused_head(sh, tensor->name);
    uint64_t gpu_bytes = loaded ? gpu_bytes_of(quant, tensor) : 0;
    uint64_t params = loaded ? params_in(quant, tensor) : 0;
    tally->tensors++;
    return !__builtin_add_overflow(tally->bytes, tensor->end - tensor->begin, &tally->bytes) &&
           !__builtin_add_overflow(tally->gpu_bytes, gpu_bytes, &tally->gpu_bytes) &&
           !__builtin_add_overflow(tally->params, params, &tally->params);
}
