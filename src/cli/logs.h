#pragma once

/* What the sources of `citadel logs` share: whose lines are wanted, and how one is shown. Each line has its
 * time before it; where several services are asked for, the name, too. */

#include "cli/cli.h"
#include "config/config.h"

#define LOGS_TEXT_MAX (64 * MIB) /* that are shown at once */
#define LOGS_LINES_MAX 100000
#define LOGS_TIME_LEN (sizeof("2026-11-21 17:00:00.000") - 1)

struct logs {
    struct cli *cli;
    const struct config *config;
    const char *asked; /* the argument: "models" */
    const char *const *names;
    size_t count;
    uint64_t lines;    /* the last so many of all together */
    uint64_t since_us; /* and none before, since 1970; 0: however old */
    bool follow;
    struct buf *text; /* for JSON; else NULL */
};

/* Text as it is; and a line. false: nobody reads any more, or it does not fit. time: as it
 * stands before lines of files. */
bool logs_show_text(const struct logs *logs, const char *text, size_t len);
bool logs_show(const struct logs *logs, const char *time, const char *name, const char *line,
               size_t len);
/* Whether a line of a file, or of `citadel up`, begins with its time; what they say themselves does not. */
bool logs_has_time(const char *line, size_t len);
/* Before that time, as files write it; the empty text where all are wanted. */
void logs_since(const struct logs *logs, char text[LOGS_TIME_LEN + 1]);

/* What systemd's journal has. */
int logs_read_journal(const struct logs *logs) must_check;
/* What the files of `citadel up` have. */
int logs_read_files(const struct logs *logs) must_check;
/* The same, and what is added, from `citadel up` itself. 1: none answers. */
int logs_follow(const struct logs *logs) must_check;
