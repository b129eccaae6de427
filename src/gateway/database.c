/* Tables:
 *
 *   keys    a row for each key that was ever made; a revoked one stays, so that its name does
 *   debits  what is debited of it: struct allowance_saved
 *   ledger  struct ledger_row
 *   meta    boot: the one to which minute_us of debits belongs
 *
 * Beside it PATH.lock: locked while a process has the database, and not empty once a key was
 * made. So a file that was lost, emptied or set aside is not taken for one that never had a
 * key. Where the lock is lost, the rows of keys tell; and where those are lost with it, it is
 * as if there had been some. */

#include "gateway/database.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/quantity.h"
#include "fmt/json.h"
#include "gateway/sqlite.h"
#include "sys/clock.h"
#include "sys/fault.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION 0x43544b31 /* "CTK1" */
#define LOCK_US UINT64_C(2000000)
#define BUSY_MS 5000
/* What is read through at each start; of a larger one, the small tables alone. */
#define CHECK_BYTES (256 * MIB)

static const char witness[] = "keys were made\n";

/* How a file comes to its form of today, one after the other; its user_version has how
 * many it has had. None that was released is ever changed: what limit.def comes to have is
 * a column of another form. */
static const char *const forms[] = {
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
    "CREATE TABLE keys(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " hash BLOB NOT NULL UNIQUE, hint TEXT NOT NULL, models TEXT,"
    " requests_per_minute INTEGER NOT NULL, tokens_per_minute INTEGER NOT NULL,"
    " concurrent INTEGER NOT NULL, tokens_per_day INTEGER NOT NULL,"
    " tokens_per_month INTEGER NOT NULL,"
    " created_us INTEGER NOT NULL, expires_us INTEGER NOT NULL, revoked_us INTEGER NOT NULL);"
    "CREATE TABLE debits(key INTEGER PRIMARY KEY, day INTEGER NOT NULL, day_tokens INTEGER NOT "
    "NULL,"
    " month INTEGER NOT NULL, month_tokens INTEGER NOT NULL, minute_us INTEGER NOT NULL,"
    " minute_requests INTEGER NOT NULL, minute_tokens INTEGER NOT NULL);"
    "CREATE TABLE ledger(time_us INTEGER NOT NULL, key INTEGER NOT NULL, model TEXT NOT NULL,"
    " backend TEXT NOT NULL, status INTEGER NOT NULL, end INTEGER NOT NULL,"
    " tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, tokens_cached INTEGER NOT NULL,"
    " is_estimate INTEGER NOT NULL, queue_us INTEGER NOT NULL, first_us INTEGER NOT NULL,"
    " duration_us INTEGER NOT NULL);"
    "CREATE INDEX ledger_time ON ledger(time_us);",
    "ALTER TABLE keys ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;",
};
#define VERSION ARRAY_SIZE(forms)

#define KEY_COLUMNS_BEFORE 5 /* id, name, hash, hint, models */

/* Columns are named: a form that adds one puts it behind all others. */
#define DEBIT_COLUMNS \
    "key, day, day_tokens, month, month_tokens, minute_us, minute_requests, minute_tokens"
#define ROW_COLUMNS                                                      \
    "time_us, key, model, backend, status, end, tokens_in, tokens_out, " \
    "tokens_cached, is_estimate, queue_us, first_us, duration_us"

enum statement { PUT_KEY, PUT_ALLOWANCE, ADD_ROW, PRUNE, STATEMENTS };

#define PRUNE_SQL                       \
    "DELETE FROM ledger WHERE rowid IN" \
    " (SELECT rowid FROM ledger WHERE time_us < ? LIMIT ?)"

static const char *const statements[STATEMENTS] = {
    [PUT_KEY] = "INSERT OR REPLACE INTO keys(id, name, hash, hint, models, "
#define LIMIT(name, option, member, help) member ", "
#include "gateway/limit.def"
#undef LIMIT
                "created_us, expires_us, revoked_us, priority) VALUES(?, ?, ?, ?, ?, "
#define LIMIT(name, option, member, help) "?, "
#include "gateway/limit.def"
#undef LIMIT
                "?, ?, ?, ?)",
    [PUT_ALLOWANCE] = "INSERT OR REPLACE INTO debits(" DEBIT_COLUMNS ")"
                      " VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
    [ADD_ROW] = "INSERT INTO ledger(" ROW_COLUMNS ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [PRUNE] = PRUNE_SQL,
};

