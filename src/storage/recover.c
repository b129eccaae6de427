#include "storage/recover.h"

#include "base/mem.h"
#include "base/text.h"
#include "storage/holders.h"
#include "sys/command.h"
#include "sys/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOUNT_LIMIT_US UINT64_C(600000000)    /* a journal is replayed, a cache written */
#define CHECK_LIMIT_US UINT64_C(172800000000) /* terabytes, on slow disks */

/* ---- which one ---- */

static bool
is_device(const char *path, dev_t *ret_number)
{
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISBLK(st.st_mode))
        return false;
    *ret_number = st.st_rdev;
    return true;
}

static int
copy(char to[RECOVER_PATH_MAX], const char *from, struct err *reterr)
{
    if (snprintf(to, RECOVER_PATH_MAX, "%s", from) < RECOVER_PATH_MAX)
        return 0;
    return err_set(reterr, ERR_TOO_LARGE, "the path '%.80s...' is too long", from);
}

/* "UUID=..." as the device that udev has linked to it. */
static void
find_source(const char *source, char *path, size_t room)
{
    static const char *const tags[][2] = {{"UUID=", "by-uuid"},
                                          {"LABEL=", "by-label"},
                                          {"PARTUUID=", "by-partuuid"},
                                          {"PARTLABEL=", "by-partlabel"}};
    (void)snprintf(path, room, "%s", source);
    for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
        if (text_starts(source, tags[i][0]))
            (void)snprintf(path, room, "/dev/disk/%s/%s", tags[i][1], source + strlen(tags[i][0]));
}

/* By point, or by device; what is in fstab twice counts once. */
static bool
find_in_fstab(struct recovery *r)
{
    char line[4096], path[RECOVER_PATH_MAX];
    struct mntent entry;
    dev_t number;
    bool found = false;
    FILE *file = setmntent("/etc/fstab", "re");
    while (file && !found && getmntent_r(file, &entry, line, sizeof(line))) {
        find_source(entry.mnt_fsname, path, sizeof(path));
        bool known = is_device(path, &number);
        found = r->device[0] ? known && number == r->number : text_eq(entry.mnt_dir, r->point);
        if (!found)
            continue;
        if (known)
            r->number = number;
        (void)snprintf(r->device, sizeof(r->device), "%s", path);
        (void)snprintf(r->point, sizeof(r->point), "%s", entry.mnt_dir);
        if (!text_eq(entry.mnt_type, "auto"))
            (void)snprintf(r->type, sizeof(r->type), "%s", entry.mnt_type);
    }
    if (file)
        (void)endmntent(file);
    return found;
}

/* Of a device, the first place that it is mounted at. */
static const struct mount_row *
find_mount(const struct mounts *mounts, const struct recovery *r)
{
    dev_t number;
    if (!r->device[0])
        return mounts_find(mounts, r->point);
    for (size_t i = 0; i < mounts->count; i++)
        if (mounts->rows[i].device == r->number ||
            (is_device(mounts->rows[i].source, &number) && number == r->number))
            return &mounts->rows[i];
    return NULL;
}

static int
find_whole(struct recovery *r, struct err *reterr)
{
    _cleanup_mounts_ struct mounts mounts = {0};
    int e = mounts_read(&mounts, reterr);
    const struct mount_row *row = e < 0 ? NULL : find_mount(&mounts, r);
    if (e == 0 && row) {
        r->is_mounted = true;
        (void)snprintf(r->type, sizeof(r->type), "%s", row->type);
        e = copy(r->device, row->source, reterr);
        if (e == 0)
            e = copy(r->point, row->point, reterr);
    } else if (e == 0) {
        (void)find_in_fstab(r);
    }
    return e;
}

static int
refuse_system(const struct recovery *r, struct err *reterr)
{
    struct stat system;
    bool same = stat("/", &system) == 0 && system.st_dev == r->number;
    if (!same && !text_eq(r->point, "/"))
        return 0;
    int e = err_set(reterr, ERR_STORAGE_SYSTEM, "%s is what this system runs from", r->device);
    err_fix(reterr, "boot with fsck.mode=force on the kernel's command line");
    return e;
}

/* What a file system has on it says what it is; blkid reads it. */
static void
ask_type(struct recovery *r)
{
    const char *const argv[] = {"blkid", "-o", "value", "-s", "TYPE", r->device, NULL};
    _cleanup_buf_ struct buf out = BUF_INIT(KIB);
    const struct command ask = {.argv = argv, .in = -1, .limit_us = MOUNT_LIMIT_US, .out = &out};
    struct proc_end end = {0};
    if (r->type[0] || command_run(&ask, &end, NULL) < 0 || end.status)
        return;
    (void)snprintf(r->type, sizeof(r->type), "%.*s", (int)strcspn(out.data, "\n"), out.data);
}

int
recovery_find(const char *what, struct recovery *ret_recovery, struct err *reterr)
{
    struct recovery r = {0};
    int e = copy(is_device(what, &r.number) ? r.device : r.point, what, reterr);
    if (e == 0)
        e = find_whole(&r, reterr);
    if (e == 0 && text_eq(r.point, "/"))
        e = refuse_system(&r, reterr);
    if (e < 0)
        return e;
    if (!r.device[0] || !is_device(r.device, &r.number)) {
        e = err_set(reterr, ERR_NOT_FOUND, "'%s' is no disk, and no mount point of one", what);
        err_fix(reterr, "name the device, or the mount point: see findmnt, lsblk and /etc/fstab");
        return e;
    }
    e = refuse_system(&r, reterr);
    if (e < 0)
        return e;
    ask_type(&r);
    *ret_recovery = r;
    return 0;
}

/* ---- who uses it ---- */

