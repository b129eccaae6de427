#include "backup/gather.h"
#include "base/text.h"
#include "cli/backup_save.h"
#include "gateway/database.h"
#include "secrets/store.h"
#include "secrets/use.h"
#include "sys/root.h"
#include "unit/rest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const struct verb_help verb_backup_configs_help = {
    .text =
        "Backs up what makes this machine what it is: the configuration, the generations that were "
        "deployed with their units, a person's own files in `configs` and `bin` of paths.root, "
        "what "
        "was remembered of models, deployments, GPUs and disks, and the gateway's keys with the "
        "ledger, as they are at one moment while the gateway goes on. Where nothing has changed "
        "since the last time, nothing is written.\n\n"
        "Secrets, keys of TLS and other files that not everybody may read are saved only into a "
        "repository that is encrypted, since all who can read the storage could read them; else "
        "each that is left out is named. There a secret of `citadel secrets` is in clear, so that "
        "another machine can use it.\n\n"
        "In the snapshot each file has the path that it has on this machine: restore it --to a "
        "directory of its own, and take from there what is wanted.",
    .examples = VERB_EXAMPLES({"sudo citadel backup configs", "as a timer does"},
                              {"sudo citadel backup restore configs --to /root/configs",
                               "to look at it, or take something from it"}),
};

#define GATHERED_MAX (16 * GIB)
#define MEMORY_OF "of " /* begins what the job remembers: the repository, and what was seen */

/* ---- what there is ---- */

struct gathering {
    const struct config *config;
    struct gather *gather;
    struct arena arena;
};

/* It may be named from where somebody stands, and may be a link. */
static int
take_config(const struct gathering *x, struct err *reterr)
{
    const char *name = x->config->name;
    _cleanup_free_ char *whole = realpath(name, NULL);
    int r = name[0] == '/' ? gather_path(x->gather, name, GATHER_OPEN, reterr) : 0;
    return r < 0 || !whole || text_eq(whole, name)
               ? r
               : gather_path(x->gather, whole, GATHER_OPEN, reterr);
}

/* The store of deployments has more in it than that, which is nobody's but its own. */
static int
take_deployed(const struct gathering *x, struct err *reterr)
{
    static const char *const parts[] = {"generations", "current", "stable", UNIT_REST_DIR};
    int r = take_config(x, reterr);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
        _cleanup_free_ char *path = mem_printf("%s/%s", x->config->paths.generations, parts[i]);
        r = gather_path(x->gather, path, GATHER_OPEN, reterr);
    }
    return r;
}

static int
take_own(const struct gathering *x, struct err *reterr)
{
    static const char *const parts[] = {"configs", "bin"};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
        _cleanup_free_ char *path = mem_printf("%s/%s", x->config->paths.root, parts[i]);
        r = gather_path(x->gather, path, GATHER_OPEN, reterr);
    }
    return r;
}

/* What was committed lies beside the database at first. An empty log is one that a reader has made, as
 * a copy does. */
static int
take_keys(const struct gathering *x, struct err *reterr)
{
    const char *path = x->config->gateway.keys_file;
    _cleanup_free_ char *wal = mem_printf("%s-wal", path);
    struct stat st;
    char *to;
    gather_look(x->gather, path);
    if (stat(wal, &st) == 0 && st.st_size > 0)
        gather_look(x->gather, wal);
    if (access(path, F_OK) < 0)
        return 0;
    int r = gather_place(x->gather, root_strip(path) + 1, &to, reterr);
    if (r == 0 && to) {
        (void)!unlink(to); /* of the file itself, where it lies among what was gathered */
        r = database_copy(path, to, reterr);
    }
    free(to);
    return r;
}

static int
take_state(const struct gathering *x, struct err *reterr)
{
    static const char *const parts[] = {"models", "deploy", "gpu", "storage", "monitor"};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
        _cleanup_free_ char *path = mem_printf("%s/%s", x->config->paths.state, parts[i]);
        r = gather_path(x->gather, path, GATHER_OURS, reterr);
    }
    return r < 0 ? r : take_keys(x, reterr);
}

/* ---- secrets ---- */

/* As a file that another machine takes for its own: what is encrypted to this host is of no use there. */
static int
take_stored(const struct gathering *x, const struct secret_store *store,
            const struct secret_kept *kept, struct err *reterr)
{
    _cleanup_secret_ struct secret value = {0};
    char file[SECRET_FILE_MAX];
    _cleanup_free_ char *path = mem_printf("%s/%s", store->dirs[kept->form],
                                           secret_file_name(kept->form, kept->name, file));
    if (!gather_takes_secret(x->gather, path))
        return 0;
    gather_look(x->gather, path);
    if (!x->gather->dir)
        return 0;
    int r = secret_store_get(store, kept->name, &value, reterr);
    _cleanup_free_ char *as = mem_printf("%s/%s", root_strip(store->dirs[SECRET_PLAIN]) + 1,
                                         secret_file_name(SECRET_PLAIN, kept->name, file));
    const char *text = r == 0 ? secret_reveal(&value) : "";
    return r < 0 ? r : gather_text(x->gather, as, text, strlen(text), 0600, reterr);
}

static int
take_store(struct gathering *x, struct err *reterr)
{
    struct secret_store store;
    struct secret_kept *kept = NULL;
    size_t count = 0;
    int r = secret_store_open(&x->arena, &store, reterr);
    if (r == 0)
        r = secret_store_list(&store, &x->arena, &kept, &count, reterr);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = take_stored(x, &store, &kept[i], reterr);
    return r;
}

