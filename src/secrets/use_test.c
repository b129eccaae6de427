#include "secrets/use.h"

#include "base/buf.h"
#include "config/config.h"
#include "config/problems.h"
#include "sys/files.h"
#include "sys/root.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Options of the type, in the table. */
static size_t
count_secret_options(void)
{
    size_t count = 0;
#define SECTION(section, help)
#define OPTION(section, name, type, preset, word, range, reload, help) \
    count += strcmp(#type, "SECRET") == 0;
#define CHOICE(section, name, words, preset, reload, help)
#define GROUP(section, name, of, preset, help)
#define MAP(section, name, of, help)
#define END(section)
#include "config/options.def"
    return count;
}

/* Each of them is given. */
static const char full[] =
    "hub: {offline: false, token: {credential: hub}}\n"
    "gateway:\n"
    "  peers: {other: {url: \"http://h:1\", models: [m], key: {credential: peer}}}\n"
    "  trace_key: {credential: traces}\n"
    "alerts: {notifiers: {n: {kind: webhook, url_secret: {file: /etc/url}, token: {env: TOKEN}}}}\n"
    "backup:\n"
    "  password: {credential: p}\n"
    "  credentials: {credential: s3}\n"
    "  copy: {to: /mnt/copy, password: {credential: p}, credentials: {credential: s3}}\n"
    "devops:\n"
    "  address: 10.0.0.2\n"
    "  prometheus: {user: u, password: {credential: prom}}\n"
    "  grafana: {url: \"http://h:3000\", token: {credential: graf}}\n"
    "  alertmanager: {user: u, password: {credential: am}}\n"
    "  logs: {url: \"http://h:3100\", user: u, password: {credential: logs}}\n"
    "models: {m: {engine: sim}}\n";

static struct config *
parse(const char *yaml)
{
    struct config *config = NULL;
    struct config_problems problems;
    struct err err;
    config_problems_init(&problems);
    if (config_parse(yaml, strlen(yaml), "test", &config, &problems, &err) < 0) {
        _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB);
        config_problems_print(&problems, &text);
        tap_fail(__FILE__, __LINE__, "%s: %s", err.what, text.data);
    }
    config_problems_finish(&problems);
    return config;
}

TEST(every_option_that_is_a_secret_has_its_readers)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_config_ struct config *config = parse(full);
    struct secret_use *uses;
    size_t count;
    arena_init(&arena, MIB);
    REQUIRE(config && secret_uses(config, &arena, &uses, &count) == 0);
    CHECK_EQ(count, count_secret_options());
    for (size_t i = 0; i < count; i++)
        CHECK(uses[i].readers != 0 && uses[i].option);
    CHECK_STR(uses[0].option, "hub.token");
    CHECK_EQ(secret_uses_of(uses, count, SECRET_FOR_GATEWAY), 2);
    CHECK_STR(uses[0].option, "gateway.peers.other.key");
    CHECK_STR(uses[1].option, "gateway.trace_key");
}

TEST(the_token_of_the_hub_is_for_nobody_who_may_not_download)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_config_ struct config *config =
        parse("hub: {token: {credential: hub}}\nmodels: {m: {}}\n");
    struct secret_use *uses;
    size_t count;
    arena_init(&arena, MIB);
    REQUIRE(config && secret_uses(config, &arena, &uses, &count) == 0);
    REQUIRE(count == 1);
    CHECK_EQ(uses[0].readers, 0);
}

static const char *
write_in(const char *dir, const char *name, const char *text)
{
    static char path[1024];
    (void)snprintf(path, sizeof(path), "%s/%s/%s", tap_dir(), dir, name);
    char folder[1024];
    (void)snprintf(folder, sizeof(folder), "%s/%s", tap_dir(), dir);
    if (file_make_dirs(folder, 0700, NULL) < 0 ||
        file_write(path, text, strlen(text), 0600, NULL) < 0)
        abort();
    return path;
}

TEST(a_service_is_given_its_own)
{
    struct secret_use uses[3];
    struct config_secret file, variable, none = {CONFIG_SECRET_ENV, "NOT_SET_ANYWHERE"};
    char dir[512], path[1024];
    struct stat st;
    (void)snprintf(dir, sizeof(dir), "%s/run/credentials/m", tap_dir());
    file = (struct config_secret){CONFIG_SECRET_FILE, write_in("etc", "token", "hf_file\n")};
    variable = (struct config_secret){CONFIG_SECRET_ENV, "TEST_SECRET"};
    uses[0] = (struct secret_use){.option = "hub.token", .secret = &file};
    uses[1] = (struct secret_use){.option = "backup.password", .secret = &variable};
    uses[2] = (struct secret_use){.option = "backup.credentials", .secret = &none};
    (void)setenv("TEST_SECRET", "from-a-variable", 1);
    REQUIRE(secrets_hand(dir, uses, 3, NULL) == 0);
    (void)unsetenv("TEST_SECRET");
    REQUIRE(stat(dir, &st) == 0);
    CHECK_EQ(st.st_mode & 07777, 0700);
    (void)snprintf(path, sizeof(path), "%s/hub.token", dir);
    REQUIRE(stat(path, &st) == 0);
    CHECK_EQ(st.st_mode & 07777, 0400);
    CHECK_EQ(st.st_size, 7);

    (void)setenv("CREDENTIALS_DIRECTORY", dir, 1);
    static const char *const wants[] = {"hf_file", "from-a-variable", NULL};
    for (size_t i = 0; i < 3; i++) {
        _cleanup_secret_ struct secret value = {0};
        struct err err = {0};
        int r = secret_fetch(&uses[i], &value, &err);
        CHECK_STR(secret_reveal(&value), wants[i]);
        CHECK(wants[i] ? r == 0 : err.id == ERR_SECRET_NONE);
    }
    (void)unsetenv("CREDENTIALS_DIRECTORY");
}

