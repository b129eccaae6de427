#pragma once

/* How the rows of the table put a command together. The first failure stays; what is called after
 * it does nothing, so a row says everything and is asked once, at the end. */

#include "engine/engine.h"

#define BUILD_ARGS_MAX 512
#define BUILD_ENV_MAX 256
#define BUILD_WARNINGS_MAX 32

struct engine_builder {
    const struct engine_wish *wish;
    struct arena *arena;
    struct err *reterr;
    int error;
    const char **argv;
    size_t argc;
    struct engine_var *env;
    size_t env_count;
    const char **warnings;
    size_t warning_count;
};

void build_arg(struct engine_builder *b, const char *text);
void build_argf(struct engine_builder *b, const char *fmt, ...) printf_like(2, 3);
void build_args(struct engine_builder *b, const char *const *texts);

/* A variable said twice has the value said last. */
void build_env(struct engine_builder *b, const char *name, const char *value);
void build_envf(struct engine_builder *b, const char *name, const char *fmt, ...) printf_like(3, 4);
void build_env_secret(struct engine_builder *b, const char *name, const char *value);

void build_warn(struct engine_builder *b, const char *fmt, ...) printf_like(2, 3);
void build_fail(struct engine_builder *b, enum err_id id, const char *fmt, ...) printf_like(3, 4);
void build_fix(struct engine_builder *b, const char *fmt, ...) printf_like(2, 3);

/* The program: as wished, else in the Python environment's bin, else by its name along PATH. */
void build_program(struct engine_builder *b, const char *name);

/* The address to listen on, checked: never the network unless the wish says exposed. */
const char *build_host(struct engine_builder *b);
bool build_host_is_loopback(const char *host);

/* What every engine has in its environment: paths, caches, GPUs. */
void build_common_env(struct engine_builder *b);

#define ENGINE(constant, name, function, ...) void build_##function(struct engine_builder *b);
#include "engine/engine.def"
#undef ENGINE
