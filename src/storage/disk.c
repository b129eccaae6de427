/* SYS/dev/block/MAJOR:MINOR is a link to the device's directory. That of a partition has a file
 * `partition` and lies in the directory of its disk; that of a mapped device or an array has a
 * directory `slaves` with a link to each that it is made of. */

#include "storage/disk.h"

#include "base/mem.h"
#include "base/text.h"
#include "config/config.h"
#include "fmt/json.h"
#include "sys/command.h"
#include "sys/files.h"
#include "sys/mounts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NESTING_MAX 8                   /* a partition of an array of mapped devices */
#define ASK_LIMIT_US UINT64_C(60000000) /* one that sleeps has to spin up */
#define ANSWER_MAX (1 * MIB)
#define USED_PERCENT_MAX 100 /* the maker's reckoning of its life is over */

const char *
disk_state_word(enum disk_state state)
{
    static const char *const words[] = {
        [DISK_UNKNOWN] = "unknown",
        [DISK_GOOD] = "good",
        [DISK_WORN] = "worn",
        [DISK_FAILING] = "failing",
    };
    return words[state];
}

/* ---- which disks ---- */

static void
add_word(char *text, size_t room, const char *word)
{
    size_t len = strlen(text), word_len = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += word_len)
        if ((at == text || at[-1] == ' ') && (at[word_len] == ' ' || !at[word_len]))
            return;
    if (len + word_len + 2 <= room)
        (void)snprintf(text + len, room - len, "%s%s", len ? " " : "", word);
}

static void
add_disk(struct disks *disks, const char *name, const char *serves)
{
    struct disk *disk = NULL;
    for (size_t i = 0; i < disks->count; i++)
        if (text_eq(disks->items[i].name, name))
            disk = &disks->items[i];
    if (!disk && disks->count < DISKS_MAX && strlen(name) < DISK_NAME_MAX) {
        disk = &disks->items[disks->count++];
        *disk = (struct disk){0};
        (void)snprintf(disk->name, sizeof(disk->name), "%s", name);
    }
    if (disk)
        add_word(disk->serves, sizeof(disk->serves), serves);
}

static void add_device(int dir, const char *serves, unsigned depth, struct disks *disks);

static bool
add_slaves(int dir, const char *serves, unsigned depth, struct disks *disks)
{
    DIR *d = file_open_dir(dir, "slaves", 0);
    bool any = false;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        _cleanup_close_ int slave = openat(dirfd(d), e->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        any = true;
        if (slave >= 0)
            add_device(slave, serves, depth + 1, disks);
    }
    if (d)
        (void)closedir(d);
    return any;
}

/* The last part of where an open directory is. */
static void
add_named(int dir, const char *serves, struct disks *disks)
{
    char link[32], place[PATH_MAX];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
    ssize_t len = readlink(link, place, sizeof(place) - 1);
    if (len <= 0)
        return;
    place[len] = '\0';
    const char *slash = strrchr(place, '/');
    add_disk(disks, slash ? slash + 1 : place, serves);
}

static void
add_device(int dir, const char *serves, unsigned depth, struct disks *disks)
{
    if (depth >= NESTING_MAX || add_slaves(dir, serves, depth, disks))
        return;
    if (faccessat(dir, "partition", F_OK, 0) < 0) {
        add_named(dir, serves, disks);
        return;
    }
    _cleanup_close_ int whole = openat(dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (whole >= 0)
        add_device(whole, serves, depth + 1, disks);
}

void
disk_find(const char *sys, dev_t device, const char *serves, struct disks *disks)
{
    _cleanup_free_ char *path = mem_printf("%s/dev/block/%u:%u", sys, major(device), minor(device));
    _cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0)
        add_device(dir, serves, 0, disks);
}

/* Some file systems (btrfs) give numbers of their own; their source is a device nevertheless. */
static dev_t
device_of(const struct mount_row *row)
{
    struct stat st;
    bool given = major(row->device) != 0;
    return !given && stat(row->source, &st) == 0 && S_ISBLK(st.st_mode) ? st.st_rdev : row->device;
}

