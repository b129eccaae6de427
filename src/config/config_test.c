#include "config/config.h"

#include "base/text.h"
#include "config/diff.h"
#include "config/option_int.h"
#include "config/problems.h"
#include "config/show.h"
#include "config/type_int.h"
#include "fmt/yaml.h"
#include "sys/root.h"

#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MODEL "models: {m: {}}\n"

/* Parses a text that has to be right; NULL, and failed, when it is not. */
static struct config *
parse(const char *text)
{
    _cleanup_config_problems_ struct config_problems problems;
    _cleanup_buf_ struct buf lines = BUF_INIT(1 * MIB);
    struct config *config = NULL;
    config_problems_init(&problems);
    int r = config_parse(text, strlen(text), "c.yaml", &config, &problems, NULL);
    config_problems_print(&problems, &lines);
    CHECK_STR(lines.data, "");
    return r < 0 ? NULL : config;
}

/* What is said about a text, a line for each problem. */
static const char *
complaints(const char *text)
{
    static char said[256 * KIB];
    _cleanup_config_problems_ struct config_problems problems;
    _cleanup_config_ struct config *config = NULL;
    _cleanup_buf_ struct buf lines = BUF_INIT(sizeof(said) - 1);
    struct err err = {0};
    config_problems_init(&problems);
    int r = config_parse(text, strlen(text), "c.yaml", &config, &problems, &err);
    config_problems_print(&problems, &lines);
    memcpy(said, lines.data, lines.len + 1);
    CHECK((r < 0) == (problems.errors > 0));
    CHECK(r == 0 || (r == -EINVAL && err.id == ERR_CONFIG_INVALID));
    return said;
}

static void
read_source(const char *path, struct buf *out)
{
    char piece[4096];
    FILE *f = fopen(tap_source(path), "r");
    CHECK(f);
    for (size_t n; f && (n = fread(piece, 1, sizeof(piece), f)) > 0;)
        buf_add(out, piece, n);
    if (f)
        (void)fclose(f);
}

TEST(a_model_needs_no_more_than_its_name)
{
    _cleanup_config_ struct config *c = parse("models:\n  phi3:\n");
    REQUIRE(c);
    REQUIRE(c->models.count == 1);
    const struct config_model *m = &c->models.items[0];
    CHECK_STR(m->name, "phi3");
    CHECK_EQ(m->port, 11400);
    CHECK_STR(m->path, "/opt/citadel/models/phi3");
    CHECK_EQ(m->served_names.count, 1);
    CHECK_STR(m->served_names.items[0], "phi3");
    CHECK_EQ(m->engine, CONFIG_ENGINE_VLLM);
    CHECK_EQ(m->tensor_parallel, 1);
    CHECK_EQ(m->max_model_len, 0);
    CHECK(m->gpu_memory_fraction == 0.9);
    CHECK(m->enabled && !m->trust_remote_code);
    CHECK_EQ(m->start_max_us, 7200000000);
    CHECK_EQ(m->stall_limit_us, 120000000);
    CHECK(config_find_model(c, "phi3") == m);
    CHECK(!config_find_model(c, "phi"));
}

TEST(defaults_are_those_of_the_mission)
{
    _cleanup_config_ struct config *c = parse(MODEL);
    REQUIRE(c);
    CHECK_STR(c->service.user, "citadel");
    CHECK_STR(c->paths.root, "/opt/citadel");
    CHECK_STR(c->paths.models, "/mnt/citadel-models");
    CHECK_STR(c->paths.backup, "/mnt/citadel-backup");
    CHECK_STR(c->paths.vllm_env, "/opt/citadel/vllm-env");
    CHECK_EQ(c->gateway.port, 8000);
    CHECK_EQ(c->monitor.port, 8001);
    CHECK_EQ(c->monitor.keep_us, 30LL * 86400 * 1000000);
    CHECK(c->alerts.cpu.above_percent == 90 && c->alerts.memory.above_percent == 85);
    CHECK(c->alerts.storage.above_percent == 85 && c->alerts.backup_storage.above_percent == 85);
    CHECK_EQ(c->alerts.gpu_temperature.above, 80);
    CHECK_EQ(c->alerts.gpu_temperature.severity, CONFIG_SEVERITY_CRITICAL);
    CHECK_EQ(c->alerts.model_unhealthy.severity, CONFIG_SEVERITY_CRITICAL);
    CHECK(c->alerts.keep_us >= 7LL * 86400 * 1000000);
    CHECK_EQ(c->storage.minimum_free_bytes, 500000000000);
    CHECK_EQ(c->backup.models.keep_daily, 7);
    CHECK_EQ(c->backup.models.keep_weekly, 4);
    CHECK_EQ(c->backup.models.keep_monthly, 12);
    CHECK_EQ(c->backup.logs.keep_us, 90LL * 86400 * 1000000);
    CHECK_EQ(c->devops.prometheus.port, 9090);
    CHECK_EQ(c->devops.grafana.port, 3000);
    CHECK_EQ(c->devops.alertmanager.port, 9093);
    CHECK(!c->devops.address && c->hub.token.kind == CONFIG_SECRET_NONE);
}

