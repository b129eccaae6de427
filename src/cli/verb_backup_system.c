#include "backup/gather.h"
#include "base/text.h"
#include "cli/backup_save.h"
#include "sys/command.h"
#include "sys/files.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

const struct verb_help verb_backup_system_help = {
    .text =
        "Backs up what this machine is, as files that a person reads who has to make it once more: "
        "packages and their versions, enabled units, /etc/fstab, disks and partitions, network, "
        "driver and firmware, the kernel's command line. What this machine does not have, or does "
        "not say within 20 seconds, is named in missing.txt of the snapshot, and is no failure.\n\n"
        "Files that not everybody may read, such as connections with their passwords, are saved "
        "only into a repository that is encrypted; else each that is left out is named.",
    .examples =
        VERB_EXAMPLES({"sudo citadel backup system", "as a timer does"},
                      {"sudo citadel backup restore system --to /tmp/system", "to read it"}),
};

#define GATHERED_MAX (256 * MIB)
#define SAID_MAX (8 * MIB) /* by one of them */
#define SAID_LIMIT_US UINT64_C(20000000)
#define WORDS_MAX 12

struct gathering {
    struct gather *gather;
    struct buf missing;
};

static void
miss(struct gathering *x, const char *name, const char *why)
{
    buf_printf(&x->missing, "%s: %s\n", name, why);
}

/* "--root" becomes "--root=DIR/". */
static int
say(const char *const *words, struct buf *said, struct err *reterr)
{
    const char *argv[WORDS_MAX + 1] = {0};
    _cleanup_buf_ struct buf why = BUF_INIT(4 * KIB);
    _cleanup_free_ char *root = mem_printf("--root=%s/", root_dir());
    const struct command command = {
        .argv = argv, .in = -1, .limit_us = SAID_LIMIT_US, .out = said, .words = &why};
    struct proc_end end = {0};
    char text[64];
    for (size_t i = 0; i < WORDS_MAX && words[i]; i++)
        argv[i] = text_eq(words[i], "--root") ? root : words[i];
    int r = command_run(&command, &end, reterr);
    if (r == 0 && buf_error(said) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "%s says more than is kept", words[0]);
    if (r < 0 || (!end.killed && end.status == 0))
        return r;
    const char *last = command_last_line(&why);
    return err_set(reterr, ERR_COMMAND_FAILED, "%s ended with %s%s%s", words[0],
                   proc_end_print(&end, text), *last ? ": " : "", last);
}

/* What it has said before it failed is kept, too. */
static int
take_program(struct gathering *x, const char *name, const char *const *words, struct err *reterr)
{
    _cleanup_buf_ struct buf said = BUF_INIT(SAID_MAX);
    struct err why;
    if (say(words, &said, &why) < 0)
        miss(x, name, why.what);
    return said.len ? gather_text(x->gather, name, said.data, said.len, 0644, reterr) : 0;
}

/* What the kernel says has no size. */
static int
take_page(struct gathering *x, const char *name, const char *path, struct err *reterr)
{
    _cleanup_buf_ struct buf said = BUF_INIT(SAID_MAX);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct err why;
    int r = fd < 0 ? -errno : file_read_fd(fd, &said);
    if (r == 0)
        return gather_text(x->gather, name, said.data, said.len, 0644, reterr);
    (void)err_set_errno(&why, -r, "'%s'", path);
    miss(x, name, why.what);
    return 0;
}

static int
take_files(struct gathering *x, const char *path, struct err *reterr)
{
    _cleanup_free_ char *here = mem_printf("%s%s", root_dir(), path);
    if (access(here, F_OK) < 0) {
        miss(x, path, "there is none");
        return 0;
    }
    return gather_path(x->gather, here, GATHER_OPEN, reterr);
}

static int
gather_all(struct gathering *x, struct err *reterr)
{
    static const struct {
        const char *name, *words[WORDS_MAX];
    } programs[] = {
#define PROGRAM(name, ...) {name, {__VA_ARGS__}},
#define PAGE(name, path)
#define FILES(path)
#include "cli/backup_system.def"
#undef PROGRAM
#undef PAGE
    };
    static const struct {
        const char *name, *path;
    } pages[] = {
#define PROGRAM(name, ...)
#define PAGE(name, path) {name, path},
#include "cli/backup_system.def"
#undef PAGE
#undef FILES
    };
    static const char *const files[] = {
#define PAGE(name, path)
#define FILES(path) path,
#include "cli/backup_system.def"
#undef PROGRAM
#undef PAGE
#undef FILES
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(programs); i++)
        r = take_program(x, programs[i].name, programs[i].words, reterr);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(pages); i++)
        r = take_page(x, pages[i].name, pages[i].path, reterr);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++)
        r = take_files(x, files[i], reterr);
    return r < 0 ? r
                 : gather_text(x->gather, "missing.txt", x->missing.data, x->missing.len, 0644,
                               reterr);
}

static int
back_up(struct cli_save *k)
{
    _cleanup_gather_ struct gather gather;
    _cleanup_free_ char *place = cli_save_place(k);
    struct gathering x = {.gather = &gather};
    int r = gather_begin(&gather, place, GATHERED_MAX, &k->b.cli->err);
    gather.secrets_because = cli_save_refuses_secrets(k);
    buf_init(&x.missing, 64 * KIB);
    if (r == 0)
        r = gather_all(&x, &k->b.cli->err);
    const struct cli_save_wish wish = {
        .name = "system", .source = place, .more = cli_save_json_left_out, .arg = &gather};
    if (r == 0)
        r = cli_save_run(k, &wish);
    if (r == 0)
        cli_save_tell_left_out(k, &gather);
    buf_finish(&x.missing);
    return r;
}

int
verb_backup_system(struct cli *cli)
{
    struct cli_save k;
    int r = cli_save_begin(cli, "system", &k);
    if (r == 0)
        r = cli_save_open(&k);
    if (r == 0)
        r = back_up(&k);
    return cli_save_end(&k, r);
}
