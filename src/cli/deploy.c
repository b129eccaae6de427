#include "cli/deploy.h"

#include "base/quantity.h"
#include "base/text.h"
#include "base/vec.h"
#include "cli/asker.h"
#include "cli/confirm.h"
#include "cli/frame.h"
#include "cli/load_config.h"
#include "cli/transient.h"
#include "config/diff.h"
#include "config/problems.h"
#include "deploy/drift.h"
#include "deploy/engine.h"
#include "deploy/lock.h"
#include "deploy/restore.h"
#include "run/marker.h"
#include "service/client.h"
#include "service/systemd.h"
#include "unit/generator.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
on_tell(const char *line, void *arg)
{
    cli_note(arg, "%s", line);
}

/* As for the verbs that start and stop: a supervisor of ours, where one answers. */
static int
find_keeper(const struct config *config, enum cli_keeper *ret, struct err *reterr)
{
    _cleanup_service_view_ struct service_view view = {0};
    struct err err = {0};
    int r = service_view_read(config->paths.run, &view, &err);
    if (r < 0 && err.id != ERR_SERVICE_DOWN) {
        if (reterr)
            *reterr = err;
        return r;
    }
    *ret = r == 0 ? CLI_KEEPER_UP : systemd_is_here() ? CLI_KEEPER_SYSTEMD : CLI_KEEPER_NONE;
    return 0;
}

int
cli_deploy_open(struct cli *cli, const struct config *config, const char *why,
                struct cli_deploy *ret)
{
    *ret = (struct cli_deploy){.config = config, .args = cli->args, .args_count = cli->args_count};
    arena_init(&ret->arena, DEPLOY_BYTES);
    (void)cli_asker(ret->by);
    ret->machine = (struct deploy_machine){.config = config,
                                           .by = ret->by,
                                           .deadline_us = config->deploy.deadline_us,
                                           .tell = on_tell,
                                           .arg = cli};
    ret->wish = (struct deploy_wish){.store = config->paths.generations,
                                     .state_dir = config->paths.state,
                                     .by = ret->by,
                                     .why = why,
                                     .keep = config->deploy.generations_keep,
                                     .stay = cli_given(cli, "stay", NULL)};
    (void)cli_given(cli, "expect", &ret->wish.expect);
    int r = find_keeper(config, &ret->keeper, &cli->err);
    if (r < 0)
        return r;
    if (ret->keeper == CLI_KEEPER_SYSTEMD)
        return deploy_open_systemd(&ret->machine, &ret->host, &cli->err);
    ret->host = ret->keeper == CLI_KEEPER_UP ? deploy_open_up(&ret->machine)
                                             : deploy_open_files(&ret->machine);
    return 0;
}

int
cli_deploy_take(struct cli *cli, struct cli_deploy *d, const struct cli_candidate *candidate,
                const char *option)
{
    struct deploy_lack *lacks;
    d->wish.files = candidate->files;
    d->wish.count = candidate->count;
    d->wish.lose = option && cli_flag(cli, option);
    d->plan = &candidate->loaded.plan;
    d->option = option;
    int r =
        deploy_find_lacks(d->config, d->plan, &d->arena, &lacks, &d->wish.lack_count, &cli->err);
    d->wish.lacks = r == 0 ? lacks : NULL;
    return r;
}

void
cli_deploy_close(struct cli_deploy *d)
{
    deploy_machine_close(&d->machine);
    arena_finish(&d->arena);
}

/* ---- telling ---- */

static const struct table_column columns[] = {
    {.title = "CHANGE"},
    {.title = "FILE"},
    {.title = "THEN", .expendable = 1},
};

static const char *
word_of(const struct deploy_change *change)
{
    return !change->from ? "created" : !change->to ? "removed" : "changed";
}

static const struct deploy_order *
order_of(const struct deploy_outlook *o, const char *unit)
{
    for (size_t i = 0; unit && i < o->orders.count; i++)
        if (text_eq(o->orders.items[i].unit, unit))
            return &o->orders.items[i];
    return NULL;
}

