#include "cli/up_source.h"

#include "base/mem.h"
#include "cli/load_plan.h"
#include "config/config.h"
#include "config/problems.h"
#include "config/reread.h"
#include "deploy/engine.h"
#include "deploy/generation.h"
#include "fmt/yaml.h"
#include "service/direct.h"
#include "sys/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_MAX (4 * MIB)
#define IN_GENERATION "config.yaml"

/* The current generation, if its configuration is this text; a store that cannot be read has none. */
static unsigned
find_generation(const char *store, const char *text, size_t len)
{
    _cleanup_buf_ struct buf deployed = BUF_INIT(GENERATION_FILE_MAX);
    unsigned number = 0;
    bool same = generation_of(store, GENERATION_CURRENT, &number, NULL) == 0 && number &&
                generation_read(store, number, IN_GENERATION, &deployed, NULL) == 0 &&
                deployed.len == len && memcmp(deployed.data, text, len) == 0;
    return same ? number : 0;
}

/* A generation runs in what it was deployed with, whatever the link leads to by now. */
static int
find_vllm(struct up_source *s, struct plan_engine *ret_vllm, struct err *reterr)
{
    return s->told.generation ? deploy_engine_of(s->config->paths.generations, s->told.generation,
                                                 &s->arena, ret_vllm, reterr)
                              : cli_find_vllm(s->config, &s->arena, ret_vllm, reterr);
}

static int
make_list(const struct up_wish *wish, struct up_source *s, struct err *reterr)
{
    struct plan_engine vllm;
    const struct service_list_input input = {
        .config = s->config,
        .program = wish->program,
        .config_file = arena_printf(&s->arena, "%s/" DIRECT_COPY_NAME, s->config->paths.run),
        .names = wish->names,
        .vllm = &vllm};
    if (!input.config_file)
        return err_set(reterr, ERR_TOO_LARGE, "the path %s is too long", s->config->paths.run);
    int r = find_vllm(s, &vllm, reterr);
    return r < 0 ? r : service_list_make(&input, &s->arena, &s->list, reterr);
}

static void
begin(struct up_source *s)
{
    *s = (struct up_source){.text = BUF_INIT(YAML_BYTES_MAX)};
    arena_init(&s->arena, ARENA_MAX);
}

int
up_source_make(const struct up_wish *wish, struct config *config, const char *text, size_t len,
               const char *file, struct up_source *ret, struct err *reterr)
{
    _cleanup_up_source_ struct up_source s;
    begin(&s);
    s.config = config;
    buf_add(&s.text, text, len);
    hash_sha256_text(text, len, s.told.digest);
    (void)snprintf(s.told.file, sizeof(s.told.file), "%s", file);
    s.told.generation = find_generation(config->paths.generations, text, len);
    int r = make_list(wish, &s, reterr);
    if (r < 0)
        return r;
    *ret = s;
    s = (struct up_source){0};
    return 0;
}

static int
parse(const struct up_wish *wish, const char *file, const struct buf *text, struct up_source *ret,
      struct err *reterr)
{
    _cleanup_config_problems_ struct config_problems problems;
    struct config *config;
    config_problems_init(&problems);
    int r = config_parse(text->data, text->len, file, &config, &problems, reterr);
    if (r < 0)
        return problems.errors ? config_refuse(&problems, file, reterr) : r;
    return up_source_make(wish, config, text->data, text->len, file, ret, reterr);
}

static int
read_generation(const struct up_wish *wish, const char *store, struct up_source *ret,
                struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(YAML_BYTES_MAX);
    unsigned number;
    int r = generation_of(store, GENERATION_CURRENT, &number, reterr);
    if (r < 0)
        return r;
    if (number == 0) {
        begin(ret);
        return 0;
    }
    const struct up_wish all = {.program = wish->program};
    _cleanup_free_ char *file = mem_printf("%s/generations/%u/" IN_GENERATION, store, number);
    r = generation_read(store, number, IN_GENERATION, &text, reterr);
    return r < 0 ? r : parse(&all, file, &text, ret, reterr);
}

static int
read_file(const struct up_wish *wish, const char *file, struct up_source *ret, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(YAML_BYTES_MAX);
    int r = file_read(file, &text, reterr);
    return r < 0 ? r : parse(wish, file, &text, ret, reterr);
}

/* Where the supervisor is to be found, and by whom, is settled for its life. */
static int
check_place(const struct up_wish *wish, const struct up_source *now, struct err *reterr)
{
    if (!now->config || text_eq(wish->run_dir, now->config->paths.run))
        return 0;
    int r = err_set(reterr, ERR_CONFIG_INVALID, "paths.run becomes %s in %s, and is %s here",
                    now->config->paths.run, now->told.file, wish->run_dir);
    err_fix(reterr, "end citadel up, and start it again");
    return r;
}

int
up_source_read(const struct up_wish *wish, const struct up_source *before, enum service_read what,
               struct up_source *ret, struct err *reterr)
{
    bool deployed =
        what == SERVICE_READ_GENERATION || before->told.generation || !before->told.file[0];
    struct up_source now = {0};
    int r = deployed ? read_generation(wish, wish->store, &now, reterr)
                     : read_file(wish, before->told.file, &now, reterr);
    if (r < 0)
        return r;
    r = check_place(wish, &now, reterr);
    if (r < 0)
        up_source_finish(&now);
    else
        *ret = now;
    return r;
}

void
up_source_finish(struct up_source *s)
{
    config_free(s->config);
    arena_finish(&s->arena);
    buf_finish(&s->text);
}

void
up_source_print(const struct service_source *source, struct buf *out)
{
    if (source->generation)
        buf_printf(out, "generation %u", source->generation);
    else if (source->file[0])
        buf_printf(out, "%s, which is not deployed", source->file);
    else
        buf_add_str(out, "nothing, since nothing is deployed");
}
