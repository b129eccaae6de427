#pragma once

/* The database off the loop: what is to be written is collected, and carried out by a work on a
 * thread of its own, one transaction at a time. Puts set one out at once and are told when they
 * are durable; rows of the ledger go with them, or after STORE_DELAY_US. While the disk fails,
 * puts fail, and rows are kept and tried again, up to STORE_ROWS_MAX. */

#include "gateway/database.h"

#include "sys/loop.h"

#define STORE_DELAY_US UINT64_C(200000)
#define STORE_ROWS_MAX 8192
#define STORE_PATIENCE_US UINT64_C(3000000) /* a transaction that lasts longer hangs */

struct store;

int store_open(struct loop *loop, const char *path, struct store **ret_store, struct err *reterr)
    must_check;
/* Writes what waits, or fails to, while the loop does not run; puts are told so, and
 * store_trouble() says why where it failed. False: the disk hangs for longer than that, and with it
 * a thread that has hold of the store and of what was put: neither these nor the loop can go. */
bool store_flush(struct store *store, uint64_t limit_us) must_check;
/* Flushed; rows that could not be written are lost. The database is closed by a work. */
void store_close(struct store *store);

/* Until the first put or row. */
struct database *store_database(struct store *store);

/* Within the caller's struct, and there until done(). */
struct store_put {
    void (*done)(struct store_put *put, const struct err *error); /* NULL: it is durable */
    uint64_t id;                                                  /* of the key */
    const struct key *key;                                        /* NULL: its allowance is put */
    struct allowance_saved saved;
    struct store_put *next;
};
void store_put(struct store *store, struct store_put *put);
/* True: it had not begun, and is forgotten. */
bool store_forget(struct store *store, const struct store_put *put) must_check;

/* False: there is no room, and it is lost. */
bool store_add_row(struct store *store, const struct ledger_row *row);
void store_set_keep(struct store *store, uint64_t us); /* rows that are older are removed */

struct store_counts {
    uint64_t rows, lost_rows;
    uint64_t batches, failed_batches;
    size_t waiting_rows; /* now: they are not written, whether or not a work has them */
};
const struct store_counts *store_counts(const struct store *store);
/* Of the last batch, or of one that hangs; NULL: all is well. Told when it
 * begins and when it is over. */
const struct err *store_trouble(const struct store *store);
void store_tell_of_trouble(struct store *store, void (*tell)(const struct err *trouble, void *arg),
                           void *arg);
