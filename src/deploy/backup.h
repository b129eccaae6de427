#pragma once

/* Backups of what makes this machine what it is: the files of a generation, and those beside it that a
 * person has written. One lies in DIR as a generation lies in its store, and is there as a whole or not:
 *
 *     DIR/generations/3/manifest.json               who made it, when and why; the SHA-256 of all others
 *     DIR/generations/3/contents.json               what follows about those beside
 *     DIR/generations/3/config.yaml, units/...      a generation, as it is deployed
 *     DIR/generations/3/beside/001-citadel.yaml     a file of the machine
 *
 *   {"generation": 7,
 *    "beside": [{"file": "beside/001-citadel.yaml", "path": "/etc/citadel/citadel.yaml",
 *                "kind": "configuration", "mode": 420}],
 *    "stopped": ["citadel-phi3.service"],
 *    "left_out": [{"path": "/etc/citadel/secrets/hf", "why": "..."}]}
 *
 * Secrets are in it as systemd-creds has encrypted them to the host, or not at all. */

#include "deploy/apply.h"

#include <sys/types.h>

struct config;

#define BACKUP_BYTES (160 * MIB) /* of the arena of one that is made or read */
#define BACKUP_KEEP 30           /* the newest; older ones go when another is made */
#define BACKUP_BESIDE_MAX 900    /* files */
#define BACKUP_BESIDE_BYTES (48 * MIB)

/* KIND(NAME, "word", put back, "what it is") */
#define BACKUP_KINDS(KIND)                                                    \
    KIND(CONFIGURATION, "configuration", true, "configuration of a person's") \
    KIND(SCRIPT, "script", true, "script")                                    \
    KIND(SECRET, "secret", true, "secret, encrypted to the host")             \
    KIND(STATE, "state", false, "what was remembered, to be read")

enum backup_kind {
#define KIND(name, word, back, help) BACKUP_##name,
    BACKUP_KINDS(KIND)
#undef KIND
        BACKUP_KIND_COUNT
};
const char *backup_kind_word(enum backup_kind kind);
bool backup_kind_is_put_back(enum backup_kind kind);

struct backup_file {
    const char *path; /* on this machine */
    enum backup_kind kind;
    mode_t mode;
    const char *bytes;
    size_t len;
};

struct backup_left_out {
    const char *path, *why;
};

struct backup {
    unsigned generation; /* 0: nothing was deployed, and it is what the configuration came to */
    const struct generation_file *files;
    size_t file_count;
    struct backup_file *beside;
    size_t beside_count;
    const char **stopped; /* units that a person had stopped */
    size_t stopped_count;
    struct backup_left_out *left_out;
    size_t left_out_count;
};

struct backup_wish {
    const struct config *config;
    const char *config_file; /* where it was read from */
    const char *config_text;
    size_t config_len;
    const struct generation_file *files; /* what it comes to, where nothing is deployed */
    size_t count;
    const struct deploy_host *host; /* NULL: nobody can tell what is stopped */
};

/* DIR of a configuration. */
char *backup_dir(struct arena *arena, const struct config *config);

/* Of this machine, with the lock of deployments held; all of it lives in the arena. */
int backup_collect(const struct backup_wish *wish, struct arena *arena, struct backup *ret,
                   struct err *reterr) must_check;
int backup_write(const char *dir, const char *by, const char *why, const struct backup *backup,
                 unsigned *ret_id, struct err *reterr) must_check;

/* Every byte is checked before it returns. ERR_BACKUP_NONE, ERR_BACKUP_DAMAGED. What there is:
 * generation_list(). */
int backup_read(const char *dir, unsigned id, struct arena *arena, struct backup *ret,
                struct err *reterr) must_check;
