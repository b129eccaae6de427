#include "gateway/exporter.h"

#include "base/mem.h"
#include "fmt/json.h"
#include "gateway/ledger.h"
#include "gateway/papers.h"
#include "gateway/route.h"
#include "gateway/span.h"
#include "http/server.h"
#include "loop_rig.h"
#include "sys/sock.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

/* A collector, in the same loop. */
static struct collecting {
    struct loop_rig turn;
    struct http_server *server;
    char url[64];
    unsigned status;    /* of its answers */
    const char *answer; /* and what they say */
    unsigned requests;
    char authorization[64];
    struct buf body; /* of the last */
    struct exporter *exporter;
    unsigned troubles, recoveries;
    struct err trouble; /* the last */
} at;

static void
on_complete(struct http_request *r)
{
    at.requests++;
    buf_clear(&at.body);
    buf_add(&at.body, r->content.data, r->content.len);
    http_answer(r, at.status, "application/json", at.answer, strlen(at.answer));
}

static void
on_finished(struct http_request *r unused_arg, bool answered unused_arg)
{
}

static void
on_request(struct http_request *r)
{
    static const struct http_request_ops ops = {.complete = on_complete, .finished = on_finished};
    const struct http1_field *field = http1_find(&r->head, HTTP_FIELD_AUTHORIZATION);
    (void)snprintf(at.authorization, sizeof(at.authorization), "%.*s",
                   field ? (int)field->value.len : 0, field ? r->head.bytes + field->value.at : "");
    CHECK(http1_is(&r->head, r->head.path, "/v1/traces"));
    r->ops = &ops;
}

static void
on_told(void *arg unused_arg, const struct err *trouble)
{
    at.troubles += trouble != NULL;
    at.recoveries += trouble == NULL;
    if (trouble)
        at.trouble = *trouble;
}

static struct papers no_papers;

static bool
open_collector(void)
{
    static const struct http_service service = {.request = on_request};
    struct http_server_config config = http_server_config_default;
    struct sock_addr addr;
    config.body_bytes_max = config.content_bytes_max = 2 * EXPORTER_BYTES_MAX;
    at = (struct collecting){
        .status = 200, .answer = "{}", .body = BUF_INIT(2 * EXPORTER_BYTES_MAX)};
    if (!loop_rig_open(&at.turn) || sock_addr_parse("127.0.0.1:0", &addr, NULL) < 0)
        return false;
    int fd = sock_listen(&addr, 0, NULL);
    at.server = http_server_new(at.turn.loop, &config, &service);
    (void)snprintf(at.url, sizeof(at.url), "http://127.0.0.1:%d", sock_bound_port(fd));
    at.exporter = exporter_new(at.turn.loop, on_told, NULL);
    return http_server_listen(at.server, fd, NULL) == 0 &&
           exporter_aim(at.exporter, &(struct exporter_place){.url = at.url, .papers = &no_papers},
                        NULL) == 0;
}

static void
close_collector(const bool *began unused_arg)
{
    exporter_free(at.exporter);
    if (at.server)
        http_server_free(at.server);
    loop_rig_close(&at.turn);
    buf_finish(&at.body);
}

#define COLLECTOR()                                                  \
    _cleanup_(close_collector) const bool began_ = open_collector(); \
    REQUIRE(began_)

/* Two spans: a request, and the wait in it. */
static void
add(void)
{
    static const struct trace trace = {.id = "4bf92f3577b34da6a3ce929d0e0e4736",
                                       .span = "1111111111111111",
                                       .wait = "2222222222222222"};
    static const struct ledger_row row = {.time_us = 1000, .status = 503, .end = LEDGER_REFUSED};
    const struct span_request request = {.trace = &trace,
                                         .row = &row,
                                         .route = route_row(ROUTE_CHAT),
                                         .id = "req_1",
                                         .model = "one",
                                         .has_waited = true};
    exporter_add(at.exporter, &request);
}

static uint64_t
sent(void)
{
    return exporter_counts(at.exporter)->sent;
}

static uint64_t
lost(void)
{
    return exporter_counts(at.exporter)->lost;
}

/* Of the last request, or -1: it is no document of spans. */
static int
count_spans(void)
{
    _cleanup_arena_ struct arena arena;
    struct value *tree = NULL;
    arena_init(&arena, 64 * MIB);
    if (json_parse(&arena, at.body.data, at.body.len, JSON_STRICT, &tree, NULL, NULL) < 0)
        return -1;
    const struct value *resources = value_get(tree, "resourceSpans");
    const struct value *scopes =
        resources && resources->first ? value_get(resources->first, "scopeSpans") : NULL;
    const struct value *spans = scopes && scopes->first ? value_get(scopes->first, "spans") : NULL;
    return spans ? (int)spans->count : -1;
}

