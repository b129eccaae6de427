#pragma once

/* All that is said of a run before it begins: vLLM's flags (flags.def), the simulator's own options
 * (options.def; on the command line, or in the JSON of $CITADEL_SIM) and vLLM's variables. */

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#define SETTINGS_LIST_MAX 32

struct settings_list {
    const char *items[SETTINGS_LIST_MAX];
    size_t count;
};

/* Texts live as long as the program. Numbers are zero and texts NULL where nothing is said and
 * there is no default. */
struct settings {
    /* vLLM's flags */
    const char *model, *host, *uds;
    uint64_t port;
    struct settings_list names, api_keys, loras;
    uint64_t max_model_len, max_seqs, max_batched_tokens, max_queued;
    uint64_t tensor_parallel, pipeline_parallel, block_tokens, blocks_override, kv_bytes;
    double gpu_memory_utilization, shutdown_timeout_s;
    uint64_t max_logprobs;
    const char *runner, *task, *dtype, *quantization, *log_level, *quiet_endpoints, *config;
    const char *tool_parser, *reasoning_parser;
    bool sleep_mode, no_log_stats, prefix_caching, eager, log_requests, no_access_log;
    bool auto_tools, prompt_details, load_tracking, force_usage;

    /* the simulator's own */
    const char *version, *tasks;
    uint64_t load_us, sleep_us, wake_us, slow_us, watchdog_us;
    uint64_t shards, weights_bytes, gpu_bytes, kv_token_bytes, kv_blocks, dimensions, queue_max;
    double token_rate, prefill_rate;
    struct settings_list faults;
    bool strict, control;

    /* vLLM's variables */
    bool dev_mode, keep_alive_on_death;
    double stats_interval_s, keep_alive_s;

    /* worked out */
    unsigned release; /* the second number of the version: 11 of 0.11.0 */
    struct buf given; /* what differs from vLLM's defaults, as its log tells it */
    struct arena texts;
};

enum settings_end {
    SETTINGS_OK,
    SETTINGS_HELP,    /* is asked for */
    SETTINGS_REFUSED, /* *reterr: what vLLM's own parser would say */
    SETTINGS_WRONG,   /* *reterr: what else is wrong */
};

enum settings_end settings_read(struct settings *s, int argc, char *argv[], struct err *reterr)
    must_check;
void settings_finish(struct settings *s);
void settings_help(struct buf *out);

/* The GPUs that may be used, by $CUDA_VISIBLE_DEVICES, of count: the n-th, or -1 when there are not
 * so many. */
int settings_gpu(unsigned n, unsigned count);