static bool
is_file_changed(const struct deploy_outlook *o, const char *unit)
{
    for (size_t i = 0; i < o->change_count; i++)
        if (text_eq(deploy_unit_of(o->changes[i].name), unit))
            return true;
    return false;
}

/* Of one whose file stays as it is. */
static const char *
word_of_order(const struct deploy_order *order)
{
    if (order->makes_room_for)
        return "in the way";
    return order->act == DEPLOY_START ? "not running" : "interrupted";
}

static void
print_room(struct cli *cli, const struct deploy_outlook *o)
{
    bool any = false;
    for (size_t i = 0; i < o->orders.count; i++) {
        const struct deploy_order *order = &o->orders.items[i];
        if (order->makes_room_for)
            cli_print(cli, "%s%s stops, and makes room for %s.\n", any ? "" : "\n", order->unit,
                      order->makes_room_for);
        any |= order->makes_room_for != NULL;
    }
}

static void
print_files(struct cli *cli, const struct deploy_outlook *o)
{
    _cleanup_table_ struct table table;
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < o->change_count; i++) {
        const struct deploy_order *order = order_of(o, deploy_unit_of(o->changes[i].name));
        table_add(&table, o->changes[i].to ? TONE_PLAIN : TONE_BAD, word_of(&o->changes[i]));
        table_add(&table, TONE_PLAIN, o->changes[i].name);
        table_add(&table, TONE_PLAIN, order ? deploy_act_word(order->act) : "-");
    }
    for (size_t i = 0; i < o->orders.count; i++) {
        const struct deploy_order *order = &o->orders.items[i];
        if (is_file_changed(o, order->unit))
            continue;
        table_add(&table, TONE_PLAIN, word_of_order(order));
        table_add(&table, TONE_PLAIN, order->unit);
        table_add(&table, TONE_PLAIN, deploy_act_word(order->act));
    }
    cli_table(cli, &table);
}

static struct config *
config_of(const struct generation_file *file)
{
    return file ? cli_parse_config(file->bytes, file->len, file->name) : NULL;
}

static void
print_option(struct cli *cli, const struct config_change *c)
{
    if (c->from && c->to)
        cli_print(cli, "%s: %s -> %s\n", c->path, c->from, c->to);
    else
        cli_print(cli, "%s: %s\n", c->path, c->to ? "added" : "removed");
}

static const struct deploy_change *
find_change(const struct deploy_outlook *o, const char *name)
{
    for (size_t i = 0; i < o->change_count; i++)
        if (text_eq(o->changes[i].name, name))
            return &o->changes[i];
    return NULL;
}

/* "" of what was not deployed, or has no model on vLLM. */
static struct plan_engine
engine_of(const struct generation_file *plan, struct arena *arena)
{
    struct plan_engine engine;
    if (!plan || deploy_engine_read(plan->bytes, plan->len, arena, &engine, NULL) < 0)
        engine = (struct plan_engine){"", "", ""};
    return engine;
}

static void
print_engine(struct cli *cli, const struct deploy_outlook *o)
{
    const struct deploy_change *change = find_change(o, "plan.json");
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, 8 * GENERATION_FILE_MAX);
    struct plan_engine from = engine_of(change ? change->from : NULL, &arena);
    struct plan_engine to = engine_of(change ? change->to : NULL, &arena);
    if (from.env[0] && to.env[0] &&
        (!text_eq(from.env, to.env) || !text_eq(from.version, to.version)))
        cli_print(cli, "vLLM: %s in %s -> %s in %s\n\n", from.version, from.env, to.version,
                  to.env);
}

static void
print_options(struct cli *cli, const struct deploy_outlook *o)
{
    const struct deploy_change *change = find_change(o, "config.yaml");
    struct config_diff diff;
    if (!change)
        return;
    _cleanup_config_ struct config *from = config_of(change->from);
    _cleanup_config_ struct config *to = config_of(change->to);
    if (!from || !to || config_diff(from, to, &diff, NULL) < 0)
        return;
    for (size_t i = 0; i < diff.count; i++)
        print_option(cli, &diff.items[i]);
    if (diff.count)
        cli_print(cli, "\n");
    config_diff_finish(&diff);
}

