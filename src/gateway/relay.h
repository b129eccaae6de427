#pragma once

/* Requests for models, and about responses that they have made, each from its head to the last
 * byte of its answer:
 *
 *     let it in -> collect the body -> read what it asks for -> name to back ends
 *     -> claim what it may take -> wait for a slot -> ask
 *     -> pass the answer on -> settle
 *
 * Until an answer has begun, another back end, and then what the configuration names as
 * fallbacks, may be asked instead; the answer then says so in X-Citadel-Fallback. That is where
 * nobody has worked on the request; and once where a server was lost so soon that hardly anybody
 * has: no more, since there are requests that end whoever takes them. Nor is one asked for again
 * that somebody may still be at. From the first byte on bytes go through as they come, at the
 * pace of whoever is slower.
 *
 * A client that leaves ends its request at once, whatever it is at: its visit (backend.h) is the
 * one owner of place, load and call. An engine that ends within a stream leaves an error event
 * there, and within any other answer a connection that is cut: never what looks complete. */

#include "gateway/histogram.h"

#include "base/err.h"

struct backend;
struct config;
struct exporter;
struct http_request;
struct ledger_row;
struct loop;
struct papers;
struct relay;
struct reply;
struct route_found;
struct tallies;
struct transcripts;
struct target_back;
struct target_table;

/* The configuration outlives it, and every request that has come under it. papers: of its peers. */
int relay_new(struct loop *loop, const struct config *config, struct papers *papers,
              struct relay **ret_relay, struct err *reterr) must_check;
/* For what comes from here on; requests that are there go on as they began, and what has not
 * changed keeps its queue and its connections. On success the configuration is the relay's: it is
 * there until the next one, at least. */
int relay_configure(struct relay *relay, struct config *config, struct papers *papers,
                    struct err *reterr) must_check;
/* Every request has ended. The last configuration goes with it, unless it is taken before. */
struct config *relay_take_config(struct relay *relay) must_check;
void relay_free(struct relay *relay);

/* One for a model, or about a response that one has made, in service->request(). reply: of
 * it, which has its caller. */
void relay_take(struct relay *relay, struct http_request *r, const struct route_found *found,
                const struct reply *reply);

/* What each request came to is told, at its end; reply: as it was taken. */
void relay_tell_of_ends(struct relay *relay,
                        void (*over)(const struct ledger_row *row, const struct reply *reply,
                                     void *arg),
                        void *arg);

/* Where what is said is kept, and where spans of requests go, as far as those are switched on. Both
 * outlive the relay; at first there are none. */
void relay_keep_words(struct relay *relay, struct transcripts *transcripts);
void relay_export_spans(struct relay *relay, struct exporter *exporter);

const struct target_table *relay_targets(const struct relay *relay);
/* Of the i-th model of the configuration, or of a peer, which come behind them; NULL: a
 * model that is not enabled. */
const struct backend *relay_backend(const struct relay *relay, size_t i);
struct backend *relay_backend_at(struct relay *relay, size_t i); /* likewise */
size_t relay_backend_count(const struct relay *relay);           /* of these */
/* There may be fewer connections than gateway.limits.connections; at first, as many. */
void relay_bound_connections(struct relay *relay, unsigned connections_max);

struct backend *relay_backend_of(const struct relay *relay, const struct target_back *back);

struct relay_counts {
    unsigned requests;     /* now */
    uint64_t bodies_bytes; /* that are kept, now */
    uint64_t fallbacks;    /* answers by another model than was asked for */
    uint64_t cut;          /* answers that an engine did not complete */
    uint64_t held;         /* answers that waited for their reader */
    struct histogram own;  /* our own part in each request that was answered: metric.def */
};
const struct relay_counts *relay_counts(const struct relay *relay);
struct tallies *relay_tallies(struct relay *relay); /* of keys */
