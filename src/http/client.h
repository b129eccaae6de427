#pragma once

/* An HTTP/1.1 client of one server, on the loop: its connections are kept and used again, each
 * phase of a call has its own timeout, both bodies may be streams with back-pressure.
 *
 * A call is there from http_call_new() until ops->finished(), which is told exactly once, last,
 * never from inside a call of this room; or until http_call_cancel(), after which nothing is told.
 *
 * A kept connection may turn out to have been closed by the server. Then the request is sent once
 * more, on a new one, if nothing of an answer came and it does no harm: its method is idempotent,
 * or not a byte of it had left, or the caller says so, and it was lost at once. */

#include "base/buf.h"
#include "base/err.h"
#include "http/http1.h"

struct loop;
struct tls_context;
struct http_client;
struct http_call;

enum http_phase {
    HTTP_PHASE_CONNECT, /* nothing was sent */
    HTTP_PHASE_REQUEST, /* some of the request was, perhaps all */
    HTTP_PHASE_ANSWER,  /* an answer has begun */
};

#define HTTP_LOST_US UINT64_C(1000000) /* what is lost by then is lost at once */

struct http_call_ops {
    /* The head of the answer, in call->head; NULL where nobody asks. Not told of 1xx. */
    void (*head)(struct http_call *call);
    /* A piece of its body. NULL: collected in call->content. */
    void (*body)(struct http_call *call, const char *bytes, size_t len);
    /* After http_call_write() returned false: the server has caught up. */
    void (*writable)(struct http_call *call);
    /* error is NULL when the answer is whole, else it tells what happened in call->phase. */
    void (*finished)(struct http_call *call, const struct err *error);
};

struct http_call {
    struct http1_head head; /* its slices are valid in ops->head() only; the numbers stay */
    void *user;             /* the caller's */
    enum http_phase phase;
    bool sent_anew; /* somebody may have had it before, on a connection that was lost */
    /* In ops->finished(): the connection was lost before a byte of an answer, and so soon behind
     * the first of the request that hardly anybody has worked on it. */
    bool lost_at_once;
    struct buf content;
};

struct http_client_config {
    struct http1_limits head;
    uint64_t body_bytes_max;    /* of an answer */
    uint64_t request_bytes_max; /* not yet sent, or kept to be sent once more */
    uint64_t high_bytes;        /* not yet sent: from here on http_call_write() returns false */
    uint64_t low_bytes;         /* from here down it is writable again */
    unsigned connections_max;   /* a call above it fails at once */
    unsigned idle_max;          /* connections kept; 0: none, and each request says so */
    uint64_t idle_us;           /* shorter than the server keeps them: vLLM closes after 5 s */
    uint64_t connect_us;
    uint64_t first_byte_us; /* from the last byte sent to the first one, and to the whole head */
    uint64_t between_us;    /* between two pieces of the answer */
    uint64_t total_us;      /* 0: no limit, likewise of the others */
};
extern const struct http_client_config http_client_config_default;

/* address as in sys/sock.h; host: what stands in Host, NULL for the address. */
int http_client_new(struct loop *loop, const char *address, const char *host,
                    const struct http_client_config *config, struct http_client **ret_client,
                    struct err *reterr) must_check;
/* Another configuration; time limits hold for what is waited for now, too. */
void http_client_configure(struct http_client *client, const struct http_client_config *config);
/* The server has another address: from now on calls go there. Those under way are not touched. */
int http_client_move(struct http_client *client, const char *address, struct err *reterr)
    must_check;
void http_client_free(struct http_client *client); /* not from a callback of it; cancels calls */

/* It speaks TLS, to a server whose certificate is for that name. Said before the first call; the
 * context (http/tls.h) outlives the client. */
void http_client_speak_tls(struct http_client *client, const struct tls_context *context,
                           const char *name);

/* Begun, then fields, then either whole; or length or stream, writes and end. Only then is it
 * sent: errors are told by ops->finished(), also of fields that cannot be written
 * (http/write.h), as those of framing and connection and Host, which are the client's. ops
 * outlive the call. */
struct http_call *http_call_new(struct http_client *client, const char *method, const char *target,
                                const struct http_call_ops *ops, void *user) must_check;
void http_call_field(struct http_call *call, const char *name, const char *value);
/* It does no harm to send it once more, whatever its method, where it was lost at once; said before
 * its body. One that is too large to be kept for that goes on a new connection at once. */
void http_call_repeatable(struct http_call *call);
void http_call_whole(struct http_call *call, const void *bytes, size_t len); /* len 0: no body */

void http_call_stream(struct http_call *call);
/* A stream whose bytes are counted beforehand; the writes come to this. */
void http_call_length(struct http_call *call, uint64_t bytes);
/* False: wait for ops->writable(); these bytes are taken nevertheless. */
bool http_call_write(struct http_call *call, const void *bytes, size_t len);
void http_call_end(struct http_call *call);

/* Back-pressure on the answer. */
void http_call_pause(struct http_call *call);
void http_call_resume(struct http_call *call);

/* Ends it silently, at any time, also from its callbacks. */
void http_call_cancel(struct http_call *call);

struct http_client_counts {
    uint64_t calls;
    uint64_t connects;
    uint64_t reused;    /* calls on a kept connection */
    uint64_t sent_anew; /* once more, because a kept connection was closed */
    uint64_t failed;
    unsigned in_flight; /* calls, now */
    unsigned idle;      /* connections, now */
};
const struct http_client_counts *http_client_counts(const struct http_client *client);
