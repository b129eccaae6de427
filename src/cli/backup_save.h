#pragma once

/* What the verbs share that back something up: from the configuration to the last line that is said, and the
 * state that their job leaves (backup/job.h). Each only says what there is to be saved. */

#include "backup/keep.h"
#include "backup/save.h"
#include "cli/backup_job.h"

#include <limits.h>

/* ---- what can be backed up: backup_subject.def ---- */

struct backup_subject {
    const char *name;
    const char *share, *section; /* words of the configuration */
    double (*share_percent)(const struct config *config);
    struct keep_wish (*keep)(const struct config *config);
};
enum {
#define SUBJECT(name, share, section, keeping) BACKUP_SUBJECT_##name,
#include "cli/backup_subject.def"
#undef SUBJECT
    BACKUP_SUBJECTS
};
extern const struct backup_subject backup_subjects[]; /* name NULL: the end */

/* NULL: there is none of that name. */
const struct backup_subject *backup_subject_find(const char *name);

/* ---- one run of a verb ---- */

struct cli_save {
    struct cli_backup b;
    const struct backup_subject *subject;
    struct cli_job job;
    char host[HOST_NAME_MAX + 1];
    const char *type;
    bool dry;
    struct save_told sum; /* of all that was saved; no names */
    uint64_t took_us;
    char snapshot[HASH_SHA256_HEX]; /* the last */

    /* the rest is its own */
    bool has_config, has_json;
};

/* The configuration. Whatever comes of it, it is to be ended. */
int cli_save_begin(struct cli *cli, const char *subject, struct cli_save *ret) must_check;
/* The repository, of which nothing can be read yet. */
int cli_save_find(struct cli_save *k) must_check;
/* The same where it was not found yet; and opened, with room left of the subject's share. */
int cli_save_open(struct cli_save *k) must_check;

struct cli_save_wish {
    const char *name; /* of the snapshot */
    const char *source;
    bool is_image, in_use; /* as of save.h */
    /* Further members of the result; may be NULL. */
    void (*more)(struct json_writer *w, void *arg);
    void *arg;
};
int cli_save_run(struct cli_save *k, const struct cli_save_wish *wish) must_check;

/* Ends the result, and leaves the job's state; returns what the verb is to return. */
int cli_save_end(struct cli_save *k, int r) must_check;

/* ---- what is gathered ---- */

/* Where things are gathered for it. */
char *cli_save_place(const struct cli_save *k);
/* Says which secrets were left out, and why. */
struct gather;
void cli_save_tell_left_out(struct cli_save *k, const struct gather *g);
void cli_save_json_left_out(struct json_writer *w, void *gather);
/* Why secrets are not taken; NULL: they are. */
const char *cli_save_refuses_secrets(const struct cli_save *k);
