/* Reads what is said of a run. Whatever is said later counts: the defaults, $CITADEL_SIM, the file
 * of --config, the command line.
 *
 * vLLM's own parser is Python's argparse: a flag may be shortened as long as it stays the only one,
 * '_' stands for '-', --flag=value is --flag value, and what is not known is told all together. */

#include "sim/settings.h"

#include "base/quantity.h"
#include "base/text.h"
#include "engine/version.h"
#include "fmt/json.h"
#include "fmt/yaml.h"
#include "sim/faults.h"
#include "sys/files.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS_BYTES_MAX (8 * MIB)
#define FILE_BYTES_MAX (1 * MIB)
#define FLAG_BYTES_MAX 80
#define NOT_KEPT SIZE_MAX

enum form { SWITCH, TEXT, NUMBER, REAL, HUMAN, LIST, MAYBE, DURATION, BYTES, MANY };

static const struct knob {
    const char *flag, *brief;
    enum form form;
    size_t offset; /* in struct settings, or NOT_KEPT */
    const char *value, *help;
} knobs[] = {
#define TAKES(form, flag, brief, field, help) \
    {flag, brief, form, offsetof(struct settings, field), "", help},
#define IGNORES(form, flag, brief, why) {flag, brief, form, NOT_KEPT, "", why},
#include "sim/flags.def"
#undef TAKES
#undef IGNORES
#define OPTION(form, name, field, value, help) \
    {"--sim-" name, "-", form, offsetof(struct settings, field), value, help},
#include "sim/options.def"
#undef OPTION
};

/* When a release came to have a flag, and when it ceased to. */
static const struct span {
    const char *flag, *first, *last;
} spans[] = {
#define FLAG(id, flag, first, last, ...) {flag, first, last},
#define ALSO FLAG
#include "engine/vllm_flags.def"
#undef FLAG
#undef ALSO
};

struct reader {
    struct settings *s;
    struct buf unknown; /* words that no flag takes */
    struct err *reterr;
    enum settings_end end;
    bool positional; /* the model was named without a flag */
};

static bool
is_own(const struct knob *knob)
{
    return text_starts(knob->flag, "--sim-");
}

static void fail(struct reader *r, const struct knob *knob, const char *fmt, ...) printf_like(3, 4);

/* The first failure stays. */
static void
fail(struct reader *r, const struct knob *knob, const char *fmt, ...)
{
    char text[256];
    if (r->end != SETTINGS_OK)
        return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    r->end = is_own(knob) ? SETTINGS_WRONG : SETTINGS_REFUSED;
    (void)err_set(r->reterr, ERR_USAGE, is_own(knob) ? "%s: %s" : "argument %s: %s", knob->flag,
                  text);
}

/* ---- values ---- */

/* 32k is 32000, 32K is 32768; likewise m, g and t. */
static bool
parse_human(const char *text, uint64_t *ret)
{
    static const char letters[] = "kmgt";
    size_t len = strlen(text);
    char number[32];
    double n;
    const char *letter = len ? strchr(letters, tolower((unsigned char)text[len - 1])) : NULL;
    bool scaled = letter && *letter;
    if (len - scaled == 0 || len - scaled >= sizeof(number))
        return false;
    (void)snprintf(number, sizeof(number), "%.*s", (int)(len - scaled), text);
    if (!scaled)
        return quantity_parse_u64(number, ret, NULL) == 0;
    if (quantity_parse_real(number, &n, NULL) < 0 || n < 0)
        return false;
    double base = islower((unsigned char)text[len - 1]) ? 1000 : 1024;
    n *= pow(base, (double)(letter - letters + 1));
    if (n >= 0x1p63)
        return false;
    *ret = (uint64_t)n;
    return true;
}

static bool
parse_real(const char *text, double *ret)
{
    double n;
    if (quantity_parse_real(text, &n, NULL) < 0 || !(n >= 0) || n > 1e12)
        return false;
    *ret = n;
    return true;
}

