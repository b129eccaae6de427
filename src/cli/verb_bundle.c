#include "base/quantity.h"
#include "base/text.h"
#include "base/vec.h"
#include "cli/load_config.h"
#include "config/problems.h"
#include "fmt/tar.h"
#include "secrets/use.h"
#include "sys/clock.h"
#include "sys/command.h"
#include "sys/files.h"
#include "sys/root.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const struct verb_help verb_bundle_help = {
    .text =
        "Collects what helps to find out what is wrong, into one tar archive that its owner alone "
        "reads: states, logs, the configuration as it holds, plan, units, generations, events, "
        "what "
        "`citadel doctor` finds, and what host, kernel and driver say. Each part has a limit of "
        "time and size; contents.txt in it, and the output, tell what is there and what is not.\n\n"
        "Every value of a secret that is kept is replaced by ***, and so is what looks like one. "
        "Run it as root: others cannot read all of it, and do not know all secrets. Prompts and "
        "answers of users are not in it, unless an engine was told to log them; look through it "
        "before you give it away.\n\n"
        "Without FILE it is citadel-bundle-TIME.tar, here. A file that is there is not replaced.",
    .examples = VERB_EXAMPLES({"sudo citadel bundle", "an archive in this directory"},
                              {"citadel bundle /tmp/for-support.tar", "another one"}),
};

#define PART_MAX (1 * MIB)
#define WORDS_MAX (64 * KIB)
#define BUNDLE_MAX (64 * MIB)
#define PART_US (20 * 1000000ULL) /* of one command */
#define ALL_US (300 * 1000000ULL) /* of all; what comes after is left out */
#define LOG_LINES "2000"
#define LOGS_MAX 64
#define LINE_BYTES (64 * KIB)
#define ARGV_MAX 24
#define ARENA_MAX (8 * MIB)
#define SECRET_SHORTEST \
    6 /* a shorter one is a word of every text; it is in none of these by itself */

struct part {
    const char *file;
    uint64_t bytes;
    const char *lacks; /* why it is not there, or not whole; NULL: it is */
};

struct bundle {
    struct cli *cli;
    struct config *config; /* NULL: it cannot be read, which is what the bundle may be for */
    struct arena arena;
    const char *program;
    VEC(struct secret) secrets; /* in every form in which one can stand in a part */
    size_t secret_count;        /* of which so many are known */
    struct buf tar;
    VEC(struct part) parts;
    uint64_t now_s, until_us;
    size_t masked;
};

/* ---- secrets ---- */

/* Takes the value. */
static void
keep_secret(struct bundle *b, struct secret *value)
{
    if (secret_is_set(value) && strlen(secret_reveal(value)) >= SECRET_SHORTEST)
        vec_push(&b->secrets, *value);
    else
        secret_finish(value);
}

/* As it stands in a part that is JSON. */
static void
keep_escaped(struct bundle *b, const char *text)
{
    struct buf json = BUF_INIT(6 * SECRET_BYTES_MAX + 3); /* \u00xx for a byte, and quotes */
    struct secret escaped = {0};
    struct json_writer w;
    if (!buf_reserve(&json,
                     json.ceiling_bytes)) /* it is not moved, so that all of it can be wiped */
        return;
    json_init(&w, &json, false);
    json_str(&w, NULL, text);
    buf_truncate(&json, json.len - 1);
    if (!text_eq(json.data + 1, text)) {
        secret_set(&escaped, json.data + 1);
        keep_secret(b, &escaped);
    }
    explicit_bzero(json.data, json.room);
    buf_finish(&json);
}

/* The lines of a long one may stand apart, as in a log. */
static void
keep_lines(struct bundle *b, const char *text)
{
    for (const char *line = text; strchr(text, '\n') && *line;) {
        struct secret one = {0};
        size_t len = strcspn(line, "\n");
        char *copy = mem_strndup(line, len);
        secret_set(&one, copy);
        keep_secret(b, &one);
        explicit_bzero(copy, len);
        free(copy);
        line += len + (line[len] == '\n');
    }
}

