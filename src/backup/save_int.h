#pragma once

/* The parts of save.h: what comes out of the walk, is read, and is stored. */

#include "backup/bases.h"
#include "backup/block.h"
#include "backup/cut.h"
#include "backup/earlier.h"
#include "backup/known.h"
#include "backup/save.h"
#include "backup/scan.h"
#include "backup/snapshot.h"
#include "base/mem.h"
#include "base/vec.h"
#include "sys/account.h"
#include "sys/work.h"

/* ---- an entry on its way from the walk to the snapshot ---- */

struct save_xattr {
    char *name;
    uint8_t *value;
    size_t len;
};

struct item {
    struct snapshot_entry entry;
    char *path, *target;
    char owner[ACCOUNT_TEXT_MAX], group[ACCOUNT_TEXT_MAX];
    VEC(struct save_xattr) xattrs;
    VEC(struct snapshot_block) blocks;
    bool is_copied; /* attributes and blocks are those of an earlier snapshot: in the entry */
    bool is_done;

    /* of a file that is read */
    int fd;
    struct stat st; /* as it was before */
    struct arena arena;
    struct cut_layout layout;
    const struct base *base; /* NULL: none */
    size_t region;
    uint64_t at;
    struct hash_sha256 hash;
    bool has_layout, is_being_read, is_read;
    bool drops;     /* what was read of it leaves memory again */
    bool is_device; /* whose times and size say nothing */
};

/* The owners of most files are the same. */
struct owner_names {
    bool has_user, has_group;
    uid_t uid;
    gid_t gid;
    char user[ACCOUNT_TEXT_MAX], group[ACCOUNT_TEXT_MAX];
};

/* All about it but what it holds. A file is left open. 0: it has gone; 1. */
int item_new(const struct scan_item *found, struct owner_names *names, struct item **ret,
             struct err *reterr) must_check;
/* An image, and the directory that it is alone in. Takes the descriptor. */
int item_new_image(int *fd, uint64_t bytes, const char *name, struct owner_names *names,
                   struct item **ret_top, struct item **ret_image, struct err *reterr) must_check;
/* Extended attributes, of a file or directory. */
int item_read_xattrs(struct item *item, const struct scan_item *found, struct err *reterr)
    must_check;
void item_free(struct item *item);

/* ---- a run of consecutive blocks of a file ---- */

#define SLOT_BYTES CUT_MAX
#define SLOT_CHUNKS 512

struct chunk {
    uint32_t at, bytes; /* within the slot */
    enum codec_form form;
    bool is_new, has_base;
    struct block_id id, base;
};

struct packer;

struct slot {
    struct work work;
    struct save *save;
    struct bases *bases;          /* NULL: none are looked for */
    const struct seal_keys *keys; /* of the repository, which name blocks; NULL: it has none */
    struct item *item;
    struct packer *packer; /* while it is stored */
    bool is_busy, waits;   /* waits: to be stored, */
    uint64_t turn;         /* in this order */
    uint8_t *bytes;
    struct chunk chunks[SLOT_CHUNKS];
    size_t count;
    int r;
    struct err err;
};

/* On a thread: reads the next blocks of the slot's item, and finds their digests. */
void slot_read(struct slot *slot);

/* ---- who stores blocks ---- */

struct packed { /* a pack that is in the repository */
    struct block_id name;
    struct pack_entries entries;
};

struct packer {
    struct work work; /* to end the pack */
    struct save *save;
    struct repository *repository;
    unsigned parity_percent;
    bool is_busy;
    struct codec *codec;
    uint8_t *stored;
    const struct index *index;           /* of what bases are read from, */
    struct block_reader *reader;         /* by this; NULL until one is */
    uint8_t *base, *delta;               /* likewise */
    struct pack_writer *pack;            /* NULL: none has begun */
    VEC(struct packed) packed;           /* not yet taken by the loop's thread */
    uint64_t stored_bytes, delta_blocks; /* likewise */
    int r;
    struct err err;
};

void packer_init(struct packer *p, const struct save_wish *wish);
void packer_finish(struct packer *p);
/* On a thread: stores what is new in a slot. */
void packer_store(struct packer *p, struct slot *slot);
/* On a thread: ends the pack that was begun, if one was. */
void packer_end(struct packer *p);