/* What Python calls the type; NULL for texts, which are never wrong. */
static const char *
put_value(struct reader *r, const struct knob *knob, const char *text)
{
    char *at = (char *)r->s + (knob->offset == NOT_KEPT ? 0 : knob->offset);
    uint64_t number = 0;
    double real = 0;
    bool kept = knob->offset != NOT_KEPT;
    switch (knob->form) {
    case NUMBER:
        if (quantity_parse_u64(text, &number, NULL) < 0)
            return kept ? "int" : NULL;
        break;
    case HUMAN:
        if (!parse_human(text, &number))
            return kept ? "human_readable_int" : NULL;
        break;
    case DURATION:
        if (quantity_parse_us(text, &number, NULL) < 0)
            return "duration";
        break;
    case BYTES:
        if (quantity_parse_bytes(text, &number, NULL) < 0)
            return "size";
        break;
    case REAL:
        if (!parse_real(text, &real))
            return kept ? "float" : NULL;
        if (kept)
            *(double *)(void *)at = real;
        return NULL;
    case SWITCH:
    case TEXT:
    case LIST:
    case MAYBE:
    case MANY:
        if (kept)
            *(const char **)at = text;
        return NULL;
    }
    if (kept)
        *(uint64_t *)at = number;
    return NULL;
}

static void
put(struct reader *r, const struct knob *knob, const char *text)
{
    const char *type = put_value(r, knob, text);
    if (type)
        fail(r, knob, "invalid %s value: '%s'", type, text);
}

static void
put_more(struct reader *r, const struct knob *knob, const char *text)
{
    if (knob->offset == NOT_KEPT)
        return;
    struct settings_list *list = (struct settings_list *)((char *)r->s + knob->offset);
    if (list->count == SETTINGS_LIST_MAX)
        fail(r, knob, "more than %d values", SETTINGS_LIST_MAX);
    else
        list->items[list->count++] = text;
}

static void
empty_list(struct reader *r, const struct knob *knob)
{
    if (knob->offset != NOT_KEPT)
        ((struct settings_list *)((char *)r->s + knob->offset))->count = 0;
}

static void
put_switch(struct reader *r, const struct knob *knob, bool on)
{
    if (knob->offset != NOT_KEPT)
        *(bool *)((char *)r->s + knob->offset) = on;
}

/* ---- what the log tells of them ---- */

static void
note_name(struct reader *r, const char *name)
{
    buf_add_str(&r->s->given, r->s->given.len ? ", '" : "'");
    for (const char *c = name + strspn(name, "-"); *c; c++)
        buf_add_char(&r->s->given, *c == '-' ? '_' : *c);
    buf_add_str(&r->s->given, "': ");
}

static void
note(struct reader *r, const struct knob *knob, const char *const *values, size_t count, bool on)
{
    struct buf *given = &r->s->given;
    if (is_own(knob))
        return;
    note_name(r, knob->flag);
    if (knob->form == SWITCH) {
        buf_add_str(given, on ? "True" : "False");
    } else if (knob->form == NUMBER || knob->form == HUMAN || knob->form == REAL) {
        buf_add_str(given, values[0]);
    } else if (knob->form != LIST) {
        buf_printf(given, "'%s'", count ? values[0] : "");
    } else {
        for (size_t i = 0; i < count; i++)
            buf_printf(given, "%s'%s'", i ? ", " : "[", values[i]);
        buf_add_char(given, ']');
    }
}

/* ---- flags ---- */

/* As a row has it: '-' for '_', up to "=value" or ".key". */
static void
write_name(const char *word, char *name, size_t room)
{
    size_t len = 0;
    for (; word[len] && word[len] != '=' && word[len] != '.' && len + 1 < room; len++)
        name[len] = word[len] == '_' ? '-' : word[len];
    name[len] = '\0';
}

static const struct knob *
find_exact(const char *name)
{
    for (const struct knob *k = knobs; k < knobs + ARRAY_SIZE(knobs); k++)
        if (text_eq(k->flag, name) || (text_eq(k->brief, name) && strlen(name) > 1))
            return k;
    return NULL;
}

