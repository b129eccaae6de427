#include "gateway/span.h"

#include "base/buf.h"
#include "base/mem.h"
#include "fmt/json.h"
#include "gateway/ledger.h"
#include "tap.h"

#include <string.h>

static const struct trace trace = {.id = "4bf92f3577b34da6a3ce929d0e0e4736",
                                   .parent = "00f067aa0ba902b7",
                                   .span = "1111111111111111",
                                   .wait = "2222222222222222",
                                   .call = "3333333333333333",
                                   .stream = "4444444444444444"};

/* The names of the spans, one behind the other; the document of all of them in the arena. */
static const struct value *
print(const struct span_request *r, struct arena *arena, struct buf *names)
{
    _cleanup_buf_ struct buf spans = BUF_INIT(64 * KIB), list = BUF_INIT(64 * KIB);
    struct value *tree = NULL;
    unsigned count = span_print(r, &spans);
    buf_printf(&list, "[%s]", spans.data);
    CHECK_EQ(json_parse(arena, list.data, list.len, JSON_STRICT, &tree, NULL, NULL), 0);
    buf_clear(names);
    for (const struct value *span = tree ? tree->first : NULL; span; span = span->next, count--)
        buf_printf(names, "%s %s;", value_get(span, "name")->text, value_get(span, "kind")->text);
    CHECK_EQ(count, 0);
    return tree;
}

TEST(spans_are_those_of_what_has_happened)
{
    const struct ledger_row refused = {.time_us = 1000, .status = 404, .end = LEDGER_REFUSED},
                            whole = {.time_us = 1000,
                                     .status = 200,
                                     .model = "a\"b",
                                     .backend = "b",
                                     .first_us = 7,
                                     .duration_us = 9};
    const struct span_request base = {
        .trace = &trace, .row = &refused, .route = route_row(ROUTE_CHAT), .id = "", .model = ""};
    struct span_request waited = base, asked = base, streamed = base, other = base;
    waited.has_waited = asked.has_waited = streamed.has_waited = true;
    asked.row = streamed.row = other.row = &whole;
    streamed.is_stream = true;
    other.route = route_row(ROUTE_TOKENIZE);
    const struct {
        const struct span_request *request;
        const char *want;
    } rows[] = {
        {&base, "POST /v1/chat/completions 2;"},
        {&waited, "POST /v1/chat/completions 2;queue 1;"},
        {&asked, "POST /v1/chat/completions 2;queue 1;chat a\"b 3;"},
        {&streamed, "POST /v1/chat/completions 2;queue 1;chat a\"b 3;stream 1;"},
        {&other, "POST /tokenize 2;/tokenize a\"b 3;"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        _cleanup_buf_ struct buf names = BUF_INIT(KIB);
        arena_init(&arena, MIB);
        (void)print(rows[i].request, &arena, &names);
        CHECK_STR(names.data, rows[i].want);
    }
}

TEST(spans_have_times_in_nanoseconds_and_none_ends_before_it_begins)
{
    const struct ledger_row row = {
        .time_us = UINT64_C(1795319811515728), .duration_us = 5, .backend = "b"};
    const struct span_request r = {.trace = &trace,
                                   .row = &row,
                                   .route = route_row(ROUTE_CHAT),
                                   .id = "",
                                   .model = "",
                                   .call_us = 7};
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf names = BUF_INIT(KIB);
    arena_init(&arena, MIB);
    const struct value *first = print(&r, &arena, &names)->first;
    CHECK_STR(value_get(first, "startTimeUnixNano")->text, "1795319811515728000");
    CHECK_STR(value_get(first, "endTimeUnixNano")->text, "1795319811515733000");
    CHECK_STR(value_get(first, "parentSpanId")->text, trace.parent);
    CHECK_STR(value_get(first->next, "startTimeUnixNano")->text, "1795319811515735000");
    CHECK_STR(value_get(first->next, "endTimeUnixNano")->text, "1795319811515735000");
    CHECK_STR(value_get(first->next, "parentSpanId")->text, trace.span);
}