/* The whole first, since it is longer than what else is looked for. */
static void
learn(struct bundle *b, struct secret *value)
{
    const size_t at = b->secrets.count;
    keep_secret(b, value);
    if (b->secrets.count == at)
        return;
    _cleanup_secret_ struct secret whole = {0};
    secret_set(&whole,
               secret_reveal(&b->secrets.items[at])); /* which moves when others are added */
    b->secret_count++;
    keep_escaped(b, secret_reveal(&whole));
    keep_lines(b, secret_reveal(&whole));
}

static void
learn_of_store(struct bundle *b, const struct secret_store *store, const struct secret_kept *kept,
               size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct secret value = {0};
        (void)!secret_store_get(store, kept[i].name, &value, NULL);
        learn(b, &value);
    }
}

/* All that can be known: those of the store, and those that the configuration names elsewhere. */
static void
learn_secrets(struct bundle *b)
{
    struct secret_store store;
    struct secret_kept *kept = NULL;
    struct secret_use *uses = NULL;
    size_t kept_count = 0, use_count = 0;
    if (secret_store_open(&b->arena, &store, NULL) == 0)
        (void)!secret_store_list(&store, &b->arena, &kept, &kept_count, NULL);
    if (b->config)
        (void)!secret_uses(b->config, &b->arena, &uses, &use_count);
    learn_of_store(b, &store, kept, kept_count);
    for (size_t i = 0; i < use_count; i++) {
        struct secret value = {0};
        (void)!secret_fetch(&uses[i], &value, NULL);
        learn(b, &value);
    }
}

static size_t
mask_one(char *text, size_t len, const char *secret)
{
    size_t secret_len = strlen(secret), count = 0;
    for (char *at = text; (at = memmem(at, len - (size_t)(at - text), secret, secret_len));
         count++) {
        memset(at, '*', secret_len);
        at += secret_len;
    }
    return count;
}

/* What only looks like a secret is looked for in each line; in one without end that would take without
 * end, too. */
static void
mask_line(const char *line, size_t len, struct buf *out)
{
    char text[LINE_BYTES + 1];
    if (len > LINE_BYTES) {
        buf_printf(out, "(a line of %zu bytes is left out)", len);
        return;
    }
    memcpy(text, line, len);
    text[len] = '\0';
    config_mask_secrets(text);
    buf_add_str(out, text);
}

static void
mask(struct bundle *b, struct buf *text, struct buf *out)
{
    for (size_t i = 0; i < text->len; i++)
        if (text->data[i] == '\0')
            text->data[i] = '?';
    vec_foreach (&b->secrets, secret)
        b->masked += mask_one(text->data, text->len, secret_reveal(secret));
    for (const char *line = text->data; *line;) {
        size_t len = strcspn(line, "\n");
        mask_line(line, len, out);
        line += len;
        if (*line == '\n')
            buf_add_char(out, *line++);
    }
}

/* ---- parts ---- */

static void
leave_out(struct bundle *b, const char *file, const char *why)
{
    vec_push(&b->parts, ((struct part){.file = arena_strdup(&b->arena, file),
                                       .lacks = arena_strdup(&b->arena, why)}));
}

static void
add(struct bundle *b, const char *file, struct buf *text, const char *lacks)
{
    _cleanup_buf_ struct buf shown = BUF_INIT(2 * PART_MAX);
    mask(b, text, &shown);
    if (b->tar.len + shown.len + 4 * KIB > BUNDLE_MAX - PART_MAX ||
        !tar_add(&b->tar, file, shown.data, shown.len, b->now_s)) {
        leave_out(b, file, "the bundle is full");
        return;
    }
    vec_push(&b->parts, ((struct part){.file = arena_strdup(&b->arena, file),
                                       .bytes = shown.len,
                                       .lacks = lacks ? arena_strdup(&b->arena, lacks) : NULL}));
}