static int
take_secrets(struct gathering *x, struct err *reterr)
{
    const struct config *c = x->config;
    _cleanup_free_ char *dir = mem_printf("%s/secrets", c->paths.generations);
    const char *const files[] = {dir, c->gateway.tls.key, c->backup.ssh_key,
                                 c->backup.copy.ssh_key};
    struct secret_use *uses;
    size_t count;
    int r = take_store(x, reterr);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++)
        if (files[i])
            r = gather_path(x->gather, files[i], GATHER_SECRET, reterr);
    if (r == 0 && secret_uses(c, &x->arena, &uses, &count) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "there are too many secrets");
    for (size_t i = 0; r == 0 && i < count; i++) {
        const char *where = uses[i].secret->where;
        size_t len = strlen(dir);
        bool is_below = where && strncmp(where, dir, len) == 0 && where[len] == '/';
        if (uses[i].secret->kind == CONFIG_SECRET_FILE && !is_below)
            r = gather_path(x->gather, where, GATHER_SECRET, reterr);
    }
    return r;
}

static int
take_all(struct gathering *x, struct err *reterr)
{
    const struct config *c = x->config;
    const char *const papers[] = {
        c->gateway.tls.certificate, c->gateway.tls.client_ca, c->backup.ca,
        c->backup.ssh_known_hosts,  c->backup.copy.ca,        c->backup.copy.ssh_known_hosts};
    int r = take_deployed(x, reterr);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(papers); i++)
        if (papers[i])
            r = gather_path(x->gather, papers[i], GATHER_OURS, reterr);
    if (r == 0)
        r = take_own(x, reterr);
    if (r == 0)
        r = take_state(x, reterr);
    return r < 0 ? r : take_secrets(x, reterr);
}

/* dir: NULL to look only. */
static int
gather_all(struct cli_save *k, const char *dir, struct gather *gather)
{
    struct gathering x = {.config = k->b.config, .gather = gather};
    int r = gather_begin(gather, dir, GATHERED_MAX, &k->b.cli->err);
    gather->secrets_because = cli_save_refuses_secrets(k);
    arena_init(&x.arena, 4 * MIB);
    if (r == 0)
        r = take_all(&x, &k->b.cli->err);
    arena_finish(&x.arena);
    return r;
}

/* ---- whether anything has changed ---- */

/* Names can be had before the repository is opened, which with a passphrase takes a second. */
static bool
has_snapshot(struct cli_save *k)
{
    struct repository_names names = {0};
    uint8_t name[HASH_SHA256_BYTES];
    bool found = false;
    if (!k->job.job.snapshot[0] ||
        repository_list(k->b.repository, REPOSITORY_SNAPSHOTS, &names, NULL) < 0)
        return false;
    object_digest(k->job.job.snapshot, name);
    for (size_t i = 0; i < names.count && !found; i++)
        found = memcmp(names.items[i], name, sizeof(name)) == 0;
    free(names.items);
    return found;
}

static bool
is_unchanged(struct cli_save *k, const struct gather *gather, char ret_memory[JOB_MEMORY_MAX])
{
    char digest[HASH_SHA256_HEX];
    gather_digest(gather, digest);
    (void)snprintf(ret_memory, JOB_MEMORY_MAX, MEMORY_OF "%s %s", k->b.repository->id, digest);
    return digest[0] && text_eq(k->job.job.memory, ret_memory) && has_snapshot(k);
}

static void
tell_unchanged(struct cli_save *k, struct gather *gather)
{
    struct cli *cli = k->b.cli;
    if (!cli->json) {
        cli_print(cli, "configs: nothing has changed since snapshot %.*s\n", CLI_BACKUP_ID,
                  k->job.job.snapshot);
        return;
    }
    json_open_map(cli->json, NULL);
    json_str(cli->json, "name", "configs");
    json_bool(cli->json, "unchanged", true);
    json_str(cli->json, "snapshot", k->job.job.snapshot);
    cli_save_json_left_out(cli->json, gather);
    json_close_map(cli->json);
}

static int
save(struct cli_save *k, const char *memory)
{
    _cleanup_gather_ struct gather gather;
    _cleanup_free_ char *place = cli_save_place(k);
    int r = gather_all(k, place, &gather);
    const struct cli_save_wish wish = {
        .name = "configs", .source = place, .more = cli_save_json_left_out, .arg = &gather};
    if (r == 0)
        r = cli_save_open(k);
    if (r == 0)
        r = cli_save_run(k, &wish);
    if (r == 0 && !k->dry)
        (void)snprintf(k->job.job.memory, sizeof(k->job.job.memory), "%s", memory);
    return r;
}

static int
back_up(struct cli_save *k)
{
    _cleanup_gather_ struct gather seen;
    char memory[JOB_MEMORY_MAX];
    int r = gather_all(k, NULL, &seen);
    if (r < 0)
        return r;
    cli_save_tell_left_out(k, &seen);
    if (!is_unchanged(k, &seen, memory))
        return save(k, memory);
    tell_unchanged(k, &seen);
    return 0;
}

int
verb_backup_configs(struct cli *cli)
{
    struct cli_save k;
    int r = cli_save_begin(cli, "configs", &k);
    if (r == 0)
        r = cli_save_find(&k);
    if (r == 0)
        r = back_up(&k);
    return cli_save_end(&k, r);
}