/* Without systemd nobody is asked what a person has stopped. */
static void
print_left(struct cli *cli, const struct cli_deploy *d)
{
    const struct deploy_outlook *o = &d->outlook;
    if (d->keeper == CLI_KEEPER_NONE || o->left_count == 0)
        return;
    cli_print(cli, "Stopped by a person, and left so:");
    for (size_t i = 0; i < o->left_count; i++)
        cli_print(cli, " %s", o->left[i]);
    cli_print(cli, "\n  try: citadel start\n");
}

static void
print_changes(struct cli *cli, const struct deploy_outlook *o)
{
    if (o->interrupted || o->failed)
        cli_print(cli, "The deployment of generation %u %s.\n\n", o->pending_to,
                  o->failed ? "failed" : "was interrupted");
    if (deploy_is_nothing(o)) {
        if (o->current)
            cli_print(cli,
                      "Nothing would change: generation %u is all that the configuration says.\n",
                      o->current);
        else
            cli_print(cli, "Nothing is deployed.\n");
        return;
    }
    print_options(cli, o);
    print_engine(cli, o);
    print_files(cli, o);
    print_room(cli, o);
}

static void
print_losses(struct cli *cli, const struct deploy_outlook *o)
{
    for (size_t i = 0; i < o->loss_count; i++) {
        const struct deploy_lack *loss = &o->losses[i];
        cli_print(cli, "Loss: %s is deployed, and %s: %s\n", loss->model,
                  loss->of_gpus ? "would have no GPU" : "would be left out", loss->why);
        if (loss->fix[0])
            cli_print(cli, "  try: %s\n", loss->fix);
    }
    if (o->loss_count)
        cli_print(cli, "\n");
}

void
cli_deploy_print(struct cli *cli, const struct cli_deploy *d, void *unused unused_arg)
{
    print_losses(cli, &d->outlook);
    print_changes(cli, &d->outlook);
    print_left(cli, d);
}

static void
print_change_json(struct json_writer *w, const struct deploy_outlook *o,
                  const struct deploy_change *change)
{
    const struct deploy_order *order = order_of(o, deploy_unit_of(change->name));
    _cleanup_buf_ struct buf text = BUF_INIT(2 * GENERATION_FILE_MAX);
    deploy_print_change(change, &text);
    json_open_map(w, NULL);
    json_str(w, "file", change->name);
    json_str(w, "change", word_of(change));
    json_str(w, "then", order ? deploy_act_word(order->act) : NULL);
    json_str(w, "diff", buf_error(&text) < 0 ? NULL : text.data);
    json_close_map(w);
}

void
cli_deploy_print_json(const struct cli_deploy *d, struct json_writer *w)
{
    const struct deploy_outlook *o = &d->outlook;
    json_str(w, "digest", o->digest);
    json_u64(w, "current", o->current);
    json_bool(w, "interrupted", o->interrupted);
    json_bool(w, "failed", o->failed);
    json_open_list(w, "changes");
    for (size_t i = 0; i < o->change_count; i++)
        print_change_json(w, o, &o->changes[i]);
    json_close_list(w);
    json_open_list(w, "orders");
    for (size_t i = 0; i < o->orders.count; i++) {
        json_open_map(w, NULL);
        json_str(w, "unit", o->orders.items[i].unit);
        json_str(w, "do", deploy_act_word(o->orders.items[i].act));
        json_bool(w, "changed", o->orders.items[i].changed);
        json_str(w, "makes_room_for", o->orders.items[i].makes_room_for);
        json_close_map(w);
    }
    json_close_list(w);
    json_open_list(w, "losses");
    for (size_t i = 0; i < o->loss_count; i++) {
        json_open_map(w, NULL);
        json_str(w, "model", o->losses[i].model);
        json_bool(w, "of_gpus", o->losses[i].of_gpus);
        json_str(w, "why", o->losses[i].why);
        json_str(w, "fix", o->losses[i].fix[0] ? o->losses[i].fix : NULL);
        json_close_map(w);
    }
    json_close_list(w);
    json_open_list(w, "left");
    for (size_t i = 0; i < o->left_count; i++)
        json_str(w, NULL, o->left[i]);
    json_close_list(w);
}