static bool
is_of(int dir, const char *name, dev_t number)
{
    struct stat st;
    return fstatat(dir, name, &st, 0) == 0 && st.st_dev == number;
}

struct looking {
    dev_t number;
    bool uses;
    struct recovery_user *users;
    size_t count;
};

static bool
on_open(const struct stat *st, void *arg)
{
    struct looking *l = arg;
    l->uses = l->uses || st->st_dev == l->number;
    return !l->uses;
}

static bool
on_mapped(dev_t device, ino_t inode unused_arg, void *arg)
{
    struct looking *l = arg;
    l->uses = l->uses || device == l->number;
    return !l->uses;
}

static void
read_name(int process, char name[32])
{
    _cleanup_close_ int fd = openat(process, "comm", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, name, 31);
    name[MAX(len, 0)] = '\0';
    name[strcspn(name, "\n")] = '\0';
    text_disarm(name);
}

static bool
on_process(int process, pid_t pid, void *arg)
{
    struct looking *l = arg;
    l->uses = is_of(process, "cwd", l->number) || is_of(process, "root", l->number) ||
              is_of(process, "exe", l->number);
    if (!l->uses)
        holders_open(process, on_open, l);
    if (!l->uses)
        holders_mapped(process, on_mapped, l);
    if (!l->uses)
        return true;
    l->users[l->count].pid = pid;
    read_name(process, l->users[l->count++].name);
    return l->count < RECOVER_USERS_MAX;
}

size_t
recovery_users(const struct recovery *recovery, struct recovery_user users[RECOVER_USERS_MAX])
{
    struct looking l = {.number = recovery->number, .users = users};
    holders_each(on_process, &l);
    return l.count;
}

/* ---- the steps ---- */

static const struct checker {
    const char *type;
    int fine;            /* the highest exit status with which it has nothing left to mend */
    const char *argv[4]; /* and the device */
} checkers[] = {
    {"ext2", 1, {"e2fsck", "-f", "-p"}}, {"ext3", 1, {"e2fsck", "-f", "-p"}},
    {"ext4", 1, {"e2fsck", "-f", "-p"}}, {"xfs", 0, {"xfs_repair"}},
    {"vfat", 1, {"fsck.vfat", "-a"}},    {"exfat", 1, {"fsck.exfat", "-p"}},
    {"f2fs", 1, {"fsck.f2fs", "-a"}},    {"btrfs", 0, {"btrfs", "check", "--readonly"}},
};

static const struct checker *
checker_of(const struct recovery *recovery)
{
    for (size_t i = 0; i < ARRAY_SIZE(checkers); i++)
        if (text_eq(checkers[i].type, recovery->type))
            return &checkers[i];
    return NULL;
}

const char *const *
recovery_command(const struct recovery *recovery, const char *argv[8])
{
    const struct checker *checker = checker_of(recovery);
    size_t n = 0;
    if (!checker)
        return NULL;
    for (; n < ARRAY_SIZE(checker->argv) && checker->argv[n]; n++)
        argv[n] = checker->argv[n];
    argv[n] = recovery->device;
    argv[n + 1] = NULL;
    return argv;
}

int
recovery_unmount(struct recovery *recovery, struct err *reterr)
{
    const char *const argv[] = {"umount", recovery->point, NULL};
    int r = recovery->is_mounted ? command_insist(argv, MOUNT_LIMIT_US, reterr) : 0;
    if (r < 0) {
        err_fix(reterr, "stop what uses it: `citadel stop all`, `fuser -vm %s`", recovery->point);
        return r;
    }
    recovery->is_mounted = false;
    return 0;
}

/* Nobody can mount it, or has it mounted, while a device is open like this. */
static int
insist_unused(const struct recovery *recovery, struct err *reterr)
{
    _cleanup_close_ int fd = open(recovery->device, O_RDONLY | O_EXCL | O_CLOEXEC);
    if (fd >= 0)
        return 0;
    if (errno != EBUSY)
        return err_set_errno(reterr, errno, "cannot open '%s'", recovery->device);
    int r =
        err_set(reterr, ERR_STORAGE_MOUNTED,
                "%s is still in use: it is mounted, here or in another namespace, or is part of "
                "an array",
                recovery->device);
    err_fix(reterr, "grep %s /proc/*/mountinfo; lsblk %s", recovery->device, recovery->device);
    return r;
}

int
recovery_check(const struct recovery *recovery, struct buf *out, struct err *reterr)
{
    const char *argv[8];
    const struct command check = {
        .argv = recovery_command(recovery, argv), .in = -1, .limit_us = CHECK_LIMIT_US, .out = out};
    struct proc_end end = {0};
    char text[64];
    const struct checker *checker = checker_of(recovery);
    assert(check.argv && checker);
    int r = insist_unused(recovery, reterr);
    if (r == 0)
        r = command_run(&check, &end, reterr);
    if (r < 0)
        return r;
    if (!end.killed && end.status <= checker->fine)
        return 0;
    r = err_set(reterr, ERR_STORAGE_DAMAGED, "%s of %s ended with %s: not all could be mended",
                argv[0], recovery->device, proc_end_print(&end, text));
    err_fix(reterr, "%s by hand, on the unmounted disk; have a backup", argv[0]);
    return r;
}

int
recovery_mount(const struct recovery *recovery, struct err *reterr)
{
    const char *const by_table[] = {"mount", recovery->point, NULL};
    const char *const by_hand[] = {"mount", recovery->device, recovery->point, NULL};
    struct recovery listed = {.number = recovery->number};
    (void)snprintf(listed.device, sizeof(listed.device), "%s", recovery->device);
    return command_insist(find_in_fstab(&listed) ? by_table : by_hand, MOUNT_LIMIT_US, reterr);
}