struct database {
    char *path;
    char *set_aside;
    int lock_fd;
    bool had_keys;
    bool is_doubted; /* that it had: there was no lock beside it */
    sqlite3 *sql;
    sqlite3_stmt *statements[STATEMENTS];
};

/* ---- SQLite ---- */

static bool
is_damage(sqlite3 *sql)
{
    int code = sqlite.errcode(sql) & 0xff;
    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

static int
explain(sqlite3 *sql, const char *path, struct err *reterr)
{
    if (is_damage(sql))
        return err_set(reterr, ERR_KEYS_DAMAGED, "'%s' is damaged: %s", path, sqlite.errmsg(sql));
    int r = err_set(reterr, ERR_KEYS_UNWRITTEN, "'%s': %s", path, sqlite.errmsg(sql));
    err_fix(reterr, "the directory and its disk are to be writable for the gateway's account");
    return r;
}

static int
run(struct database *db, const char *sql, struct err *reterr)
{
    int r = sqlite.exec(db->sql, sql, NULL, NULL, NULL);
    return r == SQLITE_OK ? 0 : explain(db->sql, db->path, reterr);
}

/* The first column of the first row; "" where there is none. */
static int
ask(struct database *db, const char *sql, struct buf *out, struct err *reterr)
{
    sqlite3_stmt *s = NULL;
    int r = sqlite.prepare_v2(db->sql, sql, -1, &s, NULL);
    buf_clear(out);
    if (r == SQLITE_OK && (r = sqlite.step(s)) == SQLITE_ROW) {
        const unsigned char *text = sqlite.column_text(s, 0);
        buf_add_str(out, text ? (const char *)text : "");
    }
    bool failed = r != SQLITE_ROW && r != SQLITE_DONE;
    r = failed ? explain(db->sql, db->path, reterr) : 0;
    (void)sqlite.finalize(s);
    return r;
}

/* Puts what a statement takes in their order, and carries it out. */
struct binding {
    struct database *db;
    sqlite3_stmt *statement;
    int at;
};

static struct binding
bind(struct database *db, enum statement which)
{
    return (struct binding){db, db->statements[which], 0};
}

static void
bind_u64(struct binding *b, uint64_t n)
{
    (void)sqlite.bind_int64(b->statement, ++b->at, (int64_t)MIN(n, (uint64_t)INT64_MAX));
}

static void
bind_text(struct binding *b, const char *text) /* NULL: NULL */
{
    (void)sqlite.bind_text(b->statement, ++b->at, text, -1, SQLITE_STATIC);
}

static int
carry_out(struct binding *b, struct err *reterr)
{
    int r = sqlite.step(b->statement);
    r = r == SQLITE_DONE ? 0 : explain(b->db->sql, b->db->path, reterr);
    (void)sqlite.reset(b->statement);
    (void)sqlite.clear_bindings(b->statement);
    return r;
}

/* ---- the file ---- */

static int
open_lock(struct database *db, const char *path, struct err *reterr)
{
    struct stat st;
    db->lock_fd = file_open(path, O_RDWR, 0);
    if (db->lock_fd == -ENOENT) {
        db->is_doubted = stat(db->path, &st) == 0 && st.st_size > 0;
        db->lock_fd = file_open(path, O_RDWR | O_CREAT, 0600);
    }
    if (db->lock_fd < 0)
        return err_set_errno(reterr, -db->lock_fd, "'%s'", path);
    if (file_lock(db->lock_fd, LOCK_US) < 0) {
        int r = err_set(reterr, ERR_KEYS_BUSY, "another process uses '%s'", db->path);
        err_fix(reterr, "gateway.keys_file is the path; each gateway needs its own");
        return r;
    }
    if (fstat(db->lock_fd, &st) < 0)
        return err_set_errno(reterr, errno, "'%s'", path);
    db->had_keys = st.st_size > 0;
    return 0;
}

static int
remember_keys(struct database *db, struct err *reterr)
{
    if (db->had_keys)
        return 0;
    int r = fault_write(db->lock_fd, witness, sizeof(witness) - 1);
    if (r == 0)
        r = fault_sync(db->lock_fd);
    if (r < 0)
        return err_set_errno(reterr, -r, "'%s.lock'", db->path);
    db->had_keys = true;
    return 0;
}

/* What is doubted counts as true until the file was read: so a stop before that changes nothing. */
static int
lock(struct database *db, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s.lock", db->path);
    int r = open_lock(db, path, reterr);
    return r == 0 && db->is_doubted ? remember_keys(db, reterr) : r;
}

static void
close_file(struct database *db)
{
    for (size_t i = 0; i < STATEMENTS; i++)
        (void)sqlite.finalize(take_ptr(db->statements[i]));
    (void)sqlite.close(take_ptr(db->sql));
}

static int
bring_forward(struct database *db, size_t form, struct err *reterr)
{
    char version[96];
    int r = run(db, "BEGIN IMMEDIATE", reterr);
    (void)snprintf(version, sizeof(version),
                   "PRAGMA application_id = %d; PRAGMA user_version = %zu", APPLICATION, VERSION);
    for (; r == 0 && form < VERSION; form++)
        r = run(db, forms[form], reterr);
    if (r == 0)
        r = run(db, version, reterr);
    return r == 0 ? run(db, "COMMIT", reterr) : r;
}

static int
check_version(struct database *db, struct err *reterr)
{
    _cleanup_buf_ struct buf version = BUF_INIT(KIB);
    uint64_t form;
    int r = ask(db, "PRAGMA user_version", &version, reterr);
    if (r < 0)
        return r;
    if (quantity_parse_u64(version.data, &form, NULL) == 0 && form <= VERSION)
        return form < VERSION ? bring_forward(db, form, reterr) : 0;
    r = err_set(reterr, ERR_KEYS_UNWRITTEN, "'%s' has the form %s, and this release knows %zu",
                db->path, version.data, VERSION);
    err_fix(reterr, "the release that has made it, or a newer one");
    return r;
}

static int
check_pages(struct database *db, struct err *reterr)
{
    static const char *const small[] = {"PRAGMA quick_check('keys')",
                                        "PRAGMA quick_check('debits')"};
    static const char *const all[] = {"PRAGMA quick_check"};
    _cleanup_buf_ struct buf found = BUF_INIT(64 * KIB);
    struct stat st;
    bool is_small = stat(db->path, &st) == 0 && (uint64_t)st.st_size <= CHECK_BYTES;
    const char *const *checks = is_small ? all : small;
    for (size_t i = 0; i < (is_small ? ARRAY_SIZE(all) : ARRAY_SIZE(small)); i++) {
        int r = ask(db, checks[i], &found, reterr);
        if (r < 0)
            return r;
        if (!text_eq(found.data, "ok"))
            return err_set(reterr, ERR_KEYS_DAMAGED, "'%s' is damaged: %.200s", db->path,
                           found.data);
    }
    return 0;
}

static int
prepare(struct database *db, struct err *reterr)
{
    for (size_t i = 0; i < STATEMENTS; i++)
        if (sqlite.prepare_v3(db->sql, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                              &db->statements[i], NULL) != SQLITE_OK)
            return explain(db->sql, db->path, reterr);
    return 0;
}

static int
open_file(struct database *db, struct err *reterr)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
    int fd = file_open(db->path, O_RDWR | O_CREAT, 0600); /* which its other files take over */
    if (fd < 0)
        return err_set_errno(reterr, -fd, "'%s'", db->path);
    (void)close(fd);
    if (sqlite.open_v2(db->path, &db->sql, flags, NULL) != SQLITE_OK)
        return explain(db->sql, db->path, reterr);
    (void)sqlite.busy_timeout(db->sql, BUSY_MS);
    int r = run(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", reterr);
    if (r == 0)
        r = check_version(db, reterr);
    if (r == 0)
        r = check_pages(db, reterr);
    return r == 0 ? prepare(db, reterr) : r;
}

static int
move(const char *path, const char *to, const char *end, struct err *reterr)
{
    _cleanup_free_ char *from = mem_printf("%s%s", path, end);
    _cleanup_free_ char *aside = mem_printf("%s%s", to, end);
    if (rename(from, aside) == 0 || errno == ENOENT)
        return 0;
    return err_set_errno(reterr, errno, "'%s' cannot be set aside as '%s'", from, aside);
}

/* What it has not moved into the file itself belongs to it. */
static int
set_aside(struct database *db, struct err *reterr)
{
    static const char *const ends[] = {"-wal", "-shm", ""};
    close_file(db);
    db->set_aside = mem_printf("%s.damaged-%" PRIu64, db->path, clock_wall_us() / 1000000);
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        int r = move(db->path, db->set_aside, ends[i], reterr);
        if (r < 0)
            return r;
    }
    return open_file(db, reterr);
}

