/* What a plan depends on, in one number: the configuration as it holds, what is known of the files of
 * its models, the release of its engine, the GPUs and how they are linked; not what GPUs do at the
 * moment. */

#include "config/show.h"
#include "model/print.h"
#include "plan/plan_int.h"

/* 256 models of some 4 KiB of options, and as much again of what is known of their files. */
#define FACTS_MAX (16 * MIB)

static void
add_models(const struct making *mk, struct json_writer *w)
{
    json_open_list(w, "models");
    for (size_t i = 0; i < mk->solve.model_count; i++) {
        const struct config_model *c = mk->facts[i].config;
        const struct model_use use = {.service = c->name,
                                      .tensor_parallel = c->tensor_parallel,
                                      .kv_dtype_text =
                                          config_kv_cache_dtype_word(c->kv_cache_dtype)};
        if (mk->facts[i].files)
            model_print_json(mk->facts[i].files, &use, w);
        else
            json_null(w, NULL);
    }
    json_close_list(w);
}

static void
add_gpus(const struct making *mk, struct json_writer *w)
{
    json_open_list(w, "gpus");
    for (size_t i = 0; i < mk->solve.gpu_count; i++) {
        const struct plan_gpu *gpu = &mk->gpus[i];
        json_open_map(w, NULL);
        json_u64(w, "index", gpu->index);
        json_u64(w, "minor", gpu->minor);
        json_str(w, "uuid", gpu->uuid);
        json_str(w, "trouble", gpu->trouble);
        json_u64(w, "total_bytes", gpu->total_bytes);
        json_open_list(w, "distances");
        for (size_t k = 0; k < mk->solve.gpu_count; k++)
            json_u64(w, NULL, mk->solve.distance[i][k]);
        json_close_list(w);
        json_close_map(w);
    }
    json_close_list(w);
}

int
fingerprint_make(const struct making *mk, char ret_text[HASH_SHA256_HEX], struct err *reterr)
{
    _cleanup_buf_ struct buf facts = BUF_INIT(FACTS_MAX);
    uint8_t digest[HASH_SHA256_BYTES];
    struct hash_sha256 hash;
    struct json_writer w;
    json_init(&w, &facts, false);
    json_open_map(&w, NULL);
    json_bool(&w, "fake_driver", mk->input->fake_driver);
    json_str(&w, "vllm_env", mk->vllm.env);
    json_str(&w, "vllm_version", mk->vllm.version);
    json_str(&w, "vllm_trouble", mk->vllm.trouble);
    add_gpus(mk, &w);
    add_models(mk, &w);
    json_close_map(&w);
    int r = config_print_json(mk->input->config, NULL, &w, reterr);
    if (r < 0)
        return r;
    if (buf_error(&facts) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "what the plan depends on is more than %llu MiB",
                       (unsigned long long)(FACTS_MAX / MIB));
    hash_sha256_init(&hash);
    hash_sha256_update(&hash, facts.data, facts.len);
    hash_sha256_final(&hash, digest);
    hash_sha256_hex(digest, ret_text);
    return 0;
}
