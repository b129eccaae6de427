#include "backup/prune.h"
#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup_job.h"
#include "cli/backup_save.h"
#include "sys/clock.h"

const struct verb_help verb_backup_prune_help = {
    .text =
        "Removes what need not be kept: of the snapshots of each model those that "
        "backup.models.keep_daily, keep_weekly and keep_monthly do not keep; of configurations, "
        "the system's state and logs those that are older than `keep` of backup.configuration, "
        "system and logs; of images all but the last backup.image.keep. With --older-than it is "
        "all that are older. What is pinned stays, and so do the newest snapshot, and the newest "
        "that a "
        "verification has found whole. What goes can be brought back for backup.undelete, by "
        "`citadel "
        "backup undelete`; then it is removed by the next pruning, with all that nothing else "
        "needs.\n\n"
        "It may run beside backups, which do not wait for it: what they may rely on is left for "
        "the "
        "next "
        "time. One that is interrupted costs nothing, and the next goes on. --dry-run tells of "
        "each "
        "snapshot why it stays, or that it goes.",
    .examples = VERB_EXAMPLES({"sudo citadel backup prune --dry-run", "what would go, and why not"},
                              {"sudo citadel backup prune", "as the timer does"},
                              {"sudo citadel backup prune --older-than 90d", "more than that"}),
};

#define SECONDS_A_DAY 86400

struct pruning {
    struct cli_backup *b;
    struct prune_wish wish;
};

static void
look(const void *engine, uint64_t *ret_done, uint64_t *ret_total)
{
    (void)engine;
    *ret_done = *ret_total = 0;
}

static void
stop(void *engine)
{
    prune_stop(engine);
}

/* ---- snapshots ---- */

static const char *
fate_word(enum keep_fate fate)
{
    switch (fate) {
    case KEEP_GOES:
        return "deleted now";
    case KEEP_DELETED:
        return "deleted";
    case KEEP_ENDS:
        return "removed";
    case KEEP_STAYS:
    default:
        return "kept";
    }
}

static void
print_row(const struct snapshot_row *row, const struct keep_verdict *verdict,
          const struct keep_wish *keep, void *arg)
{
    const struct pruning *k = arg;
    char words[KEEP_WORDS_MAX], when[CLOCK_LOCAL_MAX], until[CLOCK_LOCAL_MAX] = "";
    keep_explain(verdict, keep, words);
    if (verdict->fate == KEEP_DELETED && !words[0])
        (void)clock_print_local((uint64_t)MAX(verdict->until_ns / 1000, INT64_C(0)), until);
    if (row->is_damaged)
        cli_print(k->b->cli, "%.*s  kept: it cannot be read\n", CLI_BACKUP_ID, row->name);
    else
        cli_print(k->b->cli, "%.*s  %s  %s  %s%s%s%s%s\n", CLI_BACKUP_ID, row->name,
                  clock_print_local((uint64_t)MAX(row->head.begun_ns / 1000, INT64_C(0)), when),
                  row->head.name, fate_word(verdict->fate), words[0] ? ": " : "", words,
                  until[0] ? ", can come back until " : "", until);
}

static void
json_row(const struct snapshot_row *row, const struct keep_verdict *verdict,
         const struct keep_wish *keep, void *arg)
{
    const struct pruning *k = arg;
    struct json_writer *w = k->b->cli->json;
    char words[KEEP_WORDS_MAX];
    json_open_map(w, NULL);
    cli_backup_json(w, row);
    json_str(w, "fate", fate_word(verdict->fate));
    json_str(w, "why", keep_explain(verdict, keep, words));
    if (verdict->fate == KEEP_DELETED)
        json_i64(w, "until_us", verdict->until_ns / 1000);
    json_close_map(w);
}

/* ---- all of it ---- */