static void
drop_last_line(struct buf *out)
{
    const char *newline = memrchr(out->data, '\n', out->len);
    buf_truncate(out, newline ? (size_t)(newline + 1 - out->data) : 0);
}

/* What it said is taken also if it failed: why it did is often what is looked for. */
static void
add_output(struct bundle *b, const char *file, const char *const *argv)
{
    _cleanup_buf_ struct buf out = BUF_INIT(PART_MAX), words = BUF_INIT(WORDS_MAX);
    const struct command command = {
        .argv = argv, .in = -1, .limit_us = PART_US, .out = &out, .words = &words};
    struct proc_end end;
    struct err err = {0};
    char text[128];
    if (clock_now_us() >= b->until_us) {
        leave_out(b, file, "collecting took too long");
        return;
    }
    int r = command_run(&command, &end, &err);
    if (r < 0 && out.len == 0) {
        leave_out(b, file, err.what);
        return;
    }
    const char *lacks = r < 0 ? err.what : out.failed ? "cut at 1 MiB" : NULL;
    if (out.failed || r < 0) /* a line that is cut may end in the half of a secret */
        drop_last_line(&out);
    if (!lacks && (end.killed || end.status != 0)) {
        char how[64];
        (void)snprintf(text, sizeof(text), "%s: %s", argv[0], proc_end_print(&end, how));
        lacks = strrchr(text, '/') ? strrchr(text, '/') + 1 : text;
    }
    out.ceiling_bytes += words.len;
    out.failed = false;
    buf_add(&out, words.data, words.len);
    add(b, file, &out, lacks);
}

/* Our own verb, of the same configuration and root. */
static void
add_own(struct bundle *b, const char *file, const char *const *words)
{
    const char *argv[ARGV_MAX] = {b->program};
    size_t count = 1;
    while (*words && count < ARGV_MAX - 5)
        argv[count++] = *words++;
    if (b->cli->config_file) {
        argv[count++] = "-c";
        argv[count++] = b->cli->config_file;
    }
    if (root_is_set()) {
        argv[count++] = "--root";
        argv[count++] = root_dir();
    }
    add_output(b, file, argv);
}

static void
add_log(struct bundle *b, const char *name)
{
    const char *const words[] = {"logs", name, "--no-follow", "-n", LOG_LINES, NULL};
    char file[TAR_NAME_MAX + 1];
    (void)snprintf(file, sizeof(file), "logs/%s.txt", name);
    add_own(b, file, words);
}

static void
add_logs(struct bundle *b)
{
    const struct config *c = b->config;
    size_t count = 0;
    for (size_t i = 0; c && i < c->models.count; i++) {
        if (!c->models.items[i].enabled)
            continue;
        if (count++ < LOGS_MAX)
            add_log(b, c->models.items[i].name);
        else
            leave_out(b, c->models.items[i].name, "of more than 64 services no logs are taken");
    }
    if (c && c->gateway.enabled)
        add_log(b, "gateway");
    if (c && c->monitor.enabled)
        add_log(b, "monitor");
}

static void
collect(struct bundle *b)
{
#define OWN(file, ...) add_own(b, file, (const char *const[]){__VA_ARGS__, NULL});
#define OTHER(file, ...) add_output(b, file, (const char *const[]){__VA_ARGS__, NULL});
#include "cli/bundle.def"
    add_logs(b);
}

/* ---- telling ---- */

static void
list_parts(const struct bundle *b, struct buf *out)
{
    vec_foreach (&b->parts, p)
        buf_printf(out, "%10llu  %s%s%s\n", (unsigned long long)p->bytes, p->file,
                   p->lacks ? p->bytes ? ": " : ": left out: " : "", p->lacks ? p->lacks : "");
    buf_printf(out, "%zu values of %zu known secrets were masked\n", b->masked, b->secret_count);
    if (geteuid() != 0)
        buf_add_str(out, "collected by a user who is not root: neither whole, nor are all secrets "
                         "known\n");
}

