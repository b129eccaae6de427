/* What holds of whatever is deployed: on a thousand configurations that were made up, always the same
 * ones, by the functions that `citadel apply` and `generations switch` call. Left out is what they call
 * others for: systemd is a list of the units that run, GPUs and what is in model directories are made
 * up; that systemd takes the units is for test_units.py. */

#include "base/text.h"
#include "config/config.h"
#include "config/problems.h"
#include "deploy/apply.h"
#include "deploy/content.h"
#include "deploy_rig.h"
#include "gpu/inventory.h"
#include "sys/files.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of each of four tests, which have a minute each on a machine that is busy. */
#define ROUNDS 250
/* With sanitizers a deployment takes ten times as long, and only one in five is done; the rest of the
 * checks are of all. tests/bench/deployments runs this as it is released. */
#ifdef __SANITIZE_ADDRESS__
#    define DEPLOYED 5
#else
#    define DEPLOYED 1
#endif
#define STAYS 10 /* one of so many is what the next are deployed over; the others are taken back */
#define MODELS_MOST 3
#define RUNNING_MAX 128

/* A sequence that is the same everywhere. */
static uint64_t
draw(uint64_t *state, uint64_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % below;
}

#define PICK(state, ...)                                \
    ({                                                  \
        static const char *const of_[] = {__VA_ARGS__}; \
        of_[draw(state, ARRAY_SIZE(of_))];              \
    })

/* ---- configurations, the strange ones too ---- */

static void
draw_model(uint64_t *s, unsigned i, struct buf *out)
{
    const char *engine = PICK(s, "vllm", "vllm", "vllm", "sim", "sim", "llama-server", "command");
    buf_printf(out, "  %s%u%s:\n", PICK(s, "m", "qwen2.5-", "a_b", "0"), i,
               PICK(s, "", "", ".x-y_z"));
    buf_printf(out, "    {engine: %s, path: \"%s%u\", residency: %s, priority: %u", engine,
               PICK(s, "/m/", "/m/", "/srv/a b/50% $HOME/", "/srv/\\u00fcber/"),
               (unsigned)draw(s, 6) * 8, PICK(s, "auto", "auto", "always", "on-demand", "manual"),
               (unsigned)draw(s, 101));
    if (text_eq(engine, "command"))
        buf_add_str(out, ", command: [/bin/serve, 'a b', '100%', '\"', '$x']");
    buf_printf(out, ", tensor_parallel: %s, gpu_memory_fraction: 0.%02u",
               PICK(s, "1", "1", "2", "4"), 10 + (unsigned)draw(s, 89));
    buf_printf(out, ", start_max: %us, restart_limit: %u, restart_delay: %ums",
               600 + (unsigned)draw(s, 604201), 1 + (unsigned)draw(s, 100),
               100 + (unsigned)draw(s, 3599901));
    buf_printf(out, ", drain_timeout: %us, listen: %s, memory_max: %s", (unsigned)draw(s, 3601),
               PICK(s, "loopback", "network"), PICK(s, "none", "64MiB", "64TiB"));
    if (draw(s, 4) == 0)
        buf_add_str(out,
                    ", extra_env: {A: \"b c\", PATH_: \"%h\"}, extra_args: [--x, \"a %n $b\"]");
    buf_printf(out, ", enabled: %s}\n", PICK(s, "true", "true", "true", "false"));
}

static void
draw_rest(uint64_t *s, struct buf *out)
{
    buf_printf(out, "storage: {require_mounts: %s, smart: %s}\n", PICK(s, "true", "false"),
               PICK(s, "true", "false"));
    buf_printf(out, "gateway: {enabled: %s, listen: [%s], drain_timeout: %s}\n",
               PICK(s, "true", "false"), PICK(s, "127.0.0.1", "\"::\"", "\"::1\", 0.0.0.0"),
               PICK(s, "0s", "5m", "1d"));
    buf_printf(out, "monitor: {enabled: %s, report: %s}\n", PICK(s, "true", "false"),
               PICK(s, "never", "monthly 28 12:30", "daily 23:59"));
    buf_printf(out, "backup: {enabled: %s, verify: %s, models: {daily: %s}}\n",
               draw(s, 8) ? "false" : "true", PICK(s, "never", "every 5m", "weekly sun 00:00"),
               PICK(s, "never", "hourly"));
    buf_printf(out, "service: {user: %s, open_files: %u}\n", PICK(s, "citadel", "llm", "a_b-c"),
               1024 + (unsigned)draw(s, 1000000));
    buf_printf(out, "paths: {state: \"%s\", logs: \"%s\"}\n",
               PICK(s, "/var/lib/citadel", "/home/me/state", "/srv/50%", "/tmp/x y"),
               PICK(s, "/opt/citadel/logs", "/var/log/a b"));
}

