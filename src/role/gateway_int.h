#pragma once

/* Inside the gateway: gateway.c has its life and its addresses, gateway_http.c who asks what,
 * gateway_control.c the control socket, gateway_reload.c another configuration, gateway_papers.c
 * files that it names, gateway_monitor.c what it has from the monitor, gateway_pages.c the
 * monitor's metrics, gateway_keys.c who it is that asks, gateway_control_keys.c what is asked about
 * that, gateway_told.c what is kept of requests. */

#include "base/vec.h"
#include "gateway/flood.h"
#include "gateway/keyring.h"
#include "gateway/ledger.h"
#include "gateway/metrics.h"
#include "gateway/papers.h"
#include "gateway/presence.h"
#include "gateway/relay.h"
#include "gateway/reply.h"
#include "http/server.h"
#include "role/access_log.h"
#include "role/control.h"
#include "role/gateway.h"
#include "role/life.h"
#include "role/losses.h"

struct exporter;
struct reload;
struct transcripts;
struct wanted;

struct gateway_monitor {
    struct gateway *gateway;
    struct http_client *client; /* NULL: no monitor is configured */
    struct http_call *look;     /* under way */
    struct loop_timer again;
    uint64_t heard_us; /* when it was heard last; 0: it is not heard */
    bool was_heard;    /* ever: the two may have started as one */
    struct presence_asker asker;
    VEC(struct wanted *) wanted;
};

/* Why somebody is turned away before it is known whose request it is. */
enum stranger_why {
    STRANGER_KEY,     /* shows none that is good */
    STRANGER_ADDRESS, /* may not ask from there */
    STRANGER_PAGE,    /* nor may a page of that one */
    STRANGER_METRICS, /* asks for metrics, likewise: no request for a model, nor are those below */
    STRANGER_PATH,    /* asks for what is not there, */
    STRANGER_METHOD,  /* or otherwise than it is asked for */
    STRANGER_WHYS
};

/* What is kept and told of requests, beside the ledger. */
struct gateway_told {
    struct access_log access_log;
    struct transcripts *transcripts;
    struct exporter *exporter;
    struct losses ledger_losses, access_log_losses, transcript_losses;
    uint64_t turned_away[STRANGER_WHYS];
    struct flood strangers; /* of these, those that ask for a model */
    struct flood refused;   /* of those who have a key, or need none */
    struct losses strangers_left_out, refused_left_out;
    struct loop_timer minute; /* of both */
};

struct gateway {
    const struct config *config; /* as the relay has it */
    struct life life;
    struct keyring *keys;
    struct gateway_told told;
    struct relay *relay;
    struct http_server *server;
    bool is_handed;      /* its addresses are */
    bool was_local;      /* gateway_is_local(), when it was told */
    VEC(char *) sockets; /* files that it listens at, of gateway.listen */
    struct role_control control;
    struct gateway_monitor monitor;
    struct http_client *pages;              /* of the monitor; NULL: none is configured */
    uint64_t since_us;                      /* 1970 */
    struct reload *reload, *waiting_reload; /* one is under way, and one behind it */
    bool drains;
    bool dismisses;             /* that is over: who is under way is told */
    struct loop_timer deadline; /* of either */
    bool has_ended;
};

/* gateway.c */
void gateway_limits_changed(struct gateway *g);
void gateway_listen_anew(struct gateway *g); /* since gateway_is_local() has changed */

/* gateway_control.c */
int gateway_control_open(struct gateway *g, struct err *reterr) must_check;

/* gateway_monitor.c */
int gateway_monitor_open(struct gateway *g, struct err *reterr) must_check;
void gateway_monitor_close(struct gateway *g);
/* Now: there may be models that it was not asked about. */
void gateway_monitor_look(struct gateway *g);

/* gateway_pages.c */
struct route;
int gateway_pages_open(struct gateway *g, struct err *reterr) must_check;
void gateway_page_answer(struct gateway *g, struct http_request *r, const struct route *route,
                         const struct reply *reply);

/* gateway_reload.c: answers with what has changed, once it is taken up */
void gateway_reload(struct gateway *g, struct http_request *r);

/* gateway_papers.c: what the configuration names in files, as these are now; what is taken up of it
 * is taken out. Reading waits for disks. */
struct tls_context;
struct gateway_papers {
    const struct config *config;
    struct tls_context *own; /* that its server speaks with; NULL: it speaks none */
    struct papers *peers;    /* papers_read_peers() */
    struct papers collector; /* of traces */
    struct err no_collector; /* why it cannot be used */
};
int gateway_papers_read(const struct config *config, struct gateway_papers *ret, struct err *reterr)
    must_check;
void gateway_papers_finish(struct gateway_papers *papers);
void gateway_speak_tls(struct gateway *g, struct gateway_papers *papers);

/* gateway_told.c: what is kept of requests that are over, and where it is told */
void gateway_told_open(struct gateway *g); /* before the relay has requests */
/* As it is configured now. */
void gateway_told_watch(struct gateway *g, struct gateway_papers *papers);
#define GATEWAY_SPANS_US UINT64_C(2000000)  /* for the collector to take the last ones */
void gateway_told_close(struct gateway *g); /* what is to be written is, by works */
/* One is turned away, of whom no more is known than his address. */
void gateway_told_stranger(struct gateway *g, const struct http_request *r,
                           const struct reply *reply, enum stranger_why why, unsigned status);
/* For metrics_write(). */
#define GATEWAY_LOSSES 4
#define GATEWAY_AWAY (STRANGER_WHYS + 1)
void gateway_told_losses(const struct gateway *g,
                         struct metrics_count ret_lost[GATEWAY_LOSSES + 1]);
void gateway_told_strangers(const struct gateway *g,
                            struct metrics_count ret_away[GATEWAY_AWAY + 1]);

/* gateway_http.c */
struct http_service gateway_service(struct gateway *g);

/* gateway_control_keys.c: requests at the control socket that are about keys and usage */
void gateway_answer_keys(struct gateway *g, struct http_request *r);
void gateway_answer_deed(struct gateway *g, struct http_request *r, enum keyring_deed deed,
                         const char *name);
void gateway_answer_usage(struct gateway *g, struct http_request *r, const char *by);

/* gateway_keys.c */
int gateway_keys_open(struct gateway *g, struct err *reterr) must_check;
/* Whether all is written. Where it is not, it was said; and where the disk hangs, the process can
 * only end. */
bool gateway_keys_close(struct gateway *g, uint64_t limit_us);
/* Only those on this host are answered, as long as no key was made. */
bool gateway_is_local(const struct gateway *g);
/* Puts the key that the request shows into reply->caller. NO_KEY: it is not good, or there is none
 * and one is needed. */
int gateway_identify(const struct gateway *g, const struct http_request *r, struct reply *reply,
                     struct err *reterr) must_check;
