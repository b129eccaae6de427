#include "gateway/database.h"

#include "base/mem.h"
#include "crash.h"
#include "gateway/sqlite.h"
#include "sys/files.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static char path[512];

static const char *
make_path(void)
{
    (void)snprintf(path, sizeof(path), "%s/gateway/keys.db", tap_dir());
    return path;
}

static struct key
make_key(uint64_t id, const char *name)
{
    struct key key = {.id = id, .created_us = 5};
    key_token token;
    (void)snprintf(key.name, sizeof(key.name), "%s", name);
    CHECK_EQ(key_draw_token(&key, token), 0);
    return key;
}

/* What is in it, as the tests want to know it. */
struct found {
    size_t keys;
    struct key key;
    struct allowance_saved saved;
};

static int
on_key(const struct key *key, const struct allowance_saved *saved, void *arg)
{
    struct found *found = arg;
    key_finish(&found->key);
    *found = (struct found){found->keys + 1, key_copy(key), *saved};
    return 0;
}

static bool
open_it(struct database **db, struct found *found)
{
    struct err err = {0};
    *found = (struct found){0};
    if (database_open(path, db, &err) < 0) {
        tap_fail(__FILE__, __LINE__, "%s", err.what);
        return false;
    }
    CHECK_EQ(database_load(*db, on_key, found, NULL), 0);
    return true;
}

static int
put(struct database *db, const struct key *key, const struct allowance_saved *saved)
{
    int r = database_begin(db, NULL);
    if (r == 0 && key)
        r = database_put_key(db, key, NULL);
    if (r == 0 && saved)
        r = database_put_allowance(db, 1, saved, NULL);
    return r == 0 ? database_commit(db, NULL) : r;
}

TEST(what_is_put_is_there_again)
{
    struct key key = make_key(1, "alice");
    struct allowance_saved saved = {.minute_us = 1, .minute_requests = ALLOWANCE_MAX};
    struct database *db;
    struct found found;
    saved.periods[ALLOWANCE_MONTH].number = 1522;
    saved.periods[ALLOWANCE_MONTH].tokens = 99;
    key.limits.of[ALLOWANCE_TOKENS_DAY] = 1000;
    key.models = mem_strdup("phi3\n");
    key.has_priority = true;
    (void)make_path();
    REQUIRE(open_it(&db, &found));
    CHECK(!database_had_keys(db));
    CHECK_EQ(put(db, &key, &saved), 0);
    database_close(db);
    REQUIRE(open_it(&db, &found));
    CHECK(database_had_keys(db));
    CHECK(!database_set_aside(db));
    CHECK_EQ(found.keys, 1);
    CHECK_STR(found.key.name, "alice");
    CHECK_STR(found.key.hint, key.hint);
    CHECK_STR(found.key.models, "phi3\n");
    CHECK(memcmp(found.key.hash, key.hash, sizeof(key.hash)) == 0);
    CHECK_EQ(found.key.limits.of[ALLOWANCE_TOKENS_DAY], 1000);
    CHECK_EQ(found.key.created_us, 5);
    CHECK(found.key.has_priority);
    CHECK(memcmp(&found.saved, &saved, sizeof(saved)) == 0);
    database_close(db);
    key_finish(&found.key);
    key_finish(&key);
}

TEST(one_process_at_a_time_has_it)
{
    struct database *db, *other;
    struct found found;
    struct err err;
    (void)make_path();
    REQUIRE(open_it(&db, &found));
    CHECK(database_open(path, &other, &err) < 0);
    CHECK_EQ(err.id, ERR_KEYS_BUSY);
    database_close(db);
}

static void
clear_folder(void)
{
    _cleanup_free_ char *folder = mem_printf("%s/gateway", tap_dir());
    REQUIRE(file_remove_tree(folder, NULL) == 0);
}

/* ---- other releases ---- */

