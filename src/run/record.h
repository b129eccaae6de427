#pragma once

/* What is remembered of a model over restarts and reboots: STATE/models/NAME.json. Its shim alone
 * writes it, and whoever sets or lifts a hold.
 *
 *   {"failures": 2, "boot": "...", "last": {"at_us": 1, "exit": 1, "id": "engine.crashed",
 *    "what": "...", "fix": "..."}, "hold": {"by": "...", "why": "...", "since_us": 1}} */

#include "base/buf.h"
#include "base/err.h"
#include "sys/clock.h"

#define RUN_RECORD_MAX (16 * KIB)

struct run_record {
    uint32_t failures; /* crashes in a row; 0 once it was healthy for a while */
    char boot[CLOCK_BOOT_ID_LEN + 1];
    struct {
        uint64_t at_us; /* since 1970; 0: it never ended */
        unsigned exit;
        struct err err; /* id ERR_NONE: it ended because it was asked to */
    } last;
    struct {
        bool set;
        uint64_t since_us;
        char by[64];
        char why[256];
    } hold;
};

/* Nothing there is an empty record. A file that is no record is put aside, to NAME.json.damaged, and
 * told in *reterr although it returns 0: better a forgotten failure than a model that cannot start. */
int run_record_load(const char *state_dir, const char *name, struct run_record *ret_record,
                    struct err *reterr) must_check;
int run_record_save(const char *state_dir, const char *name, const struct run_record *record,
                    struct err *reterr) must_check;

void run_record_print(const struct run_record *record, struct buf *out);
int run_record_parse(const char *text, size_t len, struct run_record *ret_record,
                     struct err *reterr) must_check;

/* Where it is. */
void run_record_path(struct buf *out, const char *state_dir, const char *name);
