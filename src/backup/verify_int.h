#pragma once

/* One pack, looked at by one thread. */

#include "backup/block.h"
#include "backup/parity.h"
#include "base/vec.h"

struct pack_check {
    const struct repository *repository;
    const struct index *index;
    struct repository *repaired; /* NULL: nothing is changed */
    unsigned parity_percent;
    struct block_reader *reader;
    uint8_t *record, *block;
    struct block_id name;
    struct repository_file *file; /* while it is read */

    VEC(struct err) problems;
    VEC(struct block_id) damaged; /* blocks */
    bool is_gone;                 /* it cannot be read at all */
    uint64_t bytes, blocks;
    bool is_mended, is_prepared;
    struct parity_told told; /* of one that was mended */
};

void pack_check_init(struct pack_check *c, const struct repository *repository,
                     const struct index *index);
void pack_check_finish(struct pack_check *c);
/* Of the pack whose name is set; problems and the rest are those of this one. */
void pack_check_run(struct pack_check *c);
