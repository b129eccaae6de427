#pragma once

/* Keys, what is debited of them, and the ledger, in one file of SQLite (WAL, each commit on the
 * disk when it returns). For one process at a time, which has it locked; what blocks here, blocks.
 *
 * A file that is damaged is set aside, as PATH.damaged-TIME, and another begun. That one knows that
 * there were keys, so that nobody is let in who was not before: until a new key is made all are
 * refused. */

#include "gateway/key.h"
#include "gateway/ledger.h"

struct database;

/* Makes it where it is not there. KEYS_BUSY: another process has it. */
int database_open(const char *path, struct database **ret_db, struct err *reterr) must_check;
void database_close(struct database *db);
const char *database_set_aside(const struct database *db); /* where to; NULL: it was whole */
bool database_had_keys(const struct database *db);         /* a key is needed from then on */

/* Every key, revoked ones too, with what is debited of it; each(): 0, or an error that ends it. The
 * key is lent; saved is as allowance_open() takes it. */
int database_load(struct database *db,
                  int (*each)(const struct key *key, const struct allowance_saved *saved,
                              void *arg),
                  void *arg, struct err *reterr) must_check;

/* What is put and added between these two is there altogether after the second, or not at all.
 * After an error it is to be given up. */
int database_begin(struct database *db, struct err *reterr) must_check;
int database_commit(struct database *db, struct err *reterr) must_check;
void database_give_up(struct database *db);

int database_put_key(struct database *db, const struct key *key, struct err *reterr) must_check;
int database_put_allowance(struct database *db, uint64_t key, const struct allowance_saved *saved,
                           struct err *reterr) must_check;
int database_add_row(struct database *db, const struct ledger_row *row, struct err *reterr)
    must_check;
/* Removes up to so many of the rows that are older; true: there may be more. */
bool database_prune(struct database *db, uint64_t before_us, uint64_t rows_max);

/* ---- what was used ---- */

enum spent_by { SPENT_BY_KEY, SPENT_BY_MODEL, SPENT_BY_DAY, SPENT_BYS };
int spent_by_parse(const char *word, enum spent_by *ret_by, struct err *reterr) must_check;

struct spent_sum {
    const char *name; /* of the key, the model, or the day as 2026-11-21, in UTC; "": none */
    uint64_t requests, refused;
    uint64_t tokens_in, tokens_out, tokens_cached;
    uint64_t queue_us, duration_us; /* of all together */
};
void spent_print(const struct spent_sum *sum, struct json_writer *w);
#define SPENT_SUMS_MAX 100000

/* Of the rows since then, the largest first; of days, the latest. It may go on beside the process
 * that has the database open. */
int spent_read(const char *path, enum spent_by by, uint64_t since_us,
               void (*each)(const struct spent_sum *sum, void *arg), void *arg, struct err *reterr)
    must_check;

/* ---- a copy of it ---- */

/* All that was committed when it began, while the process that has the database open goes on: into a file
 * that must not be there yet. Nothing is written to the database, and nobody waits for this. -ENOENT: there
 * is none. */
int database_copy(const char *path, const char *to, struct err *reterr) must_check;
