#include "sim/settings.h"

#include "tap.h"

#include <stdio.h>
#include <stdlib.h>

#define WORDS_MAX 16

/* "a b c" as the words of a command line. */
static enum settings_end
read_words(struct settings *s, const char *line, struct err *reterr)
{
    static char text[1024];
    char *argv[WORDS_MAX + 1] = {(char *)(uintptr_t) "citadel-sim"};
    int argc = 1;
    (void)snprintf(text, sizeof(text), "%s", line);
    for (char *p = text; *p && argc < WORDS_MAX; argc++) {
        argv[argc] = p;
        p += strcspn(p, " ");
        if (*p)
            *p++ = '\0';
    }
    argv[argc] = NULL;
    return settings_read(s, argc, argv, reterr);
}

/* What a test asks about; MAX of them fit any row. */
static void
show(const struct settings *s, struct buf *out)
{
    buf_printf(out, "%s len %llu seqs %llu tp %llu util %g", s->model,
               (unsigned long long)s->max_model_len, (unsigned long long)s->max_seqs,
               (unsigned long long)s->tensor_parallel, s->gpu_memory_utilization);
    buf_add_str(out, s->prefix_caching ? " prefix" : "");
    buf_add_str(out, s->sleep_mode ? " sleep" : "");
    for (size_t i = 0; i < s->names.count; i++)
        buf_printf(out, " %s", s->names.items[i]);
}

static void
check(const char *line, const char *want)
{
    _cleanup_buf_ struct buf out = BUF_INIT(4 * KIB);
    struct settings s;
    struct err err = {0};
    tap_note("%s", line);
    enum settings_end end = read_words(&s, line, &err);
    if (end == SETTINGS_OK)
        show(&s, &out);
    else
        buf_printf(&out, "%s", err.what);
    CHECK_STR(out.data, want);
    settings_finish(&s);
}