/* Whatever form it is kept in, a service finds it under one name. */
TEST(a_service_is_given_what_the_store_keeps)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_secret_ struct secret value = {0}, got = {0};
    struct secret_store store;
    enum secret_form form;
    struct err why_not = {0}, err = {0};
    struct config_secret kept = {CONFIG_SECRET_CREDENTIAL, "hub"},
                         missing = {CONFIG_SECRET_CREDENTIAL, "none"};
    const struct secret_use uses[] = {{.option = "hub.token", .secret = &kept},
                                      {.option = "backup.password", .secret = &missing}};
    char dir[512];
    arena_init(&arena, 64 * KIB);
    secret_set(&value, "squeamish");
    REQUIRE(root_set(tap_dir(), NULL) == 0);
    (void)snprintf(dir, sizeof(dir), "%s/run/credentials/m", root_dir());
    int r = secret_store_open(&arena, &store, NULL);
    if (r == 0)
        r = secret_store_put(&store, "hub", &value, &form, &why_not, NULL);
    if (r == 0)
        r = secrets_hand(dir, uses, 2, &err);
    CHECK(root_set("", NULL) == 0);
    REQUIRE(r == 0);
    (void)setenv("CREDENTIALS_DIRECTORY", dir, 1);
    CHECK_EQ(secret_fetch(&uses[0], &got, NULL), 0);
    CHECK_STR(secret_reveal(&got), "squeamish");
    CHECK_STR(secret_fetch_path(&uses[1], &arena), NULL);
    (void)unsetenv("CREDENTIALS_DIRECTORY");
}

/* What was given before is not there any more; what is asked for and cannot be read leaves nothing. */
TEST(secrets_are_given_anew)
{
    char dir[512], path[1024];
    struct err err = {0};
    char where[512];
    (void)snprintf(where, sizeof(where), "%s", write_in("etc", "token", "one"));
    struct config_secret file = {CONFIG_SECRET_FILE, where};
    const struct secret_use use = {.option = "hub.token", .secret = &file};
    (void)snprintf(dir, sizeof(dir), "%s/run/m", tap_dir());
    (void)snprintf(path, sizeof(path), "%s", write_in("run/m", "old", "x"));
    REQUIRE(secrets_hand(dir, &use, 1, NULL) == 0);
    CHECK(access(path, F_OK) < 0);
    struct config_secret missing = {CONFIG_SECRET_FILE, "/nonexistent/token"};
    const struct secret_use lacks = {.option = "hub.token", .secret = &missing};
    CHECK(secrets_hand(dir, &lacks, 1, &err) < 0);
    CHECK_STR(err.what, "hub.token asks for a secret in '/nonexistent/token', which is not there");
    CHECK(access(dir, F_OK) < 0);
}

TEST(a_program_that_reads_it_itself_is_told_where)
{
    static const struct {
        const char *there;
        struct config_secret secret;
        const char *want; /* in the directory; NULL: none */
    } rows[] = {
        {"citadel.hub", {CONFIG_SECRET_CREDENTIAL, "hub"}, "citadel.hub"},
        {"citadel-plain.hub", {CONFIG_SECRET_CREDENTIAL, "hub"}, "citadel-plain.hub"},
        {"citadel.other", {CONFIG_SECRET_CREDENTIAL, "hub"}, NULL},
        {"hub.token", {CONFIG_SECRET_FILE, "/etc/t"}, "hub.token"},
        {"other", {CONFIG_SECRET_FILE, "/etc/t"}, "/etc/t"},
        {"hub.token", {CONFIG_SECRET_ENV, "T"}, "hub.token"},
        {"other", {CONFIG_SECRET_ENV, "T"}, NULL},
        {"hub.token", {CONFIG_SECRET_NONE, NULL}, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        char dir[64], full_dir[512], want[1024];
        const struct secret_use use = {.option = "hub.token", .secret = &rows[i].secret};
        tap_note("row %zu", i);
        arena_init(&arena, 64 * KIB);
        (void)snprintf(dir, sizeof(dir), "run%zu", i);
        (void)snprintf(full_dir, sizeof(full_dir), "%s/%s", tap_dir(), dir);
        (void)write_in(dir, rows[i].there, "x");
        (void)setenv("CREDENTIALS_DIRECTORY", full_dir, 1);
        bool whole = !rows[i].want || rows[i].want[0] == '/';
        (void)snprintf(want, sizeof(want), "%s%s%s", whole ? "" : full_dir, whole ? "" : "/",
                       rows[i].want ? rows[i].want : "");
        CHECK_STR(secret_fetch_path(&use, &arena), rows[i].want ? want : NULL);
    }
    (void)unsetenv("CREDENTIALS_DIRECTORY");
}