/* A clock of another boot says nothing: then all minutes are as if they had been used just now. */
static int
take_boot(struct database *db, struct err *reterr)
{
    _cleanup_buf_ struct buf known = BUF_INIT(KIB);
    char boot[CLOCK_BOOT_ID_LEN + 1], sql[256];
    int r = ask(db, "SELECT value FROM meta WHERE name = 'boot'", &known, reterr);
    if (r < 0)
        return r;
    if (clock_boot_id(boot) < 0)
        boot[0] = '\0';
    if (boot[0] && text_eq(boot, known.data))
        return 0;
    (void)snprintf(sql, sizeof(sql),
                   "BEGIN IMMEDIATE;"
                   "UPDATE debits SET minute_us = %" PRIu64 " WHERE minute_us > 0;"
                   "INSERT OR REPLACE INTO meta VALUES('boot', '%s');"
                   "COMMIT",
                   clock_now_us(), boot);
    return run(db, sql, reterr);
}

/* Rows of keys are never removed: a whole file that has none never had one. */
static int
settle_doubt(struct database *db, struct err *reterr)
{
    _cleanup_buf_ struct buf found = BUF_INIT(KIB);
    int r = ask(db, "SELECT 1 FROM keys LIMIT 1", &found, reterr);
    if (r < 0)
        return r;
    if (found.len > 0)
        return remember_keys(db, reterr);
    if (!db->is_doubted || db->set_aside)
        return 0;
    if (ftruncate(db->lock_fd, 0) < 0 || lseek(db->lock_fd, 0, SEEK_SET) < 0)
        return err_set_errno(reterr, errno, "'%s.lock'", db->path);
    db->had_keys = false;
    return 0;
}

