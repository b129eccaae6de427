/* What the engine says of itself: health, version, models, metrics. */

#include "sim/routes.h"

#include <inttypes.h>

#define PAGE_BYTES_MAX (1 * MIB)
#define VERSION_SHOWN "0.32.0" /* whose answers these are */

void
sim_health(struct sim *sim unused_arg, struct http_request *r)
{
    http_answer(r, 200, NULL, "", 0);
}

void
sim_version(struct sim *sim unused_arg, struct http_request *r)
{
    static const char body[] = "{\"version\":\"" VERSION_SHOWN "\"}";
    http_answer(r, 200, "application/json", body, sizeof(body) - 1);
}

static void
write_permission(struct json_writer *w, const struct sim *sim)
{
    json_open_list(w, "permission");
    json_open_map(w, NULL);
    json_str(w, "id", "modelperm-0000000000000001");
    json_str(w, "object", "model_permission");
    json_u64(w, "created", sim->started_s);
    json_bool(w, "allow_create_engine", false);
    json_bool(w, "allow_sampling", true);
    json_bool(w, "allow_logprobs", true);
    json_bool(w, "allow_search_indices", false);
    json_bool(w, "allow_view", true);
    json_bool(w, "allow_fine_tuning", false);
    json_str(w, "organization", "*");
    json_null(w, "group");
    json_bool(w, "is_blocking", false);
    json_close_map(w);
    json_close_list(w);
}

void
sim_models(struct sim *sim, struct http_request *r)
{
    _cleanup_buf_ struct buf body = BUF_INIT(PAGE_BYTES_MAX);
    struct json_writer w;
    json_init(&w, &body, false);
    json_open_map(&w, NULL);
    json_str(&w, "object", "list");
    json_open_list(&w, "data");
    json_open_map(&w, NULL);
    json_str(&w, "id", sim->model);
    json_str(&w, "object", "model");
    json_u64(&w, "created", sim->started_s);
    json_str(&w, "owned_by", "vllm");
    json_str(&w, "root", sim->root);
    json_null(&w, "parent");
    json_u64(&w, "max_model_len", sim->max_model_len);
    write_permission(&w, sim);
    json_close_map(&w);
    json_close_list(&w);
    json_close_map(&w);
    sim_answer_json(r, &body);
}

/* ---- metrics ---- */

struct page {
    struct buf *out;
    struct buf label; /* the model's name, as a label's value may stand */
};

static void
add_family(struct page *p, const char *name, const char *type, const char *help)
{
    buf_printf(p->out, "# HELP vllm:%s %s\n# TYPE vllm:%s %s\n", name, help, name, type);
}

/* more: further labels, each with a comma before it. */
static void
add_sample(struct page *p, const char *name, const char *more, uint64_t value)
{
    buf_printf(p->out, "vllm:%s{engine=\"0\",model_name=\"%s\"%s} %" PRIu64 ".0\n", name,
               p->label.data, more, value);
}

static void
add_one(struct page *p, const char *name, const char *type, const char *help, uint64_t value)
{
    add_family(p, name, type, help);
    add_sample(p, name, "", value);
}

static void
escape_label(struct buf *out, const char *text)
{
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            buf_add_char(out, '\\');
        if (*c == '\n')
            buf_add_str(out, "\\n");
        else
            buf_add_char(out, *c);
    }
}

static void
add_steps(struct page *p, const struct sim *sim)
{
    uint64_t tokens = sim->prompt_tokens + sim->generation_tokens;
    add_family(p, "iteration_tokens_total", "histogram", "Tokens of an engine step.");
    add_sample(p, "iteration_tokens_total_bucket", ",le=\"+Inf\"", sim->steps);
    add_sample(p, "iteration_tokens_total_count", "", sim->steps);
    add_sample(p, "iteration_tokens_total_sum", "", tokens);
}

void
sim_metrics(struct sim *sim, struct http_request *r)
{
    _cleanup_buf_ struct buf body = BUF_INIT(PAGE_BYTES_MAX);
    struct page p = {&body, BUF_INIT(64 * KIB)};
    escape_label(&p.label, sim->model);
    add_one(&p, "num_requests_running", "gauge", "Requests that run.", sim->running);
    add_one(&p, "num_requests_waiting", "gauge", "Requests that wait.", 0);
    add_one(&p, "kv_cache_usage_perc", "gauge", "Share of the KV cache that is used.", 0);
    add_one(&p, "prompt_tokens_total", "counter", "Tokens of prompts.", sim->prompt_tokens);
    add_one(&p, "generation_tokens_total", "counter", "Tokens of answers.", sim->generation_tokens);
    add_family(&p, "request_success_total", "counter", "Requests that ended.");
    add_sample(&p, "request_success_total", ",finished_reason=\"stop\"", sim->finished_stop);
    add_sample(&p, "request_success_total", ",finished_reason=\"length\"", sim->finished_length);
    add_sample(&p, "request_success_total", ",finished_reason=\"abort\"", sim->finished_abort);
    add_steps(&p, sim);
    buf_finish(&p.label);
    if (buf_error(&body) < 0)
        sim_answer_error(r, 500, "InternalServerError", NULL, "the page is too large");
    else
        http_answer(r, 200, "text/plain; version=0.0.4; charset=utf-8", body.data, body.len);
}