/* Whether the word may stand for a flag that it only begins. */
static bool
begins(const struct knob *knob, const char *name)
{
    return text_starts(name, "--") && strlen(name) > strlen("--") && text_starts(knob->flag, name);
}

/* The only one that begins so. */
static const struct knob *
find_short(const char *name)
{
    const struct knob *found = NULL;
    for (const struct knob *k = knobs; k < knobs + ARRAY_SIZE(knobs); k++) {
        if (!begins(k, name))
            continue;
        if (found)
            return NULL;
        found = k;
    }
    return found;
}

/* True: several flags begin so, and it has been told. */
static bool
refuse_short(struct reader *r, const char *word)
{
    _cleanup_buf_ struct buf all = BUF_INIT(16 * KIB);
    char name[FLAG_BYTES_MAX];
    size_t count = 0;
    write_name(word, name, sizeof(name));
    for (const struct knob *k = knobs; k < knobs + ARRAY_SIZE(knobs); k++)
        if (begins(k, name))
            buf_printf(&all, "%s%s", count++ ? ", " : "", k->flag);
    if (count < 2)
        return false;
    r->end = SETTINGS_REFUSED;
    (void)err_set(r->reterr, ERR_USAGE, "ambiguous option: %s could match %s", name, all.data);
    return true;
}

static const struct knob *
find_knob(const char *word, bool *ret_on)
{
    char name[FLAG_BYTES_MAX];
    write_name(word, name, sizeof(name));
    *ret_on = true;
    const struct knob *knob = find_exact(name);
    if (!knob && text_starts(name, "--no-")) {
        char plain[FLAG_BYTES_MAX];
        (void)snprintf(plain, sizeof(plain), "--%s", name + strlen("--no-"));
        knob = find_exact(plain);
        *ret_on = false;
        return knob && knob->form == SWITCH ? knob : NULL;
    }
    if (!knob && text_starts(name, "-O"))
        return find_exact("-O");
    return knob ? knob : find_short(name);
}

static bool
is_of_release(const struct knob *knob, const char *release)
{
    struct engine_version version, limit;
    bool listed = false;
    if (engine_version_parse(release, &version, NULL) < 0)
        return true;
    for (const struct span *s = spans; s < spans + ARRAY_SIZE(spans); s++) {
        if (!text_eq(s->flag, knob->flag))
            continue;
        bool too_old = *s->first && engine_version_parse(s->first, &limit, NULL) == 0 &&
                       engine_version_compare_release(&version, &limit) < 0;
        bool too_new = *s->last && engine_version_parse(s->last, &limit, NULL) == 0 &&
                       engine_version_compare_release(&version, &limit) > 0;
        if (!too_old && !too_new)
            return true;
        listed = true;
    }
    return !listed;
}

static bool
looks_like_flag(const char *word)
{
    return word[0] == '-' && word[1] && !isdigit((unsigned char)word[1]) && word[1] != '.';
}

static void
add_unknown(struct reader *r, const char *word)
{
    buf_printf(&r->unknown, "%s%s", r->unknown.len ? " " : "", word);
}

/* Takes the values that follow; returns how many words. */
static int
take_values(struct reader *r, const struct knob *knob, bool on, char **words,
            const char *inline_value)
{
    const char *values[SETTINGS_LIST_MAX] = {inline_value};
    size_t count = inline_value ? 1 : 0;
    int taken = 0;
    size_t most = knob->form == SWITCH ? 0 : knob->form == LIST ? ARRAY_SIZE(values) : 1;
    while (!inline_value && count < most && words[taken] && !looks_like_flag(words[taken]))
        values[count++] = words[taken++];
    if (knob->form == SWITCH && inline_value) {
        fail(r, knob, "ignored explicit argument '%s'", inline_value);
        return taken;
    }
    if (count == 0 && knob->form != SWITCH && knob->form != MAYBE) {
        fail(r, knob, "expected %s", knob->form == LIST ? "at least one argument" : "one argument");
        return taken;
    }
    if (knob->form == LIST)
        empty_list(r, knob);
    for (size_t i = 0; i < count; i++)
        if (knob->form == LIST || knob->form == MANY)
            put_more(r, knob, values[i]);
        else
            put(r, knob, values[i]);
    if (knob->form == SWITCH)
        put_switch(r, knob, on);
    note(r, knob, values, count, on);
    return taken;
}