TEST(presets_follow_the_paths)
{
    _cleanup_config_ struct config *c =
        parse("paths: {root: //srv//citadel/, state: /srv/state}\n" MODEL);
    REQUIRE(c);
    CHECK_STR(c->paths.root, "/srv/citadel");
    CHECK_STR(c->paths.vllm_env, "/srv/citadel/vllm-env");
    CHECK_STR(c->gateway.keys_file, "/srv/state/gateway/keys.db");
    CHECK_STR(c->models.items[0].path, "/srv/citadel/models/m");
}

TEST(models_inherit)
{
    _cleanup_config_ struct config *c = parse("defaults:\n"
                                              "  dtype: float16\n"
                                              "  extra_env: {A: '1', B: '2', C: '3'}\n"
                                              "  extra_args: [--x]\n"
                                              "  lora: {max_rank: 32}\n"
                                              "models:\n"
                                              "  a:\n"
                                              "  b:\n"
                                              "    dtype: auto\n"
                                              "    extra_env: {D: '4', B: '', A: 7}\n"
                                              "    extra_args: [--y]\n"
                                              "    lora: {max_adapters: 9}\n"
                                              "  c: {extra_env: none, extra_args: none}\n");
    REQUIRE(c);
    const struct config_model *a = &c->models.items[0], *b = a + 1, *n = a + 2;
    CHECK_EQ(a->dtype, CONFIG_DTYPE_FLOAT16);
    CHECK_EQ(a->extra_env.count, 3);
    CHECK_STR(a->extra_args.items[0], "--x");
    CHECK_EQ(a->lora.max_rank, 32);
    CHECK_EQ(b->dtype, CONFIG_DTYPE_AUTO);
    CHECK_EQ(b->lora.max_rank, 32);
    CHECK_EQ(b->lora.max_adapters, 9);
    CHECK_STR(b->extra_args.items[0], "--y");
    REQUIRE(b->extra_env.count == 4);
    CHECK_STR(b->extra_env.items[0].name, "D");
    CHECK_STR(b->extra_env.items[1].value, "");
    CHECK_STR(b->extra_env.items[2].value, "7");
    CHECK_STR(b->extra_env.items[3].name, "C");
    CHECK_EQ(n->extra_env.count, 0);
    CHECK_EQ(n->extra_args.count, 0);
}

TEST(ports_are_given_out_in_order)
{
    _cleanup_config_ struct config *c = parse("gateway: {port: 11400}\n"
                                              "models:\n"
                                              "  a: {port: 11403}\n"
                                              "  b:\n"
                                              "  c: {port: 11401}\n"
                                              "  d:\n"
                                              "  e:\n");
    static const unsigned want[] = {11403, 11402, 11401, 11404, 11405};
    REQUIRE(c);
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        CHECK_EQ(c->models.items[i].port, want[i]);
}

TEST(texts_are_kept_as_written)
{
    _cleanup_config_ struct config *c =
        parse("models: {m: {quantization: 0.10, source: 12, extra_env: {A: true, B: 007}}}\n");
    REQUIRE(c);
    CHECK_STR(c->models.items[0].quantization, "0.10");
    CHECK_STR(c->models.items[0].source, "12");
    CHECK_STR(c->models.items[0].extra_env.items[0].value, "true");
    CHECK_STR(c->models.items[0].extra_env.items[1].value, "007");
}

TEST(secrets_are_references)
{
    _cleanup_config_ struct config *c = parse("hub: {token: {file: /etc/citadel/hf}}\n"
                                              "backup: {password: {env: RESTIC}}\n"
                                              "devops: {address: a, grafana: {token: "
                                              "{credential: grafana}}}\n" MODEL);
    REQUIRE(c);
    CHECK_EQ(c->hub.token.kind, CONFIG_SECRET_FILE);
    CHECK_STR(c->hub.token.where, "/etc/citadel/hf");
    CHECK_EQ(c->backup.password.kind, CONFIG_SECRET_ENV);
    CHECK_EQ(c->devops.grafana.token.kind, CONFIG_SECRET_CREDENTIAL);
}

