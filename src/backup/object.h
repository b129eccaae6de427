#pragma once

/* A file whose name is the SHA-256 of its bytes, as all files of a repository but a few are:
 * written once, as a draft, and there under its name only when it is whole and on the disk. */

#include "backup/seal.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"

#include <dirent.h>

/* Where objects are made. Where that is not where they belong, as of a repository on another host,
 * put() brings each there when it is whole, and a copy stays if it `keeps` one. */
struct object_place {
    int dir;                      /* stays open */
    const struct seal_keys *keys; /* they are sealed with these; NULL: they lie there as they are */
    enum seal_for whom;
    int (*put)(void *arg, int fd, const char *name,
               struct err *reterr); /* NULL: they belong here */
    void *arg;
    bool keeps;
};

/* Begins the names of drafts. They are locked (flock) as long as somebody writes them. */
#define OBJECT_DRAFT ".draft-"
#define OBJECT_DRAFT_MAX (sizeof(OBJECT_DRAFT) + 16)

struct object_writer {
    uint64_t bytes; /* so far, before they are sealed */

    /* the rest is its own */
    struct object_place place;
    int fd;
    char draft[OBJECT_DRAFT_MAX];
    bool is_finished, has_failed;
    bool keeps_draft; /* or it has its name */
    struct hash_sha256 hash;
    struct buf pending;       /* small pieces go to the disk together */
    struct seal_writer *seal; /* NULL: it is not sealed */
    struct flow_sink sink;    /* of it */
};

/* On failure there is nothing to be ended. */
int object_begin(struct object_writer *w, const struct object_place *place, struct err *reterr)
    must_check;
/* After an error nothing more can be written. */
int object_write(struct object_writer *w, const void *bytes, size_t len, struct err *reterr)
    must_check;
/* What was written is the file's, if not on the disk yet: so it outlives this process. */
int object_flush(struct object_writer *w, struct err *reterr) must_check;
/* Then it is there, whatever happens; that is so, too, of one that was there before. */
int object_finish(struct object_writer *w, char ret_name[HASH_SHA256_HEX], struct err *reterr)
    must_check;
/* Only if that is its name; else -EBADMSG, without words, and it is not there. */
int object_finish_if(struct object_writer *w, const char *name, struct err *reterr) must_check;
/* Likewise, under a name of the caller's; one that has it is replaced. */
int object_finish_as(struct object_writer *w, const char *name, struct err *reterr) must_check;
/* What was written so far stays as a draft that nobody writes. */
void object_abandon(struct object_writer *w);
/* In any case: removes what was not finished. */
void object_end(struct object_writer *w);

/* ---- drafts, and what a crash has left of them ---- */

/* The next draft that nobody writes any more, open for reading, and locked; -1 behind the last. */
int object_next_abandoned(DIR *dir, char ret_name[OBJECT_DRAFT_MAX]) must_check;
/* Removes them all; that one cannot be removed keeps nobody from anything. */
void object_clear_abandoned(int dir);

/* A new one, open for reading and writing, and locked; -errno. */
int object_make_draft(int dir, char ret_name[OBJECT_DRAFT_MAX]) must_check;

/* Whether that is a name of an object, not of a draft or of something else. */
bool object_is_name(const char *name);
/* The digest that a name is. */
void object_digest(const char *name, uint8_t ret[HASH_SHA256_BYTES]);
