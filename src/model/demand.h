#pragma once

/* What a model asks of each GPU when it is spread over so many (tensor parallelism). Pure; MODEL_UNKNOWN
 * where the model does not tell. */

#include "model/model.h"

enum kv_dtype {
    KV_AUTO, /* the model's own, which is loaded as 16 bit */
    KV_16BIT,
    KV_8BIT,
    KV_8BIT_DS_MLA, /* DeepSeek's: 656 bytes a token and layer; for MLA only, else as KV_8BIT */
    KV_32BIT,
};

uint64_t model_weight_bytes_on_gpu(const struct model *m, unsigned tensor_parallel);
uint64_t model_kv_bytes_per_token(const struct model *m, unsigned tensor_parallel,
                                  enum kv_dtype dtype);
uint64_t model_state_bytes_per_sequence(const struct model *m, unsigned tensor_parallel);

struct model_request {
    uint64_t tokens; /* prompt and answer */
    unsigned tensor_parallel;
    enum kv_dtype dtype;
    bool windows;          /* the engine frees what is behind a window */
    uint64_t batch_tokens; /* that it computes at a time: a window is so much larger meanwhile */
};

#define MODEL_BLOCK_TOKENS 16 /* keys and values are kept in blocks of so many tokens */

/* Keys, values and state of one request, in whole blocks. */
uint64_t model_request_bytes(const struct model *m, const struct model_request *request);
