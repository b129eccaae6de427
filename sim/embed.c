/* Embeddings, pooling and classification. The vector of a text follows from its words, so that texts
 * with the same words are near each other: each word turns one direction, and the sum has length 1. */

#include "base/hash.h"
#include "base/text.h"
#include "sim/pool.h"
#include "sim/routes.h"
#include "sim/sim.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIMENSIONS_MAX 65536

struct embedding {
    size_t dimensions;
    bool base64;
};

/* What precision such models have: the digits of a float. */
static void
embed(const char *text, size_t len, float *vector, size_t dimensions)
{
    const char *end = text + len;
    double sum = 0;
    memset(vector, 0, dimensions * sizeof(*vector));
    for (size_t step; (step = word_len(text, end)); text += step) {
        size_t blank = strspn(text, " \t\r\n");
        uint64_t hash = hash_key(text + blank, step - blank);
        vector[hash % dimensions] += hash >> 63 ? 1 : -1;
    }
    for (size_t i = 0; i < dimensions; i++)
        sum += (double)vector[i] * (double)vector[i];
    if (sum == 0)
        vector[0] = 1;
    for (size_t i = 0; i < dimensions && sum > 0; i++)
        vector[i] = (float)((double)vector[i] / sqrt(sum));
}

static void
write_base64(struct json_writer *w, struct pool *p, const char *name, const void *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = bytes;
    char *text = arena_alloc(&p->call->arena, (len + 2) / 3 * 4 + 1), *out = text;
    for (size_t i = 0; text && i < len; i += 3) {
        uint32_t n = (uint32_t)in[i] << 16;
        n |= i + 1 < len ? (uint32_t)in[i + 1] << 8 : 0;
        n |= i + 2 < len ? in[i + 2] : 0;
        *out++ = digits[n >> 18];
        *out++ = digits[n >> 12 & 63];
        *out++ = i + 1 < len ? digits[n >> 6 & 63] : '=';
        *out++ = i + 2 < len ? digits[n & 63] : '=';
    }
    json_str(w, name, text);
}

static void
write_vector(struct json_writer *w, struct pool *p, const char *name, const float *vector)
{
    const struct embedding *e = p->more;
    if (e->base64) {
        write_base64(w, p, name, vector, e->dimensions * sizeof(*vector));
        return;
    }
    json_open_list(w, name);
    for (size_t i = 0; i < e->dimensions; i++)
        json_real(w, NULL, (double)vector[i]);
    json_close_list(w);
}

static void
answer_embeddings(struct pool *p)
{
    const struct embedding *e = p->more;
    float *vector = mem_alloc(e->dimensions * sizeof(*vector));
    struct json_writer w = pool_open(p);
    for (size_t i = 0; i < p->count; i++) {
        embed(p->inputs[i].text, p->inputs[i].len, vector, e->dimensions);
        json_open_map(&w, NULL);
        json_u64(&w, "index", i);
        json_str(&w, "object", "embedding");
        write_vector(&w, p, "embedding", vector);
        json_close_map(&w);
    }
    free(vector);
    pool_close(p, &w);
}

static void
read_form(struct pool *p, struct embedding *e)
{
    const char *format = "float";
    uint64_t dimensions = p->call->sim->settings.dimensions;
    (void)ask_text(&p->ask, "encoding_format", &format);
    (void)ask_count(&p->ask, "dimensions", &dimensions);
    if (!text_eq(format, "float") && !text_eq(format, "base64"))
        ask_fail(&p->ask, "encoding_format must be 'float' or 'base64', got '%s'.", format);
    if (dimensions == 0 || dimensions > DIMENSIONS_MAX)
        ask_fail(&p->ask, "dimensions must be from 1 to %d, got %" PRIu64 ".", DIMENSIONS_MAX,
                 dimensions);
    e->dimensions = (size_t)dimensions;
    e->base64 = text_eq(format, "base64");
    p->more = e;
}

static void
begin(struct call *call, const struct value *body, const char *prefix,
      void (*answer)(struct pool *p))
{
    struct pool *p = pool_new(call, body, prefix, answer);
    struct embedding *e = p ? arena_new(&call->arena, struct embedding) : NULL;
    if (!e) {
        if (p)
            call_fail_of_memory(call);
        return;
    }
    pool_read_input(p);
    read_form(p, e);
    pool_begin(p);
}

void
embed_answer(struct call *call, const struct value *body)
{
    begin(call, body, "embd-", answer_embeddings);
}

/* A vector for each token. */
static void
answer_pooling(struct pool *p)
{
    const struct embedding *e = p->more;
    float *vector = mem_alloc(e->dimensions * sizeof(*vector));
    struct json_writer w = pool_open(p);
    for (size_t i = 0; i < p->count; i++) {
        const char *text = p->inputs[i].text, *end = text + p->inputs[i].len;
        json_open_map(&w, NULL);
        json_u64(&w, "index", i);
        json_str(&w, "object", "pooling");
        json_open_list(&w, "data");
        for (size_t len; (len = word_len(text, end)); text += len) {
            embed(text, len, vector, e->dimensions);
            write_vector(&w, p, NULL, vector);
        }
        json_close_list(&w);
        json_close_map(&w);
    }
    free(vector);
    pool_close(p, &w);
}

void
embed_pool(struct call *call, const struct value *body)
{
    begin(call, body, "pool-", answer_pooling);
}

/* ---- classes ---- */

/* One of two: what the hash of the text says. */
static void
answer_classes(struct pool *p)
{
    struct json_writer w = pool_open(p);
    for (size_t i = 0; i < p->count; i++) {
        uint64_t hash = hash_key(p->inputs[i].text, p->inputs[i].len);
        double first = (double)(hash >> 48) / 65536;
        json_open_map(&w, NULL);
        json_u64(&w, "index", i);
        json_str(&w, "label", first >= 0.5 ? "LABEL_0" : "LABEL_1");
        json_open_list(&w, "probs");
        json_real(&w, NULL, first);
        json_real(&w, NULL, 1 - first);
        json_close_list(&w);
        json_u64(&w, "num_classes", 2);
        json_close_map(&w);
    }
    pool_close(p, &w);
}

void
embed_classify(struct call *call, const struct value *body)
{
    struct pool *p = pool_new(call, body, "classify-", answer_classes);
    if (!p)
        return;
    pool_read_input(p);
    pool_begin(p);
}
