#pragma once

/* Brings this machine back to what a backup has of it:
 *
 *     STATE/deploy/restore.json    which backup, and by whom
 *     the files beside             those that differ, all of them or none (sys/change.h)
 *     a deployment                 of the generation in the backup, as a new one (apply.h)
 *     restore.json goes
 *
 * If the deployment fails, the files beside are put back as they were. After a crash the files beside are the
 * old or the new ones, the generation is the old or the new one, restore.json tells that this was
 * under way, and the same restore makes it good. */

#include "deploy/backup.h"
#include "sys/change.h"

/* A file beside that is not as in the backup. */
struct restore_change {
    const struct backup_file *file;
    bool was_there;
    const char *old; /* what it was */
    size_t old_len;
    mode_t old_mode;
};

struct restore_wish {
    struct deploy_wish deploy; /* its files are those of the backup; its `expect` is of a
                                  restore_outlook */
    const struct backup *backup;
    unsigned id;
};

struct restore_outlook {
    char digest[HASH_SHA256_HEX]; /* of the deployment, and of each change as it was and will be */
    struct restore_change *changes;
    size_t count;
};

/* What would be put back, in the arena. */
int restore_look(const struct restore_wish *wish, struct arena *arena, struct restore_outlook *ret,
                 struct err *reterr) must_check;

/* With the lock held; as deploy_apply() returns. */
int restore(const struct restore_wish *wish, const struct deploy_host *host, struct arena *arena,
            struct deploy_end *ret_end, struct err *reterr) must_check;

/* A restore that was interrupted; id 0: none was. */
struct restore_mark {
    unsigned id;
    char by[64];
};
void restore_mark_read(const char *state_dir, struct restore_mark *ret);

/* Ends what a crash in the middle of the files beside has left, before anything else is done. */
int restore_recover(const char *store, enum change_recovered *ret_what, struct err *reterr)
    must_check;