int
database_open(const char *path, struct database **ret_db, struct err *reterr)
{
    int r = sqlite_load(reterr);
    if (r < 0)
        return r;
    struct database *db = mem_new(struct database);
    _cleanup_free_ char *dir = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
    struct err err = {0};
    db->path = mem_strdup(path);
    db->lock_fd = -1;
    r = file_make_dirs(dir, 0700, &err);
    if (r == 0)
        r = lock(db, &err);
    if (r == 0)
        r = open_file(db, &err);
    if (r < 0 && err.id == ERR_KEYS_DAMAGED)
        r = set_aside(db, &err);
    if (r == 0)
        r = settle_doubt(db, &err);
    if (r == 0)
        r = take_boot(db, &err);
    if (r == 0) {
        *ret_db = db;
        return 0;
    }
    database_close(db);
    if (reterr)
        *reterr = err;
    return r;
}

void
database_close(struct database *db)
{
    if (!db)
        return;
    close_file(db);
    cleanup_close(&db->lock_fd);
    free(db->set_aside);
    free(db->path);
    free(db);
}

const char *
database_set_aside(const struct database *db)
{
    return db->set_aside;
}

bool
database_had_keys(const struct database *db)
{
    return db->had_keys;
}

/* ---- keys ---- */

static uint64_t
column_u64(sqlite3_stmt *s, int *at)
{
    int64_t n = sqlite.column_int64(s, (*at)++);
    return n < 0 ? 0 : (uint64_t)n;
}

static void
column_text(sqlite3_stmt *s, int *at, char *to, size_t room)
{
    const unsigned char *text = sqlite.column_text(s, (*at)++);
    (void)snprintf(to, room, "%s", text ? (const char *)text : "");
}

static void
read_key(sqlite3_stmt *s, struct key *key, struct allowance_saved *saved)
{
    int at = 0;
    *key = (struct key){.id = column_u64(s, &at)};
    column_text(s, &at, key->name, sizeof(key->name));
    if (sqlite.column_bytes(s, at) == HASH_SHA256_BYTES)
        memcpy(key->hash, sqlite.column_blob(s, at), HASH_SHA256_BYTES);
    at++;
    column_text(s, &at, key->hint, sizeof(key->hint));
    const unsigned char *models = sqlite.column_text(s, at++);
    key->models = models ? mem_strdup((const char *)models) : NULL;
    assert(at == KEY_COLUMNS_BEFORE);
    for (unsigned i = 0; i < ALLOWANCE_LIMITS; i++)
        key->limits.of[i] = column_u64(s, &at);
    key->created_us = column_u64(s, &at);
    key->expires_us = column_u64(s, &at);
    key->revoked_us = column_u64(s, &at);
    key->has_priority = column_u64(s, &at);
    at++; /* debits.key */
    for (unsigned p = 0; p < ALLOWANCE_PERIODS; p++) {
        saved->periods[p].number = column_u64(s, &at);
        saved->periods[p].tokens = column_u64(s, &at);
    }
    saved->minute_us = column_u64(s, &at);
    saved->minute_requests = column_u64(s, &at);
    saved->minute_tokens = column_u64(s, &at);
}

