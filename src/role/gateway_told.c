/* What is kept of each request once it is over, or was turned away: a row of the ledger, a line of
 * the access log, what was said where that is wanted, and its spans. Nobody waits for any of it;
 * what was lost is said and counted. */

#include "role/gateway_int.h"

#include "base/mem.h"
#include "config/config.h"
#include "gateway/exporter.h"
#include "gateway/metrics.h"
#include "gateway/share.h"
#include "gateway/transcript.h"
#include "sys/log.h"
#include "sys/sock.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* ---- a request is over ---- */

static void
tell_losses(struct gateway *g)
{
    struct gateway_told *t = &g->told;
    int error = transcripts_error(t->transcripts);
    losses_tell(&t->ledger_losses, store_counts(keyring_store(g->keys))->lost_rows, "the ledger",
                "its database cannot be written, or not as fast as they come");
    losses_tell(&t->access_log_losses, t->access_log.lost, access_log_name(&t->access_log),
                access_log_why(&t->access_log));
    losses_tell(&t->transcript_losses, transcripts_lost(t->transcripts),
                transcripts_path(t->transcripts),
                error ? strerror(error) : "its disk is slower than what is said");
}

static void
on_lost(struct access_log *log)
{
    tell_losses(container_of(log, struct gateway, told.access_log));
}

/* It may be one of very many: no server was asked, and nothing was used. */
static bool
is_for_nothing(const struct ledger_row *row)
{
    return !row->backend[0] && row->end != LEDGER_WHOLE && row->tokens_in + row->tokens_out == 0;
}

static void
count_minute(struct gateway *g)
{
    struct gateway_told *t = &g->told;
    if (!loop_timer_is_set(&t->minute))
        loop_timer_start(g->life.loop, &t->minute, FLOOD_MINUTE_US, 0);
}

static void
on_over(const struct ledger_row *row, const struct reply *reply, void *arg)
{
    struct gateway *g = arg;
    if (is_for_nothing(row)) {
        count_minute(g);
        if (!flood_take(&g->told.refused, &flood_refused, row->key))
            return;
    }
    (void)!store_add_row(keyring_store(g->keys), row); /* one that is lost is counted there */
    access_log_add(&g->told.access_log, row, reply->id, NULL);
    tell_losses(g);
}

/* ---- a request is turned away ---- */

static const char *const stranger_words[STRANGER_WHYS] = {
    [STRANGER_KEY] = "key",         [STRANGER_ADDRESS] = "address", [STRANGER_PAGE] = "page",
    [STRANGER_METRICS] = "metrics", [STRANGER_PATH] = "path",       [STRANGER_METHOD] = "method",
};

/* False: there is no room for all of it. */
static bool
turn_minute(struct gateway_told *t)
{
    flood_turn(&t->strangers);
    flood_turn(&t->refused);
    uint64_t strangers = losses_take(&t->strangers_left_out, t->strangers.left_out);
    uint64_t refused = losses_take(&t->refused_left_out, t->refused.left_out);
    if (strangers > 0)
        log_warning("%" PRIu64 " more requests showed no key that is good, or came from where "
                    "nobody may ask, than ledger and access log have",
                    strangers);
    if (refused > 0)
        log_warning("%" PRIu64 " more requests were refused, or left before any model was asked, "
                    "than ledger and access log have",
                    refused);
    return t->strangers_left_out.told == t->strangers.left_out &&
           t->refused_left_out.told == t->refused.left_out;
}

static void
on_minute(struct loop_timer *timer)
{
    struct gateway *g = container_of(timer, struct gateway, told.minute);
    if (!turn_minute(&g->told))
        count_minute(g);
}

void
gateway_told_stranger(struct gateway *g, const struct http_request *r, const struct reply *reply,
                      enum stranger_why why, unsigned status)
{
    struct gateway_told *t = &g->told;
    struct ledger_row row = {
        .time_us = loop_wall_us(g->life.loop), .status = status, .end = LEDGER_REFUSED};
    struct sock_addr from;
    sock_addr_text address = "";
    t->turned_away[why]++;
    count_minute(g);
    if (why >= STRANGER_METRICS ||
        !flood_take(&t->strangers, &flood_strangers, share_address(http_request_address(r))))
        return;
    if (sock_peer_addr(http_request_fd(r), &from) == 0)
        (void)sock_addr_print(&from, address);
    (void)!store_add_row(keyring_store(g->keys), &row);
    access_log_add(&t->access_log, &row, reply->id, address);
    tell_losses(g);
}

