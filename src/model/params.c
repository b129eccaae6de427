#include "base/text.h"
#include "model/model_int.h"

/* Parameters counted from the configuration, exactly as the checkpoint has them. Each function adds
 * up one part; a configuration that leaves out what it needs makes it false. */

static bool
are_known(const uint64_t *dims, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (dims[i] == 0)
            return false;
    return true;
}

#define KNOWN(...) \
    are_known((const uint64_t[]){__VA_ARGS__}, ARRAY_SIZE(((const uint64_t[]){__VA_ARGS__})))

/* A matrix from so many to so many, and its bias. */
static params_count
linear(params_count in, params_count out, bool bias)
{
    return in * out + (bias ? out : 0);
}

static params_count
norm(const struct shape *sh, uint64_t dim)
{
    return (params_count)dim * (sh->traits & T_NORM_BIAS ? 2 : 1);
}

static uint64_t
head_dim(const struct shape *sh)
{
    return sh->d.head_dim ? sh->d.head_dim : sh->d.heads ? sh->d.hidden / sh->d.heads : 0;
}

static uint64_t
kv_heads(const struct shape *sh)
{
    return sh->d.kv_heads ? sh->d.kv_heads : sh->d.heads;
}

static bool
latent_attention(const struct shape *sh, params_count *ret_params)
{
    const struct dims *d = &sh->d;
    params_count query = (params_count)d->heads * (d->nope_dim + d->rope_dim);
    if (!KNOWN(d->hidden, d->heads, d->kv_rank, d->rope_dim, d->nope_dim, d->v_dim) ||
        sh->f.attention_bias == ANSWER_YES)
        return false;
    *ret_params = d->q_rank ? linear(d->hidden, d->q_rank, false) + d->q_rank +
                                  linear(d->q_rank, query, false)
                            : linear(d->hidden, query, false);
    *ret_params += linear(d->hidden, d->kv_rank + d->rope_dim, false) + d->kv_rank;
    *ret_params += linear(d->kv_rank, (params_count)d->heads * (d->nope_dim + d->v_dim), false);
    *ret_params += linear((params_count)d->heads * d->v_dim, d->hidden, false);
    return true;
}

static bool
attention(const struct shape *sh, params_count *ret_params)
{
    const struct dims *d = &sh->d;
    bool asked = sh->f.attention_bias == ANSWER_YES ||
                 ((sh->traits & T_USE_BIAS) && sh->f.use_bias == ANSWER_YES);
    bool qkv_bias = asked || (sh->traits & T_QKV_BIAS);
    bool o_bias = (asked && !(sh->traits & T_O_PLAIN)) || (sh->traits & T_O_BIAS);
    if (d->kv_rank)
        return latent_attention(sh, ret_params);
    if (!KNOWN(d->hidden, d->heads, head_dim(sh), kv_heads(sh)))
        return false;
    uint64_t query = d->heads * head_dim(sh), key = kv_heads(sh) * head_dim(sh);
    *ret_params = linear(d->hidden, query, qkv_bias) + 2 * linear(d->hidden, key, qkv_bias) +
                  linear(query, d->hidden, o_bias);
    if (sh->traits & T_QK_NORM)
        *ret_params += 2 * head_dim(sh);
    if ((sh->traits & T_QK_NORM_WIDE) ||
        ((sh->traits & T_QK_NORM_ASKED) && sh->f.use_qk_norm == ANSWER_YES))
        *ret_params += query + key;
    if (sh->traits & T_SINKS)
        *ret_params += d->heads;
    return true;
}

static params_count
mlp_of(const struct shape *sh, uint64_t intermediate, bool bias)
{
    unsigned up = sh->traits & T_PLAIN_MLP ? 1 : 2;
    return up * linear(sh->d.hidden, intermediate, bias) + linear(intermediate, sh->d.hidden, bias);
}

static bool
mlp(const struct shape *sh, params_count *ret_params)
{
    bool bias = (sh->traits & T_MLP_BIAS) || sh->f.mlp_bias == ANSWER_YES ||
                ((sh->traits & T_USE_BIAS) && sh->f.use_bias == ANSWER_YES);
    uint64_t wide = sh->d.intermediate;
    if (wide == 0 && (sh->traits & T_POSITIONS))
        wide = 4 * sh->d.hidden; /* GPT-2's n_inner, when null */
    if (!KNOWN(sh->d.hidden, wide))
        return false;
    *ret_params = mlp_of(sh, wide, bias);
    return true;
}

