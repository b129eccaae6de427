#include "gateway/affinity.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Four places make a cache line; in it, the one used last stands first. */
#define LINE_PLACES 4

struct place {
    uint64_t mark;     /* 0: it is free */
    uint64_t replicas; /* a bit for each that has seen it */
};

struct affinity {
    struct place (*lines)[LINE_PLACES];
    size_t line_count; /* a power of two */
    uint64_t key;
};

struct affinity *
affinity_new(size_t places)
{
    struct affinity *a = mem_new(struct affinity);
    a->line_count = 1;
    while (a->line_count * LINE_PLACES < places)
        a->line_count *= 2;
    a->lines = mem_alloc(a->line_count * sizeof(*a->lines));
    a->key = hash_key("affinity", 8);
    return a;
}

void
affinity_free(struct affinity *a)
{
    if (!a)
        return;
    free(a->lines);
    free(a);
}

/* ---- marks ---- */

/* Both halves of a product, folded: each bit of either factor reaches half of the result's. */
static inline uint64_t
fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t
read_8(const char *bytes)
{
    uint64_t n;
    memcpy(&n, bytes, sizeof(n));
    return n;
}

/* Digits of pi: odd, and without a pattern. */
#define MIX_1 UINT64_C(0x243F6A8885A308D3)
#define MIX_2 UINT64_C(0x13198A2E03707345)
#define MIX_3 UINT64_C(0xA4093822299F31D1)
#define MIX_4 UINT64_C(0x082EFA98EC4E6C89)

/* Of whole blocks. Two chains side by side, so that the multiplier never waits for itself. */
static uint64_t
hash_blocks(uint64_t state, const char *bytes, size_t len)
{
    uint64_t left = state, right = state ^ MIX_3;
    for (size_t i = 0; i < len; i += 32) {
        left = fold(read_8(bytes + i) ^ left ^ MIX_1, read_8(bytes + i + 8) ^ MIX_2);
        right = fold(read_8(bytes + i + 16) ^ right ^ MIX_3, read_8(bytes + i + 24) ^ MIX_4);
    }
    return fold(left ^ MIX_2, right ^ MIX_1);
}

static uint64_t
mark_of(uint64_t scope, uint64_t state, uint64_t kind)
{
    uint64_t mark = fold(state ^ scope, MIX_4 ^ kind);
    return mark ? mark : 1;
}

/* The next place for a mark, in whole blocks. */
static size_t
next_place(size_t at)
{
    if (at < AFFINITY_DENSE_MAX)
        return at + AFFINITY_BLOCK;
    return (at + at / 8) / AFFINITY_BLOCK * AFFINITY_BLOCK;
}

void
affinity_begin(const struct affinity *a, struct affinity_marks *marks, const char *model)
{
    marks->scope = fold(a->key ^ hash_key(model, strlen(model)), MIX_1);
    marks->state = marks->scope;
    marks->count = 0;
}

/* Names have their room, however long a prompt is. */
#define PROMPT_MARKS_MAX (AFFINITY_MARKS_MAX - 8)

void
affinity_add_prompt(struct affinity_marks *marks, const char *bytes, size_t len)
{
    char rest[AFFINITY_BLOCK] = {0};
    size_t at = 0;
    for (size_t next; (next = next_place(at)) <= len && marks->count < PROMPT_MARKS_MAX;
         at = next) {
        marks->state = hash_blocks(marks->state, bytes + at, next - at);
        marks->items[marks->count++] = mark_of(marks->scope, marks->state, 0);
    }
    memcpy(rest, bytes + at, MIN(len - at, sizeof(rest))); /* it tells what comes behind apart */
    marks->state = hash_blocks(marks->state ^ len, rest, sizeof(rest));
}

void
affinity_add_name(struct affinity_marks *marks, const char *name, size_t len)
{
    if (len > 0 && marks->count < AFFINITY_MARKS_MAX)
        marks->items[marks->count++] = mark_of(marks->scope, hash_key(name, len), 1);
}

/* ---- the table ---- */

static struct place *
line_of(const struct affinity *a, uint64_t mark)
{
    return a->lines[mark & (a->line_count - 1)];
}

static size_t
place_in(const struct place *line, uint64_t mark)
{
    size_t i = 0;
    while (i < LINE_PLACES && line[i].mark != mark)
        i++;
    return i;
}

void
affinity_find(const struct affinity *a, const struct affinity_marks *marks,
              uint32_t ret_seen[AFFINITY_REPLICAS_MAX])
{
    uint64_t missing = UINT64_MAX; /* replicas that have seen nothing yet */
    memset(ret_seen, 0, AFFINITY_REPLICAS_MAX * sizeof(*ret_seen));
    for (size_t i = marks->count; i-- > 0 && missing;) {
        const struct place *line = line_of(a, marks->items[i]);
        size_t at = place_in(line, marks->items[i]);
        uint64_t here = at < LINE_PLACES ? line[at].replicas & missing : 0;
        missing &= ~here;
        for (; here; here &= here - 1)
            ret_seen[__builtin_ctzll(here)] = (uint32_t)i + 1;
    }
}

void
affinity_note(struct affinity *a, const struct affinity_marks *marks, size_t replica)
{
    if (replica >= AFFINITY_REPLICAS_MAX)
        return;
    for (size_t i = 0; i < marks->count; i++) {
        struct place *line = line_of(a, marks->items[i]), kept = {.mark = marks->items[i]};
        size_t at = place_in(line, kept.mark);
        if (at < LINE_PLACES)
            kept = line[at];
        else
            at = LINE_PLACES - 1;
        memmove(line + 1, line, at * sizeof(*line));
        kept.replicas |= UINT64_C(1) << replica;
        line[0] = kept;
    }
}