/* ---- what has drifted ---- */

#define DRIFT_BYTES (4 * MIB)

/* That it cannot be told is told, too. */
static size_t
find_drift(const struct config *config, bool by_systemd, struct arena *arena,
           struct deploy_drift **ret_items)
{
    struct err err;
    size_t count;
    if (deploy_find_drift(config->paths.generations, by_systemd, arena, ret_items, &count, &err) ==
        0)
        return count;
    *ret_items = arena_new(arena, struct deploy_drift);
    if (!*ret_items)
        return 0;
    **ret_items = (struct deploy_drift){.what = arena_strdup(arena, err.what),
                                        .fix = arena_strdup(arena, err.fix)};
    return arena->full ? 0 : 1;
}

void
cli_print_drift(struct cli *cli, const struct config *config, bool by_systemd)
{
    _cleanup_arena_ struct arena arena;
    struct deploy_drift *items;
    arena_init(&arena, DRIFT_BYTES);
    size_t count = find_drift(config, by_systemd, &arena, &items);
    for (size_t i = 0; i < count; i++) {
        cli_print(cli, "%s%s.\n", i ? "" : "\nNot as it was deployed:\n", items[i].what);
        if (items[i].fix[0])
            cli_print(cli, "  try: %s\n", items[i].fix);
    }
}

void
cli_print_drift_json(const struct config *config, bool by_systemd, struct json_writer *w)
{
    _cleanup_arena_ struct arena arena;
    struct deploy_drift *items;
    arena_init(&arena, DRIFT_BYTES);
    size_t count = find_drift(config, by_systemd, &arena, &items);
    json_open_list(w, "drift");
    for (size_t i = 0; i < count; i++) {
        json_open_map(w, NULL);
        json_str(w, "what", items[i].what);
        json_str(w, "fix", items[i].fix[0] ? items[i].fix : NULL);
        json_close_map(w);
    }
    json_close_list(w);
}

/* ---- whether it may be done ---- */

/* systemd's generator looks in one place. */
static int
check_place(const struct cli_deploy *d, struct err *reterr)
{
    const char *store = d->wish.store;
    if (d->keeper != CLI_KEEPER_SYSTEMD || text_eq(store, GENERATOR_STORE))
        return 0;
    int r = err_set(reterr, ERR_CONFIG_INVALID,
                    "paths.generations is %s, and systemd's generator looks in %s only", store,
                    GENERATOR_STORE);
    err_fix(reterr, "remove paths.generations from the configuration");
    return r;
}

static int
end_restore(const struct cli_deploy *d, struct err *reterr)
{
    static const char *const words[] = {[CHANGE_UNDONE] = "are as they were before",
                                        [CHANGE_COMPLETED] = "are those of the backup"};
    enum change_recovered what;
    struct restore_mark mark;
    restore_mark_read(d->wish.state_dir, &mark);
    int r = restore_recover(d->wish.store, &what, reterr);
    if (r == 0 && mark.id)
        cli_note(d->machine.arg,
                 "the restore of backup %u by %s was interrupted%s%s; to make it good: citadel "
                 "rollback restore %u",
                 mark.id, mark.by, what ? ": the files beside " : "", what ? words[what] : "",
                 mark.id);
    return r;
}

int
cli_deploy_check(const struct cli_deploy *d, struct err *reterr)
{
    if (d->keeper == CLI_KEEPER_SYSTEMD && geteuid() != 0) {
        int r = err_set(reterr, ERR_NOT_PERMITTED, "only root changes what is deployed");
        err_fix(reterr, "the same with sudo");
        return r;
    }
    int r = check_place(d, reterr);
    bool starts = d->wish.files || d->wish.number;
    if (r == 0 && starts)
        r = run_marker_check(d->config->paths.run, reterr);
    if (r == 0)
        r = deploy_lock_look(d->wish.state_dir, reterr);
    return r == 0 ? end_restore(d, reterr) : r;
}

