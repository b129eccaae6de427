#include "backup/lock.h"
#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup.h"
#include "cli/confirm.h"

#include <string.h>

const struct verb_help verb_backup_unlock_help = {
    .text =
        "Lists who is at work in the repository, and removes the locks of those who are not any "
        "more: of processes of this machine that have ended, and of other hosts that gave no "
        "sign of "
        "life for half an hour. All else goes by itself; --all removes every lock, for a host "
        "that is "
        "known to be dead. A backup that lives and has lost its lock is not committed, and told "
        "so.",
    .examples = VERB_EXAMPLES({"sudo citadel backup unlock", "who is at work"},
                              {"sudo citadel backup unlock --all", "nobody is: I know"}),
};

static const char *const kind_words[LOCK_KINDS] = {"reads", "stores", "prunes", "looks at locks"};

static void
print(struct cli *cli, const struct lock_seen *l, bool removed)
{
    quantity_text silent;
    uint64_t us = l->silent_us / 1000000 * 1000000;
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_strn(cli->json, "host", l->host, strlen(l->host));
        json_u64(cli->json, "pid", l->pid);
        json_strn(cli->json, "what", l->what, strlen(l->what));
        json_str(cli->json, "kind", kind_words[l->kind]);
        json_u64(cli->json, "silent_us", l->silent_us);
        json_bool(cli->json, "dead", l->is_dead);
        json_bool(cli->json, "removed", removed);
        json_close_map(cli->json);
        return;
    }
    cli_print(cli, "%s, process %llu: %s (%s), last sign of life %s ago%s%s\n",
              l->host[0] ? l->host : "?", (unsigned long long)l->pid, l->what, kind_words[l->kind],
              quantity_print_us(us, silent), l->is_dead ? ": it has ended" : "",
              removed ? "; removed" : "");
}

static int
unlock(struct cli_backup *b, const struct lock *ours)
{
    _cleanup_locks_ struct locks locks = {0};
    struct cli *cli = b->cli;
    bool all = cli_flag(cli, "all");
    int r = locks_read(b->repository, ours, &locks, &cli->err);
    if (r == 0 && all)
        r = cli_confirm(cli, "Remove all locks, also of those who may be at work?");
    if (r == 0 && cli->json)
        json_open_list(cli->json, NULL);
    vec_foreach (&locks.items, l) {
        if (r < 0 || l->is_ours)
            continue;
        if (all || l->is_dead)
            r = lock_remove(b->repository, l, &cli->err);
        if (r == 0)
            print(cli, l, all || l->is_dead);
    }
    if (cli->json)
        json_close_list(cli->json);
    if (r == 0 && locks.items.count <= 1 && !cli->json)
        cli_note(cli, "nobody is at work in it");
    return r;
}

int
verb_backup_unlock(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    struct lock *ours = NULL;
    int r = cli_backup_open(cli, &b);
    if (r == 0)
        r = lock_take(b.loop, b.repository, LOCK_UNLOCKS, "unlock", &ours, &cli->err);
    if (r == 0)
        r = unlock(&b, ours);
    lock_release(ours);
    return r < 0 ? r : EXIT_CODE_OK;
}