static void
print(struct cli *cli, const struct prune_told *told, bool dry)
{
    quantity_text freed, unneeded, copied;
    cli_print(cli, "%llu of %llu snapshots %s, %llu %s for good", (unsigned long long)told->deleted,
              (unsigned long long)told->snapshots, dry ? "would be deleted" : "are deleted",
              (unsigned long long)told->removed, dry ? "would be removed" : "are removed");
    if (dry)
        cli_print(cli, "; nothing needs %s of the packs\n",
                  quantity_show_bytes(told->unneeded_bytes, unneeded));
    else
        cli_print(cli, "; %s of packs are freed\n",
                  quantity_show_bytes(told->removed_bytes, freed));
    if (told->copied_bytes)
        cli_print(cli, "%s were copied out of packs of which little was needed\n",
                  quantity_show_bytes(told->copied_bytes, copied));
    if (told->going_packs)
        cli_note(cli, "others are at work: packs that go with the next pruning: %llu",
                 (unsigned long long)told->going_packs);
    if (told->unread_packs)
        cli_note(
            cli,
            "warning: no pack goes while some cannot be read: %llu; see: citadel backup verify",
            (unsigned long long)told->unread_packs);
}

static void
print_json(struct json_writer *w, const struct prune_told *told, bool dry)
{
    json_bool(w, "dry_run", dry);
    json_u64(w, "deleted", told->deleted);
    json_u64(w, "removed", told->removed);
    json_u64(w, "packs", told->packs);
    json_u64(w, "bytes", told->bytes);
    json_u64(w, "unneeded_bytes", told->unneeded_bytes);
    json_u64(w, "removed_packs", told->removed_packs);
    json_u64(w, "removed_bytes", told->removed_bytes);
    json_u64(w, "copied_bytes", told->copied_bytes);
    json_u64(w, "going_packs", told->going_packs);
    json_u64(w, "unread_packs", told->unread_packs);
}

static void
tell(struct pruning *k, const struct prune *p)
{
    struct cli *cli = k->b->cli;
    if (!cli->json) {
        if (k->wish.dry)
            prune_tell(p, print_row, k);
        print(cli, prune_told(p), k->wish.dry);
        return;
    }
    json_open_map(cli->json, NULL);
    json_open_list(cli->json, "snapshots");
    prune_tell(p, json_row, k);
    json_close_list(cli->json);
    print_json(cli->json, prune_told(p), k->wish.dry);
    json_close_map(cli->json);
}

/* --older-than is one rule for all; else each has its own. */
static size_t
make_rules(const struct cli *cli, const struct config *config, struct prune_rule *rules)
{
    const uint64_t days = cli_duration_us(cli, "older-than", 0) / 1000000 / SECONDS_A_DAY;
    size_t count = 0;
    for (const struct backup_subject *s = backup_subjects; s->name; s++) {
        struct prune_rule *rule = &rules[count++];
        *rule = (struct prune_rule){.subject = s->name, .keep = s->keep(config)};
        if (cli_option(cli, "older-than"))
            rule->keep =
                (struct keep_wish){.days = (unsigned)MIN(MAX(days, UINT64_C(1)), UINT64_C(36500)),
                                   .undelete_s = rule->keep.undelete_s};
    }
    return count;
}

static int
prune(struct cli_backup *b)
{
    struct prune_rule rules[BACKUP_SUBJECTS];
    struct prune *p = NULL;
    uint64_t us = 0;
    struct pruning k = {.b = b,
                        .wish = {.repository = b->repository,
                                 .rules = rules,
                                 .rules_count = make_rules(b->cli, b->config, rules),
                                 .parity_percent = cli_backup_parity(b),
                                 .dry = cli_flag(b->cli, "dry-run")}};
    int r = prune_new(b->loop, &k.wish, cli_backup_ended, b, &p, &b->cli->err);
    if (r < 0)
        return r;
    const struct cli_backup_task task = {.what = "prune", .engine = p, .look = look, .stop = stop};
    r = cli_backup_wait(b, &task, &us);
    if (r == 0)
        tell(&k, p);
    prune_free(p);
    if (r == 0 && !k.wish.dry)
        cli_backup_write_metadata(b);
    return r;
}

int
verb_backup_prune(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    struct cli_job job;
    int r = cli_backup_begin(cli, &b);
    if (r < 0)
        return r;
    cli_job_begin(&job, &b, "prune");
    r = cli_backup_find_repository(&b);
    if (r == 0)
        r = cli_backup_unlock(&b);
    if (r == 0)
        r = prune(&b);
    r = cli_flag(cli, "dry-run") ? r : cli_job_end(&job, r);
    return r < 0 ? r : EXIT_CODE_OK;
}
