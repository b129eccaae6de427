#pragma once

/* The access log: a line of JSON for each request, in a file of its own or on standard error, which
 * under systemd is the journal. Nobody waits for who reads it, nor for its disk: the file is
 * written by a work, some lines at a time and up to ACCESS_LOG_DELAY_US later; standard error at
 * the end of a pass of the loop. A line that finds no room is lost, and counted. */

#include "base/buf.h"
#include "sys/loop.h"

struct config;
struct ledger_row;

#define ACCESS_LOG_BYTES (64 * MIB)        /* of a file: line_file.h */
#define ACCESS_LOG_WAITING_BYTES (1 * MIB) /* while a disk takes its time */
#define ACCESS_LOG_DELAY_US UINT64_C(100000)

struct access_file;

struct access_log {
    struct access_file *file; /* NULL: it is none */
    uint64_t lost;
    int error; /* at which lines were lost last; 0: who takes them is too slow */
    void (*lost_some)(struct access_log *log); /* optional: a work has */

    /* standard error */
    struct loop *loop;
    int fd; /* -1: it is not there */
    struct buf text;
    uint64_t count; /* of its lines */
    struct loop_defer at_end;
};

/* gateway.access_log; again where the configuration has changed. It stays where it is; what was
 * lost, and who is told, is as before. */
void access_log_open(struct access_log *log, struct loop *loop, const struct config *config);
/* What waits is written yet: a file by a work, which the end of the loop waits for. */
void access_log_close(struct access_log *log);
/* address: of who was turned away, and has no name; NULL: it is not told. */
void access_log_add(struct access_log *log, const struct ledger_row *row, const char *id,
                    const char *address);

const char *access_log_name(const struct access_log *log);
const char *access_log_why(const struct access_log *log); /* lines were lost */
