/* citadel-sim: from its arguments to its end. */

#include "sim/call.h"
#include "sim/say.h"
#include "sim/sim.h"
#include "sys/clock.h"
#include "sys/log.h"

#include <signal.h>
#include <stdio.h>

#define HELP_BYTES_MAX (1 * MIB)
#define BODY_BYTES_MAX (64 * MIB)

static int
print_help(void)
{
    _cleanup_buf_ struct buf out = BUF_INIT(HELP_BYTES_MAX);
    settings_help(&out);
    faults_help(&out);
    return fputs(out.data, stdout) < 0 || fflush(stdout) < 0;
}

/* As Python's argparse says it. */
static int
refuse_flags(const char *why)
{
    (void)fprintf(stderr, "usage: vllm serve [model_tag] [options]\nvllm: error: %s\n", why);
    return 2;
}

static int
refuse(const struct err *err)
{
    log_err(err);
    return err_exit(err);
}

static int
add_faults(struct sim *sim, struct err *reterr)
{
    const struct settings_list *list = &sim->settings.faults;
    for (size_t i = 0; i < list->count; i++) {
        struct fault_wish wish;
        int r = fault_parse(list->items[i], &wish, reterr);
        if (r == 0)
            r = faults_add(&sim->faults, &wish, reterr);
        if (r < 0)
            return r;
    }
    return 0;
}

static void
init(struct sim *sim)
{
    const struct settings *s = &sim->settings;
    struct http_server_config config = http_server_config_default;
    config.name = "uvicorn";
    config.body_bytes_max = BODY_BYTES_MAX;
    config.idle_us = (uint64_t)(s->keep_alive_s * 1e6);
    struct http_service service = life_service;
    service.arg = sim;
    sim->server = http_server_new(sim->loop, &config, &service);
    sim->started_s = clock_wall_us() / 1000000;
    sim->ranks = (unsigned)(s->tensor_parallel * s->pipeline_parallel);
    metrics_init(&sim->metrics, s->max_model_len);
    batch_init(&sim->batch, sim->loop, &sim->metrics);
    sim->batch.max_seqs = s->max_seqs;
    sim->batch.max_step_tokens = s->max_batched_tokens;
    sim->batch.block_tokens = s->block_tokens;
    sim->batch.token_us = s->token_rate > 0 ? 1e6 / s->token_rate : 0;
    sim->batch.prefill_us = s->prefill_rate > 0 ? 1e6 / s->prefill_rate : 0;
    prefix_init(&sim->prefix);
    words_init(&sim->words);
    traffic_init(&sim->traffic);
    say_init(sim->loop, s);
}

static void
finish(struct sim *sim)
{
    life_finish(sim);
    boot_finish(sim);
    faults_finish(&sim->faults);
    http_server_free(sim->server);
    call_free_spare(sim);
    batch_finish(&sim->batch);
    prefix_finish(&sim->prefix);
    words_finish(&sim->words);
    say_flush();
    cores_finish(&sim->cores);
    loop_free(sim->loop);
}

static void
begin(struct sim *sim)
{
    faults_enter(&sim->faults, sim->loop, PHASE_STARTING);
    if (faults_hold(&sim->faults, FAULT_BAD_FLAG)) {
        sim->exit_code = refuse_flags("unrecognized arguments: --no-such-flag");
        return;
    }
    boot_begin(sim);
    loop_run(sim->loop);
}

static int
run(struct sim *sim)
{
    struct err err;
    int r = loop_new(&sim->loop, &err);
    if (r < 0)
        return refuse(&err);
    init(sim);
    r = life_begin(sim, &err);
    if (r < 0)
        sim->exit_code = refuse(&err);
    else
        begin(sim);
    finish(sim);
    return sim->exit_code;
}

static int
read_and_run(struct sim *sim, int argc, char *argv[])
{
    struct err err;
    faults_init(&sim->faults);
    switch (settings_read(&sim->settings, argc, argv, &err)) {
    case SETTINGS_HELP:
        return print_help();
    case SETTINGS_REFUSED:
        return refuse_flags(err.what);
    case SETTINGS_WRONG:
        return refuse(&err);
    case SETTINGS_OK:
        break;
    }
    if (add_faults(sim, &err) < 0)
        return refuse(&err);
    cores_init(&sim->cores, argc, argv);
    return run(sim);
}

int
main(int argc, char *argv[])
{
    static struct sim sim;
    (void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    int r = read_and_run(&sim, argc, argv);
    settings_finish(&sim.settings);
    return r;
}