static void
tell_sqlite(const char *sql)
{
    sqlite3 *db = NULL;
    CHECK_EQ(sqlite.open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    CHECK_EQ(sqlite.exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    CHECK_EQ(sqlite.close(db), SQLITE_OK);
}

TEST(a_file_of_an_earlier_release_is_brought_forward)
{
    struct key key = make_key(1, "alice");
    struct allowance_saved saved = {.minute_us = 1};
    struct database *db;
    struct found found;
    key.limits.of[ALLOWANCE_TOKENS_DAY] = 1000;
    (void)make_path();
    REQUIRE(open_it(&db, &found));
    CHECK_EQ(put(db, &key, &saved), 0);
    database_close(db);
    tell_sqlite("ALTER TABLE keys DROP COLUMN priority; PRAGMA user_version = 1");
    REQUIRE(open_it(&db, &found));
    CHECK_EQ(found.keys, 1);
    CHECK_EQ(found.key.limits.of[ALLOWANCE_TOKENS_DAY], 1000);
    CHECK_EQ(found.key.created_us, 5);
    CHECK_EQ(found.saved.minute_us, 1);
    CHECK(!found.key.has_priority);
    key.has_priority = true;
    CHECK_EQ(put(db, &key, NULL), 0);
    database_close(db);
    REQUIRE(open_it(&db, &found));
    CHECK(found.key.has_priority);
    CHECK(!database_set_aside(db));
    database_close(db);
}

#define FORM_1                                                                              \
    "PRAGMA application_id = 1129597745; PRAGMA user_version = 1;"                          \
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"                   \
    "CREATE TABLE keys(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"                  \
    " hash BLOB NOT NULL UNIQUE, hint TEXT NOT NULL, models TEXT,"                          \
    " requests_per_minute INTEGER NOT NULL, tokens_per_minute INTEGER NOT NULL,"            \
    " concurrent INTEGER NOT NULL, tokens_per_day INTEGER NOT NULL,"                        \
    " tokens_per_month INTEGER NOT NULL, created_us INTEGER NOT NULL,"                      \
    " expires_us INTEGER NOT NULL, revoked_us INTEGER NOT NULL);"                           \
    "CREATE TABLE debits(key INTEGER PRIMARY KEY, day INTEGER NOT NULL,"                    \
    " day_tokens INTEGER NOT NULL, month INTEGER NOT NULL, month_tokens INTEGER NOT NULL,"  \
    " minute_us INTEGER NOT NULL, minute_requests INTEGER NOT NULL,"                        \
    " minute_tokens INTEGER NOT NULL);"                                                     \
    "CREATE TABLE ledger(time_us INTEGER NOT NULL, key INTEGER NOT NULL,"                   \
    " model TEXT NOT NULL, backend TEXT NOT NULL, status INTEGER NOT NULL,"                 \
    " end INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,"       \
    " tokens_cached INTEGER NOT NULL, is_estimate INTEGER NOT NULL,"                        \
    " queue_us INTEGER NOT NULL, first_us INTEGER NOT NULL, duration_us INTEGER NOT NULL);" \
    "CREATE INDEX ledger_time ON ledger(time_us);"                                          \
    "INSERT INTO keys VALUES(1, 'alice', zeroblob(32), 'ctdl_', NULL, 1, 2, 3, 4, 5, 6, 7, 8);"
#define FORM_2                                                                \
    FORM_1 "ALTER TABLE keys ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;" \
           "UPDATE keys SET priority = 1; PRAGMA user_version = 2;"

/* As they were written once; and one whose columns a later form has put elsewhere. */
TEST(files_of_all_forms_are_read_and_written)
{
    static const char *const forms[] = {
        FORM_1, FORM_2,
        FORM_2 "ALTER TABLE keys RENAME COLUMN concurrent TO old;"
               "ALTER TABLE keys ADD COLUMN concurrent INTEGER NOT NULL DEFAULT 3;"
               "ALTER TABLE keys DROP COLUMN old;"};
    (void)make_path();
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        struct database *db;
        struct found found;
        tap_note("form %zu", i + 1);
        clear_folder();
        REQUIRE(open_it(&db, &found));
        database_close(db);
        CHECK_EQ(truncate(path, 0), 0);
        tell_sqlite(forms[i]);
        for (int turn = 0; turn < 2; turn++) {
            REQUIRE(open_it(&db, &found));
            CHECK_EQ(found.keys, 1);
            for (unsigned k = 0; k < ALLOWANCE_LIMITS; k++)
                CHECK_EQ(found.key.limits.of[k], k + 1);
            CHECK_EQ(found.key.created_us, 6);
            CHECK_EQ(found.key.revoked_us, 8);
            CHECK_EQ(found.key.has_priority, i > 0);
            CHECK_EQ(put(db, &found.key, NULL), 0);
            database_close(db);
            key_finish(&found.key);
        }
    }
}

TEST(a_file_of_a_later_release_is_left_as_it_is)
{
    struct database *db;
    struct found found;
    struct err err;
    (void)make_path();
    REQUIRE(open_it(&db, &found));
    database_close(db);
    tell_sqlite("PRAGMA user_version = 99");
    CHECK(database_open(path, &db, &err) < 0);
    CHECK_EQ(err.id, ERR_KEYS_UNWRITTEN);
    CHECK(strstr(err.what, "has the form 99"));
    tell_sqlite("SELECT 1 FROM keys");
}

/* ---- damage ---- */

static void
spoil(size_t at, size_t len)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char bytes[4096];
    memset(bytes, 0xa5, sizeof(bytes));
    CHECK_EQ(pwrite(fd, bytes, len, (off_t)at), len);
    (void)close(fd);
}

