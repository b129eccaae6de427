#pragma once

/* Between the files of this room. */

#include "base/buf.h"
#include "config/config.h"
#include "plan/plan.h"
#include "unit/unit.h"

/* What a unit is; the rows of directive.def say which of these they are for. */
enum {
    UNIT_MODEL = 1 << 0,
    UNIT_GATEWAY = 1 << 1,
    UNIT_MONITOR = 1 << 2,
    UNIT_STORAGE = 1 << 3,
    UNIT_GPU = 1 << 4,
    UNIT_HEALTH = 1 << 5, /* asks the disks */
    UNIT_BACKUP = 1 << 6,
    UNIT_IMAGE = 1 << 7, /* reads whole disks */
    UNIT_DRILL = 1 << 8, /* restores one model */
    UNIT_REPORT = 1 << 9,
    UNIT_SOCKET = 1 << 10,
    UNIT_TIMER = 1 << 11,
    UNIT_TARGET = 1 << 12,

    UNIT_LASTING = UNIT_MODEL | UNIT_GATEWAY | UNIT_MONITOR,
    UNIT_ONCE = UNIT_STORAGE | UNIT_GPU,
    UNIT_SAVING = UNIT_BACKUP | UNIT_IMAGE | UNIT_DRILL,
    UNIT_JOB = UNIT_HEALTH | UNIT_SAVING | UNIT_REPORT,
    UNIT_SERVICE = UNIT_LASTING | UNIT_ONCE | UNIT_JOB,
    UNIT_ROOT = UNIT_ONCE | UNIT_HEALTH | UNIT_SAVING, /* these run as root */
    UNIT_ANY = UNIT_SERVICE | UNIT_SOCKET | UNIT_TIMER | UNIT_TARGET,
};

/* Something that is done at its time. */
struct unit_job {
    const char *name;
    unsigned kind;
    const char *words; /* of its command */
    const struct config_schedule *schedules;
    size_t schedule_count;
    const char *what;
};

/* A unit that is being written. */
struct unit_draft {
    const struct unit_input *in;
    const struct config *config;
    unsigned kind;    /* one of these bits */
    const char *name; /* "phi3" */
    const char *what; /* for Description= */
    const char *words;
    const struct config_model *model;
    const struct plan_model *planned;
    const struct unit_job *job;
    struct buf *out;
    const char *directive; /* whose lines are being written */
    struct err *err;       /* of the first text that cannot be told; the id ERR_NONE: none */
};

/* How systemd reads a value: */
enum unit_quote {
    UNIT_PLAIN,    /* to the end of the line */
    UNIT_WORD,     /* words between blanks */
    UNIT_ARGUMENT, /* likewise, and names of variables are replaced */
};
/* Text as systemd will read it back. False, and *reterr filled: it cannot be told. */
bool unit_escape(struct buf *out, const char *text, enum unit_quote quote, struct err *reterr)
    must_check;

/* A line of the directive: what is before the text stands as it is, the text is escaped. */
void draft_line(struct unit_draft *d, const char *before, const char *text, enum unit_quote quote);
void draft_linef(struct unit_draft *d, const char *fmt, ...) printf_like(2, 3);
/* Or in pieces. */
void draft_begin(struct unit_draft *d);
void draft_word(struct unit_draft *d, const char *text, enum unit_quote quote);
void draft_end(struct unit_draft *d);

/* All lines of directive.def that are for a unit of this kind. */
void unit_print(struct unit_draft *d);

/* The functions of directive.def. */
#define DIRECTIVE(section, kinds, name, value, why)
#define LINES(section, kinds, name, function, why) void lines_##function(struct unit_draft *d);
#include "unit/directive.def"

/* A schedule that is `never` makes no job. */
size_t unit_jobs(const struct config *config, struct unit_job *jobs, size_t room);
#define UNIT_JOBS_MAX 32

/* Files for the host (host.c), which are no units. */
void unit_print_sysusers(struct unit_draft *d);
void unit_print_tmpfiles(struct unit_draft *d);
void unit_print_polkit(struct unit_draft *d);
