/* SQLite's own way to copy a database that is in use. A read that has begun before keeps all steps at
 * one state of it: without, SQLite begins anew whenever somebody commits in between, and may so never
 * come to an end. While it lasts the log of the database cannot be taken in, so it is bounded. */

#include "gateway/database.h"
#include "gateway/sqlite.h"
#include "sys/clock.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP_PAGES 256 /* 1 MiB */
#define BUSY_MS 5000
#define LIMIT_US UINT64_C(300000000)

struct copy {
    sqlite3 *from, *to;
};

static int
explain(sqlite3 *sql, const char *path, struct err *reterr)
{
    int code = sqlite.errcode(sql) & 0xff;
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        return err_set(reterr, ERR_KEYS_DAMAGED, "'%s' is damaged: %s", path, sqlite.errmsg(sql));
    return err_set_errno(reterr, code == SQLITE_FULL ? ENOSPC : EIO, "cannot copy '%s', %s", path,
                         sqlite.errmsg(sql));
}

static int
step_all(sqlite3_backup *backup, const char *path, struct err *reterr)
{
    const uint64_t end_us = clock_now_us() + LIMIT_US;
    int code;
    do
        code = sqlite.backup_step(backup, STEP_PAGES);
    while (code == SQLITE_OK && clock_now_us() < end_us);
    if (code == SQLITE_OK)
        return err_set_errno(reterr, ETIMEDOUT, "cannot copy '%s' within five minutes", path);
    return code == SQLITE_DONE ? 0 : -EIO; /* which of the two has said so is seen at the end */
}

static int
copy(struct copy *c, const char *path, const char *to, struct err *reterr)
{
    const int reads = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
              writes = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
    struct err err = {0};
    if (sqlite.open_v2(path, &c->from, reads, NULL) != SQLITE_OK)
        return explain(c->from, path, reterr);
    (void)sqlite.busy_timeout(c->from, BUSY_MS);
    if (sqlite.exec(c->from, "BEGIN; SELECT count(*) FROM sqlite_master", NULL, NULL, NULL) !=
        SQLITE_OK)
        return explain(c->from, path, reterr);
    if (sqlite.open_v2(to, &c->to, writes, NULL) != SQLITE_OK)
        return explain(c->to, to, reterr);
    (void)sqlite.exec(c->to, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
    sqlite3_backup *backup = sqlite.backup_init(c->to, "main", c->from, "main");
    if (!backup)
        return explain(c->to, to, reterr);
    int r = step_all(backup, path, &err);
    if (sqlite.backup_finish(backup) != SQLITE_OK && err.id == ERR_NONE)
        return explain(c->to, path, reterr);
    if (r < 0 && reterr)
        *reterr = err;
    return r;
}

/* The copy belongs to whom the database does. */
int
database_copy(const char *path, const char *to, struct err *reterr)
{
    struct copy c = {0};
    struct stat st;
    if (stat(path, &st) < 0)
        return err_set_errno(reterr, errno, "cannot copy '%s'", path);
    int r = sqlite_load(reterr);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = file_open(to, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return err_set_errno(reterr, -fd, "'%s'", to);
    r = copy(&c, path, to, reterr);
    (void)sqlite.close(c.from);
    (void)sqlite.close(c.to);
    (void)!fchown(fd, st.st_uid, st.st_gid);
    return r;
}