static void
print_json(const struct bundle *b, const char *path, struct json_writer *w)
{
    json_open_map(w, NULL);
    json_str(w, "file", path);
    json_u64(w, "bytes", b->tar.len);
    json_u64(w, "masked", b->masked);
    json_open_list(w, "parts");
    vec_foreach (&b->parts, p) {
        json_open_map(w, NULL);
        json_str(w, "file", p->file);
        json_u64(w, "bytes", p->bytes);
        json_str(w, "lacks", p->lacks);
        json_close_map(w);
    }
    json_close_list(w);
    json_close_map(w);
}

static int
write_bundle(struct bundle *b, const char *path)
{
    _cleanup_buf_ struct buf contents = BUF_INIT(PART_MAX);
    list_parts(b, &contents);
    if (!tar_add(&b->tar, "contents.txt", contents.data, contents.len, b->now_s) ||
        !tar_end(&b->tar) || b->arena.full)
        return err_set(&b->cli->err, ERR_TOO_LARGE, "the bundle is larger than %llu bytes",
                       (unsigned long long)BUNDLE_MAX);
    int r = file_create(path, b->tar.data, b->tar.len, 0600, &b->cli->err);
    if (r < 0)
        return r;
    if (b->cli->json) {
        print_json(b, path, b->cli->json);
        return 0;
    }
    quantity_text size;
    cli_print_bytes(b->cli, contents.data, contents.len);
    cli_print(b->cli, "%s: %s\n", path, quantity_show_bytes(b->tar.len, size));
    return 0;
}

/* ---- the verb ---- */

static int
choose_path(struct cli *cli, uint64_t now_s, char path[PATH_MAX])
{
    time_t now = (time_t)now_s;
    struct tm tm;
    struct stat st;
    char text[32] = "";
    if (gmtime_r(&now, &tm))
        (void)strftime(text, sizeof(text), "%Y%m%dT%H%M%SZ", &tm);
    if (cli->args_count)
        (void)snprintf(path, PATH_MAX, "%s", cli->args[0]);
    else
        (void)snprintf(path, PATH_MAX, "citadel-bundle-%s.tar", text);
    if (lstat(path, &st) == 0) {
        int r = err_set_errno(&cli->err, EEXIST, "'%s'", path);
        err_fix(&cli->err, "give it another name");
        return r;
    }
    if (!text_ends(path, ".tar")) {
        int r = err_set(&cli->err, ERR_USAGE, "'%s' does not end with .tar", path);
        err_fix(&cli->err, "citadel bundle %s.tar", path);
        return r;
    }
    return 0;
}

/* One that cannot be read is no reason to give up: what is wrong with it is in the bundle. */
static void
load_config(struct bundle *b)
{
    struct cli *cli = b->cli;
    if (cli_load_config(cli, &b->config) < 0) {
        cli_note(cli, "%s: the bundle has no more than can be told without it", cli->err.what);
        cli->err = (struct err){0};
        b->config = NULL;
    }
}

static void
finish(struct bundle *b)
{
    vec_foreach (&b->secrets, secret)
        secret_finish(secret);
    vec_finish(&b->secrets);
    buf_finish(&b->tar);
    vec_finish(&b->parts);
    config_free(b->config);
    arena_finish(&b->arena);
}

int
verb_bundle(struct cli *cli)
{
    struct bundle b = {.cli = cli, .program = "/proc/self/exe", .now_s = clock_wall_us() / 1000000};
    char path[PATH_MAX], program[PATH_MAX];
    int r = choose_path(cli, b.now_s, path);
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (r == 0 && len < 0)
        r = err_set_errno(&cli->err, errno, "finding this program");
    if (r < 0)
        return r;
    program[len] = '\0';
    b.program = program;
    b.until_us = clock_now_us() + ALL_US;
    arena_init(&b.arena, ARENA_MAX);
    buf_init(&b.tar, BUNDLE_MAX);
    load_config(&b);
    learn_secrets(&b);
    collect(&b);
    r = write_bundle(&b, path);
    finish(&b);
    return r < 0 ? r : EXIT_CODE_OK;
}