TEST(exporter_sends_what_has_come_in_a_while_as_one_document)
{
    _cleanup_(papers_finish) struct papers papers = {0};
    COLLECTOR();
    secret_set(&papers.key, "sesame");
    const struct exporter_place place = {.url = at.url, .papers = &papers};
    REQUIRE(exporter_aim(at.exporter, &place, NULL) == 0);
    CHECK(exporter_is_on(at.exporter));
    for (unsigned i = 0; i < 3; i++)
        add();
    CHECK_EQ(at.requests, 0);
    REQUIRE(LOOP_WAIT(&at.turn, sent() == 6));
    CHECK_EQ(at.requests, 1);
    CHECK_EQ(count_spans(), 6);
    CHECK(strcmp(at.authorization, "Bearer sesame") == 0);
    CHECK(strstr(at.body.data, "{\"key\":\"service.name\",\"value\":{\"stringValue\":"
                               "\"citadel-gateway\"}}"));
    CHECK_EQ(lost(), 0);
    CHECK_EQ(at.troubles, 0);
}

TEST(exporter_sends_once_more_what_could_not_be_taken_and_then_loses_it)
{
    COLLECTOR();
    at.status = 503;
    add();
    REQUIRE(LOOP_WAIT(&at.turn, at.requests == 1));
    CHECK_EQ(lost(), 0);
    add(); /* waits meanwhile */
    REQUIRE(LOOP_WAIT(&at.turn, lost() == 2));
    CHECK_EQ(at.requests, 2);
    CHECK_EQ(at.troubles, 1);
    CHECK(strstr(at.trouble.what, "has answered with 503"));
    at.status = 200;
    REQUIRE(LOOP_WAIT(&at.turn, sent() == 2));
    CHECK_EQ(at.recoveries, 1);
    CHECK_EQ(lost(), 2);
}

TEST(exporter_does_not_repeat_what_is_refused)
{
    COLLECTOR();
    at.status = 400;
    add();
    REQUIRE(LOOP_WAIT(&at.turn, lost() == 2));
    CHECK_EQ(at.requests, 1);
    CHECK_EQ(at.troubles, 1);
}

TEST(exporter_counts_what_a_collector_has_refused_of_a_request)
{
    static const struct {
        const char *answer;
        uint64_t lost;
    } rows[] = {
        {"{\"partialSuccess\":{\"rejectedSpans\":\"1\",\"errorMessage\":\"old\"}}", 1},
        {"{\"partialSuccess\":{\"rejectedSpans\":2}}", 2},
        {"{\"partialSuccess\":{\"rejectedSpans\":\"18446744073709551615\"}}", 2},
        {"{\"partialSuccess\":{}}", 0},
        {"no JSON", 0},
        {"", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        COLLECTOR();
        tap_note("%s", rows[i].answer);
        at.answer = rows[i].answer;
        add();
        exporter_flush(at.exporter, 20000000);
        CHECK_EQ(lost(), rows[i].lost);
        CHECK_EQ(sent(), 2 - rows[i].lost);
        CHECK_EQ(at.troubles, rows[i].lost > 0);
    }
}

/* While one is under way, so much waits and no more; and what is many goes without a delay. */
TEST(exporter_keeps_so_much_and_counts_the_rest)
{
    COLLECTOR();
    uint64_t added = 0;
    for (; lost() == 0 && added < 100000; added += 2)
        add();
    for (unsigned i = 0; i < 1000; i++, added += 2)
        add();
    uint64_t over = lost();
    CHECK(over >= 2000);
    exporter_flush(at.exporter, 20000000);
    CHECK_EQ(sent(), added - over);
    CHECK_EQ(lost(), over);
    CHECK_EQ(at.requests, 2);
    CHECK(count_spans() > 1000 && at.body.len < 2 * EXPORTER_BYTES_MAX);
}

TEST(exporter_that_is_turned_off_loses_what_waits)
{
    COLLECTOR();
    add();
    REQUIRE(exporter_aim(at.exporter, &(struct exporter_place){0}, NULL) == 0);
    CHECK(!exporter_is_on(at.exporter));
    CHECK_EQ(lost(), 2);
    add(); /* goes nowhere, and is nobody's loss */
    exporter_flush(at.exporter, 20000000);
    CHECK_EQ(lost(), 2);
    CHECK_EQ(at.requests, 0);
}

TEST(exporter_is_not_aimed_at_what_is_no_url)
{
    struct err err;
    COLLECTOR();
    CHECK(exporter_aim(at.exporter,
                       &(struct exporter_place){.url = "ftp://x", .papers = &no_papers}, &err) < 0);
    CHECK(strstr(err.what, "gateway.trace_url") && strstr(err.what, "ftp://x"));
    CHECK(!exporter_is_on(at.exporter));
}