static const struct damage {
    const char *what;
    size_t at, len;
    bool is_empty, is_gone, lacks_lock;
    size_t kept; /* keys */
} damages[] = {
    {.what = "its head", .len = 100},
    {.what = "its tables", .at = 4096, .len = 4096},
    {.what = "all of a page but its head", .at = 2 * 4096 + 8, .len = 4000},
    {.what = "everything", .is_empty = true},
    {.what = "the file", .is_gone = true},
    {.what = "the lock", .lacks_lock = true, .kept = 1},
    {.what = "its head and the lock", .len = 100, .lacks_lock = true},
};

static void
do_damage(const struct damage *d)
{
    _cleanup_free_ char *lock = mem_printf("%s.lock", path);
    if (d->lacks_lock)
        CHECK_EQ(unlink(lock), 0);
    if (d->is_gone)
        CHECK_EQ(unlink(path), 0);
    else if (d->is_empty)
        CHECK_EQ(truncate(path, 0), 0);
    else if (d->len > 0)
        spoil(d->at, d->len);
}

/* Whatever is lost: nobody gets in because of that. */
TEST(keys_that_were_lost_are_still_needed)
{
    (void)make_path();
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        struct key key = make_key(1, "alice");
        struct database *db;
        struct found found;
        tap_note("%s", damages[i].what);
        clear_folder();
        REQUIRE(open_it(&db, &found));
        CHECK(!database_had_keys(db));
        CHECK_EQ(put(db, &key, NULL), 0);
        database_close(db);
        do_damage(&damages[i]);
        key_finish(&found.key);
        REQUIRE(open_it(&db, &found));
        CHECK_EQ(found.keys, damages[i].kept);
        CHECK(database_had_keys(db));
        bool is_kept = damages[i].len > 0;
        CHECK_EQ(database_set_aside(db) != NULL, is_kept);
        CHECK(!is_kept || access(database_set_aside(db), F_OK) == 0);
        CHECK_EQ(put(db, &key, NULL), 0);
        database_close(db);
        key_finish(&found.key);
    }
}

