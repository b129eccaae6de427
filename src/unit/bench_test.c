#include "base/text.h"
#include "config/problems.h"
#include "tap.h"
#include "unit/test_int.h"

#include <stdio.h>

static void
plan_model(struct bench *b, const struct config_model *model, size_t i)
{
    unsigned count = plan_gpus_of(model, false) == PLAN_GPUS_NEVER ? 0 : plan_gpu_count(model);
    b->models[i] = (struct plan_model){
        .name = model->name,
        .fate = !model->enabled ? PLAN_DISABLED
                : i == 0        ? PLAN_RESIDENT
                                : PLAN_ON_DEMAND,
        .parts = b->parts,
        .part_count = MIN(count, ARRAY_SIZE(b->gpus)),
        .reason = "",
        .fix = "",
    };
}

void
bench_open(struct bench *b, const char *yaml)
{
    static const char *const uuids[] = {"GPU-00000000-aaaa", "GPU-11111111-bbbb",
                                        "GPU-22222222-cccc", "GPU-33333333-dddd"};
    _cleanup_config_problems_ struct config_problems problems;
    *b = (struct bench){0};
    arena_init(&b->arena, UNIT_BYTES);
    config_problems_init(&problems);
    if (config_parse(yaml, strlen(yaml), "citadel.yaml", &b->config, &problems, &b->err) < 0)
        tap_fail(__FILE__, __LINE__, "%s: %s", b->err.what, yaml);
    for (unsigned i = 0; i < ARRAY_SIZE(b->gpus); i++) {
        b->gpus[i] = (struct plan_gpu){.index = i, .minor = i, .uuid = uuids[i], .trouble = ""};
        b->parts[i] = (struct plan_part){.gpu = &b->gpus[i]};
    }
    b->plan = (struct plan){.gpus = b->gpus,
                            .gpu_count = 2,
                            .models = b->models,
                            .vllm = {"/opt/citadel/vllm-env-0.14.1", "0.14.1", ""}};
    for (size_t i = 0; b->config && i < b->config->models.count && i < 300; i++)
        plan_model(b, &b->config->models.items[b->plan.model_count++], i);
}

void
bench_close(struct bench *b)
{
    arena_finish(&b->arena);
    config_free(b->config);
}

int
bench_render(struct bench *b)
{
    const struct unit_input in = {.config = b->config,
                                  .plan = &b->plan,
                                  .program = "/usr/bin/citadel",
                                  .config_file = "/etc/citadel/current/config.yaml"};
    return unit_render(&in, &b->arena, &b->set, &b->err);
}

const char *
bench_text(const struct bench *b, const char *name)
{
    const struct unit_file *file = unit_find(&b->set, name);
    if (!file)
        tap_fail(__FILE__, __LINE__, "there is no %s", name);
    return file ? file->text : "";
}

const char *
bench_values(const struct bench *b, const char *name, const char *directive, char text[4096])
{
    struct buf out = BUF_INIT(4096);
    size_t len = strlen(directive);
    for (const char *line = bench_text(b, name); *line;) {
        size_t end = strcspn(line, "\n");
        if (text_starts(line, directive) && line[len] == '=') {
            buf_add(&out, line + len + 1, end - len - 1);
            buf_add_char(&out, ';');
        }
        line += end + (line[end] == '\n');
    }
    (void)snprintf(text, 4096, "%s", out.data);
    buf_finish(&out);
    return text;
}
