#include "base/mem.h"
#include "base/text.h"
#include "gateway/database.h"
#include "gateway/sqlite.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static long long
ask(const char *path, const char *query)
{
    sqlite3 *sql = NULL;
    sqlite3_stmt *s = NULL;
    long long n = -1;
    if (sqlite.open_v2(path, &sql, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite.prepare_v2(sql, query, -1, &s, NULL) == SQLITE_OK && sqlite.step(s) == SQLITE_ROW)
        n = sqlite.column_int64(s, 0);
    (void)sqlite.finalize(s);
    (void)sqlite.close(sql);
    return n;
}

#define ROWS_MIN 600

struct writing {
    struct database *db;
    bool enough;
};

/* Two rows a commit: a copy that has one of them is none of any moment. */
static bool
write_two(struct database *db)
{
    const struct ledger_row row = {.model = "phi3", .backend = "phi3", .time_us = 1};
    return database_begin(db, NULL) == 0 && database_add_row(db, &row, NULL) == 0 &&
           database_add_row(db, &row, NULL) == 0 && database_commit(db, NULL) == 0;
}

static void *
write_rows(void *arg)
{
    struct writing *w = arg;
    while (!__atomic_load_n(&w->enough, __ATOMIC_RELAXED))
        if (!write_two(w->db))
            return w;
    return NULL;
}

TEST(a_database_is_copied_while_it_is_written)
{
    struct writing w = {0};
    struct err err = {0};
    pthread_t thread;
    void *failed;
    _cleanup_free_ char *from = mem_printf("%s/keys.db", tap_dir());
    REQUIRE(database_open(from, &w.db, NULL) == 0);
    for (int i = 0; i < ROWS_MIN / 2; i++)
        CHECK(write_two(w.db));
    REQUIRE(pthread_create(&thread, NULL, write_rows, &w) == 0);
    for (int i = 0; i < 3; i++) {
        _cleanup_free_ char *to = mem_printf("%s/copy.%d", tap_dir(), i);
        CHECK_EQ(database_copy(from, to, &err), 0);
        CHECK_STR(err.what, "");
        long long rows = ask(to, "SELECT count(*) FROM ledger");
        CHECK(rows >= ROWS_MIN && rows % 2 == 0);
        CHECK_EQ(
            ask(to, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"), 1);
    }
    __atomic_store_n(&w.enough, true, __ATOMIC_RELAXED);
    REQUIRE(pthread_join(thread, &failed) == 0);
    CHECK(!failed);
    database_close(w.db);
}

TEST(what_is_no_database_is_not_copied)
{
    struct err err;
    _cleanup_free_ char *from = mem_printf("%s/spoilt.db", tap_dir());
    _cleanup_free_ char *to = mem_printf("%s/spoilt.copy", tap_dir());
    _cleanup_close_ int fd = open(from, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    char noise[8192];
    memset(noise, 'x', sizeof(noise));
    CHECK_EQ(database_copy("/nothing/there", to, &err), -ENOENT);
    REQUIRE(write(fd, noise, sizeof(noise)) == sizeof(noise));
    CHECK(database_copy(from, to, &err) < 0);
    CHECK_EQ(err.id, ERR_KEYS_DAMAGED);
    CHECK(strstr(err.what, "spoilt.db"));
}
