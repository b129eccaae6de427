#include "cli/keys.h"

#include "base/mem.h"
#include "base/quantity.h"
#include "cli/load_config.h"
#include "gateway/target.h"
#include "sys/clock.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLUSH_US UINT64_C(15000000) /* for the disk to take what was changed */

/* ---- without a gateway ---- */

/* What this process is itself, while it goes by another account. */
struct self {
    bool is_away;
    int count;
    gid_t *groups;
};

/* Groups while it is root, on both ways. */
static int
become(uid_t user, gid_t group, const gid_t *groups, int count, struct err *reterr)
{
    if ((user == 0 && seteuid(user) < 0) || setgroups((size_t)count, groups) < 0 ||
        setegid(group) < 0 || (user != 0 && seteuid(user) < 0))
        return err_set_errno(reterr, errno, "going by user %u and group %u", user, group);
    return 0;
}

/* Root becomes the owner of the database's directory meanwhile, so that all files in it stay his. */
static int
become_owner(const char *keys_file, struct self *self, struct err *reterr)
{
    _cleanup_free_ char *dir =
        mem_strndup(keys_file, (size_t)(strrchr(keys_file, '/') - keys_file));
    struct stat st;
    *self = (struct self){0};
    if (geteuid() != 0 || stat(dir, &st) < 0 || st.st_uid == 0)
        return 0;
    self->count = getgroups(0, NULL);
    self->groups = mem_alloc(MAX((size_t)self->count, (size_t)1) * sizeof(*self->groups));
    if (getgroups(self->count, self->groups) != self->count)
        return err_set_errno(reterr, errno, "the groups of this process");
    self->is_away = true;
    return become(st.st_uid, st.st_gid, &st.st_gid, 1, reterr);
}

/* r: how it went meanwhile, which stays the error. */
static int
become_self(struct self *self, int r, struct err *reterr)
{
    int e =
        self->is_away ? become(0, getgid(), self->groups, self->count, r < 0 ? NULL : reterr) : 0;
    free(take_ptr(self->groups));
    return r < 0 ? r : e;
}

struct offline {
    struct keyring_wish wish;
    struct loop *loop;
    struct buf *out;
    struct err *err;
    bool is_done, failed;
};

static void
on_done(struct keyring_wish *wish, struct holder *holder, const char *token,
        const struct err *error)
{
    struct offline *o = container_of(wish, struct offline, wish);
    struct json_writer w;
    o->is_done = true;
    o->failed = error != NULL;
    json_init(&w, o->out, false);
    if (error)
        *o->err = *error;
    else
        keyring_print_deed(holder, token, &w);
    loop_stop(o->loop);
}

/* A wish without a name: the list is wanted. */
static int
ask_ring(struct loop *loop, struct keyring *ring, struct offline *o, struct err *reterr)
{
    struct json_writer w;
    if (!o->wish.name) {
        json_init(&w, o->out, false);
        keyring_print(ring, &w);
        return 0;
    }
    o->loop = loop;
    o->err = reterr;
    o->wish.done = on_done;
    int r = keyring_do(ring, &o->wish, reterr);
    if (r == 0)
        loop_run(loop);
    return r == 0 && o->failed ? -EIO : r;
}

static int
ask_offline(const struct config *config, struct offline *o, struct err *reterr)
{
    struct keyring *ring = NULL;
    struct self self = {0};
    struct loop *loop;
    int r = loop_new(&loop, reterr);
    if (r < 0)
        return r;
    r = become_owner(config->gateway.keys_file, &self, reterr);
    if (r == 0)
        r = keyring_open(loop, config->gateway.keys_file, &ring, reterr);
    if (r == 0)
        r = ask_ring(loop, ring, o, reterr);
    bool hangs = ring && !keyring_flush(ring, FLUSH_US);
    if (ring && !hangs)
        keyring_close(ring);
    if (!hangs)
        loop_free(loop);
    return become_self(&self, r, reterr);
}

static void
on_sum(const struct spent_sum *sum, void *arg)
{
    spent_print(sum, arg);
}

static int
sum_offline(const struct config *config, enum spent_by by, uint64_t since_us, struct buf *out,
            struct err *reterr)
{
    struct json_writer w;
    struct self self;
    json_init(&w, out, false);
    json_open_list(&w, NULL);
    int r = become_owner(config->gateway.keys_file, &self, reterr);
    if (r == 0)
        r = spent_read(config->gateway.keys_file, by, since_us, on_sum, &w, reterr);
    json_close_list(&w);
    return become_self(&self, r, reterr);
}

