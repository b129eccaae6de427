#pragma once

/* What the verbs of backups share: the repository of the configuration, and a loop in which
 * something long runs, tells how far it is, and ends early when somebody wants it to. */

#include "backup/mark.h"
#include "backup/repository.h"
#include "backup/snapshots.h"
#include "cli/cli.h"
#include "config/config.h"
#include "sys/loop.h"

struct cli_backup {
    struct cli *cli;
    struct config *config;
    struct repository *repository;
    struct loop *loop;
    unsigned threads;

    /* what runs */
    const struct cli_backup_task *task;
    struct loop_timer beat;
    struct loop_signal interrupt, end;
    uint64_t began_us;
    bool has_ended, was_stopped;
    int r;
};

/* The repository as it is there, unlocked where it is encrypted. */
int cli_backup_open(struct cli *cli, struct cli_backup *ret) must_check;
/* Likewise one that must be encrypted; locked: only its keys are to be looked at. */
int cli_backup_open_encrypted(struct cli *cli, struct cli_backup *ret) must_check;
int cli_backup_open_locked(struct cli *cli, struct cli_backup *ret) must_check;

/* For one that is not there yet: the configuration, then the repository, encrypted where there
 * are keys. */
int cli_backup_begin(struct cli *cli, struct cli_backup *ret) must_check;
/* Or one that is there, in two steps; before the second only names of what is in it can be had. */
int cli_backup_find_repository(struct cli_backup *b) must_check;
int cli_backup_unlock(struct cli_backup *b) must_check;
int cli_backup_make(struct cli_backup *b, const struct seal_key_file *keys, size_t count)
    must_check;
void cli_backup_close(struct cli_backup *b);

/* That of backup.copy, or in another place (`to`; may be NULL) with its options; unlocked. It is
 * the caller's. */
int cli_backup_open_other(struct cli_backup *b, const char *to, struct repository **ret) must_check;
int cli_backup_make_other(struct cli_backup *b, const struct seal_key_file *keys, size_t count,
                          struct repository **ret) must_check;
int cli_backup_other_password(struct cli_backup *b, struct secret *ret) must_check;

#define _cleanup_cli_backup_ _cleanup_(cli_backup_close)

/* Something that gives itself this function and the struct cli_backup as its ended(). */
void cli_backup_ended(int r, const struct err *err, void *arg);

struct cli_backup_task {
    const char *what; /* begins the lines that tell how far it is */
    void *engine;
    void (*look)(const void *engine, uint64_t *ret_done, uint64_t *ret_total); /* in bytes */
    void (*stop)(void *engine);
};

/* Until it has ended: its error, in cli->err. *ret_us: how long it took. */
int cli_backup_wait(struct cli_backup *b, const struct cli_backup_task *task, uint64_t *ret_us)
    must_check;

/* A snapshot that was asked for by a word of the command line. */
const struct snapshot_row *cli_backup_find(struct cli_backup *b, const struct snapshots *all,
                                           const char *word);

/* Whether the i-th model is backed up without being named. Two names of one directory are one model. */
bool cli_backup_takes_model(const struct config *config, size_t i);

/* The passphrase or key of the configuration; unset: it has none. */
int cli_backup_password(struct cli_backup *b, struct secret *ret) must_check;
#define CLI_BACKUP_SET_PASSWORD \
    "citadel secrets set backup; then set backup.password to {credential: backup}"

unsigned cli_backup_parity(const struct cli_backup *b); /* percent, as packs are made now */

#define CLI_BACKUP_ID 12 /* digits of a name that people are shown */

/* What the repository has, for those who have no Citadel; where it cannot be written, that is
 * told. */
void cli_backup_write_metadata(struct cli_backup *b);
#define CLI_BACKUP_METADATA "backup_metadata.json"

/* What is said of the snapshot that is the verb's argument, and taken back: word as in "is
 * pinned". */
int cli_backup_say(struct cli *cli, enum mark_kind kind, const char *word) must_check;
int cli_backup_unsay(struct cli *cli, enum mark_kind kind, const char *was, const char *word)
    must_check;

/* Their members. */
void cli_backup_json(struct json_writer *w, const struct snapshot_row *row);
void cli_backup_json_key(struct json_writer *w, const struct seal_lock *lock);
