#pragma once

/* Files of another host, through the SFTP server of its OpenSSH (version 3 of the protocol), which
 * the `ssh` program reaches: so keys, known hosts and jumps are those of ssh_config. Calls wait
 * for their answers, and several threads may call: one goes after the other. A host that says
 * nothing for SFTP_SILENCE_MS is lost; then, and after words that are none of the protocol, every
 * call fails with REMOTE_LOST. */

#include "base/err.h"

struct sftp;

#define SFTP_SILENCE_MS 60000

/* Over what is open; takes in and out in any case. `words`, or -1: where the other end says why it
 * ends. */
int sftp_open(int in, int out, int words, struct sftp **ret, struct err *reterr) must_check;

/* Of "sftp://[USER@]HOST[:PORT]/PATH". */
struct sftp_place {
    char user[64], host[256];
    unsigned port;    /* 0: as ssh_config has it */
    const char *path; /* within the text; "/~/x" is x in the home directory */
};
int sftp_parse(const char *text, struct sftp_place *ret, struct err *reterr) must_check;
struct sftp_wish {
    struct sftp_place place;
    const char *key, *known_hosts; /* files; NULL: as ssh_config has it */
};
int sftp_start(const struct sftp_wish *wish, struct sftp **ret, struct err *reterr) must_check;

void sftp_free(struct sftp *s);
void sftp_freep(struct sftp **s);
#define _cleanup_sftp_ _cleanup_(sftp_freep)
bool sftp_is_lost(const struct sftp *s);

/* All paths are those of the other host. -ENOENT, -EACCES as they are there. */

struct sftp_file {
    uint64_t bytes;
    int64_t changed_s;
    bool is_file, is_directory;
};
int sftp_stat(struct sftp *s, const char *path, struct sftp_file *ret, struct err *reterr)
    must_check;

/* Each name but "." and "..", as it comes: a stranger's. One that returns less than 0 ends it. */
int sftp_list(struct sftp *s, const char *path,
              int (*each)(void *arg, const char *name, const struct sftp_file *file), void *arg,
              struct err *reterr) must_check;

/* 0, too, where there is one. */
int sftp_make_directory(struct sftp *s, const char *path, struct err *reterr) must_check;

/* Exactly len bytes; -ENODATA: it ends before. */
int sftp_read(struct sftp *s, const char *path, uint64_t at, void *ret_bytes, size_t len,
              struct err *reterr) must_check;

/* All of a file, into another that is open, from its start on. -EFBIG: it has more than `most`
 * bytes. */
int sftp_fetch(struct sftp *s, const char *path, int to, uint64_t most, struct err *reterr)
    must_check;

/* The other way: written as `draft`, brought to the disk where the server can, and then renamed:
 * what has the name is whole. What fails leaves the draft, or nothing. */
int sftp_store(struct sftp *s, int from, const char *draft, const char *path, struct err *reterr)
    must_check;

/* Likewise where there is none yet: -EEXIST. */
int sftp_store_new(struct sftp *s, int from, const char *draft, const char *path,
                   struct err *reterr) must_check;

/* Its time of change becomes now, by the clock of the other host; it has a byte or more. */
int sftp_touch(struct sftp *s, const char *path, struct err *reterr) must_check;

int sftp_rename(struct sftp *s, const char *from, const char *to, struct err *reterr) must_check;
int sftp_remove(struct sftp *s, const char *path, struct err *reterr) must_check;

/* -EOPNOTSUPP, without an error: this server does not tell. */
int sftp_free_bytes(struct sftp *s, const char *path, uint64_t *ret_bytes, struct err *reterr)
    must_check;