/* Once the "sk-" of a disk's path was taken for the beginning of an API key. */
TEST(a_path_is_no_secret)
{
    CHECK_STR(complaints("models: {m: {path: /mnt/disk-one-with-a-long-name/models/phi}}\n"), "");
    CHECK_STR(complaints("models: {m: {path: /x/sk-0123456789abcdefghij}}\n"),
              "c.yaml:1:20: models.m.path holds what looks like an API key: keep it with "
              "`citadel secrets set NAME`, and give its option {credential: NAME}\n");
}

/* One line of each kind of error; the scenario has them all, through the program. */
TEST(everything_is_said_in_one_go)
{
    CHECK_STR(
        complaints("log_level: loud\n"
                   "models:\n"
                   "  phi3:\n"
                   "    port: 70000\n"
                   "    tensor_paralel: 2\n"
                   "    gpus: [0, x, 0]\n"
                   "    idle_after: 60\n"
                   "  Phi: {}\n"
                   "  gpu: [1]\n"
                   "gateway: {fallbacks: {phi3: [ph3]}}\n"
                   "gateway: {}\n"),
        "c.yaml:1:12: log_level is 'loud': one of error, warning, info or debug\n"
        "c.yaml:4:11: models.phi3.port is 70000: a port from 1024 to 65535; or auto\n"
        "c.yaml:5:5: models.phi3.tensor_paralel is no option: did you mean "
        "tensor_parallel?\n"
        "c.yaml:6:15: models.phi3.gpus[1] is 'x': the index or UUID of a GPU, as in 0\n"
        "c.yaml:7:17: models.phi3.idle_after is 60: a duration with its unit from 1m to 365d, "
        "as in 90s, 15m, 2h or 7d; or never\n"
        "c.yaml:8:3: models has the name 'Phi': a name of small letters, digits, '-', '_' and "
        "'.', beginning with a letter or digit, 63 at most\n"
        "c.yaml:9:8: models.gpu is a list: a map of options\n"
        "c.yaml:10:30: gateway.fallbacks.phi3 is 'ph3', which is no model: did you mean "
        "phi3?\n"
        "c.yaml:11:1: the key 'gateway' stands twice in this map, first in line 10: keep one "
        "of the two\n");
}

TEST(warnings_do_not_refuse)
{
    CHECK_STR(complaints("models: {m: {enabled: false}}\n"),
              "c.yaml:1:1: warning: no model is enabled\n");
}

TEST(there_is_an_end_to_complaints)
{
    _cleanup_buf_ struct buf text = BUF_INIT(1 * MIB);
    buf_add_str(&text, "models:\n  m:\n");
    for (unsigned i = 0; i < 250; i++)
        buf_printf(&text, "    nonsense%u: 1\n", i);
    const char *said = complaints(text.data);
    size_t lines = 0;
    for (const char *c = said; *c; c++)
        lines += *c == '\n';
    CHECK_EQ(lines, CONFIG_PROBLEMS_MAX + 1);
    CHECK(text_ends(said, "\nc.yaml: and 150 more\n"));
}

/* Every type, and every word, once. */
static const char everything[] =
    "log_level: debug\n"
    "service: {user: svc_1, open_files: 4096}\n"
    "network: {address: 10.0.0.1, host_name: gpu-1.example}\n"
    "hub: {token: {file: /etc/t}, offline: false, endpoint: 'http://[::1]:80/x?y=z'}\n"
    "defaults: {labels: {a: b c, d: 'yes'}, priority: 1}\n"
    "models:\n"
    "  one.a-b_c:\n"
    "    path: /srv/x y\n"
    "    gpus: [1, GPU-12ab]\n"
    "    tensor_parallel: 2\n"
    "    gpu_memory_fraction: 0.123456789012345\n"
    "    kv_cache_memory: 1536MiB\n"
    "    chunked_prefill: false\n"
    "    prefix_caching: true\n"
    "    idle_after: 90m\n"
    "    extra_args: ['--a=b', \"\\\"q\\\" #x\", '[1]', '-']\n"
    "    lora: {adapters: {ad: lora/one, ae: /abs}}\n"
    "    served_names: [one, org/One-7B]\n"
    "  two: {engine: command, command: [/bin/x, '{port}'], sleep_level: 0}\n"
    "gateway:\n"
    "  aliases: {gpt-4: two}\n"
    "  fallbacks: {two: [one, remote]}\n"
    "  peers: {other: {url: 'https://h:1', models: [remote], key: {env: K}, weight: 7}}\n"
    "  metrics_allow: none\n"
    "monitor: {report: never}\n"
    "alerts:\n"
    "  cpu: {above: 12.5, enabled: false}\n"
    "  notifiers: {ops: {kind: email, to: [a@b.c], server: 'smtp://m:25', severity: info}}\n"
    "gpu: {persistence: auto, power_limit: 300}\n"
    "storage: {minimum_free: 0, caches: []}\n"
    "backup:\n"
    "  repository: s3://host/bucket/x\n"
    "  configuration: {schedules: [every 5m, every 2h, hourly, weekly Tue 23:59]}\n"
    "  system: {schedules: never}\n"
    "hooks: {backup_ended: [/bin/true]}\n";

