#pragma once

/* A body with a few places replaced, as pieces of the old one and of the new texts: nothing large
 * is copied, and every other byte is the client's. Texts outlive the list. */

#include "base/util.h"

#define PATCH_MAX 40
#define PATCH_PIECES_MAX (2 * PATCH_MAX + 1)

struct patch {
    size_t at, cut; /* so many bytes of the body are left out there */
    const char *put;
    size_t put_len;
};

struct patch_list {
    /* By place; of one place, in the order in which they were added. */
    struct patch items[PATCH_MAX];
    size_t count;
};

struct patch_piece {
    const char *put; /* NULL: of the body, */
    size_t at;       /* from there */
    size_t len;
};

/* Places do not overlap, and there are no more than PATCH_MAX: what is
 * replaced is our own choice. */
void patch_add(struct patch_list *list, size_t at, size_t cut, const char *put);

size_t patch_length(const struct patch_list *list, size_t body_len);
/* Returns how many pieces; none of them is empty. */
size_t patch_pieces(const struct patch_list *list, size_t body_len,
                    struct patch_piece pieces[PATCH_PIECES_MAX]);
