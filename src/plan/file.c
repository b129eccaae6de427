/* plan.json:
 *
 *   {"format": 1, "fingerprint": "...", "no_gpus": null,
 *    "gpus": [{"index": 0, "minor": 0, "uuid": "...", "name": "...", "trouble": null,
 *              "total_bytes": 1, "promised_bytes": 1}],
 *    "models": [{"name": "phi3", "fate": "resident", "conflict": false, "priority": 50,
 *                "parts": [{"gpu": 0, "bytes": 1}], "claim_bytes": 1, "weights_bytes": 1,
 *                "kv_bytes": 1, "overhead_bytes": 1, "kv_tokens": 1, "full_length_requests": 1,
 *                "start_bound_us": 1, "reason": "...", "fix": null, "held_by": []}]}
 *
 * What is not known is null, and so is an empty text. Who reads it starts engines by it, as root
 * lays it down; what does not add up is refused all the same. */

#include "base/text.h"
#include "fmt/json.h"
#include "plan/plan.h"

#define FORMAT 1

static void
print_number(struct json_writer *w, const char *name, uint64_t n)
{
    if (n == PLAN_UNKNOWN)
        json_null(w, name);
    else
        json_u64(w, name, n);
}

static void
print_text(struct json_writer *w, const char *name, const char *text)
{
    json_str(w, name, text[0] ? text : NULL);
}

static void
print_gpu(struct json_writer *w, const struct plan_gpu *gpu)
{
    json_open_map(w, NULL);
    json_u64(w, "index", gpu->index);
    print_number(w, "minor", gpu->minor == PLAN_NO_MINOR ? PLAN_UNKNOWN : gpu->minor);
    json_str(w, "uuid", gpu->uuid);
    json_str(w, "name", gpu->name);
    print_text(w, "trouble", gpu->trouble);
    json_u64(w, "total_bytes", gpu->total_bytes);
    json_u64(w, "promised_bytes", gpu->promised_bytes);
    json_close_map(w);
}

static void
print_parts(struct json_writer *w, const struct plan_model *m)
{
    json_open_list(w, "parts");
    for (size_t i = 0; i < m->part_count; i++) {
        json_open_map(w, NULL);
        json_u64(w, "gpu", m->parts[i].gpu->index);
        json_u64(w, "bytes", m->parts[i].bytes);
        json_close_map(w);
    }
    json_close_list(w);
}

static void
print_model(struct json_writer *w, const struct plan_model *m)
{
    json_open_map(w, NULL);
    json_str(w, "name", m->name);
    json_str(w, "fate", plan_fate_word(m->fate));
    json_bool(w, "conflict", m->conflict);
    json_u64(w, "priority", m->priority);
    print_parts(w, m);
    json_u64(w, "claim_bytes", m->claim_bytes);
    print_number(w, "weights_bytes", m->weights_bytes);
    print_number(w, "kv_bytes", m->kv_bytes);
    print_number(w, "overhead_bytes", m->overhead_bytes);
    print_number(w, "kv_tokens", m->kv_tokens);
    if (m->full_length_requests < 0)
        json_null(w, "full_length_requests");
    else
        json_real(w, "full_length_requests", m->full_length_requests);
    json_u64(w, "start_bound_us", m->start_bound_us);
    json_str(w, "reason", m->reason);
    print_text(w, "fix", m->fix);
    json_open_list(w, "held_by");
    for (size_t i = 0; i < m->held_by_count; i++)
        json_str(w, NULL, m->held_by[i]);
    json_close_list(w);
    json_close_map(w);
}

void
plan_print(const struct plan *plan, struct json_writer *w)
{
    json_open_map(w, NULL);
    json_u64(w, "format", FORMAT);
    json_str(w, "fingerprint", plan->fingerprint);
    print_text(w, "no_gpus", plan->no_gpus);
    json_open_list(w, "gpus");
    for (size_t i = 0; i < plan->gpu_count; i++)
        print_gpu(w, &plan->gpus[i]);
    json_close_list(w);
    json_open_list(w, "models");
    for (size_t i = 0; i < plan->model_count; i++)
        print_model(w, &plan->models[i]);
    json_close_list(w);
    json_close_map(w);
}
