#pragma once

/* The log of a process that runs on: a line an event, on standard error, one write each. Under the
 * journal a line bears the priority that systemd reads (<6>), elsewhere the time.
 * Text from outside may stand in it: bytes that could drive a terminal, and line ends, are disarmed.
 * Only edges speak (roles, programs); rooms return errors. */

#include "base/err.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* "error", "warning", "info" or "debug"; false: another word. */
bool log_level_parse(const char *word, enum log_level *ret_level) must_check;
void log_set_level(enum log_level level);    /* at first: info */
void log_insist_level(enum log_level level); /* whatever log_set_level() says later */

/* Lines, with their end, are given to take() instead of being written; NULL: written again. */
void log_divert(void (*take)(const char *line, size_t len, void *arg), void *arg);

void log_error(const char *fmt, ...) printf_like(1, 2);
void log_warning(const char *fmt, ...) printf_like(1, 2);
void log_info(const char *fmt, ...) printf_like(1, 2);
void log_debug(const char *fmt, ...) printf_like(1, 2);

/* The error's sentence, what mends it, and its id. */
void log_err(const struct err *err);