static bool
experts(const struct shape *sh, params_count *ret_params)
{
    const struct dims *d = &sh->d;
    bool bias = sh->traits & T_EXPERT_BIAS;
    uint64_t wide = d->moe_intermediate ? d->moe_intermediate : d->intermediate;
    if (!KNOWN(d->hidden, wide, d->experts) || d->moe_frequency > 1)
        return false;
    *ret_params = d->experts * mlp_of(sh, wide, bias) + linear(d->hidden, d->experts, bias);
    if (sh->traits & T_ROUTER_CORRECTION)
        *ret_params += d->experts;
    if (d->shared_experts)
        *ret_params += mlp_of(sh, d->shared_experts * wide, false);
    if (d->shared_intermediate)
        *ret_params += mlp_of(sh, d->shared_intermediate, false);
    if (sh->traits & T_SHARED_GATE)
        *ret_params += d->hidden;
    return true;
}

/* Embedding, last norm and head; they are often one matrix. */
static bool
ends(const struct shape *sh, params_count *ret_params)
{
    const struct dims *d = &sh->d;
    bool tied = sh->f.tied == ANSWER_NONE ? (sh->traits & T_TIED) != 0 : sh->f.tied == ANSWER_YES;
    bool bias = sh->traits & T_HEAD_BIAS;
    if (!KNOWN(d->hidden, d->vocabulary))
        return false;
    *ret_params = (params_count)d->vocabulary * d->hidden + norm(sh, d->hidden);
    if (!tied && !sh->headless)
        *ret_params += linear(d->hidden, d->vocabulary, bias);
    if (sh->traits & T_POSITIONS)
        *ret_params +=
            (params_count)(sh->positions + (sh->traits & T_POSITIONS_PAD ? 2 : 0)) * d->hidden;
    return (sh->traits & T_POSITIONS) == 0 || sh->positions != 0;
}

/* What all the MLPs have, dense ones and experts; nothing is asked of a kind there is none of. */
static bool
all_mlps(const struct shape *sh, params_count *ret_params)
{
    params_count dense = 0, moe = 0;
    if ((sh->layers.mlp && !mlp(sh, &dense)) || (sh->layers.moe && !experts(sh, &moe)))
        return false;
    *ret_params = sh->layers.mlp * dense + sh->layers.moe * moe;
    return true;
}

bool
params_none(const struct shape *sh unused_arg, params_count *ret_params)
{
    *ret_params = 0;
    return true;
}

bool
params_unknown(const struct shape *sh unused_arg, params_count *ret_params unused_arg)
{
    return false;
}

bool
params_decoder(const struct shape *sh, params_count *ret_params)
{
    params_count one, mlps, rest;
    unsigned norms = sh->traits & T_ONE_NORM ? 1 : sh->traits & T_FOUR_NORMS ? 4 : 2;
    if (sh->layers.state || sh->layers.shared || !attention(sh, &one) || !all_mlps(sh, &mlps) ||
        !ends(sh, &rest))
        return false;
    *ret_params = sh->d.layers * (one + norms * norm(sh, sh->d.hidden)) + mlps + rest;
    return true;
}

static uint64_t
mamba_time_rank(const struct dims *d)
{
    return d->time_rank ? d->time_rank : (d->hidden + 15) / 16;
}

uint64_t
params_inner(const struct shape *sh)
{
    const struct dims *d = &sh->d;
    if (d->inner)
        return d->inner;
    if (d->state_heads && d->state_head_dim)
        return d->state_heads * d->state_head_dim;
    return (sh->traits & T_RECURRENT) && d->intermediate ? d->intermediate : d->expand * d->hidden;
}