static void
draw_text(uint64_t *s, struct buf *out)
{
    unsigned count = 1 + (unsigned)draw(s, MODELS_MOST);
    buf_clear(out);
    draw_rest(s, out);
    buf_add_str(out, "models:\n");
    for (unsigned i = 0; i < count; i++)
        draw_model(s, i, out);
}

/* ---- machines ---- */

struct site {
    struct gpu_inventory inventory;
    struct gpu gpus[8];
    struct plan_engine vllm;
};

static void
draw_site(uint64_t *s, struct site *site)
{
    *site = (struct site){.inventory = {.count = draw(s, 9), .gpus = site->gpus}};
    for (unsigned i = 0; i < site->inventory.count; i++) {
        site->gpus[i] = (struct gpu){.index = i,
                                     .minor = {i, draw(s, 8) != 0},
                                     .memory_total_bytes = {(24 + 56 * draw(s, 2)) * GIB, true},
                                     .name = "NVIDIA H100 80GB HBM3"};
        (void)snprintf(site->gpus[i].uuid, sizeof(site->gpus[i].uuid), "GPU-%08x", i);
    }
    const char *version = PICK(s, "0.13.0", "0.14.1", "0.14.1rc1");
    site->vllm =
        (struct plan_engine){PICK(s, "/opt/citadel/vllm-env", "/srv/a b/50%"), version, ""};
    if (draw(s, 8) == 0)
        site->vllm = (struct plan_engine){"", "", "there is no Python environment at /opt/x"};
}

/* ---- what it comes to ---- */

struct candidate {
    struct config *config;
    struct arena arena;
    struct plan plan;
    struct generation_file *files;
    size_t count;
};

static void
candidate_close(struct candidate *c)
{
    config_freep(&c->config);
    arena_finish(&c->arena);
}
#define _cleanup_candidate_ _cleanup_(candidate_close)

static bool
make(const struct buf *text, const struct site *site, struct candidate *c)
{
    _cleanup_config_problems_ struct config_problems problems;
    struct unit_set units;
    struct err err = {0};
    arena_init(&c->arena, 2 * UNIT_BYTES);
    config_problems_init(&problems);
    int r = config_parse(text->data, text->len, "citadel.yaml", &c->config, &problems, &err);
    for (size_t i = 0; r < 0 && i < problems.count; i++)
        tap_note("%s", problems.items[i].found);
    const struct plan_input input = {
        .config = c->config, .inventory = &site->inventory, .vllm = &site->vllm};
    if (r == 0)
        r = plan_make(&input, &c->arena, &c->plan, &err);
    const struct unit_input in = {.config = c->config,
                                  .plan = &c->plan,
                                  .program = "/usr/bin/citadel",
                                  .config_file = "/etc/citadel/current/config.yaml"};
    if (r == 0)
        r = unit_render(&in, &c->arena, &units, &err);
    if (r == 0)
        r = deploy_content_make(text, &c->plan, &units, &c->arena, &c->files, &c->count, &err);
    if (r < 0)
        tap_fail(__FILE__, __LINE__, "%s:\n%s", err.what, text->data);
    return r == 0;
}

static bool
is_same(const struct generation_file *a, size_t a_count, const struct generation_file *b,
        size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (!text_eq(a[i].name, b[i].name) || a[i].len != b[i].len ||
            memcmp(a[i].bytes, b[i].bytes, a[i].len) != 0)
            return false;
    return true;
}

/* ---- a machine on which whatever is started runs ---- */

static struct {
    char names[RUNNING_MAX][96];
    size_t count;
} running;

static size_t
place_of(const char *unit)
{
    size_t i = 0;
    while (i < running.count && !text_eq(running.names[i], unit))
        i++;
    return i;
}

static int
look(void *arg unused_arg, const char *unit, const char *text unused_arg, enum deploy_life *ret,
     struct err *reterr unused_arg)
{
    *ret = place_of(unit) < running.count ? DEPLOY_RUNS : DEPLOY_RESTS;
    return 0;
}

static int
carry_out(void *arg unused_arg, struct deploy_order *orders, size_t count,
          struct err *reterr unused_arg)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = place_of(orders[i].unit);
        if (orders[i].act == DEPLOY_STOP && at < running.count)
            memcpy(running.names[at], running.names[--running.count], sizeof(running.names[0]));
        else if (orders[i].act != DEPLOY_STOP && at == running.count && at < RUNNING_MAX)
            (void)snprintf(running.names[running.count++], sizeof(running.names[0]), "%s",
                           orders[i].unit);
    }
    return 0;
}

static const struct deploy_host host = {.check = deploy_rig_check,
                                        .look = look,
                                        .prepare = deploy_rig_prepare,
                                        .reload = deploy_rig_reload,
                                        .carry_out = carry_out,
                                        .tell = deploy_rig_tell};

/* ---- what is deployed ---- */

