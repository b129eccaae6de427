#include "model/demand.h"

/* What a model asks of a GPU. The formulae are those by which vLLM sizes its cache. */

#define DS_MLA_BYTES 656 /* a token and layer in DeepSeek's own 8-bit layout */

typedef unsigned __int128 byte_count;

static uint64_t
narrow(byte_count bytes)
{
    return bytes < MODEL_UNKNOWN ? (uint64_t)bytes : MODEL_UNKNOWN;
}

static unsigned
element_bytes(enum kv_dtype dtype)
{
    switch (dtype) {
    case KV_8BIT:
    case KV_8BIT_DS_MLA:
        return 1;
    case KV_32BIT:
        return 4;
    case KV_AUTO:
    case KV_16BIT:
        break;
    }
    return 2;
}

/* Heads are spread over the GPUs, and repeated where there are fewer than GPUs. */
static uint64_t
spread(uint64_t heads, unsigned tensor_parallel)
{
    uint64_t each = heads / MAX(tensor_parallel, 1U);
    return each ? each : MIN(heads, (uint64_t)1);
}

static byte_count
layer_token_bytes(const struct model *m, const struct model_attention *a, unsigned tensor_parallel,
                  enum kv_dtype dtype)
{
    if (m->cache.mla)
        return dtype == KV_8BIT_DS_MLA ? DS_MLA_BYTES
                                       : (byte_count)a->key_dim * element_bytes(dtype);
    return (byte_count)spread(a->kv_heads, tensor_parallel) * (a->key_dim + a->value_dim) *
           element_bytes(dtype);
}

uint64_t
model_weight_bytes_on_gpu(const struct model *m, unsigned tensor_parallel)
{
    uint64_t bytes = m->weights.gpu_bytes, gpus = MAX(tensor_parallel, 1U);
    return bytes == MODEL_UNKNOWN ? MODEL_UNKNOWN : bytes / gpus + (bytes % gpus != 0);
}

uint64_t
model_kv_bytes_per_token(const struct model *m, unsigned tensor_parallel, enum kv_dtype dtype)
{
    const struct model_cache *c = &m->cache;
    if (!c->known)
        return MODEL_UNKNOWN;
    return narrow(c->full.layers * layer_token_bytes(m, &c->full, tensor_parallel, dtype) +
                  c->window.layers * layer_token_bytes(m, &c->window, tensor_parallel, dtype));
}

/* Keys and values of the encoder's tokens, in every layer of the decoder. */
static byte_count
encoder_bytes(const struct model *m, unsigned tensor_parallel)
{
    const struct model_attention *a = &m->cache.full;
    return m->cache.encoder_tokens * a->layers * layer_token_bytes(m, a, tensor_parallel, KV_16BIT);
}

uint64_t
model_state_bytes_per_sequence(const struct model *m, unsigned tensor_parallel)
{
    const struct model_cache *c = &m->cache;
    uint64_t gpus = MAX(tensor_parallel, 1U);
    if (!c->known || !c->state_known)
        return MODEL_UNKNOWN;
    byte_count channels =
        (c->conv_channels + gpus - 1) / gpus +
        (byte_count)spread(c->conv_groups, tensor_parallel) * c->conv_group_channels;
    byte_count layer = channels * c->conv_taps * 2 +
                       (c->state_elements + gpus - 1) / gpus * (byte_count)c->state_element_bytes;
    return narrow(c->state_layers * layer + encoder_bytes(m, tensor_parallel));
}

static byte_count
in_blocks(byte_count tokens)
{
    return (tokens + MODEL_BLOCK_TOKENS - 1) / MODEL_BLOCK_TOKENS * MODEL_BLOCK_TOKENS;
}

/* Tokens that a layer with a window keeps of a request: the window, the batch that passes through
 * it, and a block more, as a window seldom begins where a block does. */
static byte_count
window_tokens(const struct model *m, const struct model_request *request)
{
    byte_count kept = (byte_count)m->cache.window_tokens - 1 + request->batch_tokens;
    if (!request->windows)
        return in_blocks(request->tokens);
    return in_blocks(MIN(kept, (byte_count)request->tokens)) + MODEL_BLOCK_TOKENS;
}

uint64_t
model_request_bytes(const struct model *m, const struct model_request *request)
{
    const struct model_cache *c = &m->cache;
    uint64_t state = model_state_bytes_per_sequence(m, request->tensor_parallel);
    if (!c->known || state == MODEL_UNKNOWN || request->tokens == MODEL_UNKNOWN)
        return MODEL_UNKNOWN;
    byte_count full = layer_token_bytes(m, &c->full, request->tensor_parallel, request->dtype);
    byte_count window = layer_token_bytes(m, &c->window, request->tensor_parallel, request->dtype);
    byte_count bytes = state + in_blocks(request->tokens) * c->full.layers * full;
    if (c->window.layers)
        bytes += window_tokens(m, request) * c->window.layers * window;
    return narrow(bytes);
}