static void
check_same(const struct config *a, const struct config *b)
{
    struct config_diff diff;
    REQUIRE(config_diff(a, b, &diff, NULL) == 0);
    for (size_t i = 0; i < diff.count; i++)
        tap_fail(__FILE__, __LINE__, "%s was %s and is %s", diff.items[i].path, diff.items[i].from,
                 diff.items[i].to);
    config_diff_finish(&diff);
}

static void
check_round_trip(const char *text)
{
    _cleanup_buf_ struct buf yaml = BUF_INIT(1 * MIB), again = BUF_INIT(1 * MIB);
    _cleanup_config_ struct config *a = parse(text), *b = NULL;
    REQUIRE(a);
    REQUIRE(config_print(a, NULL, &yaml, NULL) == 0 && buf_error(&yaml) == 0);
    b = parse(yaml.data);
    REQUIRE(b);
    check_same(a, b);
    REQUIRE(config_print(b, NULL, &again, NULL) == 0);
    CHECK(!strstr(again.data, "# default"));
}

/* The JSON of `config show --json`: what stands under "config" is a configuration, too. */
static void
check_json_round_trip(const char *text)
{
    _cleanup_buf_ struct buf json = BUF_INIT(1 * MIB), inner = BUF_INIT(1 * MIB);
    _cleanup_arena_ struct arena arena;
    _cleanup_config_ struct config *a = parse(text), *b = NULL;
    struct json_writer w;
    struct value *v;
    REQUIRE(a);
    arena_init(&arena, 16 * MIB);
    json_init(&w, &json, true);
    REQUIRE(config_print_json(a, NULL, &w, NULL) == 0);
    REQUIRE(yaml_parse(&arena, json.data, json.len, &v, NULL, NULL) == 0);
    json_init(&w, &inner, false);
    json_value(&w, NULL, value_get(v, "config"));
    b = parse(inner.data);
    REQUIRE(b);
    check_same(a, b);
}

TEST(what_is_shown_means_the_same)
{
    static const char *const files[] = {"examples/reference.yaml", "examples/minimal.yaml"};
    check_round_trip(everything);
    check_json_round_trip(everything);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        _cleanup_buf_ struct buf text = BUF_INIT(1 * MIB);
        tap_note("%s", files[i]);
        read_source(files[i], &text);
        check_round_trip(text.data);
        check_json_round_trip(text.data);
    }
}

TEST(the_smallest_example_is_small)
{
    _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB);
    size_t lines = 0;
    read_source("examples/minimal.yaml", &text);
    for (const char *c = text.data; *c; c++)
        lines += *c == '\n';
    CHECK(lines > 0 && lines <= 10);
}