int
disks_list(const struct config *config, struct disks *ret_disks, struct err *reterr)
{
    const struct config_paths *p = &config->paths;
    const struct {
        const char *name, *path;
    } rows[] = {{"models", p->models}, {"backup", p->backup}, {"logs", p->logs},
                {"state", p->state},   {"root", p->root},     {"system", "/"}};
    _cleanup_mounts_ struct mounts mounts = {0};
    int r = mounts_read(&mounts, reterr);
    *ret_disks = (struct disks){0};
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rows); i++) {
        const struct mount_row *row = mounts_around(&mounts, rows[i].path);
        if (row)
            disk_find("/sys", device_of(row), rows[i].name, ret_disks);
    }
    return r;
}

/* ---- what they say ---- */

static bool
read_unsigned(const struct value *v, unsigned *ret_n)
{
    uint64_t n;
    if (!value_u64(v, &n) || n > UINT32_MAX)
        return false;
    *ret_n = (unsigned)n;
    return true;
}

static void judge(struct disk *disk, enum disk_state state, const char *fmt, ...) printf_like(3, 4);

/* The worst counts, and of two the first. */
static void
judge(struct disk *disk, enum disk_state state, const char *fmt, ...)
{
    va_list args;
    if (state <= disk->state)
        return;
    disk->state = state;
    va_start(args, fmt);
    text_make_safe(disk->why, sizeof(disk->why),
                   vsnprintf(disk->why, sizeof(disk->why), fmt, args));
    va_end(args);
}

static void
read_nvme(const struct value *log, struct disk *disk)
{
    uint64_t n, least;
    disk->has_used = read_unsigned(value_get(log, "percentage_used"), &disk->used_percent);
    if (value_u64(value_get(log, "critical_warning"), &n) && n)
        judge(disk, DISK_FAILING, "it has a critical warning (%#llx)", (unsigned long long)n);
    if (value_u64(value_get(log, "available_spare"), &n) &&
        value_u64(value_get(log, "available_spare_threshold"), &least) && n < least)
        judge(disk, DISK_FAILING, "it has %llu%% of its spare blocks left", (unsigned long long)n);
    if (value_u64(value_get(log, "media_errors"), &n) && n)
        judge(disk, DISK_WORN, "%llu times data could not be read", (unsigned long long)n);
    if (disk->has_used && disk->used_percent >= USED_PERCENT_MAX)
        judge(disk, DISK_WORN, "%u%% of the life that its maker gives it are used",
              disk->used_percent);
}

/* The attributes that foretell a failure, by number. */
static void
read_ata(const struct value *table, struct disk *disk)
{
    static const struct {
        uint64_t id;
        const char *what;
    } rows[] = {
        {5, "sectors were replaced"},
        {197, "sectors wait to be replaced"},
        {198, "sectors cannot be read"},
    };
    for (const struct value *v = table ? table->first : NULL; v; v = v->next) {
        uint64_t id, raw;
        if (!value_u64(value_get(v, "id"), &id) ||
            !value_u64(value_get(value_get(v, "raw"), "value"), &raw) || raw == 0)
            continue;
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
            if (rows[i].id == id)
                judge(disk, DISK_WORN, "%llu %s", (unsigned long long)raw, rows[i].what);
    }
}

/* Why it could not be asked: smartctl's own words. */
static void
read_messages(const struct value *root, struct disk *disk)
{
    const struct value *messages = value_get(value_get(root, "smartctl"), "messages");
    const struct value *first = messages ? messages->first : NULL;
    value_copy_str(value_get(first, "string"), disk->why, sizeof(disk->why));
    if (!disk->why[0])
        (void)snprintf(disk->why, sizeof(disk->why), "it does not tell its health");
}