/* One that never had a key does not come to need one. */
TEST(a_lost_lock_alone_makes_no_key_needed)
{
    (void)make_path();
    _cleanup_free_ char *lock = mem_printf("%s.lock", path);
    struct database *db;
    struct found found;
    for (int i = 0; i < 3; i++) {
        REQUIRE(open_it(&db, &found));
        CHECK(!database_had_keys(db));
        database_close(db);
        CHECK(i == 1 || unlink(lock) == 0);
    }
}

/* ---- a stop at every write ---- */

/* A file of SQLite's whose changes are told to the test before they happen. */
struct told_file {
    sqlite3_file file;
    sqlite3_file *real;
};

static sqlite3_vfs told_vfs;
static sqlite3_vfs *real_vfs;
static sqlite3_io_methods told_methods;

static sqlite3_file *
real_of(sqlite3_file *file)
{
    return container_of(file, struct told_file, file)->real;
}

static int
told_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 at)
{
    sqlite3_file *real = real_of(file);
    size_t piece = (size_t)len;
    if (fault_before && fault_before("write", &piece) < 0)
        return SQLITE_IOERR_WRITE;
    int r = real->pMethods->xWrite(real, bytes, (int)piece, at);
    if (piece < (size_t)len) /* and dies with the next call, whatever it is */
        _exit(CRASHED);
    return r;
}

static int
told_truncate(sqlite3_file *file, sqlite3_int64 len)
{
    sqlite3_file *real = real_of(file);
    return fault_point("ftruncate") < 0 ? SQLITE_IOERR_TRUNCATE
                                        : real->pMethods->xTruncate(real, len);
}

static int
told_sync(sqlite3_file *file, int flags)
{
    sqlite3_file *real = real_of(file);
    return fault_point("fsync") < 0 ? SQLITE_IOERR_FSYNC : real->pMethods->xSync(real, flags);
}

static int
told_delete(sqlite3_vfs *vfs unused_arg, const char *name, int sync)
{
    return fault_point("unlink") < 0 ? SQLITE_IOERR_DELETE
                                     : real_vfs->xDelete(real_vfs, name, sync);
}