int
database_load(struct database *db,
              int (*each)(const struct key *key, const struct allowance_saved *saved, void *arg),
              void *arg, struct err *reterr)
{
    static const char sql[] = "SELECT id, name, hash, hint, models, "
#define LIMIT(name, option, member, help) member ", "
#include "gateway/limit.def"
#undef LIMIT
                              "created_us, expires_us, revoked_us, priority, " DEBIT_COLUMNS
                              " FROM keys LEFT JOIN debits ON debits.key = keys.id"
                              " ORDER BY keys.id";
    sqlite3_stmt *s = NULL;
    int r = sqlite.prepare_v2(db->sql, sql, -1, &s, NULL), e = 0;
    while (r == SQLITE_OK || r == SQLITE_ROW) {
        r = sqlite.step(s);
        if (r != SQLITE_ROW)
            break;
        struct allowance_saved saved;
        struct key key;
        read_key(s, &key, &saved);
        e = each(&key, &saved, arg);
        key_finish(&key);
        if (e < 0)
            break;
    }
    if (e == 0 && r != SQLITE_DONE)
        e = explain(db->sql, db->path, reterr);
    (void)sqlite.finalize(s);
    return e;
}

int
database_put_key(struct database *db, const struct key *key, struct err *reterr)
{
    struct binding b = bind(db, PUT_KEY);
    int r = remember_keys(db, reterr);
    if (r < 0)
        return r;
    bind_u64(&b, key->id);
    bind_text(&b, key->name);
    (void)sqlite.bind_blob(b.statement, ++b.at, key->hash, sizeof(key->hash), SQLITE_STATIC);
    bind_text(&b, key->hint);
    bind_text(&b, key->models);
    for (unsigned i = 0; i < ALLOWANCE_LIMITS; i++)
        bind_u64(&b, key->limits.of[i]);
    bind_u64(&b, key->created_us);
    bind_u64(&b, key->expires_us);
    bind_u64(&b, key->revoked_us);
    bind_u64(&b, key->has_priority);
    return carry_out(&b, reterr);
}

int
database_put_allowance(struct database *db, uint64_t key, const struct allowance_saved *saved,
                       struct err *reterr)
{
    struct binding b = bind(db, PUT_ALLOWANCE);
    bind_u64(&b, key);
    for (unsigned p = 0; p < ALLOWANCE_PERIODS; p++) {
        bind_u64(&b, saved->periods[p].number);
        bind_u64(&b, saved->periods[p].tokens);
    }
    bind_u64(&b, saved->minute_us);
    bind_u64(&b, saved->minute_requests);
    bind_u64(&b, saved->minute_tokens);
    return carry_out(&b, reterr);
}

/* ---- the ledger ---- */

int
database_begin(struct database *db, struct err *reterr)
{
    return run(db, "BEGIN IMMEDIATE", reterr);
}

int
database_commit(struct database *db, struct err *reterr)
{
    return run(db, "COMMIT", reterr);
}

void
database_give_up(struct database *db)
{
    if (!sqlite.get_autocommit(db->sql))
        (void)sqlite.exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
}

int
database_add_row(struct database *db, const struct ledger_row *row, struct err *reterr)
{
    struct binding b = bind(db, ADD_ROW);
    bind_u64(&b, row->time_us);
    bind_u64(&b, row->key);
    bind_text(&b, row->model);
    bind_text(&b, row->backend);
    bind_u64(&b, row->status);
    bind_u64(&b, row->end);
    bind_u64(&b, row->tokens_in);
    bind_u64(&b, row->tokens_out);
    bind_u64(&b, row->tokens_cached);
    bind_u64(&b, row->is_estimate);
    bind_u64(&b, row->queue_us);
    bind_u64(&b, row->first_us);
    bind_u64(&b, row->duration_us);
    return carry_out(&b, reterr);
}