TEST(vllms_flags_are_read)
{
    static const struct {
        const char *line, *want;
    } rows[] = {
        {"", "citadel-sim len 8192 seqs 256 tp 1 util 0.9 prefix citadel-sim"},
        {"serve m", "m len 8192 seqs 256 tp 1 util 0.9 prefix m"},
        {"m --max-num-seqs 3", "m len 8192 seqs 3 tp 1 util 0.9 prefix m"},
        {"--model m --max_num_seqs=4", "m len 8192 seqs 4 tp 1 util 0.9 prefix m"},
        {"m -tp 2", "m len 8192 seqs 256 tp 2 util 0.9 prefix m"},
        {"m --gpu-mem 0.5", "m len 8192 seqs 256 tp 1 util 0.5 prefix m"},
        {"m --no-enable-prefix-caching", "m len 8192 seqs 256 tp 1 util 0.9 m"},
        {"m --enable-sleep-mode --no-enable-sleep-mode",
         "m len 8192 seqs 256 tp 1 util 0.9 prefix m"},
        {"m --served-model-name a b --enable-sleep-mode",
         "m len 8192 seqs 256 tp 1 util 0.9 prefix sleep a b"},
        {"m --served-model-name a --served-model-name b",
         "m len 8192 seqs 256 tp 1 util 0.9 prefix b"},
        {"m --max-model-len 32k", "m len 32000 seqs 256 tp 1 util 0.9 prefix m"},
        {"m --max-model-len 32K", "m len 32768 seqs 256 tp 1 util 0.9 prefix m"},
        {"m --max-model-len 1.5K", "m len 1536 seqs 256 tp 1 util 0.9 prefix m"},
        {"m --hf-overrides {} -O3 -O 2 --compilation-config.level 3 --seed 7",
         "m len 8192 seqs 256 tp 1 util 0.9 prefix m"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check(rows[i].line, rows[i].want);
}

TEST(what_is_wrong_is_told_as_argparse_does)
{
    static const struct {
        const char *line, *want;
    } rows[] = {
        {"m --nonsense", "unrecognized arguments: --nonsense"},
        {"m --nonsense 3 -x", "unrecognized arguments: --nonsense 3 -x"},
        {"m n", "unrecognized arguments: n"},
        {"m --port", "argument --port: expected one argument"},
        {"m --port --uds x", "argument --port: expected one argument"},
        {"m --served-model-name", "argument --served-model-name: expected at least one argument"},
        {"m --port x", "argument --port: invalid int value: 'x'"},
        {"m --port 70000", "argument --port: 70000 is not from 0 to 65535"},
        {"m --max-model-len 3x",
         "argument --max-model-len: invalid human_readable_int value: '3x'"},
        {"m --max-model-len K", "argument --max-model-len: invalid human_readable_int value: 'K'"},
        {"m --max-model-len 0", "argument --max-model-len: 0 is not from 1 to 4294967295"},
        {"m --gpu-memory-utilization no",
         "argument --gpu-memory-utilization: invalid float value: 'no'"},
        {"m --gpu-memory-utilization 1.5",
         "argument --gpu-memory-utilization: 1.5 is not above 0 and at most 1"},
        {"m --enforce-eager=1", "argument --enforce-eager: ignored explicit argument '1'"},
        {"m --api 3", "ambiguous option: --api could match --api-key, --api-server-count"},
        {"m --no-port 3", "unrecognized arguments: --no-port 3"},
        {"m --sim-load-time soon", "--sim-load-time: invalid duration value: 'soon'"},
        {"m --sim-version 1.0", "--sim-version: '1.0' is not a release from 0.8.0 on"},
        {"m --sim-shards 0", "--sim-shards: 0 is not from 1 to 1000"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check(rows[i].line, rows[i].want);
}

/* A flag that came with 0.10.2, and one that went with 0.8. */
TEST(a_release_may_be_taken_at_its_word)
{
    static const struct {
        const char *line;
        enum settings_end want;
    } rows[] = {
        {"m --uds /x --sim-version 0.10.1", SETTINGS_OK},
        {"m --sim-strict --sim-version 0.10.1 --uds /x", SETTINGS_REFUSED},
        {"m --sim-strict --sim-version 0.10.2 --uds /x", SETTINGS_OK},
        {"m --sim-strict --sim-version 0.10.2rc1 --uds /x", SETTINGS_OK},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct settings s;
        struct err err = {0};
        tap_note("%s", rows[i].line);
        CHECK_EQ(read_words(&s, rows[i].line, &err), rows[i].want);
        settings_finish(&s);
    }
}

TEST(options_of_its_own_are_read)
{
    struct settings s;
    struct err err = {0};
    REQUIRE(read_words(
                &s,
                "m --sim-version 0.26.1rc1 --sim-load-time 1.5 --sim-weights 2GiB "
                "--sim-token-rate 2.5 --sim-fault hang --sim-fault freeze@after:1s --sim-control",
                &err) == SETTINGS_OK);
    CHECK_EQ(s.release, 26);
    CHECK_EQ(s.load_us, 1500000);
    CHECK_EQ(s.weights_bytes, 2 * GIB);
    CHECK(s.token_rate == 2.5);
    CHECK_EQ(s.faults.count, 2);
    CHECK_STR(s.faults.items[1], "freeze@after:1s");
    CHECK(s.control);
    CHECK_STR(s.given.data, "'model_tag': 'm'");
    settings_finish(&s);
}

/* The defaults, the environment, the file, the command line. */
TEST(what_is_said_later_counts)
{
    char path[256], line[512];
    struct settings s;
    struct err err = {0};
    (void)snprintf(path, sizeof(path), "%s/vllm.yaml", tap_dir());
    FILE *f = fopen(path, "we");
    REQUIRE(f);
    (void)fputs(
        "port: 1\nmax_num_seqs: 5\nserved-model-name: [a, b]\nno-enable-prefix-caching: true\n"
        "enable-sleep-mode: true\nhf-overrides: {a: 1}\n",
        f);
    (void)fclose(f);
    (void)setenv("CITADEL_SIM", "{\"shards\": 9, \"dimensions\": 7, \"fault\": [\"hang\"]}", 1);
    (void)snprintf(line, sizeof(line), "m --max-num-seqs 6 --config %s --sim-shards 8", path);
    REQUIRE(read_words(&s, line, &err) == SETTINGS_OK);
    CHECK_EQ(s.port, 1);
    CHECK_EQ(s.max_seqs, 6);
    CHECK_EQ(s.names.count, 2);
    CHECK(!s.prefix_caching);
    CHECK(s.sleep_mode);
    CHECK_EQ(s.shards, 8);
    CHECK_EQ(s.dimensions, 7);
    CHECK_EQ(s.faults.count, 1);
    settings_finish(&s);
}

TEST(documents_that_are_wrong_are_refused)
{
    static const struct {
        const char *json, *want;
    } rows[] = {
        {"{", NULL},
        {"{\"shard\": 1, \"port\": 2}", "$CITADEL_SIM: there is no option --sim-port"},
        {"{\"shards\": \"x\"}", "--sim-shards: invalid int value: 'x'"},
        {"{\"shards\": null}", NULL},
        {"{\"control\": 3}", "--sim-control: is true or false"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct settings s;
        struct err err = {0};
        (void)setenv("CITADEL_SIM", rows[i].json, 1);
        tap_note("%s", rows[i].json);
        CHECK_EQ(read_words(&s, "m", &err), SETTINGS_WRONG);
        if (rows[i].want)
            CHECK_STR(err.what, rows[i].want);
        settings_finish(&s);
    }
}

TEST(gpus_are_those_that_may_be_seen)
{
    static const struct {
        const char *visible; /* NULL: not said */
        unsigned n;
        int want;
    } rows[] = {
        {NULL, 0, 0},  {NULL, 3, 3},  {NULL, 4, -1},    {"2", 0, 2},
        {"2", 1, -1},  {"3,1", 0, 3}, {"3,1", 1, 1},    {"3,1", 2, -1},
        {"", 0, -1},   {"7", 0, -1},  {"GPU-1", 0, -1}, {"99999999999999999999", 0, -1},
        {"-1", 0, -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (rows[i].visible)
            (void)setenv("CUDA_VISIBLE_DEVICES", rows[i].visible, 1);
        else
            (void)unsetenv("CUDA_VISIBLE_DEVICES");
        tap_note("%s, %u", rows[i].visible ? rows[i].visible : "-", rows[i].n);
        CHECK_EQ(settings_gpu(rows[i].n, 4), rows[i].want);
    }
}