static int
take_flag(struct reader *r, char **words)
{
    bool on;
    const struct knob *knob = find_knob(words[0], &on);
    const char *equals = strchr(words[0], '=');
    if (!knob && refuse_short(r, words[0]))
        return 1;
    if (!knob || (r->s->strict && !is_own(knob) && !is_of_release(knob, r->s->version))) {
        add_unknown(r, words[0]);
        return 1;
    }
    if (text_starts(words[0], "-O") && words[0][2] && !equals)
        return 1; /* -O3 */
    return 1 + take_values(r, knob, on, words + 1, equals ? equals + 1 : NULL);
}

static void
take_model(struct reader *r, const char *word)
{
    if (r->positional) {
        add_unknown(r, word);
        return;
    }
    r->positional = true;
    r->s->model = word;
    note_name(r, "model-tag");
    buf_printf(&r->s->given, "'%s'", word);
}

static void
take_words(struct reader *r, char **words)
{
    if (*words && text_eq(*words, "serve"))
        words++;
    while (*words && r->end == SETTINGS_OK) {
        if (text_eq(*words, "--help") || text_eq(*words, "-h"))
            r->end = SETTINGS_HELP;
        else if (looks_like_flag(*words))
            words += take_flag(r, words);
        else
            take_model(r, *words++);
    }
    if (r->end == SETTINGS_OK && r->unknown.len) {
        r->end = SETTINGS_REFUSED;
        (void)err_set(r->reterr, ERR_USAGE, "unrecognized arguments: %s", r->unknown.data);
    }
}

/* ---- documents ---- */

static void
take_scalar(struct reader *r, const struct knob *knob, const struct value *v)
{
    const char *text = v->text ? v->text : v->boolean ? "true" : "false";
    if (knob->form == LIST || knob->form == MANY)
        put_more(r, knob, text);
    else
        put(r, knob, text);
}

/* Maps are JSON of flags that do nothing here. */
static void
take_member(struct reader *r, const struct knob *knob, bool on, const struct value *v)
{
    bool yes;
    if (knob->form == SWITCH && value_bool(v, &yes)) {
        put_switch(r, knob, yes == on);
        return;
    }
    if (knob->form == LIST)
        empty_list(r, knob);
    if (knob->form == SWITCH)
        fail(r, knob, "is true or false");
    else if (v->type == VALUE_LIST)
        for (v = v->first; v; v = v->next)
            take_scalar(r, knob, v);
    else if (v->type != VALUE_MAP)
        take_scalar(r, knob, v);
}

static void
take_document(struct reader *r, const struct value *document, const char *prefix)
{
    char flag[FLAG_BYTES_MAX];
    bool on;
    for (const struct value *v = document ? document->first : NULL; v && r->end == SETTINGS_OK;
         v = v->next) {
        (void)snprintf(flag, sizeof(flag), "%s%s", prefix, v->name ? v->name : "");
        const struct knob *knob = v->name ? find_knob(flag, &on) : NULL;
        if (knob)
            take_member(r, knob, on, v);
        else
            add_unknown(r, flag);
    }
}

static void
take_environment(struct reader *r)
{
    const char *text = getenv("CITADEL_SIM");
    struct value *document;
    if (!text || !*text)
        return;
    if (json_parse(&r->s->texts, text, strlen(text), JSON_STRICT, &document, NULL, r->reterr) < 0) {
        err_prefix(r->reterr, "$CITADEL_SIM");
        r->end = SETTINGS_WRONG;
        return;
    }
    take_document(r, document, "--sim-");
    if (r->end == SETTINGS_OK && r->unknown.len) {
        r->end = SETTINGS_WRONG;
        (void)err_set(r->reterr, ERR_USAGE, "$CITADEL_SIM: there is no option %s", r->unknown.data);
    }
}