void
disk_read_answer(const char *text, size_t len, struct disk *disk)
{
    _cleanup_arena_ struct arena arena;
    struct value *root;
    struct err err;
    bool passed;
    arena_init(&arena, 64 * ANSWER_MAX);
    disk->state = DISK_UNKNOWN;
    disk->why[0] = '\0';
    if (json_parse(&arena, text, len, JSON_STRICT, &root, NULL, &err) < 0) {
        (void)snprintf(disk->why, sizeof(disk->why), "smartctl's answer: %.200s", err.what);
        return;
    }
    value_copy_str(value_get(root, "model_name"), disk->model, sizeof(disk->model));
    value_copy_str(value_get(root, "serial_number"), disk->serial, sizeof(disk->serial));
    disk->has_celsius =
        read_unsigned(value_get(value_get(root, "temperature"), "current"), &disk->celsius);
    disk->has_hours =
        read_unsigned(value_get(value_get(root, "power_on_time"), "hours"), &disk->hours);
    if (!value_bool(value_get(value_get(root, "smart_status"), "passed"), &passed)) {
        read_messages(root, disk);
        return;
    }
    disk->state = DISK_GOOD;
    if (!passed)
        judge(disk, DISK_FAILING, "it says that it is about to fail");
    read_nvme(value_get(root, "nvme_smart_health_information_log"), disk);
    read_ata(value_get(value_get(root, "ata_smart_attributes"), "table"), disk);
}

/* smartctl's exit status is a set of bits, and says less than what it prints. */
void
disks_ask(struct disks *disks)
{
    for (size_t i = 0; i < disks->count; i++) {
        struct disk *disk = &disks->items[i];
        _cleanup_buf_ struct buf out = BUF_INIT(ANSWER_MAX);
        _cleanup_free_ char *device = mem_printf("/dev/%s", disk->name);
        const char *const argv[] = {"smartctl", "--json=c", "-i", "-H", "-A", device, NULL};
        struct proc_end end;
        struct err err = {0};
        for (char *bang = device; (bang = strchr(bang, '!'));)
            *bang = '/'; /* as in cciss!c0d0 */
        const struct command ask = {.argv = argv, .in = -1, .limit_us = ASK_LIMIT_US, .out = &out};
        int r = command_run(&ask, &end, &err);
        if (r == 0) {
            disk_read_answer(out.data, out.len, disk);
            continue;
        }
        disk->state = DISK_UNKNOWN;
        (void)snprintf(disk->why, sizeof(disk->why), "%.200s%s", err.what,
                       r == -ENOENT ? ": install smartmontools" : "");
    }
}

/* ---- for those who cannot ask ---- */

static void
print_number(struct json_writer *w, const char *name, bool known, unsigned n)
{
    if (known)
        json_u64(w, name, n);
    else
        json_null(w, name);
}

void
disks_json(const struct disks *disks, uint64_t at_us, struct json_writer *w)
{
    json_open_map(w, NULL);
    json_u64(w, "at_us", at_us);
    json_open_list(w, "disks");
    for (size_t i = 0; i < disks->count; i++) {
        const struct disk *d = &disks->items[i];
        json_open_map(w, NULL);
        json_str(w, "name", d->name);
        json_str(w, "serves", d->serves);
        json_str(w, "state", disk_state_word(d->state));
        json_str(w, "why", d->why[0] ? d->why : NULL);
        json_str(w, "model", d->model[0] ? d->model : NULL);
        json_str(w, "serial", d->serial[0] ? d->serial : NULL);
        print_number(w, "temperature_celsius", d->has_celsius, d->celsius);
        print_number(w, "power_on_hours", d->has_hours, d->hours);
        print_number(w, "used_percent", d->has_used, d->used_percent);
        json_close_map(w);
    }
    json_close_list(w);
    json_close_map(w);
}

int
disks_save(const struct disks *disks, uint64_t at_us, const char *state, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(256 * KIB);
    _cleanup_free_ char *dir = mem_printf("%s/storage", state);
    _cleanup_free_ char *path = mem_printf("%s/health.json", dir);
    struct json_writer w;
    json_init(&w, &text, true);
    disks_json(disks, at_us, &w);
    buf_add_char(&text, '\n');
    assert(buf_error(&text) == 0); /* DISKS_MAX of them, each as long as it may be */
    int r = file_make_dirs(dir, 0755, reterr);
    return r < 0 ? r : file_write(path, text.data, text.len, 0644, reterr);
}
