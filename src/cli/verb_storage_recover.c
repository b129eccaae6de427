#include "cli/confirm.h"
#include "storage/recover.h"
#include "sys/root.h"

#include <string.h>

const struct verb_help verb_storage_recover_help = {
    .text =
        "Takes a file system that is damaged through the steps that mend it: unmount, check, "
        "mount. "
        "NAME is its device, or its mount point, which may be one of /etc/fstab. The steps are "
        "shown, and who uses it; then it asks. With -y it does not, and without a terminal to "
        "ask at it does nothing.\n\n"
        "Only a file system that nobody has mounted is checked, in whatever namespace; the one "
        "that "
        "the system runs from never is. While somebody uses it, it is not unmounted: who does is "
        "told, and nobody is killed. What the check cannot mend without asking is left, and the "
        "disk unmounted.",
    .examples = VERB_EXAMPLES(
        {"citadel storage recover /mnt/citadel-models --dry-run", "the steps, and who "
                                                                  "uses it"},
        {"citadel stop all", "before"},
        {"citadel storage recover /mnt/citadel-models", "show, ask, and do it"}),
};

#define OUTPUT_MAX (1 * MIB)

struct steps {
    const struct recovery *recovery;
    struct recovery_user users[RECOVER_USERS_MAX];
    size_t user_count;
    const char *argv[8];
};

static void
print_json(struct json_writer *w, const struct steps *s)
{
    const struct recovery *r = s->recovery;
    json_open_map(w, NULL);
    json_str(w, "device", r->device);
    json_str(w, "point", r->point[0] ? r->point : NULL);
    json_str(w, "type", r->type);
    json_bool(w, "mounted", r->is_mounted);
    json_open_list(w, "users");
    for (size_t i = 0; i < s->user_count; i++) {
        json_open_map(w, NULL);
        json_u64(w, "pid", (uint64_t)s->users[i].pid);
        json_str(w, "name", s->users[i].name);
        json_close_map(w);
    }
    json_close_list(w);
    json_open_list(w, "check");
    for (const char *const *word = s->argv; *word; word++)
        json_str(w, NULL, *word);
    json_close_list(w);
    json_close_map(w);
}

static void
print(struct cli *cli, const struct steps *s)
{
    _cleanup_buf_ struct buf check = BUF_INIT(16 * KIB);
    const struct recovery *r = s->recovery;
    unsigned step = 1;
    for (const char *const *word = s->argv; *word; word++) {
        buf_add_char(&check, ' ');
        buf_add_word(&check, *word);
    }
    cli_print(cli, "%s, %s, %s%s\n", r->device, r->type,
              r->is_mounted ? "mounted at " : "not mounted", r->is_mounted ? r->point : "");
    for (size_t i = 0; i < s->user_count; i++)
        cli_print(cli, "in use by %d (%s)\n", (int)s->users[i].pid, s->users[i].name);
    if (r->is_mounted)
        cli_print(cli, "%u. umount %s\n", step++, r->point);
    cli_print(cli, "%u.%s\n", step++, check.data);
    if (r->point[0])
        cli_print(cli, "%u. mount %s\n", step, r->point);
}

static int
refuse_users(struct cli *cli, const struct steps *s)
{
    int r = err_set(&cli->err, ERR_STORAGE_IN_USE, "%s is in use by %d (%s)%s", s->recovery->point,
                    (int)s->users[0].pid, s->users[0].name, s->user_count > 1 ? " and others" : "");
    err_fix(&cli->err, "citadel stop all; then end what else uses it");
    return r;
}

static void
note_lines(struct cli *cli, char *text)
{
    for (char *line; (line = strsep(&text, "\n"));)
        if (*line)
            cli_note(cli, "%s", line);
}

static int
recover(struct cli *cli, struct recovery *recovery)
{
    _cleanup_buf_ struct buf out = BUF_INIT(OUTPUT_MAX);
    int r = recovery_unmount(recovery, &cli->err);
    if (r < 0)
        return r;
    cli_note(cli, "checking %s: this can take long", recovery->device);
    r = recovery_check(recovery, &out, &cli->err);
    note_lines(cli, out.data);
    if (r == 0 && recovery->point[0])
        r = recovery_mount(recovery, &cli->err);
    if (r < 0)
        return r;
    if (!cli->json)
        cli_print(cli, "%s is checked%s%s\n", recovery->device,
                  recovery->point[0] ? ", and mounted at " : "", recovery->point);
    return EXIT_CODE_OK;
}

static int
refuse_root(struct cli *cli)
{
    int r =
        err_set(&cli->err, ERR_USAGE, "a disk is of this machine, not of --root %s", root_dir());
    err_fix(&cli->err, "citadel storage recover %s, without --root", cli->args[0]);
    return r;
}

int
verb_storage_recover(struct cli *cli)
{
    struct recovery recovery;
    struct steps steps = {.recovery = &recovery};
    if (root_is_set())
        return refuse_root(cli);
    int r = recovery_find(cli->args[0], &recovery, &cli->err);
    if (r < 0)
        return r;
    if (!recovery_command(&recovery, steps.argv)) {
        r = err_set(&cli->err, ERR_NOT_FOUND,
                    "%s has a file system of type '%s', and how that is "
                    "checked is not known",
                    recovery.device, recovery.type);
        err_fix(&cli->err, "unmount it, and check it with its own program");
        return r;
    }
    steps.user_count = recovery_users(&recovery, steps.users);
    if (cli->json)
        print_json(cli->json, &steps);
    else
        print(cli, &steps);
    if (cli_flag(cli, "dry-run"))
        return EXIT_CODE_OK;
    if (recovery.is_mounted && steps.user_count)
        return refuse_users(cli, &steps);
    r = cli_confirm(cli, "Do this?");
    return r < 0 ? r : recover(cli, &recovery);
}