/* Mamba 1: the sizes of in_proj, conv1d, x_proj, dt_proj, A, D and out_proj. */
static bool
mamba1(const struct shape *sh, params_count *ret_params)
{
    const struct dims *d = &sh->d;
    uint64_t rank = mamba_time_rank(d);
    params_count inner = params_inner(sh);
    if (!KNOWN(d->hidden, d->state, d->conv_taps, rank) || inner == 0 ||
        sh->f.use_bias == ANSWER_YES)
        return false;
    bool conv_bias = sh->f.conv_bias != ANSWER_NO;
    *ret_params = linear(d->hidden, 2 * inner, false) + linear(d->conv_taps, inner, conv_bias) +
                  linear(inner, rank + 2 * d->state, false) + linear(rank, inner, true) +
                  inner * d->state + inner + linear(inner, d->hidden, false);
    return true;
}

bool
params_mamba(const struct shape *sh, params_count *ret_params)
{
    params_count one, rest;
    if (!mamba1(sh, &one) || !ends(sh, &rest))
        return false;
    *ret_params = sh->d.layers * (one + sh->d.hidden) + rest;
    return true;
}

/* Jamba's Mamba has a norm each on time step, B and C. */
bool
params_jamba(const struct shape *sh, params_count *ret_params)
{
    const struct dims *d = &sh->d;
    params_count attends, recurs, mlps, rest;
    if (!attention(sh, &attends) || !mamba1(sh, &recurs) || !all_mlps(sh, &mlps) ||
        !ends(sh, &rest))
        return false;
    recurs += mamba_time_rank(d) + 2 * d->state;
    *ret_params = sh->layers.full * attends + sh->layers.state * recurs + mlps +
                  d->layers * 2 * (params_count)d->hidden + rest;
    return true;
}

/* A layer is one of Mamba 2, attention and an MLP of two matrices, each behind one norm. */
bool
params_nemotron_h(const struct shape *sh, params_count *ret_params)
{
    const struct dims *d = &sh->d;
    params_count attends, rest;
    if (sh->layers.moe || !attention(sh, &attends) || !ends(sh, &rest) ||
        !KNOWN(d->intermediate, d->state, d->state_heads, d->state_head_dim, d->state_groups,
               d->conv_taps))
        return false;
    params_count inner = params_inner(sh);
    params_count mixed = inner + 2 * (params_count)d->state_groups * d->state;
    params_count recurs = linear(d->hidden, inner + mixed + d->state_heads, false) +
                          linear(d->conv_taps, mixed, sh->f.conv_bias != ANSWER_NO) +
                          3 * d->state_heads + inner + linear(inner, d->hidden, false);
    *ret_params = sh->layers.full * attends + sh->layers.state * recurs +
                  sh->layers.mlp * 2 * linear(d->hidden, d->intermediate, false) +
                  d->layers * (params_count)d->hidden + rest;
    return true;
}

bool
params_bert(const struct shape *sh, params_count *ret_params)
{
    const struct dims *d = &sh->d;
    if (!KNOWN(d->hidden, d->intermediate, d->vocabulary, d->token_types, sh->positions))
        return false;
    params_count norm_size = 2 * (params_count)d->hidden;
    params_count layer = 4 * linear(d->hidden, d->hidden, true) +
                         linear(d->hidden, d->intermediate, true) +
                         linear(d->intermediate, d->hidden, true) + 2 * norm_size;
    *ret_params = ((params_count)d->vocabulary + sh->positions + d->token_types) * d->hidden +
                  norm_size + d->layers * layer;
    return true;
}

bool
params_bert_pooler(const struct shape *sh, params_count *ret_params)
{
    *ret_params = linear(sh->d.hidden, sh->d.hidden, true);
    return true;
}

/* num_labels, or as many as id2label names; two when neither is there. */
static uint64_t
labels(const struct shape *sh)
{
    const struct value *names = shape_get(sh, "id2label");
    if (sh->d.labels)
        return sh->d.labels;
    return names && names->type == VALUE_MAP ? names->count : 2;
}

bool
params_bert_classifier(const struct shape *sh, params_count *ret_params)
{
    *ret_params = linear(sh->d.hidden, sh->d.hidden, true) + linear(sh->d.hidden, labels(sh), true);
    return true;
}

/* An encoder over sound behind two convolutions, a decoder that also attends to it; keys have no
 * bias, and the head is the embedding. */