/* ---- either way ---- */

static int
parse(const struct buf *out, struct arena *arena, struct value **ret_answer, struct err *reterr)
{
    if (buf_error(out) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "the answer is larger than its ceiling");
    return json_parse(arena, out->data, out->len, JSON_STRICT, ret_answer, NULL, reterr);
}

#define OUT_MAX (64 * MIB)
#define MEMBERS_MAX (64 * KIB)

/* 1: none runs. */
static int
ask_gateway(struct cli *cli, const struct operation_wish *wish, struct config **ret_config,
            struct arena *arena, struct value **ret_answer)
{
    int r = cli_load_deployed(cli, ret_config);
    if (r < 0)
        return r;
    r = cli_operate(*ret_config, wish, arena, ret_answer, &cli->err);
    return r < 0 && cli->err.id == ERR_SERVICE_DOWN ? 1 : r;
}

/* It may be one that is still to come, or a mistake. */
static void
note_unknown_model(struct cli *cli, const struct target_table *table, const char *name)
{
    const struct target *target;
    struct err err;
    if (target_find(table, NULL, name, &target, &err) == 0)
        return;
    cli_note(cli, "%s%s%s", err.what, err.fix[0] ? "; " : "", err.fix);
}

static void
note_unknown_models(struct cli *cli, const struct config *config)
{
    const char *list = cli_option(cli, "models");
    if (!list || text_eq(list, "all"))
        return;
    struct target_table *table = target_table_new(config);
    for (const char *end; *list; list = *end ? end + 1 : end) {
        end = strchrnul(list, ',');
        _cleanup_free_ char *name = mem_strndup(list, (size_t)(end - list));
        note_unknown_model(cli, table, name);
    }
    target_table_free(table);
}

static int
ask_of_key_offline(struct cli *cli, const struct config *config, struct offline *o,
                   const struct buf *members, struct arena *arena, struct value **ret_answer)
{
    _cleanup_buf_ struct buf out = BUF_INIT(OUT_MAX);
    struct value *given = NULL;
    int r = members ? json_parse(arena, members->data, members->len, JSON_STRICT, &given, NULL,
                                 &cli->err)
                    : 0;
    o->out = &out;
    o->wish.members = given;
    if (r == 0)
        r = ask_offline(config, o, &cli->err);
    return r < 0 ? r : parse(&out, arena, ret_answer, &cli->err);
}

/* members: JSON of key_change(); NULL: none. */
static int
ask_of_key(struct cli *cli, enum keyring_deed deed, const char *name, const struct buf *members,
           struct arena *arena, struct value **ret_answer)
{
    static const enum operation_id ids[] = {
        [KEYRING_CREATE] = OPERATION_KEY_CREATE,
        [KEYRING_CHANGE] = OPERATION_KEY_CHANGE,
        [KEYRING_ROTATE] = OPERATION_KEY_ROTATE,
        [KEYRING_REVOKE] = OPERATION_KEY_REVOKE,
    };
    _cleanup_config_ struct config *config = NULL;
    struct offline o = {.wish = {.deed = deed, .name = name}};
    struct operation_wish wish = {.id = ids[deed], .name = name, .body = members};
    int r = key_check_name(name, &cli->err);
    if (r == 0)
        r = ask_gateway(cli, &wish, &config, arena, ret_answer);
    if (r > 0)
        r = ask_of_key_offline(cli, config, &o, members, arena, ret_answer);
    if (r == 0 && members)
        note_unknown_models(cli, config);
    return r;
}

int
cli_list_keys(struct cli *cli, struct arena *arena, struct value **ret_answer)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_buf_ struct buf out = BUF_INIT(OUT_MAX);
    struct offline o = {.out = &out};
    struct operation_wish wish = {.id = OPERATION_KEYS};
    int r = ask_gateway(cli, &wish, &config, arena, ret_answer);
    if (r <= 0)
        return r;
    r = ask_offline(config, &o, &cli->err);
    return r < 0 ? r : parse(&out, arena, ret_answer, &cli->err);
}

