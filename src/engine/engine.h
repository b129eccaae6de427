#pragma once

/* Engines: the programs that serve a model. A table; each row turns a wish, which is all that the
 * configuration says about one model, into the command line and the environment for the installed
 * version of its engine. Nothing is started here and nothing of the caller's environment gets in.
 *
 * The other faces of an engine: progress.h (its log), metrics.h, canary.h (is it alive?),
 * control.h (sleep and wake). */

#include "base/err.h"
#include "base/mem.h"
#include "engine/kind.h"

struct buf;
struct engine_version;
struct secret;

enum engine_switch { ENGINE_DEFAULT, ENGINE_ON, ENGINE_OFF };

struct engine_var {
    const char *name;
    const char *value;
    bool secret; /* printed as *** */
};

struct engine_lora {
    const char *name;
    const char *path;
};

struct engine_limit {
    const char *modality; /* image, video, audio */
    unsigned count;
};

/* Lists of texts end with NULL and may be NULL; zero and NULL mean "not said". */
struct engine_wish {
    const char *name; /* of the service */
    enum engine_kind kind;
    const struct engine_version *version; /* installed; engines without one: NULL */
    const char *executable;               /* NULL: as found in python_env */
    const char *python_env;
    const char *const *command; /* engine `command`: with {model}, {name}, {host}, ... */

    const char *model_path;
    const char *const *served_names;
    const char *socket_path; /* a Unix socket; else host and port */
    const char *host;        /* NULL: loopback, or all addresses when exposed */
    uint16_t port;
    bool exposed;                 /* the configuration says that the network may reach the engine */
    const struct secret *api_key; /* made at this boot, never a person's */

    const unsigned *gpus; /* indices in PCI order */
    size_t gpu_count;
    unsigned tensor_parallel;
    unsigned pipeline_parallel;
    double gpu_memory_fraction;
    uint64_t kv_cache_memory_bytes;
    uint64_t max_model_len;
    unsigned max_num_seqs;
    unsigned max_num_batched_tokens;
    const char *dtype;
    const char *kv_cache_dtype;
    const char *quantization;
    enum engine_switch trust_remote_code;
    enum engine_switch chunked_prefill;
    enum engine_switch prefix_caching;
    bool enforce_eager;
    const char *chat_template; /* a file */
    const char *tool_parser;
    const char *reasoning_parser;
    const struct engine_lora *loras;
    size_t lora_count;
    unsigned max_loras; /* in one batch */
    unsigned max_lora_rank;
    const struct engine_limit *limits; /* of items in one prompt */
    size_t limit_count;
    const char *const *media_domains; /* from which media may be fetched; none: from nowhere */
    bool sleep_mode;
    unsigned drain_seconds;
    unsigned start_seconds; /* the longest start that is waited for */

    const char *cache_dir;     /* of this model alone; kept over restarts and upgrades */
    const char *runtime_dir;   /* short, on tmpfs: sockets between the engine's processes */
    const char *hf_token_path; /* a file */
    bool may_download;         /* else every switch that keeps engines off the network is set */
    const char *const *extra_args;
    const struct engine_var *extra_env;
    size_t extra_env_count;
    bool force; /* a person insists on an unsafe version */
};

/* Lives as long as the arena it was built in. */
struct engine_command {
    const char *const *argv; /* ends with NULL, as does environ */
    const char *const *environ;
    const struct engine_var *env; /* the same, by name, sorted */
    size_t env_count;
    const char *const *warnings; /* sentences for a person; ends with NULL */
};

enum engine_dialect { ENGINE_SAYS_NOTHING, ENGINE_SAYS_VLLM, ENGINE_SAYS_LLAMA };

struct engine_builder;

struct engine {
    const char *name;
    const char *help;
    const char *python_package;  /* whose version decides; NULL: none */
    enum engine_dialect dialect; /* of its log and its metrics */
    bool can_sleep;
    void (*build)(struct engine_builder *b);
};

/* Ends with a row whose name is NULL. */
extern const struct engine engines[];
const struct engine *engine_find(const char *name);

int engine_build(const struct engine *engine, const struct engine_wish *wish, struct arena *arena,
                 struct engine_command *ret_command, struct err *reterr) must_check;

/* So many requests vLLM works on at a time, where max_num_seqs does not say: by its release, and by the
 * first of its GPUs. 0: nobody knows. */
unsigned engine_vllm_batch(const struct engine_version *version, const char *gpu_name,
                           uint64_t gpu_bytes);

/* -EPERM, with why and what to install: that release of vLLM is started only where a person insists. */
int engine_vllm_check(const struct engine_version *version, struct err *reterr) must_check;

/* As lines that a shell would take: variables, then the command; secrets as ***. */
void engine_command_print(const struct engine_command *command, struct buf *out);
