/* Scores of texts against each other, and documents in the order of them. The score is the share of
 * the query's words that the other text has, kept off 0 and 1. */

#include "base/text.h"
#include "sim/pool.h"
#include "sim/routes.h"
#include "sim/sim.h"
#include "sim/since.h"

#include <stdlib.h>
#include <string.h>

struct pair {
    const struct value *query, *other;
    size_t index;
    double score;
};

struct ranking {
    struct pair *pairs;
    size_t count, top;
    bool documents; /* are told */
};

static bool
has_word(const char *text, size_t len, const char *word, size_t word_bytes)
{
    const char *end = text + len;
    for (size_t step; (step = word_len(text, end)); text += step) {
        size_t blank = strspn(text, " \t\r\n");
        if (step - blank == word_bytes && strncasecmp(text + blank, word, word_bytes) == 0)
            return true;
    }
    return false;
}

static double
score(const struct value *query, const struct value *other)
{
    const char *text = query->text, *end = text + query->len;
    uint64_t words = 0, found = 0;
    for (size_t step; (step = word_len(text, end)); text += step) {
        size_t blank = strspn(text, " \t\r\n");
        words++;
        found += has_word(other->text, other->len, text + blank, step - blank);
    }
    return ((double)found + 0.01) / ((double)words + 0.02);
}

/* ---- reading ---- */

/* A string, or a map with a text. */
static const struct value *
text_of(const struct value *v)
{
    const struct value *text = v && v->type == VALUE_MAP ? value_get(v, "text") : v;
    return text && text->type == VALUE_STRING ? text : NULL;
}

static void
add_pair(struct pool *p, size_t i, const struct value *query, const struct value *other)
{
    struct ranking *ranking = p->more;
    _cleanup_buf_ struct buf both = BUF_INIT(64 * MIB);
    if (!query || !other) {
        ask_fail(&p->ask, "Only texts can be scored.");
        return;
    }
    buf_add(&both, query->text, query->len);
    buf_add_char(&both, '\n');
    buf_add(&both, other->text, other->len);
    pool_set(p, i, both.data, both.len);
    ranking->pairs[i] = (struct pair){query, other, i, score(query, other)};
}

static bool
add_room(struct pool *p, size_t count)
{
    struct ranking *ranking = p->more;
    if (!pool_add(p, count))
        return false;
    ranking->pairs = arena_alloc(&p->call->arena, MAX(count, (size_t)1) * sizeof(*ranking->pairs));
    ranking->count = ranking->top = count;
    if (!ranking->pairs)
        ask_fail_of_memory(&p->ask);
    return ranking->pairs;
}

/* One against each of many, or each against its own. */
static void
read_pairs(struct pool *p, const struct value *first, const struct value *second)
{
    bool many = first->type == VALUE_LIST, others = second->type == VALUE_LIST;
    size_t count = others ? second->count : 1, firsts = many ? first->count : 1;
    if (count == 0) {
        ask_fail(&p->ask, "At least one text_pair element must be given");
        return;
    }
    if (firsts != 1 && firsts != count) {
        ask_fail(&p->ask, "Input lengths must be either 1:1, 1:N or N:N");
        return;
    }
    if (!add_room(p, count))
        return;
    const struct value *a = many ? first->first : first, *b = others ? second->first : second;
    for (size_t i = 0; i < count && !p->ask.failed; i++) {
        add_pair(p, i, text_of(a), text_of(b));
        a = firsts > 1 ? a->next : a;
        b = others ? b->next : b;
    }
}

static struct pool *
begin(struct call *call, const struct value *body, const char *prefix,
      void (*answer)(struct pool *pool))
{
    struct pool *p = pool_new(call, body, prefix, answer);
    if (!p)
        return NULL;
    p->more = arena_new(&call->arena, struct ranking);
    if (!p->more)
        ask_fail_of_memory(&p->ask);
    return p;
}

/* ---- scores ---- */

static void
answer_scores(struct pool *p)
{
    const struct ranking *ranking = p->more;
    struct json_writer w = pool_open(p);
    for (size_t i = 0; i < ranking->count; i++) {
        json_open_map(&w, NULL);
        json_u64(&w, "index", i);
        json_str(&w, "object", "score");
        json_real(&w, "score", ranking->pairs[i].score);
        json_close_map(&w);
    }
    pool_close(p, &w);
}

void
rank_score(struct call *call, const struct value *body)
{
    struct pool *p = begin(call, body, "score-", answer_scores);
    if (!p)
        return;
    bool named = value_get(body, "queries") != NULL; /* as newer releases call them */
    const struct value *first = ask_needed(&p->ask, named ? "queries" : "text_1");
    const struct value *second = ask_needed(&p->ask, named ? "documents" : "text_2");
    if (first && second)
        read_pairs(p, first, second);
    pool_begin(p);
}

/* ---- documents in order ---- */

static int
compare(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

static void
write_result(struct json_writer *w, const struct ranking *ranking, const struct pair *pair)
{
    json_open_map(w, NULL);
    json_u64(w, "index", pair->index);
    if (ranking->documents) {
        json_open_map(w, "document");
        json_strn(w, "text", pair->other->text, pair->other->len);
        json_null(w, "multi_modal");
        json_close_map(w);
    }
    json_real(w, "relevance_score", pair->score);
    json_close_map(w);
}

static void
answer_ranking(struct pool *p)
{
    struct ranking *ranking = p->more;
    char id[CALL_ID_MAX];
    qsort(ranking->pairs, ranking->count, sizeof(*ranking->pairs), compare);
    call_make_id(p->call->sim, p->prefix, id);
    struct json_writer w = call_open_map(p->call);
    json_str(&w, "id", id);
    json_str(&w, "model", p->model);
    json_open_map(&w, "usage");
    if (p->call->sim->settings.release >= SINCE_RERANK_SCORES)
        json_u64(&w, "prompt_tokens", p->tokens);
    json_u64(&w, "total_tokens", p->tokens);
    json_close_map(&w);
    json_open_list(&w, "results");
    for (size_t i = 0; i < ranking->top; i++)
        write_result(&w, ranking, &ranking->pairs[i]);
    json_close_list(&w);
    json_close_map(&w);
    call_answer_out(p->call);
}

static const struct ask_type query_types[] = {
    {"str", "string_type", "Input should be a valid string"},
    {"ScoreMultiModalParam", "dict_type", "Input should be a valid dictionary"},
};

void
rank_documents(struct call *call, const struct value *body)
{
    bool newer = call->sim->settings.release >= SINCE_RERANK_SCORES;
    struct pool *p = begin(call, body, newer ? "score-" : "rerank-", answer_ranking);
    uint64_t top = 0;
    if (!p)
        return;
    const struct value *query = ask_needed(&p->ask, "query");
    const struct value *documents = ask_needed_list(&p->ask, "documents");
    if (query && query->type != VALUE_STRING && query->type != VALUE_MAP)
        ask_refuse_all(&p->ask, "query", query_types, ARRAY_SIZE(query_types), query);
    (void)ask_count(&p->ask, "top_n", &top);
    struct ranking *ranking = p->more;
    if (query && documents && !p->ask.failed) {
        ranking->documents = true;
        (void)ask_bool(&p->ask, "return_documents", &ranking->documents);
        read_pairs(p, query, documents);
    }
    if (ranking && top)
        ranking->top = MIN(ranking->count, (size_t)top);
    pool_begin(p);
}