/* The rest goes through as it is. */
#define THROUGH(ret, name, params, ...)                   \
    static ret through_##name params                      \
    {                                                     \
        sqlite3_file *real = real_of(file);               \
        return real->pMethods->name(real, ##__VA_ARGS__); \
    }
THROUGH(int, xRead, (sqlite3_file * file, void *to, int len, sqlite3_int64 at), to, len, at)
THROUGH(int, xFileSize, (sqlite3_file * file, sqlite3_int64 *size), size)
THROUGH(int, xLock, (sqlite3_file * file, int level), level)
THROUGH(int, xUnlock, (sqlite3_file * file, int level), level)
THROUGH(int, xCheckReservedLock, (sqlite3_file * file, int *out), out)
THROUGH(int, xFileControl, (sqlite3_file * file, int op, void *arg), op, arg)
THROUGH(int, xSectorSize, (sqlite3_file * file))
THROUGH(int, xDeviceCharacteristics, (sqlite3_file * file))
THROUGH(int, xShmMap, (sqlite3_file * file, int page, int size, int extend, void volatile **to),
        page, size, extend, to)
THROUGH(int, xShmLock, (sqlite3_file * file, int at, int n, int flags), at, n, flags)
THROUGH(void, xShmBarrier, (sqlite3_file * file))
THROUGH(int, xShmUnmap, (sqlite3_file * file, int remove), remove)

static int
told_close(sqlite3_file *file)
{
    sqlite3_file *real = real_of(file);
    int r = real->pMethods ? real->pMethods->xClose(real) : SQLITE_OK;
    free(real);
    return r;
}

static int
told_open(sqlite3_vfs *vfs unused_arg, const char *name, sqlite3_file *file, int flags,
          int *ret_flags)
{
    struct told_file *told = container_of(file, struct told_file, file);
    told->real = mem_alloc((size_t)real_vfs->szOsFile);
    file->pMethods = NULL;
    int r = real_vfs->xOpen(real_vfs, name, told->real, flags, ret_flags);
    if (r == SQLITE_OK)
        file->pMethods = &told_methods;
    else
        free(told->real);
    return r;
}

static void
open_told_vfs(void)
{
    if (real_vfs)
        return;
    real_vfs = sqlite3_vfs_find(NULL);
    told_methods = (sqlite3_io_methods){
        .iVersion = 2,
        .xClose = told_close,
        .xRead = through_xRead,
        .xWrite = told_write,
        .xTruncate = told_truncate,
        .xSync = told_sync,
        .xFileSize = through_xFileSize,
        .xLock = through_xLock,
        .xUnlock = through_xUnlock,
        .xCheckReservedLock = through_xCheckReservedLock,
        .xFileControl = through_xFileControl,
        .xSectorSize = through_xSectorSize,
        .xDeviceCharacteristics = through_xDeviceCharacteristics,
        .xShmMap = through_xShmMap,
        .xShmLock = through_xShmLock,
        .xShmBarrier = through_xShmBarrier,
        .xShmUnmap = through_xShmUnmap,
    };
    told_vfs = *real_vfs;
    told_vfs.zName = "told";
    told_vfs.szOsFile = sizeof(struct told_file);
    told_vfs.xOpen = told_open;
    told_vfs.xDelete = told_delete;
    CHECK_EQ(sqlite3_vfs_register(&told_vfs, 1), SQLITE_OK);
}

#define COMMITS 2

/* What the one that dies was told to be durable. */
struct acked {
    unsigned keys, commits;
};

static void
add_row(struct database *db, unsigned i)
{
    struct ledger_row row = {.time_us = i + 1, .key = 1, .status = 200, .tokens_out = 10};
    CHECK_EQ(database_add_row(db, &row, NULL), 0);
}

/* Each commit has a debit of ten tokens and the row of a request that took them. */
static void
live(void *arg)
{
    struct acked *acked = arg;
    struct key key = make_key(1, "alice");
    struct database *db;
    if (database_open(path, &db, NULL) < 0)
        return;
    acked->keys = put(db, &key, NULL) == 0;
    for (unsigned i = 0; i < COMMITS; i++) {
        struct allowance_saved saved = {0};
        saved.periods[ALLOWANCE_DAY].tokens = 10 * (i + 1);
        CHECK_EQ(database_begin(db, NULL), 0);
        add_row(db, i);
        CHECK_EQ(database_put_allowance(db, 1, &saved, NULL), 0);
        acked->commits += database_commit(db, NULL) == 0;
    }
    database_close(db);
}

static void
on_sum(const struct spent_sum *sum, void *arg)
{
    *(uint64_t *)arg += sum->tokens_out;
}

static void
check_after(const struct acked *acked)
{
    struct database *db;
    struct found found;
    uint64_t spent = 0;
    if (!open_it(&db, &found))
        return;
    uint64_t debited = found.saved.periods[ALLOWANCE_DAY].tokens;
    CHECK_EQ(spent_read(path, SPENT_BY_KEY, 0, on_sum, &spent, NULL), 0);
    CHECK(!database_set_aside(db));
    CHECK(found.keys >= acked->keys);
    CHECK(database_had_keys(db) || found.keys == 0);
    CHECK_EQ(spent, debited);
    CHECK(debited == 10 * acked->commits || debited == 10 * (acked->commits + 1));
    database_close(db);
    key_finish(&found.key);
}

static void
stop_everywhere(bool torn)
{
    struct acked *acked =
        mmap(NULL, sizeof(*acked), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool crashed = true;
    unsigned n = 1;
    REQUIRE(acked != MAP_FAILED);
    for (; crashed; n++) {
        _cleanup_free_ char *dir = mem_printf("%s/gateway", tap_dir());
        *acked = (struct acked){0};
        tap_note("call %u", n);
        REQUIRE(file_remove_tree(dir, NULL) == 0);
        crashed = crash_at(n, torn, live, acked);
        check_after(acked);
    }
    CHECK_EQ(acked->commits, COMMITS);
    CHECK(n > 20);
    (void)munmap(acked, sizeof(*acked));
}

TEST(a_stop_at_any_write_loses_nothing_that_was_acknowledged)
{
    (void)make_path();
    open_told_vfs();
    stop_everywhere(false);
}

TEST(nor_does_one_within_a_write)
{
    (void)make_path();
    open_told_vfs();
    stop_everywhere(true);
}

/* ---- the ledger ---- */

struct sums {
    char names[4][64];
    uint64_t tokens[4];
    size_t count;
};

static void
take_sum(const struct spent_sum *sum, void *arg)
{
    struct sums *sums = arg;
    if (sums->count == ARRAY_SIZE(sums->names))
        return;
    (void)snprintf(sums->names[sums->count], sizeof(sums->names[0]), "%s", sum->name);
    sums->tokens[sums->count++] = sum->tokens_in + sum->tokens_out;
}

#define DAY_US (UINT64_C(86400) * 1000000)

TEST(the_ledger_sums_by_key_model_and_day_and_forgets_in_time)
{
    static const struct ledger_row rows[] = {
        {.time_us = DAY_US, .key = 1, .model = "small", .tokens_in = 1, .tokens_out = 2},
        {.time_us = DAY_US + 1, .key = 1, .model = "large", .tokens_in = 10, .tokens_out = 20},
        {.time_us = 2 * DAY_US, .model = "small", .tokens_in = 100, .tokens_out = 200},
    };
    struct key key = make_key(1, "alice");
    struct database *db;
    struct found found;
    (void)make_path();
    REQUIRE(open_it(&db, &found));
    CHECK_EQ(put(db, &key, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        CHECK_EQ(database_add_row(db, &rows[i], NULL), 0);
    struct sums keys = {0}, models = {0}, days = {0}, late = {0};
    CHECK_EQ(spent_read(path, SPENT_BY_KEY, 0, take_sum, &keys, NULL), 0);
    CHECK_STR(keys.names[0], "");
    CHECK_STR(keys.names[1], "alice");
    CHECK_EQ(keys.tokens[1], 33);
    CHECK_EQ(spent_read(path, SPENT_BY_MODEL, 0, take_sum, &models, NULL), 0);
    CHECK_STR(models.names[0], "small");
    CHECK_EQ(models.tokens[0], 303);
    CHECK(!database_prune(db, DAY_US + 1, 10));
    CHECK_EQ(spent_read(path, SPENT_BY_DAY, 0, take_sum, &days, NULL), 0);
    CHECK_STR(days.names[0], "1970-01-03");
    CHECK_STR(days.names[1], "1970-01-02");
    CHECK_EQ(days.tokens[1], 30);
    CHECK_EQ(spent_read(path, SPENT_BY_DAY, 2 * DAY_US, take_sum, &late, NULL), 0);
    CHECK_EQ(late.count, 1);
    database_close(db);
}

/* As an engine may tell, and an earlier release wrote down. */
TEST(absurd_counts_are_summed_all_the_same)
{
    static const struct ledger_row row = {
        .time_us = DAY_US, .model = "small", .tokens_in = INT64_MAX, .tokens_out = INT64_MAX};
    struct database *db;
    struct found found;
    (void)make_path();
    REQUIRE(open_it(&db, &found));
    for (int i = 0; i < 2; i++)
        CHECK_EQ(database_add_row(db, &row, NULL), 0);
    for (unsigned by = 0; by < SPENT_BYS; by++) {
        struct sums sums = {0};
        CHECK_EQ(spent_read(path, (enum spent_by)by, 0, take_sum, &sums, NULL), 0);
        CHECK_EQ(sums.count, 1);
    }
    CHECK(database_prune(db, DAY_US + 1, 1));
    CHECK(database_prune(db, DAY_US + 1, 1));
    CHECK(!database_prune(db, DAY_US + 1, 1));
    database_close(db);
}