bool
database_prune(struct database *db, uint64_t before_us, uint64_t rows_max)
{
    struct binding b = bind(db, PRUNE);
    bind_u64(&b, before_us);
    bind_u64(&b, rows_max);
    return carry_out(&b, NULL) == 0 && (uint64_t)sqlite.changes(db->sql) == rows_max;
}

/* ---- what was used ---- */

static const char *const by_words[SPENT_BYS] = {"key", "model", "day"};

int
spent_by_parse(const char *word, enum spent_by *ret_by, struct err *reterr)
{
    for (unsigned i = 0; i < SPENT_BYS; i++) {
        if (text_eq(word, by_words[i])) {
            *ret_by = (enum spent_by)i;
            return 0;
        }
    }
    return err_set(reterr, ERR_USAGE, "usage is told by key, model or day, and not by '%.40s'",
                   word);
}

void
spent_print(const struct spent_sum *sum, struct json_writer *w)
{
    json_open_map(w, NULL);
    json_str(w, "name", sum->name);
    json_u64(w, "requests", sum->requests);
    json_u64(w, "refused", sum->refused);
    json_u64(w, "tokens_in", sum->tokens_in);
    json_u64(w, "tokens_out", sum->tokens_out);
    json_u64(w, "tokens_cached", sum->tokens_cached);
    json_u64(w, "queue_us", sum->queue_us);
    json_u64(w, "duration_us", sum->duration_us);
    json_close_map(w);
}

/* total() is exact to 2^53, and never fails: sum() does, of rows that an
 * engine told absurd counts for. */
static int
print_query(enum spent_by by, char *sql, size_t room)
{
    static const char *const names[SPENT_BYS] = {
        "coalesce((SELECT name FROM keys WHERE keys.id = ledger.key), '')",
        "model",
        "strftime('%Y-%m-%d', time_us / 1000000, 'unixepoch')",
    };
    return snprintf(
        sql, room,
        "SELECT %s AS name, count(*), sum(end = %d), total(tokens_in), total(tokens_out),"
        " total(tokens_cached), total(queue_us), total(duration_us) FROM ledger"
        " WHERE time_us >= ? GROUP BY name ORDER BY %s LIMIT %d",
        names[by], LEDGER_REFUSED,
        by == SPENT_BY_DAY ? "name DESC" : "total(tokens_in + tokens_out) DESC, name",
        SPENT_SUMS_MAX);
}

static int
read_sums(sqlite3_stmt *s, void (*each)(const struct spent_sum *sum, void *arg), void *arg)
{
    int r;
    while ((r = sqlite.step(s)) == SQLITE_ROW) {
        int at = 1;
        const struct spent_sum sum = {
            .name = (const char *)sqlite.column_text(s, 0),
            .requests = column_u64(s, &at),
            .refused = column_u64(s, &at),
            .tokens_in = column_u64(s, &at),
            .tokens_out = column_u64(s, &at),
            .tokens_cached = column_u64(s, &at),
            .queue_us = column_u64(s, &at),
            .duration_us = column_u64(s, &at),
        };
        each(&sum, arg);
    }
    return r;
}

int
spent_read(const char *path, enum spent_by by, uint64_t since_us,
           void (*each)(const struct spent_sum *sum, void *arg), void *arg, struct err *reterr)
{
    sqlite3_stmt *s = NULL;
    sqlite3 *sql = NULL;
    char query[512];
    int r = sqlite_load(reterr);
    if (r < 0)
        return r;
    (void)print_query(by, query, sizeof(query));
    r = sqlite.open_v2(path, &sql, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    /* Each row is read once: else each thread that reads them is left with 2 MB of heap. */
    if (r == SQLITE_OK)
        (void)sqlite.exec(sql, "PRAGMA cache_size=-128", NULL, NULL, NULL);
    if (r == SQLITE_OK)
        (void)sqlite.busy_timeout(sql, BUSY_MS);
    if (r == SQLITE_OK)
        r = sqlite.prepare_v2(sql, query, -1, &s, NULL);
    if (r == SQLITE_OK)
        r = sqlite.bind_int64(s, 1, (int64_t)MIN(since_us, (uint64_t)INT64_MAX));
    if (r == SQLITE_OK)
        r = read_sums(s, each, arg);
    r = r == SQLITE_DONE ? 0 : explain(sql, path, reterr);
    (void)sqlite.finalize(s);
    (void)sqlite.close(sql);
    return r;
}
