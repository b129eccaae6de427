#pragma once

/* What the files of the server share.
 *
 * A connection's state is the list it is on: for each, one thing is waited for and one timeout
 * holds, so the one that has waited longest is first on its list. conn_run() does everything that
 * can be done now; then settle() of server_conn.c finds the list by looking at the connection. */

#include "http/crowd.h"
#include "http/server.h"
#include "http/spare.h"
#include "http/tls.h"
#include "http/wait.h"
#include "http/write.h"
#include "sys/loop.h"

#define CONN_READ_BYTES TLS_READ_BYTES /* at a time */

enum conn_state {
    CONN_HANDSHAKE, /* for the rest of it, of TLS */
    CONN_IDLE,      /* for a request to begin */
    CONN_HEAD,      /* for the rest of a head */
    CONN_BODY,      /* for more of a body */
    CONN_ANSWER,    /* for the handler */
    CONN_WRITE,     /* for the client to read */
    CONN_SKIP,      /* for the rest of a body that nobody wants: its request was answered */
    CONN_LINGER,    /* for the client to leave: our last words are said */
    CONN_DEAD,      /* for the end of the pass */
    CONN_STATES,
};

/* What a connection has only while something is going on: an idle one is small. */
struct exchange {
    struct http_request request; /* first, so that one is the other */
    struct conn *conn;
    struct spare spare;
    struct buf in;
    size_t in_at; /* what is before it was read */
    struct buf out;
    size_t out_at; /* what is before it was sent */
    struct http1_body body;
    struct http_writer writer;

    bool in_flight;      /* the handler has the request */
    bool body_whole;     /* all of it has come; so it is where there is no request */
    uint64_t step_bytes; /* of it have come since it has been given its time, */
    uint64_t step_us;    /* and so long it was waited for before it was last paused */
    bool wants_continue; /* and was not told to */
    bool paused;         /* by the handler */
    bool begun;          /* the answer */
    bool head_open;      /* of the answer: from writer.start on it may not be sent */
    bool chunked;
    bool counted; /* `left` is to be written yet */
    uint64_t left;
    bool bare;       /* 204, 304: nothing is said about content */
    bool no_content; /* none follows: bare, or to HEAD */
    bool ended;      /* the answer is complete */
    bool held;       /* something waits until the client has caught up */
    bool is_behind;  /* he has asked again before he had read what he was answered */
    bool told_full;  /* the handler: http_answer_write() returned false */
    bool dismissed;  /* and this, too */
};

struct conn {
    struct wait wait; /* on the list of its state */
    struct crowd_member member;
    struct http_server *server;
    struct exchange *exchange; /* NULL while idle */
    struct loop_fd watch;
    struct loop_defer defer;
    int fd;
    struct tls *tls; /* NULL: none */
    enum conn_state state;
    uint64_t written_bytes; /* since it waits for the client to read */
    int64_t taken_bytes;    /* of these he had when he was looked at last */
    bool is_fresh;          /* it has asked for nothing yet */
    bool running;           /* inside conn_run() */
    bool touched;           /* got on with what it waits for: the time starts again */
    bool is_stalled;        /* he has taken nothing between two looks, nor since */
    bool ends;              /* nothing more is read as requests; closes when all is sent */
    bool linger;            /* our side is shut down */
    bool has_left;          /* the client will send no more */
    bool broken;            /* nothing can be sent or expected */
};

struct listener {
    struct listener *next;
    struct http_server *server;
    struct loop_fd watch;
    int fd;
};

struct http_server {
    struct loop *loop;
    struct http_server_config config;
    struct http_service service;
    struct tls_context *tls; /* of new connections; NULL: none */
    struct http_server_counts counts;
    struct waits waits;
    struct wait_list lists[CONN_STATES];
    struct crowd crowd;      /* connections, by their addresses */
    struct loop_timer retry; /* of accepting, where descriptors ran out */
    struct loop_timer look;  /* at who does not read, while there is no room */
    struct loop_defer drained;
    struct listener *listeners;
    struct spares spares; /* exchanges */
    struct buf room;      /* that is lent to them */
    struct http_date date;
    bool draining;
    bool dismisses; /* likewise, and who is in flight is told */
    bool full;      /* listeners are not watched */
};

/* server.c */
struct exchange *server_take_exchange(struct http_server *s);
void server_give_exchange(struct http_server *s, struct exchange *x);
void server_bury(struct conn *c);      /* its socket is closed; freed at the end of the pass */
void server_free_conn(struct conn *c); /* a dead one */
void server_entered(struct conn *c);   /* its state */
void server_turned(struct conn *c);    /* within it; perhaps it may give way from now on, or not */

/* server_conn.c */
struct conn *conn_new(struct http_server *s, int fd);
void conn_enter(struct conn *c, enum conn_state state); /* to the end of its list */
void conn_run(struct conn *c);
void conn_schedule(struct conn *c); /* conn_run() at the end of the pass */
void conn_expire(struct conn *c);
void conn_break(struct conn *c); /* and whatever it has */
/* Finds out whether its client has taken anything since the look before. */
void conn_look(struct conn *c);

/* server_wire.c: recv() and send() of a connection, through TLS if it speaks that; or -errno */
ssize_t conn_receive(struct conn *c, void *to, size_t len) must_check;
ssize_t conn_send(struct conn *c, const void *bytes, size_t len) must_check;

/* server_answer.c */
void answer_error(struct exchange *x, unsigned status, const char *reason, const char *why);

static inline size_t
exchange_unread(const struct exchange *x)
{
    return x->in.len - x->in_at;
}

/* A head to which fields are still added stays behind. */
static inline size_t
exchange_unsent(const struct exchange *x)
{
    return (x->head_open ? x->writer.start : x->out.len) - x->out_at;
}
