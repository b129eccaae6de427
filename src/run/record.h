#pragma once

/* What is remembered of a model over restarts and reboots: STATE/models/NAME/record.json.
 *
 *   {"failures": 2, "boot": "...", "failed_us": [1, 2],
 *    "last": {"at_us": 2, "exit": 1, "id": "engine.crashed", "what": "...", "fix": "..."},
 *    "trial_us": 1,
 *    "hold": {"kind": "person", "by": "...", "why": "...", "since_us": 1},
 *    "wanted": {"state": "stopped", "by": "...", "since_us": 1}}
 *
 * Several write it, each its own part: the shim how the model ended, a command what a person wants,
 * and the monitor a hold, and a trial after one. So nobody writes back what it once read:
 * run_record_change() reads, changes and writes with STATE/models/NAME/lock held.
 *
 * The directory is the models' account's, one for each model: the engine of another cannot write it. */

#include "base/buf.h"
#include "base/err.h"
#include "sys/clock.h"

#define RUN_RECORD_MAX (16 * KIB)
#define RUN_RECORD_FAILED_MAX 16

enum run_wanted { RUN_WANTED_UNSAID, RUN_WANTED_STARTED, RUN_WANTED_STOPPED };

/* Whose hold it is. Records of before there was a kind tell the breaker's by its name. */
enum run_hold { RUN_HOLD_PERSON, RUN_HOLD_BREAKER };
#define RUN_BREAKER "the breaker"

struct run_record {
    uint32_t failures;                /* crashes in a row; 0 once it was healthy for a while */
    char boot[CLOCK_BOOT_ID_LEN + 1]; /* in which it ended last */
    size_t failed_count;
    uint64_t failed_us[RUN_RECORD_FAILED_MAX]; /* the latest of the crashes in a row, since 1970 */
    uint64_t trial_us; /* when the breaker tried it last; 0: not since failures were forgotten */
    struct {
        uint64_t at_us; /* since 1970; 0: it never ended */
        unsigned exit;
        struct err err; /* id ERR_NONE: it ended because it was asked to */
    } last;
    struct {
        bool set;
        enum run_hold kind;
        uint64_t since_us;
        char by[64];
        char why[256];
    } hold;
    struct {
        enum run_wanted state;
        uint64_t since_us;
        char by[64];
    } wanted; /* by a person */
};

/* Nothing there is an empty record. So is a file that is no record, which is told in *reterr although
 * it returns 0: better a forgotten failure than a model that cannot start. */
int run_record_load(const char *state_dir, const char *name, struct run_record *ret_record,
                    struct err *reterr) must_check;

/* Changes what is there now. ret_record, which may be NULL, is as it was written. A damaged file is
 * put aside, as record.json.damaged, and told in the log. One that keeps the lock is waited for
 * five seconds, then ERR_CHANGE_BUSY; by run_record_try() a quarter of one, for a loop on which
 * others wait. */
int run_record_change(const char *state_dir, const char *name,
                      void (*change)(struct run_record *record, const void *arg), const void *arg,
                      struct run_record *ret_record, struct err *reterr) must_check;
int run_record_try(const char *state_dir, const char *name,
                   void (*change)(struct run_record *record, const void *arg), const void *arg,
                   struct run_record *ret_record, struct err *reterr) must_check;

/* Changes, for run_record_change(). */
struct run_record_end {
    uint64_t at_us;
    unsigned exit;
    bool asked;            /* to end: then even a crash does not count */
    const struct err *why; /* id ERR_NONE: it was asked to */
};
void run_record_ended(struct run_record *record, const void *arg); /* struct run_record_end */
void run_record_forgive(struct run_record *record, const void *unused);
void run_record_fail(struct run_record *record, uint64_t at_us); /* one failure more */
/* A person has asked for it; a start ends a hold, and failures of before are forgotten. */
struct run_record_wish {
    enum run_wanted state;
    const char *by;
};
void run_record_wish(struct run_record *record, const void *arg); /* struct run_record_wish */

void run_record_print(const struct run_record *record, struct buf *out);
int run_record_parse(const char *text, size_t len, struct run_record *ret_record,
                     struct err *reterr) must_check;

/* Whether there is a directory for it: then it is, or was, a model, whatever a configuration says. */
bool run_record_has_place(const char *state_dir, const char *name);

/* Where they are. */
void run_record_path(struct buf *out, const char *state_dir, const char *name);
void run_record_lock_path(struct buf *out, const char *state_dir, const char *name);
