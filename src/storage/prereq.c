#include "storage/prereq.h"

#include "base/quantity.h"
#include "base/text.h"
#include "config/config.h"
#include "storage/layout.h"
#include "sys/account.h"
#include "sys/mounts.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static struct storage_check *add(struct storage_checks *checks, const char *name, bool required,
                                 bool ok, const char *fmt, ...) printf_like(5, 6);

static struct storage_check *
add(struct storage_checks *checks, const char *name, bool required, bool ok, const char *fmt, ...)
{
    assert(checks->count < STORAGE_CHECKS_MAX);
    struct storage_check *check = &checks->items[checks->count++];
    va_list args;
    *check = (struct storage_check){.name = name, .required = required, .ok = ok};
    va_start(args, fmt);
    text_make_safe(check->found, sizeof(check->found),
                   vsnprintf(check->found, sizeof(check->found), fmt, args));
    va_end(args);
    return check;
}

static void fix(struct storage_check *check, const char *fmt, ...) printf_like(2, 3);

static void
fix(struct storage_check *check, const char *fmt, ...)
{
    va_list args;
    if (check->ok)
        return;
    va_start(args, fmt);
    text_make_safe(check->fix, sizeof(check->fix),
                   vsnprintf(check->fix, sizeof(check->fix), fmt, args));
    va_end(args);
}

static int
check_mount(struct storage_checks *checks, const struct config *config, enum storage_area area,
            const char *name, bool required, struct err *reterr)
{
    const char *path = storage_area_path(config, area);
    struct err not_mounted = {0};
    bool is_missed = storage_check_mount(config, area, &not_mounted) < 0;
    _cleanup_mounts_ struct mounts mounts = {0};
    _cleanup_close_ int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int r = mounts_read(&mounts, reterr);
    if (r < 0)
        return r;
    const struct mount_row *row = fd < 0 ? NULL : mounts_find_open(&mounts, fd);
    bool ok = row ? !row->read_only : !is_missed && fd >= 0;
    struct storage_check *check =
        row ? add(checks, name, required, ok, "%s is %s on %s%s", path, row->type, row->source,
                  row->read_only ? ", read-only" : "")
            : add(checks, name, required, ok, "%s is %s", path,
                  fd < 0 ? "not there" : "a directory of the disk around it");
    if (row)
        fix(check, "see `dmesg` for why, then `citadel storage recover %s`", path);
    else if (is_missed)
        fix(check, "%s", not_mounted.fix);
    else
        fix(check, "citadel storage setup");
    return 0;
}

/* Of the nearest directory that is there. */
static int
stat_disk(const char *path, struct statvfs *ret)
{
    _cleanup_free_ char *at = mem_strdup(path);
    while (statvfs(at, ret) < 0) {
        char *slash = strrchr(at, '/');
        if (errno != ENOENT || !slash || slash == at)
            return -errno;
        *slash = '\0';
    }
    return 0;
}

static void
check_space(struct storage_checks *checks, const struct config *config)
{
    quantity_text left, wanted;
    struct statvfs disk = {0};
    int r = stat_disk(config->paths.models, &disk);
    uint64_t bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    bool ok = r == 0 && bytes >= config->storage.minimum_free_bytes;
    struct storage_check *check =
        add(checks, "free space", true, ok, "%s free for models, %s asked for",
            r == 0 ? quantity_show_bytes(bytes, left) : strerror(-r),
            quantity_show_bytes(config->storage.minimum_free_bytes, wanted));
    fix(check, "citadel storage usage, citadel storage clean; or lower storage.minimum_free");
    /* Some file systems do not count them. */
    if (disk.f_files && disk.f_favail < disk.f_files / 100)
        fix(add(checks, "free inodes", true, false, "%llu of %llu are left for models",
                (unsigned long long)disk.f_favail, (unsigned long long)disk.f_files),
            "citadel storage clean: there are too many small files");
}

static void
check_account(struct storage_checks *checks, const char *user, const char *group)
{
    struct account account;
    struct err err;
    bool ok = account_find(user, group, &account, &err) == 0;
    struct storage_check *check =
        ok ? add(checks, "account", true, true, "%s has the number %u", user, account.uid)
           : add(checks, "account", true, false, "%s", err.what);
    fix(check, "%s", err.fix);
}

static void
check_layout(struct storage_checks *checks, const struct config *config)
{
    _cleanup_storage_report_ struct storage_report report = {0};
    struct err err = {0};
    size_t wrong = 0;
    const struct storage_finding *first = NULL;
    if (storage_look(config, &report, &err) < 0) {
        fix(add(checks, "directories", true, false, "%s", err.what), "%s", err.fix);
        return;
    }
    for (size_t i = 0; i < report.count; i++)
        if (report.items[i].fault != STORAGE_NOT_MOUNTED) {
            first = first ? first : &report.items[i];
            wrong++;
        }
    if (first)
        (void)storage_tell(first, &err);
    struct storage_check *check =
        first ? add(checks, "directories", true, false, "%zu are wrong: %s", wrong, err.what)
              : add(checks, "directories", true, true, "%zu are as they should be", report.looked);
    fix(check, "citadel storage setup");
}

static bool
is_in_path(const char *program)
{
    const char *path = getenv("PATH");
    _cleanup_free_ char *copy = mem_strdup(path && *path ? path : "/usr/sbin:/usr/bin:/sbin:/bin");
    char *rest = copy;
    for (char *dir; (dir = strsep(&rest, ":"));) {
        _cleanup_free_ char *full = mem_printf("%s/%s", *dir ? dir : ".", program);
        if (access(full, X_OK) == 0)
            return true;
    }
    return false;
}

static void
check_tool(struct storage_checks *checks, const char *program, const char *package, const char *why)
{
    bool ok = is_in_path(program);
    fix(add(checks, program, false, ok, "%s%s", ok ? "is there" : "is not there: ", ok ? "" : why),
        "apt-get install %s", package);
}

int
storage_prereq(const struct config *config, struct storage_checks *ret_checks, struct err *reterr)
{
    *ret_checks = (struct storage_checks){0};
    int r = check_mount(ret_checks, config, STORAGE_models, "model storage", true, reterr);
    if (r == 0)
        r = check_mount(ret_checks, config, STORAGE_backup, "backup storage", false, reterr);
    if (r < 0)
        return r;
    check_space(ret_checks, config);
    check_account(ret_checks, config->service.user, config->service.group);
    check_account(ret_checks, config->service.gateway_user, NULL);
    check_layout(ret_checks, config);
    if (config->storage.smart)
        check_tool(ret_checks, "smartctl", "smartmontools", "disks are not asked for their health");
    check_tool(ret_checks, "fsck", "util-linux", "no file system can be checked");
    return 0;
}
