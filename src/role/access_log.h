#pragma once

/* The access log: a line of JSON for each request, in a file of its own or on standard error, which
 * under systemd is the journal. Nobody waits for who reads it: a line that finds no room is lost, and
 * counted. A file that has grown to ACCESS_LOG_BYTES becomes access.log.1, instead of the one before. */

#include "base/err.h"

struct config;
struct ledger_row;

#define ACCESS_LOG_BYTES (64 * MIB)

struct access_log {
    char *path; /* NULL: it is no file */
    int fd; /* -1: it could not be opened, and is tried again with the next line; or it is none */
    uint64_t bytes, lost;
    int error; /* of the last line that was lost; 0: nobody reads */
};

/* gateway.access_log; again where the configuration has changed. */
void access_log_open(struct access_log *log, const struct config *config);
void access_log_close(struct access_log *log);
void access_log_add(struct access_log *log, const struct ledger_row *row, const char *id);
const char *access_log_why(const struct access_log *log); /* one was lost */
