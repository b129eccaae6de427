#pragma once

/* Whether this machine has what a configuration needs: every check of doctor.def, each with what was
 * found and the command that mends it. Nothing is changed, and nothing waits for long: the driver is
 * asked by a child that may be killed, names and other hosts within a limit. */

#include "base/err.h"
#include "base/mem.h"

struct config;
struct json_writer;

enum doctor_verdict {
    DOCTOR_HOLDS,
    DOCTOR_FAILS,
    DOCTOR_UNKNOWN,    /* it could not be found out */
    DOCTOR_NOT_NEEDED, /* the configuration does not ask for it */
};
const char *doctor_verdict_word(enum doctor_verdict verdict);

enum doctor_group {
#define GROUP(name, title) DOCTOR_##name,
#define CHECK(id, group, need, function, help)
#include "doctor/doctor.def"
    DOCTOR_GROUPS
};

struct doctor_check {
    const char *id; /* "ports" */
    enum doctor_group group;
    bool required;
    const char *help;
};
extern const struct doctor_check doctor_checks[]; /* ends with id NULL */
const char *doctor_group_title(enum doctor_group group);

/* One thing that was looked at; a check may look at several. */
struct doctor_finding {
    const struct doctor_check *check;
    const char *subject; /* "8000", "phi3"; "" where there is but one */
    enum doctor_verdict verdict;
    bool required; /* as its check, unless this one matters less, or more */
    const char *found;
    const char *remedy; /* "" when nothing is to be done */
};

#define DOCTOR_FINDINGS_MAX 4000

struct doctor_report {
    struct arena arena; /* of everything in it */
    struct doctor_finding *items;
    size_t count;
    size_t untold; /* beyond the most */
};

int doctor_run(const struct config *config, struct doctor_report *ret_report, struct err *reterr)
    must_check;
void doctor_report_finish(struct doctor_report *report);
#define _cleanup_doctor_report_ _cleanup_(doctor_report_finish)

/* Findings that are required and do not hold; one that is not known does not. */
size_t doctor_count_wrong(const struct doctor_report *report, bool required);

void doctor_print_json(const struct doctor_report *report, struct json_writer *w);