bool
params_whisper(const struct shape *sh, params_count *ret_params)
{
    const struct dims *d = &sh->d;
    if (!KNOWN(d->hidden, d->layers, d->intermediate, d->encoder_layers, d->encoder_intermediate,
               d->encoder_positions, d->mel_bins, d->vocabulary, sh->positions))
        return false;
    params_count wide = d->hidden, norm_size = 2 * wide;
    params_count attends = 3 * linear(wide, wide, true) + linear(wide, wide, false);
    params_count encodes = attends + linear(wide, d->encoder_intermediate, true) +
                           linear(d->encoder_intermediate, wide, true) + 2 * norm_size;
    params_count decodes = 2 * attends + linear(wide, d->intermediate, true) +
                           linear(d->intermediate, wide, true) + 3 * norm_size;
    *ret_params = linear((params_count)d->mel_bins * 3, wide, true) + linear(wide * 3, wide, true) +
                  ((params_count)d->encoder_positions + d->vocabulary + sh->positions) * wide +
                  d->encoder_layers * encodes + d->layers * decodes + 2 * norm_size;
    return true;
}

/* The number under a name of vision_config, or what Transformers takes when it is left out. */
static uint64_t
vision(const struct shape *sh, const char *path, uint64_t otherwise)
{
    uint64_t n = shape_u64(sh, path, 1 << 16);
    return n ? n : otherwise;
}

/* A window-attention ViT with gated MLPs, and a merger of four patches into one token. */
bool
params_qwen2_5_vl(const struct shape *sh, params_count *ret_params)
{
    params_count wide = vision(sh, "vision_config.hidden_size", 3584);
    params_count inner = vision(sh, "vision_config.intermediate_size", 3420);
    params_count patch = vision(sh, "vision_config.patch_size", 14);
    params_count merged = vision(sh, "vision_config.spatial_merge_size", 2);
    merged = merged * merged * wide;
    params_count pixels = patch * patch * vision(sh, "vision_config.temporal_patch_size", 2) *
                          vision(sh, "vision_config.in_chans", 3);
    params_count block = linear(wide, 3 * wide, true) + linear(wide, wide, true) +
                         2 * linear(wide, inner, true) + linear(inner, wide, true) + 2 * wide;
    *ret_params = linear(pixels, wide, false) + vision(sh, "vision_config.depth", 32) * block +
                  wide + linear(merged, merged, true) +
                  linear(merged, vision(sh, "vision_config.out_hidden_size", 3584), true);
    return true;
}

/* SigLIP, and a projection with a norm into the language part. */
bool
params_gemma3(const struct shape *sh, params_count *ret_params)
{
    params_count wide = vision(sh, "vision_config.hidden_size", 768);
    params_count inner = vision(sh, "vision_config.intermediate_size", 3072);
    params_count patch = vision(sh, "vision_config.patch_size", 16);
    params_count side = vision(sh, "vision_config.image_size", 224) / (uint64_t)patch;
    params_count block = 4 * linear(wide, wide, true) + linear(wide, inner, true) +
                         linear(inner, wide, true) + 4 * wide;
    *ret_params = linear(patch * patch * 3, wide, true) + side * side * wide +
                  vision(sh, "vision_config.num_hidden_layers", 12) * block + 2 * wide +
                  linear(wide, sh->d.hidden, false) + wide;
    return true;
}

/* None of the formulae knows layers of different sizes. */
static bool
varies(const struct dims *d)
{
    const uint64_t all[] = {
#define DIM(field, most, ...) d->field,
#include "model/dims.def"
    };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (all[i] == DIM_VARIES)
            return true;
    return false;
}

uint64_t
params_of(const struct shape *sh)
{
    params_count layers, tower;
    if (!sh->arch || !sh->family || sh->layers.unknown || varies(&sh->d) ||
        !KNOWN(sh->d.layers, sh->d.hidden) || !sh->family->layers(sh, &layers) ||
        !sh->arch->tower(sh, &tower))
        return MODEL_UNKNOWN;
    return layers + tower < MODEL_UNKNOWN ? (uint64_t)(layers + tower) : MODEL_UNKNOWN;
}