void
gateway_told_strangers(const struct gateway *g, struct metrics_count ret_away[GATEWAY_AWAY + 1])
{
    for (size_t i = 0; i < STRANGER_WHYS; i++)
        ret_away[i] = (struct metrics_count){stranger_words[i], g->told.turned_away[i]};
    ret_away[STRANGER_WHYS] =
        (struct metrics_count){"malformed", http_server_counts(g->server)->refused};
    ret_away[GATEWAY_AWAY] = (struct metrics_count){0};
}

void
gateway_told_losses(const struct gateway *g, struct metrics_count ret_lost[GATEWAY_LOSSES + 1])
{
    const struct metrics_count lost[GATEWAY_LOSSES + 1] = {
        {"ledger", store_counts(keyring_store(g->keys))->lost_rows},
        {"access-log", g->told.access_log.lost},
        {"prompts", transcripts_lost(g->told.transcripts)},
        {"spans", exporter_counts(g->told.exporter)->lost},
    };
    memcpy(ret_lost, lost, sizeof(lost));
}

/* ---- as it is configured ---- */

static void
on_collector(void *arg, const struct err *trouble)
{
    const struct gateway *g = arg;
    if (trouble)
        log_warning("gateway.trace_url: %s; traces that are not taken are lost", trouble->what);
    else
        log_info("gateway.trace_url: traces are taken again by %s",
                 exporter_authority(g->told.exporter));
}

static void
aim(struct gateway *g, struct gateway_papers *papers)
{
    struct err *trouble = &papers->no_collector;
    bool knows = trouble->id == ERR_NONE;
    const struct exporter_place place = {knows ? g->config->gateway.trace_url : NULL,
                                         &papers->collector};
    if (exporter_aim(g->told.exporter, &place, trouble) < 0 || !knows) {
        err_prefix(trouble, "no traces are told");
        log_err(trouble);
    }
}

static void
switch_transcripts(struct gateway *g)
{
    bool was_on = transcripts_is_on(g->told.transcripts), is_on = g->config->gateway.log_prompts;
    transcripts_switch(g->told.transcripts, is_on);
    if (is_on && !was_on)
        log_warning("gateway.log_prompts is true: what is asked and answered is kept in "
                    "%s/services/prompts.log",
                    g->config->paths.logs);
    else if (was_on && !is_on)
        log_info("gateway.log_prompts is false: what is asked and answered is kept no more");
}

void
gateway_told_watch(struct gateway *g, struct gateway_papers *papers)
{
    access_log_close(&g->told.access_log);
    access_log_open(&g->told.access_log, g->life.loop, g->config);
    store_set_keep(keyring_store(g->keys), g->config->gateway.ledger_keep_us);
    switch_transcripts(g);
    aim(g, papers);
}

/* ---- a life ---- */

void
gateway_told_open(struct gateway *g)
{
    struct gateway_told *t = &g->told;
    _cleanup_free_ char *path = mem_printf("%s/services/prompts.log", g->config->paths.logs);
    t->access_log = (struct access_log){.fd = -1, .lost_some = on_lost};
    t->minute.expired = on_minute;
    t->transcripts = transcripts_new(g->life.loop, path);
    t->exporter = exporter_new(g->life.loop, on_collector, g);
    relay_tell_of_ends(g->relay, on_over, g);
    relay_keep_words(g->relay, t->transcripts);
    relay_export_spans(g->relay, t->exporter);
}

void
gateway_told_close(struct gateway *g)
{
    struct gateway_told *t = &g->told;
    if (!t->transcripts)
        return;
    loop_timer_stop(&t->minute);
    (void)turn_minute(t);
    access_log_close(&t->access_log);
    transcripts_end(take_ptr(t->transcripts));
    exporter_flush(t->exporter, GATEWAY_SPANS_US);
    exporter_free(t->exporter);
}