static int
or_anyway(struct cli *cli, const struct cli_deploy *d, int r)
{
    char fix[sizeof(cli->err.fix)];
    memcpy(fix, cli->err.fix, sizeof(fix));
    err_fix(&cli->err, "%s; or the same with --%s", fix, d->option);
    return r;
}

/* That what is deployed would be lost. */
static int
check_losses(struct cli *cli, const struct cli_deploy *d)
{
    const struct deploy_outlook *o = &d->outlook;
    if (o->loss_count == 0 || d->wish.lose)
        return 0;
    return or_anyway(cli, d, deploy_refuse_losses(o->losses, o->loss_count, &cli->err));
}

/* That a model is to be kept loaded and cannot be. */
static int
check_conflicts(struct cli *cli, const struct cli_deploy *d)
{
    size_t count = d->plan && d->option && !d->wish.lose ? d->plan->model_count : 0;
    for (size_t i = 0; i < count; i++) {
        const struct plan_model *m = &d->plan->models[i];
        if (!m->conflict)
            continue;
        int r = err_set(&cli->err, ERR_DEPLOY_CONFLICT,
                        "%s is to be kept loaded always, and cannot be: %s", m->name, m->reason);
        err_fix(&cli->err, "%s", m->fix[0] ? m->fix : "residency: auto for it");
        return or_anyway(cli, d, r);
    }
    return 0;
}

int
cli_deploy_print_end(struct cli *cli, const struct cli_deploy *d, const struct deploy_end *end)
{
    int code = end->failed ? EXIT_CODE_FAILED : EXIT_CODE_OK;
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_u64(cli->json, "before", end->from);
        json_u64(cli->json, "generation", end->to);
        json_u64(cli->json, "orders", end->acts);
        json_bool(cli->json, "reverted", end->reverted);
        json_str(cli->json, "failed", end->failed ? end->failed->unit : NULL);
        json_close_map(cli->json);
        return code;
    }
    if (end->to == 0) {
        cli_print(cli, "Nothing is deployed, and nothing of it runs.\n");
        return code;
    }
    cli_print(cli, "Generation %u is current%s.\n", end->to,
              d->keeper == CLI_KEEPER_NONE
                  ? "; nobody runs services here, and only files were changed"
                  : "");
    if (end->failed)
        cli_print(cli, "%s does not run: %s\n", end->failed->unit, end->failed->reason);
    return code;
}

int
cli_deploy_look(struct cli *cli, struct cli_deploy *d, void *unused unused_arg)
{
    int r = deploy_look(&d->wish, &d->host, &d->arena, &d->outlook, &cli->err);
    d->digest = d->outlook.digest;
    return r < 0 ? r : deploy_is_nothing(&d->outlook);
}

int
cli_deploy_work(struct cli *cli, struct cli_deploy *d, void *unused unused_arg)
{
    struct deploy_end end = {0};
    int r = deploy_apply(&d->wish, &d->host, &d->arena, &end, &cli->err);
    return r < 0 ? r : cli_deploy_print_end(cli, d, &end);
}

/* ---- as a unit of its own ---- */

struct arguments {
    VEC(const char *) list;
};

/* What is of this process alone: a path holds elsewhere only as an absolute one, and nobody is
 * asked again. */