TEST(a_part_can_be_shown)
{
    static const struct {
        const char *path;
        const char *want;
    } rows[] = {
        {"gateway.port", "8000\n"},
        {"models.a.b.port", "11400\n"},
        {"models.a.b.labels", "{x: z}\n"},
        {"models.a.b.path", "/opt/citadel/models/a.b\n"},
        {"gateway.tls", "certificate: none  # default\nkey: none  # default\n"
                        "client_ca: none  # default\n"},
        {"gateway.peers", "peers: {}\n"},
    };
    static const struct {
        const char *path;
        const char *what;
        const char *fix;
    } bad[] = {
        {"gatewy", "there is no 'gatewy' in the configuration", "did you mean gateway?"},
        {"gateway.prt", "there is no 'prt' in gateway.prt", "did you mean gateway.port?"},
        {"gateway.port.x", "there is no 'x' in gateway.port.x", "citadel config show gateway.port"},
        {"models.c.port", "there is no 'c' in models.c.port", "citadel config show models"},
        {"xylophone", "there is no 'xylophone' in the configuration", "citadel config options"},
    };
    _cleanup_config_ struct config *c = parse("models: {a.b: {labels: {x: z}}}\n");
    REQUIRE(c);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(64 * KIB);
        tap_note("%s", rows[i].path);
        CHECK(config_print(c, rows[i].path, &out, NULL) == 0);
        CHECK_STR(out.data, rows[i].want);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(64 * KIB);
        struct err err = {0};
        tap_note("%s", bad[i].path);
        CHECK_EQ(config_print(c, bad[i].path, &out, &err), -ENOENT);
        CHECK_STR(err.what, bad[i].what);
        CHECK_STR(err.fix, bad[i].fix);
    }
}

TEST(where_a_value_comes_from_is_marked)
{
    _cleanup_config_ struct config *c =
        parse("defaults: {dtype: float16, lora: {max_rank: 8}}\nmodels: {m: {priority: 3}}\n");
    _cleanup_buf_ struct buf out = BUF_INIT(64 * KIB);
    REQUIRE(c);
    CHECK(config_print(c, "models.m", &out, NULL) == 0);
    CHECK(strstr(out.data, "\ndtype: float16  # from defaults\n"));
    CHECK(strstr(out.data, "\n  max_rank: 8  # from defaults\n"));
    CHECK(strstr(out.data, "\npriority: 3\n"));
    CHECK(strstr(out.data, "\nport: 11400  # default\n"));
}

TEST(changes_are_listed_with_what_they_need)
{
    static const struct {
        const char *path, *model, *from, *to;
        enum config_reload reload;
    } want[] = {
        {"log_level", NULL, "info", "debug", CONFIG_RELOAD_LIVE},
        {"paths.root", NULL, "/opt/citadel", "/srv/x", CONFIG_RELOAD_DEPLOY},
        {"paths.vllm_env", NULL, "/opt/citadel/vllm-env", "/srv/x/vllm-env", CONFIG_RELOAD_DEPLOY},
        {"paths.logs", NULL, "/opt/citadel/logs", "/srv/x/logs", CONFIG_RELOAD_DEPLOY},
        {"models.a.path", "a", "/opt/citadel/models/a", "/srv/x/models/a", CONFIG_RELOAD_MODEL},
        {"models.a.dtype", "a", "auto", "float16", CONFIG_RELOAD_MODEL},
        {"models.b", "b", "", NULL, CONFIG_RELOAD_DEPLOY},
        {"models.c", "c", NULL, "", CONFIG_RELOAD_DEPLOY},
        {"gateway.port", NULL, "8000", "8080", CONFIG_RELOAD_SERVICE},
    };
    _cleanup_config_ struct config *from = parse("models: {a: {}, b: {}}\n");
    _cleanup_config_ struct config *to = parse("log_level: debug\n"
                                               "paths: {root: /srv/x}\n"
                                               "defaults: {dtype: float16}\n"
                                               "gateway: {port: 8080}\n"
                                               "models: {a: {}, c: {}}\n");
    struct config_diff diff;
    REQUIRE(from && to);
    REQUIRE(config_diff(from, to, &diff, NULL) == 0);
    CHECK_EQ(diff.count, ARRAY_SIZE(want));
    for (size_t i = 0; i < MIN(diff.count, ARRAY_SIZE(want)); i++) {
        tap_note("%s", want[i].path);
        CHECK_STR(diff.items[i].path, want[i].path);
        CHECK_STR(diff.items[i].model, want[i].model);
        CHECK_STR(diff.items[i].from, want[i].from);
        CHECK_STR(diff.items[i].to, want[i].to);
        CHECK_EQ(diff.items[i].reload, want[i].reload);
    }
    config_diff_finish(&diff);
    check_same(from, from);
}

/* The table itself. */