static void
take_file(struct reader *r, const char *path)
{
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_BYTES_MAX);
    struct value *document;
    if (file_read(path, &text, r->reterr) < 0 ||
        yaml_parse(&r->s->texts, text.data, text.len, &document, NULL, r->reterr) < 0)
        r->end = SETTINGS_WRONG;
    else
        take_document(r, document, "--");
}

/* The command line wins over the file that it names, and is read last. */
static const char *
find_config(char **words)
{
    for (; *words; words++) {
        if (text_starts(*words, "--config="))
            return *words + strlen("--config=");
        if (text_eq(*words, "--config"))
            return words[1];
    }
    return NULL;
}

/* ---- the whole ---- */

static double
real_of(const char *variable, double otherwise)
{
    const char *text = getenv(variable);
    double n;
    return text && parse_real(text, &n) ? n : otherwise;
}

static bool
is_set(const char *variable)
{
    const char *text = getenv(variable);
    return text && (text_eq(text, "1") || text_eq(text, "true") || text_eq(text, "True"));
}

static void
set_defaults(struct settings *s)
{
    *s = (struct settings){
        .model = "citadel-sim",
        .host = "127.0.0.1",
        .port = 8000,
        .max_model_len = 8192,
        .max_seqs = 256,
        .max_batched_tokens = 2048,
        .tensor_parallel = 1,
        .pipeline_parallel = 1,
        .block_tokens = 16,
        .gpu_memory_utilization = 0.9,
        .max_logprobs = 20,
        .dtype = "auto",
        .prefix_caching = true,
        .version = "0.11.0",
        .tasks = "generate,embed,score,classify,transcription",
        .slow_us = 30000000,
        .watchdog_us = 5000000,
        .shards = 4,
        .weights_bytes = 1 * GIB,
        .gpu_bytes = 80 * GIB,
        .kv_token_bytes = 128 * KIB,
        .dimensions = 32,
        .dev_mode = is_set("VLLM_SERVER_DEV_MODE"),
        .keep_alive_on_death = is_set("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH"),
        .stats_interval_s = real_of("VLLM_LOG_STATS_INTERVAL", 10),
        .keep_alive_s = real_of("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", 5),
        .given = BUF_INIT(64 * KIB),
    };
    arena_init(&s->texts, TEXTS_BYTES_MAX);
}

static const struct {
    size_t offset;
    uint64_t least, most;
    const char *flag;
} ranges[] = {
#define RANGE(field, least, most, flag)                     \
    {                                                       \
        offsetof(struct settings, field), least, most, flag \
    }
    RANGE(port, 0, UINT16_MAX, "--port"),
    RANGE(max_model_len, 1, UINT32_MAX, "--max-model-len"),
    RANGE(max_seqs, 1, 65536, "--max-num-seqs"),
    RANGE(max_batched_tokens, 1, UINT32_MAX, "--max-num-batched-tokens"),
    RANGE(tensor_parallel, 1, 16, "--tensor-parallel-size"),
    RANGE(pipeline_parallel, 1, 16, "--pipeline-parallel-size"),
    RANGE(block_tokens, 1, 4096, "--block-size"),
    RANGE(shards, 1, 1000, "--sim-shards"),
    RANGE(dimensions, 1, 65536, "--sim-dimensions"),
    RANGE(kv_token_bytes, 1, GIB, "--sim-kv-token-bytes"),
#undef RANGE
};