/* In memory, where that can be: what is written is waited for some 100,000 times. */
static const char *
place(void)
{
    static char dir[64];
    if (!dir[0]) {
        (void)snprintf(dir, sizeof(dir), "/dev/shm/citadel-test-XXXXXX");
        if (!mkdtemp(dir))
            (void)snprintf(dir, sizeof(dir), "%s", tap_dir());
    }
    return dir;
}

static struct deploy_wish
wish_of(const struct candidate *c, unsigned number)
{
    static char store[512], state[512];
    (void)snprintf(store, sizeof(store), "%s/etc", place());
    (void)snprintf(state, sizeof(state), "%s/var", place());
    return (struct deploy_wish){.store = store,
                                .state_dir = state,
                                .by = "anna",
                                .why = "a test",
                                .files = c ? c->files : NULL,
                                .count = c ? c->count : 0,
                                .number = number,
                                .keep = STAYS + 2};
}

static unsigned
deploy(const struct candidate *c, unsigned number)
{
    const struct deploy_wish wish = wish_of(c, number);
    _cleanup_arena_ struct arena arena;
    struct deploy_end end;
    struct err err = {0};
    arena_init(&arena, DEPLOY_BYTES);
    if (deploy_apply(&wish, &host, &arena, &end, &err) < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    return end.to;
}

/* The current generation is that one, byte for byte what was given, and nothing runs that should not. */
static bool
is_all_there(unsigned number, const struct candidate *c)
{
    const struct deploy_wish wish = wish_of(c, 0);
    _cleanup_arena_ struct arena arena;
    struct deploy_outlook outlook;
    arena_init(&arena, DEPLOY_BYTES);
    return deploy_look(&wish, &host, &arena, &outlook, NULL) == 0 && outlook.current == number &&
           outlook.same && deploy_is_nothing(&outlook);
}

/* ---- what holds ---- */

/* "90s" or "1500ms" of a line like "StartLimitIntervalSec=90s", in microseconds; or a plain number. */
static uint64_t
value_of(const char *text, const char *directive)
{
    const char *at = strstr(text, directive);
    char *end;
    CHECK(at);
    uint64_t n = at ? strtoull(at + strlen(directive), &end, 10) : 0;
    return !at ? 0 : text_starts(end, "ms") ? n * 1000 : *end == 's' ? n * 1000000 : n;
}

/* Whoever always fails is given up: systemd counts for longer than all starts and pauses take; and not
 * later than was told. */
static void
check_bound(const struct config_model *model, const struct plan_model *planned, const char *unit)
{
    uint64_t pause = value_of(unit, "\nRestartSec="), burst = value_of(unit, "\nStartLimitBurst=");
    uint64_t longest = burst * (plan_times_of(model).budget.start_us + pause);
    CHECK(value_of(unit, "\nStartLimitIntervalSec=") > longest);
    CHECK(planned->start_bound_us >= longest - pause);
}

static void
check_bounds(const struct candidate *c)
{
    for (size_t i = 0; i < c->plan.model_count; i++) {
        char name[256];
        (void)snprintf(name, sizeof(name), "units/citadel-%s.service", c->plan.models[i].name);
        for (size_t n = 0; n < c->count; n++)
            if (text_eq(c->files[n].name, name))
                check_bound(&c->config->models.items[i], &c->plan.models[i], c->files[n].bytes);
    }
}

/* What is deployed, and the number of its generation. */
struct base {
    struct candidate of;
    unsigned number;
};

/* Over the base; then the base comes back, or what was deployed becomes it. */
static void
deploy_over(struct base *base, struct candidate *c, bool stays)
{
    unsigned next = deploy(c, 0);
    CHECK(next != base->number && is_all_there(next, c));
    if (!stays) {
        CHECK_EQ(deploy(NULL, base->number), base->number);
        CHECK(is_all_there(base->number, &base->of));
        return;
    }
    candidate_close(&base->of);
    *base = (struct base){*c, next};
    *c = (struct candidate){0};
}

static void
deploy_many(uint64_t state)
{
    _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB);
    struct base base = {0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        _cleanup_candidate_ struct candidate c = {0}, again = {0};
        struct site site;
        draw_text(&state, &text);
        draw_site(&state, &site);
        REQUIRE(make(&text, &site, &c) && make(&text, &site, &again));
        tap_note("round %u", round);
        CHECK(is_same(c.files, c.count, again.files, again.count));
        check_bounds(&c);
        if (round % DEPLOYED == 0)
            deploy_over(&base, &again, round % (STAYS * DEPLOYED) == 0);
    }
    candidate_close(&base.of);
    CHECK(file_remove_tree(place(), NULL) == 0);
}

#define TEST_FROM(seed)                            \
    TEST(whatever_is_deployed_is_all_there_##seed) \
    {                                              \
        deploy_many(UINT64_C(seed));               \
    }
TEST_FROM(88172645463325252)
TEST_FROM(362436069362436069)
TEST_FROM(521288629521288629)
TEST_FROM(123456789123456789)
