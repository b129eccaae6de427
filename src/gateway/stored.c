#include "gateway/stored.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define LINE_PLACES 8 /* in one, what was used last stands first */
#define LINES (STORED_MAX / LINE_PLACES)
#define LOOK_BYTES 8192 /* of an answer: an id stands at its beginning */

struct place {
    uint64_t id; /* its hash; 0: free */
    struct stored_at at;
};

struct stored {
    struct place lines[LINES][LINE_PLACES];
};

struct stored *
stored_new(void)
{
    return mem_new(struct stored);
}

void
stored_free(struct stored *s)
{
    for (size_t i = 0; s && i < STORED_MAX; i++)
        background_drop(s->lines[i / LINE_PLACES][i % LINE_PLACES].at.background);
    free(s);
}

/* ---- the table ---- */

static uint64_t
hash_id(const char *id, size_t len)
{
    uint64_t hash = hash_key(id, len);
    return hash ? hash : 1;
}

static size_t
place_in(const struct place *line, uint64_t id)
{
    size_t i = 0;
    while (i < LINE_PLACES && line[i].id != id)
        i++;
    return i;
}

/* That place comes to the front; those before it make room. */
static void
use(struct place *line, size_t i, const struct place *as)
{
    const struct place kept = *as;
    memmove(line + 1, line, i * sizeof(*line));
    line[0] = kept;
}

static size_t
count_of(const struct place *line, uint64_t key)
{
    size_t count = 0;
    for (size_t i = 0; i < LINE_PLACES; i++)
        count += line[i].id && line[i].at.key == key;
    return count;
}

/* A free place; else the oldest of a key that has most of them, so that no
 * key takes those of others. */
static size_t
place_for(const struct place *line)
{
    size_t found = 0, most = 0;
    for (size_t i = LINE_PLACES; i-- > 0;) {
        size_t count = line[i].id ? count_of(line, line[i].at.key) : SIZE_MAX;
        if (count <= most)
            continue;
        most = count;
        found = i;
    }
    return found;
}

void
stored_put(struct stored *s, const char *id, size_t len, const struct stored_at *at)
{
    const struct place next = {.id = hash_id(id, len), .at = *at};
    struct place *line = s->lines[next.id % LINES];
    size_t i = place_in(line, next.id);
    if (i < LINE_PLACES && line[i].at.key != at->key)
        return;
    i = i < LINE_PLACES ? i : place_for(line);
    background_drop(line[i].at.background);
    use(line, i, &next);
}

const struct stored_at *
stored_find(struct stored *s, const char *id, size_t len, uint64_t key)
{
    uint64_t hash = hash_id(id, len);
    struct place *line = s->lines[hash % LINES];
    size_t i = place_in(line, hash);
    if (i == LINE_PLACES || line[i].at.key != key)
        return NULL;
    use(line, i, &line[i]);
    return &line[0].at;
}

static struct place *
place_of(struct stored *s, const char *id, size_t len, uint64_t key)
{
    uint64_t hash = hash_id(id, len);
    struct place *line = s->lines[hash % LINES];
    size_t i = place_in(line, hash);
    return i < LINE_PLACES && line[i].at.key == key ? &line[i] : NULL;
}

void
stored_forget(struct stored *s, const char *id, size_t len, uint64_t key)
{
    struct place *place = place_of(s, id, len, key);
    if (!place)
        return;
    background_drop(place->at.background);
    *place = (struct place){0};
}

void
stored_set_background(struct stored *s, const char *id, size_t len, uint64_t key,
                      struct background *background)
{
    struct place *place = place_of(s, id, len, key);
    struct background *before = background;
    if (place) {
        before = place->at.background;
        place->at.background = background;
    }
    background_drop(before);
}

bool
stored_is_anothers(const struct stored *s, const char *id, size_t len, uint64_t key)
{
    uint64_t hash = hash_id(id, len);
    const struct place *line = s->lines[hash % LINES];
    size_t i = place_in(line, hash);
    return i < LINE_PLACES && line[i].at.key != key;
}

/* ---- ids ---- */

static bool
is_of_id(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

bool
stored_is_id(const char *id, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_of_id(id[i]))
            return false;
    return len > 0 && len <= STORED_ID_MAX;
}

/* What stands before it; white space may stand around the colon. */
static const char before[] = "\"id\":\"resp";

enum { BEFORE_LEN = sizeof(before) - 1, COLON = 4, QUOTE = 5, ID_BEGINS = 6 };

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void
start_anew(struct stored_reader *r, char c)
{
    r->matched = c == '"';
    r->len = 0;
}

/* True: this byte ends the id. */
static bool
take(struct stored_reader *r, char c)
{
    if ((r->matched == COLON || r->matched == QUOTE) && is_space(c))
        return false;
    if (r->matched == BEFORE_LEN && c == '"')
        return true;
    bool fits =
        r->matched == BEFORE_LEN ? is_of_id(c) && r->len < STORED_ID_MAX : c == before[r->matched];
    if (!fits) {
        start_anew(r, c);
        return false;
    }
    if (r->matched >= ID_BEGINS)
        r->id[r->len++] = c;
    r->matched += r->matched < BEFORE_LEN;
    return false;
}

bool
stored_read(struct stored_reader *r, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len && r->seen < LOOK_BYTES; i++, r->seen++)
        if (take(r, bytes[i])) {
            r->seen = LOOK_BYTES;
            return true;
        }
    return false;
}