static void
check(struct reader *r)
{
    struct settings *s = r->s;
    struct engine_version version;
    for (size_t i = 0; i < ARRAY_SIZE(ranges) && r->end == SETTINGS_OK; i++) {
        uint64_t n = *(const uint64_t *)((const char *)s + ranges[i].offset);
        if (n < ranges[i].least || n > ranges[i].most)
            fail(r, find_exact(ranges[i].flag), "%llu is not from %llu to %llu",
                 (unsigned long long)n, (unsigned long long)ranges[i].least,
                 (unsigned long long)ranges[i].most);
    }
    if (s->gpu_memory_utilization <= 0 || s->gpu_memory_utilization > 1)
        fail(r, find_exact("--gpu-memory-utilization"), "%g is not above 0 and at most 1",
             s->gpu_memory_utilization);
    if (engine_version_parse(s->version, &version, NULL) < 0 || version.order[0] != 0 ||
        version.order[1] < 8)
        fail(r, find_exact("--sim-version"), "'%s' is not a release from 0.8.0 on", s->version);
    else
        s->release = (unsigned)version.order[1];
    if (s->names.count == 0)
        s->names.items[s->names.count++] = s->model;
    if (s->queue_max == 0)
        s->queue_max = s->max_queued;
    if (s->api_keys.count == 0 && getenv("VLLM_API_KEY"))
        s->api_keys.items[s->api_keys.count++] = getenv("VLLM_API_KEY");
}

enum settings_end
settings_read(struct settings *s, int argc, char *argv[], struct err *reterr)
{
    struct reader r = {.s = s, .unknown = BUF_INIT(64 * KIB), .reterr = reterr};
    char **words = argv + MIN(argc, 1);
    const char *file = find_config(words);
    set_defaults(s);
    take_environment(&r);
    if (file && r.end == SETTINGS_OK)
        take_file(&r, file);
    if (r.end == SETTINGS_OK)
        take_words(&r, words);
    if (r.end == SETTINGS_OK)
        check(&r);
    buf_finish(&r.unknown);
    return r.end;
}

void
settings_finish(struct settings *s)
{
    buf_finish(&s->given);
    arena_finish(&s->texts);
}

int
settings_gpu(unsigned n, unsigned count)
{
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    if (!list)
        return n < count ? (int)n : -1;
    for (; n > 0 && *list; n--) {
        list += strcspn(list, ",");
        list += *list == ',';
    }
    char *end;
    errno = 0;
    unsigned long index = strtoul(list, &end, 10);
    return end == list || errno || index >= count ? -1 : (int)index;
}

/* ---- help ---- */

static void
help_knob(struct buf *out, const struct knob *knob, const char *value)
{
    static const char *const forms[] = {
        [TEXT] = "TEXT",    [NUMBER] = "N",   [REAL] = "N",        [HUMAN] = "N",
        [LIST] = "TEXT...", [MAYBE] = "TEXT", [DURATION] = "TIME", [BYTES] = "BYTES",
        [MANY] = "TEXT",    [SWITCH] = ""};
    value = text_eq(value, "-") ? "" : *value ? value : forms[knob->form];
    buf_printf(out, "  %s%s%s\n        %s\n", knob->flag, *value ? " " : "", value, knob->help);
}

void
settings_help(struct buf *out)
{
    size_t ignored = 0;
    buf_add_str(
        out, "usage: citadel-sim [serve] [MODEL] [FLAG...]\n\n"
             "An HTTP server that is vLLM as a client sees it, without a GPU. The answer to a\n"
             "prompt is \"Simulated answer to: \" and the prompt, cut at max_tokens; a word, with\n"
             "the blanks before it, is a token. --sim options also stand in $CITADEL_SIM, as\n"
             "JSON: {\"token-rate\": 50, \"fault\": [\"hang@ready\"]}.\n\n"
             "What this run simulates:\n");
    for (const struct knob *k = knobs; k < knobs + ARRAY_SIZE(knobs); k++)
        if (is_own(k))
            help_knob(out, k, k->value);
    buf_add_str(out, "\n");
    faults_help(out);
    buf_add_str(out, "\nvLLM's flags that mean something here:\n");
    for (const struct knob *k = knobs; k < knobs + ARRAY_SIZE(knobs); k++)
        if (!is_own(k) && k->offset != NOT_KEPT)
            help_knob(out, k, k->value);
    for (const struct knob *k = knobs; k < knobs + ARRAY_SIZE(knobs); k++)
        ignored += k->offset == NOT_KEPT;
    buf_printf(out, "\nTaken, and without effect: %zu more.\n", ignored);
}