int
cli_read_usage(struct cli *cli, const char *by_word, uint64_t since_us, struct arena *arena,
               struct value **ret_answer)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_buf_ struct buf out = BUF_INIT(OUT_MAX);
    _cleanup_free_ char *since = mem_printf("%" PRIu64, since_us);
    struct operation_wish wish = {
        .id = OPERATION_USAGE, .name = by_word, .query = "since_us", .value = since};
    enum spent_by by;
    int r = spent_by_parse(by_word, &by, &cli->err);
    if (r == 0)
        r = ask_gateway(cli, &wish, &config, arena, ret_answer);
    if (r <= 0)
        return r;
    r = sum_offline(config, by, since_us, &out, &cli->err);
    return r < 0 ? r : parse(&out, arena, ret_answer, &cli->err);
}

/* ---- one key ---- */

/* "a,b"; "all": whatever there is. */
static void
add_models(struct json_writer *w, const char *list)
{
    if (text_eq(list, "all")) {
        json_null(w, "models");
        return;
    }
    json_open_list(w, "models");
    for (const char *end; *list; list = *end ? end + 1 : end) {
        end = strchrnul(list, ',');
        json_strn(w, NULL, list, (size_t)(end - list));
    }
    json_close_list(w);
}

#define EXPIRY_MAX_US (UINT64_C(36500) * 24 * 3600 * 1000000)

static int
add_expiry(struct json_writer *w, const char *text, struct err *reterr)
{
    uint64_t us = 0;
    if (text_eq(text, "never")) {
        json_null(w, "expires_us");
        return 0;
    }
    int r = quantity_parse_us(text, &us, reterr);
    if (r == 0 && (us == 0 || us > EXPIRY_MAX_US)) {
        r = err_set(reterr, ERR_VALUE, "%s is no time for a key to live", text);
        err_fix(reterr, "30d, up to 36500d; or never");
    }
    if (r < 0)
        err_prefix(reterr, "--expires-in");
    else
        json_u64(w, "expires_us", clock_wall_us() + us);
    return r;
}

static int
add_limit(struct json_writer *w, const struct allowance_limit_row *row, const char *text,
          struct err *reterr)
{
    uint64_t n = 0;
    int r = text_eq(text, "none") ? 0 : quantity_parse_u64(text, &n, reterr);
    if (r < 0)
        err_prefix(reterr, "--%s", row->option);
    else if (text_eq(text, "none"))
        json_null(w, row->member);
    else
        json_u64(w, row->member, n);
    return r;
}

/* What the options come to, as members of key_change(). */
static int
read_members(struct cli *cli, struct buf *out)
{
    const char *models = cli_option(cli, "models"), *expiry = cli_option(cli, "expires-in");
    const char *priority = cli_option(cli, "priority");
    struct json_writer w;
    int r = 0;
    json_init(&w, out, false);
    json_open_map(&w, NULL);
    if (models)
        add_models(&w, models);
    if (priority)
        json_bool(&w, "priority", text_eq(priority, "yes"));
    if (expiry)
        r = add_expiry(&w, expiry, &cli->err);
    for (unsigned i = 0; r == 0 && i < ALLOWANCE_LIMITS; i++) {
        const char *text = cli_option(cli, allowance_limit_rows[i].option);
        if (text)
            r = add_limit(&w, &allowance_limit_rows[i], text, &cli->err);
    }
    json_close_map(&w);
    return r;
}

static void
print_key(struct cli *cli, const struct value *answer)
{
    const struct value *key = value_get(answer, "key");
    const char *token = value_str(value_get(answer, "token"));
    char name[TEXT_NAME_MAX + 1], state[16];
    if (cli->json) {
        json_value(cli->json, NULL, answer);
        return;
    }
    value_copy_str(value_get(key, "name"), name, sizeof(name));
    value_copy_str(value_get(key, "state"), state, sizeof(state));
    if (token) {
        cli_print(cli, "%s\n", token);
        cli_note(cli, "this is the key of '%s'; it is shown this once, and kept nowhere", name);
    } else {
        cli_print(cli, "%s is %s\n", name, state);
    }
}

int
cli_do_with_key(struct cli *cli, enum keyring_deed deed)
{
    bool has_options = deed == KEYRING_CREATE || deed == KEYRING_CHANGE;
    _cleanup_buf_ struct buf members = BUF_INIT(MEMBERS_MAX);
    _cleanup_arena_ struct arena arena;
    struct value *answer = NULL;
    arena_init(&arena, OPERATE_ANSWER_BYTES);
    int r = has_options ? read_members(cli, &members) : 0;
    if (r == 0)
        r = ask_of_key(cli, deed, cli->args[0], has_options ? &members : NULL, &arena, &answer);
    if (r < 0)
        return r;
    print_key(cli, answer);
    return EXIT_CODE_OK;
}
