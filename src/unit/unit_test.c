/* Golden files are made anew by GOLDEN=write build-test/tests/unit golden; read the difference. */

#include "base/text.h"
#include "config/problems.h"
#include "sys/files.h"
#include "tap.h"
#include "unit/test_int.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static void
read_source(const char *path, struct buf *out)
{
    struct err err = {0};
    if (file_read(tap_source(path), out, &err) < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
}

static size_t
count_files(const char *dir)
{
    DIR *d = opendir(dir);
    size_t count = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        count += e->d_name[0] != '.';
    if (d)
        (void)closedir(d);
    return count;
}

TEST(golden_units_of_the_reference_deployment)
{
    _cleanup_buf_ struct buf yaml = BUF_INIT(64 * KIB);
    _cleanup_bench_ struct bench b;
    static const char dir[] = "tests/data/units/reference";
    bool writes = text_eq(getenv("GOLDEN"), "write");
    read_source("examples/reference.yaml", &yaml);
    bench_open(&b, yaml.data);
    REQUIRE(bench_render(&b) == 0);
    for (size_t i = 0; i < b.set.count; i++) {
        const struct unit_file *f = &b.set.files[i];
        _cleanup_buf_ struct buf want = BUF_INIT(64 * KIB);
        char path[256];
        (void)snprintf(path, sizeof(path), "%s/%s", dir, f->name);
        tap_note("%s", f->name);
        if (writes)
            CHECK(file_write(tap_source(path), f->text, strlen(f->text), 0644, NULL) == 0);
        read_source(path, &want);
        CHECK_STR(f->text, want.data);
    }
    CHECK_EQ(count_files(tap_source(dir)), b.set.count);
}

static const char two[] = "models:\n"
                          "  chat: {port: 11400, restart_limit: 3, restart_delay: 1500ms,\n"
                          "         start_max: 1h, drain_timeout: 30s}\n"
                          "  embed: {port: 11401, tensor_parallel: 2, memory_max: 64GiB}\n"
                          "  off: {port: 11402, enabled: false}\n";

TEST(the_same_input_gives_the_same_bytes)
{
    _cleanup_bench_ struct bench a, b;
    bench_open(&a, two);
    bench_open(&b, two);
    REQUIRE(bench_render(&a) == 0 && bench_render(&b) == 0);
    REQUIRE(a.set.count == b.set.count);
    for (size_t i = 0; i < a.set.count; i++) {
        CHECK_STR(a.set.files[i].name, b.set.files[i].name);
        CHECK_STR(a.set.files[i].text, b.set.files[i].text);
        CHECK(i == 0 || strcmp(a.set.files[i - 1].name, a.set.files[i].name) < 0);
    }
}

TEST(a_unit_says_what_the_configuration_says)
{
    static const struct {
        const char *unit, *directive, *want;
    } rows[] = {
        {"chat", "ExecStart",
         "/usr/bin/citadel run chat -c /etc/citadel/current/config.yaml --gpus GPU-00000000-aaaa"
         " --vllm-env /opt/citadel/vllm-env-0.14.1;"},
        {"embed", "ExecStart",
         "/usr/bin/citadel run embed -c /etc/citadel/current/config.yaml --gpus "
         "GPU-00000000-aaaa,GPU-11111111-bbbb --vllm-env /opt/citadel/vllm-env-0.14.1;"},
        {"chat", "WantedBy", "citadel-models.target;"}, /* resident */
        {"embed", "WantedBy", ""},                      /* on demand */
        {"chat", "StartLimitBurst", "3;"},
        {"chat", "RestartSec", "1500ms;"},
        {"chat", "TimeoutStopSec", "120s;"}, /* 30 s of draining, and 90 s to end */
        {"chat", "MemoryMax", ""},
        {"embed", "MemoryMax", "68719476736;"},
        {"chat", "DeviceAllow",
         "/dev/nvidiactl rw;/dev/nvidia-uvm rw;/dev/nvidia-uvm-tools rw;/dev/nvidia0 rw;"},
        {"embed", "SystemCallFilter", "@system-service;~@privileged;pidfd_getfd mincore;"},
        {"chat", "SystemCallFilter", "@system-service;~@privileged;"},
        {"chat", "IPAddressDeny", "any;"},
        {"chat", "User", "citadel;"},
        {"gateway", "User", "citadel-gateway;"},
        {"storage", "User", ""},
        {"storage", "RequiresMountsFor", "/mnt/citadel-models;"},
        {"citadel-gateway.socket", "ListenStream", "0.0.0.0:8000;"},
        {"citadel-backup-configuration.timer", "OnCalendar", "*-*-* *:00/15:00;*-*-* 01:00:00;"},
        {"backup-models-daily", "ExecStart",
         "/usr/bin/citadel backup models --type daily -c /etc/citadel/current/config.yaml;"},
        {"backup-models-daily", "PrivateNetwork", "yes;"},
    };
    _cleanup_bench_ struct bench b;
    char text[4096];
    bench_open(&b, two);
    REQUIRE(bench_render(&b) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s %s", rows[i].unit, rows[i].directive);
        CHECK_STR(bench_values(&b, rows[i].unit, rows[i].directive, text), rows[i].want);
    }
    CHECK(!unit_find(&b.set, "off"));
}

/* What one line of a configuration changes in one directive of the unit of the model m. */
TEST(options_reach_their_units)
{
    static const struct {
        const char *yaml, *unit, *directive, *want;
    } rows[] = {
        {"models: {m: {listen: network}}", "m", "IPAddressDeny", ""},
        {"hub: {offline: false}\nmodels: {m: {}}", "m", "IPAddressAllow", ""},
        {"hub: {offline: false, token: {file: /etc/t}}\nmodels: {m: {}}", "m", "LoadCredential",
         "hub.token:/etc/t;"},
        {"hub: {token: {file: /etc/t}}\nmodels: {m: {}}", "m", "LoadCredential", ""},
        {"backup: {password: {credential: repo}}\nmodels: {m: {}}", "backup-prune",
         "LoadCredentialEncrypted", "citadel.repo;"},
        {"backup: {password: {credential: repo}}\nmodels: {m: {}}", "backup-prune",
         "LoadCredential", "citadel-plain.repo;"},
        {"backup: {password: {credential: s3}, credentials: {credential: s3}}\nmodels: {m: {}}",
         "backup-prune", "LoadCredentialEncrypted", "citadel.s3;"},
        {"backup: {password: {credential: repo}}\nmodels: {m: {}}", "monitor",
         "LoadCredentialEncrypted", ""},
        {"models: {m: {path: /home/me/m}}", "m", "ProtectHome", "read-only;"},
        {"models: {m: {path: /homes/me/m}}", "m", "ProtectHome", "yes;"},
        {"paths: {run: /tmp/run}\nmodels: {m: {}}", "m", "PrivateTmp", "no;"},
        {"paths: {run: \"/r %u$U\\\"\"}\nmodels: {m: {}}", "m", "ConditionPathExists",
         "!/r %%u$U\"/emergency;"},
        {"paths: {run: \"/r %u$U\\\"\"}\nmodels: {m: {}}", "m", "ReadWritePaths",
         "/mnt/citadel-models/cache/m;/var/lib/citadel/models/m;\"/r %%u$U\\\"/leases\";"
         "\"/r %%u$U\\\"/start\";"},
        {"paths: {run: \"/r %u$U\\\"\"}\nmodels: {m: {}}", "m", "BindPaths",
         "\"/r %%u$U\\\"/models/m\";"},
        {"service: {user: llm, group: ai}\nmodels: {m: {}}", "m", "Group", "ai;"},
        {"service: {user: llm, group: ai}\nmodels: {m: {}}", "gateway", "Group", ""},
        {"backup: {repository: s3://h/b/p}\nmodels: {m: {}}", "backup-prune",
         "RestrictAddressFamilies", "AF_UNIX;AF_INET AF_INET6;"},
        {"backup: {repository: s3://h/b/p}\nmodels: {m: {}}", "backup-prune", "PrivateNetwork", ""},
        {"hooks: {health_changed: [/bin/x]}\nmodels: {m: {}}", "monitor", "MemoryDenyWriteExecute",
         ""},
        {"gateway: {listen: [\"::\", 10.0.0.1]}\nmodels: {m: {}}", "citadel-gateway.socket",
         "ListenStream", "[::]:8000;10.0.0.1:8000;"},
        {"gateway: {listen: [127.0.0.1, \"/run/a %u.sock\"]}\nmodels: {m: {}}",
         "citadel-gateway.socket", "ListenStream", "127.0.0.1:8000;/run/a %%u.sock;"},
        {"gateway: {listen: [/run/a.sock]}\nmodels: {m: {}}", "citadel-gateway.socket",
         "SocketMode", "0660;"},
        {"gateway: {listen: [/run/a.sock]}\nmodels: {m: {}}", "citadel-gateway.socket",
         "SocketUser", "citadel-gateway;"},
        {"gateway: {listen: [/run/a.sock]}\nmodels: {m: {}}", "citadel-gateway.socket",
         "RemoveOnStop", "yes;"},
        {"models: {m: {}}", "citadel-gateway.socket", "SocketMode", ""},
        {"storage: {require_mounts: false}\nmodels: {m: {}}", "storage", "RequiresMountsFor", ""},
        {"backup: {image: {devices: [/dev/sda]}}\nmodels: {m: {}}", "backup-image", "DeviceAllow",
         "/dev/sda r;"},
        {"models: {m: {engine: sim}}", "m", "DeviceAllow", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_bench_ struct bench b;
        char text[4096];
        bench_open(&b, rows[i].yaml);
        tap_note("%s: %s", rows[i].yaml, b.err.what);
        REQUIRE(bench_render(&b) == 0);
        CHECK_STR(bench_values(&b, rows[i].unit, rows[i].directive, text), rows[i].want);
    }
}

TEST(what_is_not_configured_has_no_unit)
{
    static const struct {
        const char *yaml, *unit;
    } rows[] = {
        {"gateway: {enabled: false}\nmodels: {m: {}}", "citadel-gateway.socket"},
        {"gateway: {enabled: false}\nmodels: {m: {}}", "gateway"},
        {"monitor: {enabled: false}\nmodels: {m: {}}", "monitor"},
        {"monitor: {enabled: false}\nmodels: {m: {}}", "citadel-report.timer"},
        {"monitor: {report: never}\nmodels: {m: {}}", "citadel-report.timer"},
        {"backup: {enabled: false}\nmodels: {m: {}}", "backup-models-daily"},
        {"backup: {verify: never}\nmodels: {m: {}}", "backup-verify"},
        {"backup: {logs: {schedules: never}}\nmodels: {m: {}}", "backup-logs"},
        {"models: {m: {}}", "backup-image"}, /* no device is named */
        {"models: {m: {}}", "backup-copy"},
        {"storage: {smart: false}\nmodels: {m: {}}", "storage-health"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_bench_ struct bench b;
        bench_open(&b, rows[i].yaml);
        tap_note("%s", rows[i].yaml);
        REQUIRE(bench_render(&b) == 0);
        CHECK(!unit_find(&b.set, rows[i].unit));
        CHECK(unit_find(&b.set, "m"));
    }
}

/* Control characters are refused by the configuration already. */
TEST(what_systemd_cannot_be_told_is_refused)
{
    static const char *const rows[] = {
        "hub: {offline: false, token: {file: \"/a \"}}\nmodels: {m: {}}",
        "hub: {offline: false, token: {file: \"/a\\\\\"}}\nmodels: {m: {}}",
        "paths: {run: \"/a:b\"}\nmodels: {m: {}}", /* two paths, where one is mounted at another */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_bench_ struct bench b;
        bench_open(&b, rows[i]);
        tap_note("%s", rows[i]);
        CHECK(bench_render(&b) < 0);
        CHECK_EQ(b.err.id, ERR_UNIT_TEXT);
    }
}

/* ---- random configurations ---- */

static uint64_t
draw(uint64_t *state, uint64_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % below;
}

static void
write_model(struct buf *yaml, uint64_t *state, unsigned i)
{
    buf_printf(yaml, "  m%u: {port: %u, restart_limit: %u, restart_delay: %ums, start_max: %us,", i,
               12000 + i, 1 + (unsigned)draw(state, 100), 100 + (unsigned)draw(state, 3600000 - 99),
               600 + (unsigned)draw(state, 7 * 86400 - 600));
    buf_printf(yaml, " start_stall_limit: 10s, drain_timeout: %us, tensor_parallel: %u}\n",
               (unsigned)draw(state, 3601), 1 + (unsigned)draw(state, 3));
}

/* Half as much again as all starts and pauses of the budget can take, and nothing else is counted. */
static void
check_budget(const struct bench *b, const struct config_model *model)
{
    char text[4096];
    const struct budget budget = plan_times_of(model).budget;
    uint64_t window_s =
        strtoull(bench_values(b, model->name, "StartLimitIntervalSec", text), NULL, 10);
    uint64_t spent_us = budget.burst * (budget.start_us + budget.delay_us);
    CHECK(window_s * 1000000 >= spent_us + spent_us / 2);
    CHECK_EQ(strtoull(bench_values(b, model->name, "StartLimitBurst", text), NULL, 10),
             budget.burst);
    uint64_t stop_s = strtoull(bench_values(b, model->name, "TimeoutStopSec", text), NULL, 10);
    CHECK(stop_s * 1000000 > model->drain_timeout_us);
}

TEST(restart_budgets_hold_on_random_configurations)
{
    uint64_t state = 4;
    for (unsigned round = 0; round < 100; round++) {
        _cleanup_buf_ struct buf yaml = BUF_INIT(64 * KIB);
        _cleanup_bench_ struct bench b;
        unsigned count = 1 + (unsigned)draw(&state, 12);
        buf_add_str(&yaml, "models:\n");
        for (unsigned i = 0; i < count; i++)
            write_model(&yaml, &state, i);
        bench_open(&b, yaml.data);
        REQUIRE(b.config && bench_render(&b) == 0);
        for (size_t i = 0; i < b.config->models.count; i++)
            check_budget(&b, &b.config->models.items[i]);
    }
}

TEST(keepers_are_given_up_too)
{
    static const char *const units[] = {"gateway", "monitor"};
    _cleanup_bench_ struct bench b;
    bench_open(&b, two);
    REQUIRE(bench_render(&b) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        char text[4096];
        unsigned long window =
            strtoul(bench_values(&b, units[i], "StartLimitIntervalSec", text), NULL, 10);
        unsigned long burst =
            strtoul(bench_values(&b, units[i], "StartLimitBurst", text), NULL, 10);
        unsigned long start =
            strtoul(bench_values(&b, units[i], "TimeoutStartSec", text), NULL, 10);
        unsigned long pause =
            strtoul(bench_values(&b, units[i], "RestartSec", text), NULL, 10) / 1000;
        CHECK(start && pause && window > burst * (start + pause));
    }
}

TEST(the_largest_configuration_fits)
{
    _cleanup_buf_ struct buf yaml = BUF_INIT(MIB);
    _cleanup_bench_ struct bench b;
    buf_add_str(&yaml, "models:\n");
    for (unsigned i = 0; i < 256; i++)
        buf_printf(&yaml, "  a-model-with-a-name-that-is-as-long-as-it-may-be-%014u: {port: %u}\n",
                   i, 12000 + i);
    bench_open(&b, yaml.data);
    REQUIRE(b.config && bench_render(&b) == 0);
    CHECK(b.set.count > 256);
}

/* ---- what is static ---- */

static const struct {
    const char *rendered, *installed;
} twins[] = {
    {"citadel.sysusers", "systemd/citadel.sysusers"},
    {"citadel.tmpfiles", "systemd/citadel.tmpfiles"},
    {"citadel.rules", "systemd/citadel.rules"},
};

TEST(a_mount_point_is_made_at_boot_where_there_need_be_no_disk)
{
    static const char point[] = "\nd /mnt/citadel-models 0755 root root -\n";
    _cleanup_bench_ struct bench disk, none;
    bench_open(&disk, "models: {m: {}}");
    bench_open(&none, "storage: {require_mounts: false}\nmodels: {m: {}}");
    REQUIRE(bench_render(&disk) == 0 && bench_render(&none) == 0);
    CHECK(!strstr(bench_text(&disk, "citadel.tmpfiles"), point));
    CHECK(strstr(bench_text(&none, "citadel.tmpfiles"), point));
    CHECK(!strstr(bench_text(&none, "citadel.tmpfiles"), "/mnt/citadel-models/"));
}

TEST(what_is_installed_is_what_the_defaults_come_to)
{
    _cleanup_bench_ struct bench b;
    bench_open(&b, "models: {m: {}}");
    REQUIRE(bench_render(&b) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(twins); i++) {
        _cleanup_buf_ struct buf want = BUF_INIT(64 * KIB);
        const char *got = bench_text(&b, twins[i].rendered);
        if (text_eq(getenv("GOLDEN"), "write"))
            CHECK(file_write(tap_source(twins[i].installed), got, strlen(got), 0644, NULL) == 0);
        read_source(twins[i].installed, &want);
        CHECK_STR(got, want.data);
    }
}

TEST(no_model_has_the_name_of_a_unit)
{
    struct unit_job jobs[UNIT_JOBS_MAX];
    _cleanup_bench_ struct bench b;
    bench_open(&b, "models: {m: {}}");
    size_t count = unit_jobs(b.config, jobs, UNIT_JOBS_MAX);
    CHECK(count > 5);
    for (size_t i = 0; i < count; i++) {
        _cleanup_config_problems_ struct config_problems problems;
        struct config *config = NULL;
        char yaml[128];
        (void)snprintf(yaml, sizeof(yaml), "models: {%s: {}}", jobs[i].name);
        tap_note("%s", jobs[i].name);
        config_problems_init(&problems);
        CHECK(config_parse(yaml, strlen(yaml), "x", &config, &problems, NULL) < 0);
        config_free(config);
    }
}

TEST(every_line_explains_itself)
{
    _cleanup_bench_ struct bench b;
    bench_open(&b, two);
    const struct unit_input in = {.config = b.config,
                                  .plan = &b.plan,
                                  .program = "/usr/bin/citadel",
                                  .config_file = "/x",
                                  .explain = true};
    REQUIRE(unit_render(&in, &b.arena, &b.set, &b.err) == 0);
    bool explained = true;
    for (const char *line = strchr(bench_text(&b, "chat"), '['); *line;
         line += strcspn(line, "\n") + 1) {
        if (line[0] == '#')
            explained = true;
        else if (line[0] == '[' || line[0] == '\n')
            explained = false;
        else
            CHECK(explained);
    }
}

/* The text of a unit with vLLM in another place, or of another release. */
static char *
text_with(const struct plan_engine *vllm, const char *name)
{
    _cleanup_bench_ struct bench b;
    bench_open(&b, "models: {v: {port: 11400}, s: {engine: sim, port: 11401}}");
    b.plan.vllm = *vllm;
    if (bench_render(&b) < 0)
        tap_fail(__FILE__, __LINE__, "%s", b.err.what);
    return mem_strdup(bench_text(&b, name));
}

/* So comparing two units is enough to see who has to start anew. */
TEST(another_vllm_changes_the_units_of_its_models_and_no_other)
{
    static const struct plan_engine old = {"/opt/citadel/vllm-env-0.13.0", "0.13.0", ""};
    static const struct plan_engine others[] = {{"/opt/citadel/vllm-env-0.14.1", "0.14.1", ""},
                                                {"/opt/citadel/vllm-env-0.13.0", "0.13.1", ""},
                                                {"/srv/other", "0.13.0", ""}};
    _cleanup_free_ char *v = text_with(&old, "v"), *s = text_with(&old, "s");
    CHECK(strstr(v, " --vllm-env /opt/citadel/vllm-env-0.13.0\n"));
    CHECK(strstr(v, "\nX-CitadelEngine=/opt/citadel/vllm-env-0.13.0: vllm 0.13.0\n"));
    CHECK(!strstr(s, "vllm"));
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        _cleanup_free_ char *v2 = text_with(&others[i], "v"), *s2 = text_with(&others[i], "s");
        CHECK(!text_eq(v, v2));
        CHECK_STR(s2, s);
    }
}

/* The sandbox lets it see what is below a home or /tmp only where that is used. */
TEST(an_environment_in_a_home_can_be_read)
{
    static const struct plan_engine home = {"/home/ai/vllm-env", "0.13.0", ""};
    _cleanup_free_ char *text = text_with(&home, "v");
    CHECK(strstr(text, "\nProtectHome=read-only\n"));
}

TEST(two_texts_differ_in_what_is_taken_up_or_in_more)
{
    static const struct {
        const char *from, *to;
        enum unit_difference want;
    } pairs[] = {
        {"A=1\nX-CitadelLive=1\nB=1\n", "A=1\nX-CitadelLive=1\nB=1\n", UNIT_DIFFERS_NOT},
        {"A=1\nX-CitadelLive=1\nB=1\n", "A=1\nX-CitadelLive=22\nB=1\n", UNIT_DIFFERS_LIVE},
        {"A=1\nX-CitadelLive=1\nB=1\n", "A=2\nX-CitadelLive=22\nB=1\n", UNIT_DIFFERS},
        {"A=1\nX-CitadelLive=1\nB=1\n", "A=1\nX-CitadelLive=1\nB=2\n", UNIT_DIFFERS},
        {"A=1\nB=1\n", "A=1\nX-CitadelLive=1\nB=1\n", UNIT_DIFFERS},
        {"A=1\n", "A=2\n", UNIT_DIFFERS},
        {"A=X-CitadelLive=1\n", "A=X-CitadelLive=2\n", UNIT_DIFFERS}, /* no line of that name */
        {"", "", UNIT_DIFFERS_NOT},
        {"A=1\n", "A=1\n\n[Install]\nWantedBy=x\n", UNIT_DIFFERS_AT_BOOT},
        {"A=1\n\n[Install]\nWantedBy=x\n", "A=1\n\n[Install]\nWantedBy=y\n", UNIT_DIFFERS_AT_BOOT},
        {"A=1\n", "A=2\n\n[Install]\nWantedBy=x\n", UNIT_DIFFERS},
        {"X-CitadelLive=1\nA=1\n", "X-CitadelLive=2\nA=1\n\n[Install]\nWantedBy=x\n",
         UNIT_DIFFERS_LIVE},
        {"X-CitadelLive=1\nA=1\n", "X-CitadelLive=1\nA=1\nB=1\n", UNIT_DIFFERS},
    };
    char value[8];
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        tap_note("%zu", i);
        CHECK_EQ(unit_compare(pairs[i].from, pairs[i].to), pairs[i].want);
        CHECK_EQ(unit_compare(pairs[i].to, pairs[i].from), pairs[i].want);
    }
    unit_value_of(pairs[1].to, UNIT_LIVE, value, sizeof(value));
    CHECK_STR(value, "22");
    unit_value_of("A=1\n", UNIT_LIVE, value, sizeof(value));
    CHECK_STR(value, "");
}
