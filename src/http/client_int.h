#pragma once

/* What the files of the client share. */

#include "http/client.h"
#include "http/spare.h"
#include "http/tls.h"
#include "http/wait.h"
#include "http/write.h"
#include "sys/sock.h"

#define LINK_READ_BYTES TLS_READ_BYTES /* at a time */

/* What is waited for; the state of calls and links is the list they are on. */
enum client_wait {
    WAIT_CALLER,  /* for the caller to write or to go on reading */
    WAIT_CONNECT, /* for the connection, and TLS on it */
    WAIT_FIRST,   /* for the first byte of an answer */
    WAIT_BETWEEN, /* for the next ones */
    WAIT_TOTAL,   /* every call */
    WAIT_IDLE,    /* links without a call */
    CLIENT_WAITS,
};

/* A connection. */
struct link {
    struct wait wait; /* on WAIT_IDLE, or on no list */
    struct http_client *client;
    struct pending *pending; /* NULL: idle */
    struct loop_fd watch;
    int fd;
    struct tls *tls; /* NULL: none, or not yet */
    unsigned moves;  /* of the client, before it was opened */
    bool connected;
    bool used; /* it has carried a call before */
    bool deaf; /* it cannot be written to any more */
};

/* A call, and what the caller need not see of it. */
struct pending {
    struct http_call call; /* first, so that one is the other */
    struct spare spare;
    struct http_client *client;
    const struct http_call_ops *ops;
    struct link *link;
    struct wait wait, total;
    struct loop_defer defer;
    enum http_method method;
    struct http_writer writer;
    struct buf out;
    size_t out_at; /* what is before it was sent */
    struct buf in;
    size_t in_at; /* what is before it was read */
    struct http1_body body;
    uint64_t sent_us;  /* its first byte; 0: none was */
    uint64_t left;     /* of a body with a length: what is to be written yet */
    unsigned interims; /* 1xx answers */
    struct err error;

    bool head_open; /* of the request: fields are added */
    bool chunked;
    bool repeatable; /* says the caller */
    bool fresh;      /* no kept connection is used for it */
    bool ended;      /* the request is whole */
    bool kept;       /* all of the request is still in out */
    bool has_head;   /* of the answer */
    bool paused;     /* by the caller */
    bool told_full;  /* the caller: http_call_write() returned false */
    bool touched;    /* got on with what it waits for */
    bool running;    /* inside pending_run() */
    bool failed;     /* error tells why */
    bool whole;      /* the answer is */
    bool dead;       /* ended; its caller may not use it any more */
};

struct http_client {
    struct loop *loop;
    struct http_client_config config;
    char *address; /* the text that addr.path is in */
    struct sock_addr addr;
    char *host;
    const struct tls_context *tls; /* NULL: none */
    char *tls_name;
    struct http_client_counts counts;
    unsigned links;
    unsigned moves; /* to other addresses */
    struct waits waits;
    struct wait_list lists[CLIENT_WAITS];
    struct spares spares; /* calls */
    struct buf room;      /* that is lent to them */
};

/* client.c */
void client_take_link(struct pending *p, bool fresh); /* or fails the call */
void client_drop_link(struct pending *p, bool keep);
void client_give_back(struct pending *p);

/* client_wire.c: recv() and send() of a link, through TLS if it speaks that; or -errno */
ssize_t link_receive(struct link *link, void *to, size_t len) must_check;
ssize_t link_send(struct link *link, const void *bytes, size_t len) must_check;
/* Gets on with the connection: 0 when it may be used; -EAGAIN. */
int link_open(struct link *link, struct err *reterr) must_check;
unsigned link_events(const struct link *link); /* that this waits for */

/* client_call.c */
void pending_fail(struct pending *p, enum err_id id, const char *fmt, ...) printf_like(3, 4);
void pending_ready(struct pending *p, unsigned events); /* the link is */
void pending_expire(struct pending *p, enum client_wait wait);
void pending_end(struct pending *p); /* without telling */
void pending_init(struct pending *p, const char *method, const char *target);