static void
check_row(const struct section *section, const struct option *o)
{
    struct type_range range;
    tap_note("%s.%s", section->name, o->name);
    CHECK(o->help && o->help[0] && !text_ends(o->help, "."));
    CHECK(strspn(o->name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(o->name));
    CHECK(o->offset + (o->of ? 1 : types[o->type].bytes) <= section->bytes);
    CHECK(o->word || !text_eq(o->preset, "none") || o->words);
    CHECK(!o->range || type_range(o, &range));
    for (const struct option *p = section->options; p < o; p++)
        CHECK(!text_eq(p->name, o->name));
    /* Both ends of a range can be written: a value is read as itself, or range and default lie. */
    if (o->of || !type_range(o, &range) || types[o->type].item != OPTION_TYPES)
        return;
    const char *ends[] = {range.low, range.high, o->word};
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        _cleanup_arena_ struct arena arena = {0};
        _cleanup_config_problems_ struct config_problems problems = {0};
        uint64_t field[8] = {0};
        struct trail trail = {.name = o->name};
        struct reading r = {.arena = &arena, .problems = &problems, .trail = &trail, .option = o};
        if (!ends[i] || o->type == OPTION_PAIRS || o->type == OPTION_PLACES ||
            o->type == OPTION_CHAINS || o->type == OPTION_SCHEDULES)
            continue;
        struct value v = {
            .type = yaml_plain_type(ends[i], strlen(ends[i])),
            .text = ends[i],
            .len = strlen(ends[i]),
        };
        if (o->type == OPTION_PERCENT)
            v.type = VALUE_NUMBER;
        arena_init(&arena, 64 * KIB);
        config_problems_init(&problems);
        CHECK(type_read(&r, &v, field));
        const struct value *written = type_write(&arena, o, field);
        CHECK(written && type_read(&r, written, field));
    }
}

static void
check_section(const struct section *section)
{
    for (size_t i = 0; i < section->count; i++) {
        check_row(section, &section->options[i]);
        if (section->options[i].of)
            check_section(section->options[i].of);
    }
}

TEST(every_row_is_sound)
{
    check_section(option_root);
}

struct counted {
    size_t options;
    size_t secrets;
    struct buf *schema;
};

static void
count(const struct config_option *o, void *arg)
{
    struct counted *counted = arg;
    char quoted[128];
    const char *last = strrchr(o->path, '.');
    counted->options += !o->section;
    counted->secrets += o->secret;
    (void)snprintf(quoted, sizeof(quoted), "\"%s\": {", last ? last + 1 : o->path);
    tap_note("%s", o->path);
    CHECK(strstr(counted->schema->data, quoted));
    CHECK(o->section || (o->allowed[0] && o->reload[0]));
}

TEST(manual_and_schema_have_every_option)
{
    _cleanup_buf_ struct buf schema = BUF_INIT(1 * MIB);
    _cleanup_arena_ struct arena arena;
    struct counted counted = {.schema = &schema};
    struct value *v;
    arena_init(&arena, 16 * MIB);
    config_print_schema(&schema);
    CHECK(yaml_parse(&arena, schema.data, schema.len, &v, NULL, NULL) == 0);
    config_each_option(count, &counted);
    CHECK(counted.options > 200);
    CHECK(counted.secrets > 5);
}

TEST(the_first_configuration_is_accepted)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1 * MIB);
    config_print_init(&out);
    const char *said = complaints(out.data);
    CHECK(said[0] == '\0' || text_ends(said, ": warning: no model is enabled\n"));
}

TEST(paths_lie_under_the_root)
{
    _cleanup_buf_ struct buf shown = BUF_INIT(1 * MIB);
    char want[512];
    REQUIRE(root_set(tap_dir(), NULL) == 0);
    _cleanup_config_ struct config *c = parse("hub: {token: {file: /etc/t}}\n"
                                              "models: {m: {lora: {adapters: {a: b}}}}\n");
    REQUIRE(c);
    (void)snprintf(want, sizeof(want), "%s/opt/citadel/models/m", tap_dir());
    CHECK_STR(c->models.items[0].path, want);
    (void)snprintf(want, sizeof(want), "%s/opt/citadel/models/b", tap_dir());
    CHECK_STR(c->models.items[0].lora.adapters.items[0].value, want);
    (void)snprintf(want, sizeof(want), "%s/var/lib/citadel/gateway/keys.db", tap_dir());
    CHECK_STR(c->gateway.keys_file, want);
    (void)snprintf(want, sizeof(want), "%s/mnt/citadel-backup", tap_dir());
    CHECK_STR(c->backup.repository, want);
    (void)snprintf(want, sizeof(want), "%s/etc/t", tap_dir());
    CHECK_STR(c->hub.token.where, want);
    /* What is shown is the configuration, which knows nothing of the root. */
    CHECK(config_print(c, NULL, &shown, NULL) == 0);
    CHECK(!strstr(shown.data, tap_dir()));
    check_round_trip(everything);
    REQUIRE(root_set("", NULL) == 0);
}
