#include "backup/archive.h"

#include "base/text.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SUMS_NAME "SHA256SUMS"
#define README_NAME "README"
#define SUMS_MAX ((size_t)(16 * MIB))
#define PIECE_BYTES ((size_t)MIB)
#define FILE_MODE 0600
#define ID_DIGITS 12

static const char readme[] =
    "Archives of backups: each NAME-DATE-ID.tar.zst here is one snapshot, and needs nothing else.\n"
    "DATE is the day of the backup in UTC, ID begins its name in the repository it came from.\n"
    "\n"
    "  sha256sum -c SHA256SUMS                      whether the archives are whole\n"
    "  tar --zstd --xattrs -xpf NAME-DATE-ID.tar.zst   makes a directory NAME, with owners and "
    "times\n"
    "  sha256sum -c SHA256SUMS                      beside that: whether its files are\n";

const char *
archive_name(const struct snapshot_row *row, char ret[ARCHIVE_NAME_MAX])
{
    const time_t begun = (time_t)(row->head.begun_ns / 1000000000);
    const char *name = text_is_name(row->head.name) ? row->head.name : "snapshot";
    struct tm tm = {0};
    char day[32];
    (void)strftime(day, sizeof(day), "%Y-%m-%d", gmtime_r(&begun, &tm));
    (void)snprintf(ret, ARCHIVE_NAME_MAX, "%.100s-%s-%.*s.tar.zst", name, day, ID_DIGITS,
                   row->name);
    return ret;
}

/* ---- what is on the disk ---- */

/* -ENOENT: there is no such file. */
static int
hash_file(const char *path, char ret[HASH_SHA256_HEX])
{
    struct stat st;
    struct hash_sha256 hash;
    uint8_t digest[HASH_SHA256_BYTES];
    _cleanup_free_ uint8_t *piece = mem_alloc(PIECE_BYTES);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    hash_sha256_init(&hash);
    ssize_t n;
    while ((n = read(fd, piece, PIECE_BYTES)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        hash_sha256_update(&hash, piece, (size_t)n);
    }
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    hash_sha256_final(&hash, digest);
    hash_sha256_hex(digest, ret);
    return 0;
}

/* ---- SHA256SUMS ---- */

static bool
is_line_of(const char *line, const char *name)
{
    const size_t digits = HASH_SHA256_HEX - 1;
    return strlen(line) > digits + 2 && text_eq(line + digits + 2, name);
}

/* "": it has no line. *rest (may be NULL): all other lines. */
static void
find_line(char *text, const char *name, char ret[HASH_SHA256_HEX], struct buf *rest)
{
    ret[0] = '\0';
    for (char *line; (line = strsep(&text, "\n"));) {
        if (is_line_of(line, name))
            (void)snprintf(ret, HASH_SHA256_HEX, "%s", line);
        else if (rest && line[0])
            buf_printf(rest, "%s\n", line);
    }
}

static int
read_sums(const char *dir, struct buf *out, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/" SUMS_NAME, dir);
    int r = file_read_if_there(path, out, reterr);
    buf_add_char(out, '\0');
    return r < 0 ? r : buf_error(out);
}

int
archive_is_whole(const char *dir, const char *name, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(SUMS_MAX);
    _cleanup_free_ char *path = mem_printf("%s/%s", dir, name);
    char wanted[HASH_SHA256_HEX], found[HASH_SHA256_HEX];
    int r = read_sums(dir, &text, reterr);
    if (r < 0)
        return r;
    find_line(text.data, name, wanted, NULL);
    if (!wanted[0])
        return 0;
    r = hash_file(path, found);
    if (r == -ENOENT || r == -EIO)
        return 0;
    return r < 0 ? err_set_errno(reterr, -r, "cannot read '%s'", path) : text_eq(wanted, found);
}

static int
write_readme(const char *dir, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/" README_NAME, dir);
    int r = access(path, F_OK) == 0
                ? 0
                : file_write(path, readme, sizeof(readme) - 1, FILE_MODE, reterr);
    return r;
}

int
archive_confirm(const char *dir, const char *name, const char sha256[HASH_SHA256_HEX],
                struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(SUMS_MAX), sums = BUF_INIT(SUMS_MAX);
    _cleanup_free_ char *path = mem_printf("%s/%s", dir, name),
                        *sums_path = mem_printf("%s/" SUMS_NAME, dir);
    char found[HASH_SHA256_HEX];
    int r = hash_file(path, found);
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot read back '%s'", path);
    if (!text_eq(found, sha256)) {
        r = err_set(reterr, ERR_BACKUP_UNSOUND, "'%s' is not what was written there", path);
        err_fix(reterr, "look after its disk: citadel storage health");
        return r;
    }
    r = read_sums(dir, &text, reterr);
    if (r < 0)
        return r;
    find_line(text.data, name, found, &sums);
    buf_printf(&sums, "%s  %s\n", sha256, name);
    r = buf_error(&sums);
    if (r < 0)
        return err_set(reterr, ERR_TOO_LARGE, "'%s' has more than %zu bytes", sums_path, SUMS_MAX);
    r = file_write(sums_path, sums.data, sums.len, FILE_MODE, reterr);
    return r < 0 ? r : write_readme(dir, reterr);
}
