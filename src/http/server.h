#pragma once

/* An HTTP/1.1 server on the loop: keep-alive, pipelining (answered in order), streams both ways
 * with back-pressure, a timeout for each thing a client can be slow at, a ceiling for each that he
 * can grow.
 *
 * A request is what the handler holds on to. From service->request() until ops->finished() it is
 * there and may be answered, at once or any time later, from any callback of the loop. finished()
 * is told exactly once, last, never from inside a call of this room: what the handler owns for the
 * request ends there. A client that leaves, stalls or breaks the rules ends it too; a client that
 * shuts down its sending side has left, unless its answer is complete by then.
 *
 * What goes wrong before the handler is asked (malformed, too large, too slow) the server answers
 * itself. */

#include "base/buf.h"
#include "http/http1.h"

struct err;
struct loop;
struct tls_context;
struct http_server;
struct http_request;

struct http_request_ops {
    /* A piece of the body. NULL: the body is collected in r->content. */
    void (*body)(struct http_request *r, const char *bytes, size_t len);
    /* The request is whole, also when it has no body. NULL where nothing waits for that. */
    void (*complete)(struct http_request *r);
    /* After http_answer_write() returned false: the client has caught up. */
    void (*writable)(struct http_request *r);
    /* http_server_dismiss(): its answer, or the end of it, is to be given now. NULL: it is cut. */
    void (*dismissed)(struct http_request *r);
    /* answered: the whole answer was given, and the last of it is on its way. */
    void (*finished)(struct http_request *r, bool answered);
};

struct http_request {
    struct http1_head head;             /* its slices are valid in service->request() only */
    const struct http_request_ops *ops; /* to be set there, unless the answer is complete by then */
    void *user;                         /* the handler's */
    void *arg;                          /* of the service */
    uint64_t body_bytes_max;            /* of the server; may be changed there */
    bool is_cut;                        /* in ops->finished(): by the server, which stops */
    struct buf content;
};

struct http_service {
    void (*request)(struct http_request *r);
    /* Optional: the body of an answer that the server gives itself, and its media type. */
    const char *(*explain)(void *arg, unsigned status, const char *reason, const char *why,
                           struct buf *body);
    /* Optional: after http_server_drain(), the last connection has gone. */
    void (*drained)(void *arg);
    void *arg;
};

struct http_server_config {
    struct http1_limits head;
    uint64_t body_bytes_max;
    uint64_t content_bytes_max; /* of all bodies that are collected at a time, together */
    uint64_t answer_bytes_max;  /* of an answer not yet sent; one that grows above it is cut */
    uint64_t high_bytes;        /* not yet sent: from here on http_answer_write() returns false */
    uint64_t low_bytes;         /* from here down it is writable again */
    unsigned connections_max;   /* then one that asks for nothing makes room, else new ones wait */
    uint64_t handshake_us;      /* of TLS */
    uint64_t idle_us;           /* before a request begins */
    uint64_t head_us;           /* from a head's first byte to its last */
    uint64_t body_us;           /* of a body; and again of what follows each 4 MiB */
    uint64_t write_us;          /* in which a client must take 4 KiB, or the rest */
    uint64_t stall_us;          /* in which he must take something, where room is needed */
    uint64_t linger_us; /* for a client to end what nobody wants; then to read our last words */
    bool has_secrets;   /* in answers: nothing of these stays in buffers that are kept */
    const char *name;   /* Server; NULL: none */
};
extern const struct http_server_config http_server_config_default;

struct http_server_counts {
    uint64_t accepted; /* connections */
    uint64_t evicted;  /* that asked for nothing, to make room */
    uint64_t requests; /* given to the handler */
    uint64_t answered;
    uint64_t gone;    /* not answered: the client left or failed, or the handler cut it */
    uint64_t refused; /* malformed or too large */
    uint64_t handshakes_failed;
    uint64_t timed_out;     /* any timeout but that of idle connections */
    uint64_t content_bytes; /* collected, now */
    unsigned connections;   /* now */
    unsigned in_flight;     /* requests, now */
};

struct http_server *http_server_new(struct loop *loop, const struct http_server_config *config,
                                    const struct http_service *service) must_check;
/* Another configuration; time limits hold for what is waited for now, too. */
void http_server_configure(struct http_server *server, const struct http_server_config *config);
void http_server_free(struct http_server *server); /* stops it; not from a callback of it */

/* Serves a listening socket, and owns it then. */
int http_server_listen(struct http_server *server, int fd, struct err *reterr) must_check;
/* From now on new connections speak TLS, with what is in the context (http/tls.h), which is the
 * server's then; NULL: none. Those that are there go on as they are. */
void http_server_speak_tls(struct http_server *server, struct tls_context *context);
/* Closes what it listens on; connections go on. */
void http_server_unlisten(struct http_server *server);
/* Serves one connection, and owns it then, also on failure. */
int http_server_adopt(struct http_server *server, int fd) must_check;

/* No new connections; requests in flight are finished, and so is one of each that has just
 * connected. */
void http_server_drain(struct http_server *server);
/* While it drains: that is over, and each request is told, at the end of the pass; so is one that
 * comes yet from who has just connected. Whoever has asked for no more than half of one is cut.
 * Answers go on to who reads them, until the server is stopped. */
void http_server_dismiss(struct http_server *server);
void http_server_stop(struct http_server *server); /* cuts every connection */
const struct http_server_counts *http_server_counts(const struct http_server *server);

/* Back-pressure on the body of a request. */
void http_request_pause(struct http_request *r);
void http_request_resume(struct http_request *r);

int http_request_fd(const struct http_request *r); /* to ask who is there */
/* Where it comes from, as a number: a network of 64 bits of IPv6 is one address, and so are all
 * sockets that are files. */
uint64_t http_request_address(const struct http_request *r);

/* An answer in one call; type may be NULL. */
void http_answer(struct http_request *r, unsigned status, const char *type, const void *bytes,
                 size_t len);

/* An answer in pieces: begin, fields, then either whole; or length or stream, writes and end. The
 * fields of framing and connection, Date and Server are the server's: one of these, or one that
 * could not be read back as it is (http/write.h), makes the answer a 500. */
void http_answer_begin(struct http_request *r, unsigned status);
void http_answer_field(struct http_request *r, const char *name, const char *value);
void http_answer_field_n(struct http_request *r, const char *name, const char *value, size_t len);
void http_answer_whole(struct http_request *r, const void *bytes, size_t len);

void http_answer_stream(struct http_request *r);
/* A stream whose bytes are counted beforehand; the writes come to this, or it is cut. */
void http_answer_length(struct http_request *r, uint64_t bytes);
/* False: wait for ops->writable(); these bytes are taken nevertheless. */
bool http_answer_write(struct http_request *r, const void *bytes, size_t len);
void http_answer_end(struct http_request *r);

/* Breaks the connection off, so that the client sees an answer that is not whole. */
void http_answer_cut(struct http_request *r);