static bool
is_own(const struct verb_option *option)
{
    static const char *const names[] = {"config", "root", "yes", "here", "expect"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (text_eq(option->name, names[i]))
            return true;
    return false;
}

/* What was given here. */
static int
repeat(struct cli *cli, struct cli_deploy *d, const char *words, struct arguments *ret)
{
    const struct cli_frame *frame = cli->frame;
    struct arena *arena = &d->arena;
    char config[PATH_MAX];
    char *word = arena_strdup(arena, words), *rest = word;
    if (!realpath(frame->problems->file, config))
        return err_set_errno(&cli->err, errno, "%s", frame->problems->file);
    while (rest && (word = strsep(&rest, " ")))
        vec_push(&ret->list, word);
    for (size_t i = 0; i < d->args_count; i++)
        vec_push(&ret->list, d->args[i]);
    vec_push(&ret->list, "--here");
    if (d->digest)
        vec_push(&ret->list, arena_printf(arena, "--expect=%s", d->digest));
    vec_push(&ret->list, arena_printf(arena, "--config=%s", config));
    for (size_t i = 0; i < frame->given_count; i++) {
        const struct cli_given *given = &frame->given[i];
        if (!is_own(given->option))
            vec_push(&ret->list,
                     arena_printf(arena, "--%s%s%s", given->option->name, given->value ? "=" : "",
                                  given->value ? given->value : ""));
    }
    vec_push(&ret->list, NULL);
    return arena->full ? err_set(&cli->err, ERR_TOO_LARGE, "the command line is too long") : 0;
}

static int
work_apart(struct cli *cli, struct cli_deploy *d, const char *words)
{
    struct arguments args = {0};
    char name[64];
    _cleanup_free_ char *dir = mem_printf("%s/deploy", d->wish.state_dir);
    int r = repeat(cli, d, words, &args);
    /* No citadel-*: those the monitor may stop. The one before may not be gone yet. */
    (void)snprintf(name, sizeof(name), "citadel_apply-%d.service", (int)getpid());
    const struct cli_transient wish = {
        .name = name,
        .what = "Citadel: a change of what is deployed",
        .dir = dir,
        .args = args.list.items,
    };
    if (r == 0) {
        cli_note(cli, "It goes on if this terminal is lost; `citadel events` tells how it ended.");
        r = cli_run_transient(cli, &wish);
    }
    vec_finish(&args.list);
    return r;
}

/* ---- doing ---- */

static int
work_here(struct cli *cli, struct cli_deploy *d, const struct cli_deed *deed)
{
    _cleanup_deploy_lock_ struct deploy_lock lock = DEPLOY_LOCK_INIT;
    int r = deploy_lock(d->wish.state_dir, d->by, d->wish.why, &lock, &cli->err);
    return r < 0 ? r : (deed->work ? deed->work : cli_deploy_work)(cli, d, deed->arg);
}

/* > 0: there is nothing to do. */
static int
show_and_ask(struct cli *cli, struct cli_deploy *d, const struct cli_deed *deed)
{
    int looked = (deed->look ? deed->look : cli_deploy_look)(cli, d, deed->arg);
    if (looked < 0)
        return looked;
    int r = d->digest ? deploy_digest_check(d->wish.expect, d->digest, &cli->err) : 0;
    if (r == 0)
        r = check_losses(cli, d);
    if (r == 0)
        r = check_conflicts(cli, d);
    if (r < 0)
        return r;
    if (!cli->json)
        (deed->print ? deed->print : cli_deploy_print)(cli, d, deed->arg);
    if (looked == 0)
        r = cli_confirm(cli, "%s", deed->question);
    if (r == 0 && deed->agreed)
        r = deed->agreed(cli, deed->arg);
    return r < 0 ? r : looked;
}

int
cli_deploy_do(struct cli *cli, struct cli_deploy *d, const struct cli_deed *deed)
{
    int r = cli_deploy_check(d, &cli->err);
    if (r == 0 && cli_flag(cli, "here"))
        r = check_conflicts(cli, d);
    if (r == 0 && cli_flag(cli, "here"))
        return work_here(cli, d, deed);
    if (r == 0)
        r = show_and_ask(cli, d, deed);
    if (r > 0 && cli->json)
        return cli_deploy_print_end(
            cli, d, &(struct deploy_end){.from = d->outlook.current, .to = d->outlook.current});
    if (r != 0)
        return r < 0 ? r : EXIT_CODE_OK;
    d->wish.expect = d->digest;
    return d->keeper == CLI_KEEPER_SYSTEMD ? work_apart(cli, d, deed->words)
                                           : work_here(cli, d, deed);
}

int
cli_read_generation(struct cli *cli, const char *text, unsigned *ret_number)
{
    uint64_t number = 0;
    if (quantity_parse_u64(text, &number, NULL) == 0 && number > 0 && number <= UINT_MAX) {
        *ret_number = (unsigned)number;
        return 0;
    }
    int r = err_set(&cli->err, ERR_USAGE, "'%s' is not the number of a generation", text);
    err_fix(&cli->err, "citadel generations");
    return r;
}
