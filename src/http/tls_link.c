/* Connections. OpenSSL reads and writes the descriptor through a BIO of ours, which sends without
 * SIGPIPE and knows whether the other end went without a word. It reads a record at a time, never
 * ahead, so that nothing waits in here while the descriptor is silent. */

#include "http/tls_int.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/socket.h>

#define HANDSHAKE_RECORD 22 /* the first byte of every connection (RFC 8446, 5.1) */

struct tls {
    SSL *ssl;
    int fd;
    bool is_tls; /* its first byte says so */
    bool is_cut; /* the descriptor has ended */
    bool failed; /* of no use any more */
    const char *why;
};

/* ---- the descriptor ---- */

static int
tell(BIO *bio, ssize_t n, int retry)
{
    openssl->BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        openssl->BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
    return (int)n;
}

static int
read_fd(BIO *bio, char *bytes, int len)
{
    struct tls *t = openssl->BIO_get_data(bio);
    ssize_t n = recv(t->fd, bytes, (size_t)len, 0);
    t->is_cut |= n == 0;
    return tell(bio, n, BIO_FLAGS_READ);
}

static int
write_fd(BIO *bio, const char *bytes, int len)
{
    struct tls *t = openssl->BIO_get_data(bio);
    return tell(bio, send(t->fd, bytes, (size_t)len, MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

static long
control(BIO *bio unused_arg, int command, long number unused_arg, void *arg unused_arg)
{
    return command == BIO_CTRL_FLUSH;
}

/* Made once and kept, as OpenSSL keeps its own. */
static const BIO_METHOD *
descriptor_method(void)
{
    static BIO_METHOD *method;
    if (method)
        return method;
    method =
        openssl->BIO_meth_new(openssl->BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "descriptor");
    assert(method);
    (void)openssl->BIO_meth_set_read(method, read_fd);
    (void)openssl->BIO_meth_set_write(method, write_fd);
    (void)openssl->BIO_meth_set_ctrl(method, control);
    return method;
}

static BIO *
new_bio(struct tls *t)
{
    BIO *bio = openssl->BIO_new(descriptor_method());
    assert(bio);
    openssl->BIO_set_data(bio, t);
    openssl->BIO_set_init(bio, 1);
    return bio;
}

static struct tls *
new_link(const struct tls_context *context, int fd)
{
    struct tls *t = mem_new(struct tls);
    t->ssl = openssl->SSL_new(context->ssl);
    t->fd = fd;
    t->why = "";
    assert(t->ssl);
    BIO *bio = new_bio(t);
    openssl->SSL_set_bio(t->ssl, bio, bio);
    return t;
}

struct tls *
tls_accept(const struct tls_context *context, int fd)
{
    struct tls *t = new_link(context, fd);
    openssl->SSL_set_accept_state(t->ssl);
    return t;
}

static bool
is_address(const char *name)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

struct tls *
tls_connect(const struct tls_context *context, int fd, const char *name)
{
    struct tls *t = new_link(context, fd);
    X509_VERIFY_PARAM *wanted = openssl->SSL_get0_param(t->ssl);
    bool fits = is_address(name) ? openssl->X509_VERIFY_PARAM_set1_ip_asc(wanted, name) == 1
                                 : openssl->X509_VERIFY_PARAM_set1_host(wanted, name, 0) == 1 &&
                                       openssl->SSL_ctrl(t->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME,
                                                         TLSEXT_NAMETYPE_host_name,
                                                         (void *)(uintptr_t)name) == 1;
    t->failed = !fits;
    t->why = fits ? "" : "no certificate can be for this name";
    openssl->X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    t->is_tls = true; /* nothing is read before it was answered */
    openssl->SSL_set_connect_state(t->ssl);
    return t;
}

void
tls_free(struct tls *tls)
{
    if (!tls)
        return;
    openssl->SSL_free(tls->ssl);
    free(tls);
}

/* ---- bytes ---- */

static const char *
find_reason(const struct tls *t)
{
    long verdict = openssl->SSL_get_verify_result(t->ssl);
    const char *reason = tls_reason("it broke off");
    return verdict == X509_V_OK ? reason : openssl->X509_verify_cert_error_string(verdict);
}

/* What a call of OpenSSL that returned r <= 0 comes to. */
static int
find_error(struct tls *t, int r)
{
    switch (openssl->SSL_get_error(t->ssl, r)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        t->failed = true;
        t->why = t->is_cut ? "it was cut off" : find_reason(t);
        return t->is_cut ? -ECONNRESET : -EPROTO;
    }
}

static int
look_at_first(struct tls *t)
{
    unsigned char first;
    ssize_t n = recv(t->fd, &first, 1, MSG_PEEK);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : -ECONNRESET;
    if (n == 0)
        return -ECONNRESET;
    t->is_tls = first == HANDSHAKE_RECORD;
    return t->is_tls ? 0 : -EPROTONOSUPPORT;
}

static int
prepare(struct tls *t)
{
    openssl->ERR_clear_error();
    if (t->failed)
        return -EPROTO;
    return t->is_tls ? 0 : look_at_first(t);
}

int
tls_open(struct tls *t)
{
    int r = prepare(t);
    if (r < 0)
        return r;
    r = openssl->SSL_do_handshake(t->ssl);
    if (r == 1)
        return 0;
    r = find_error(t, r);
    return r == 0 ? -ECONNRESET : r;
}

bool
tls_is_open(const struct tls *t)
{
    return openssl->SSL_is_init_finished(t->ssl);
}

bool
tls_wants_write(const struct tls *t)
{
    return openssl->SSL_want(t->ssl) == SSL_WRITING;
}

ssize_t
tls_read(struct tls *t, void *bytes, size_t len)
{
    int r = prepare(t);
    if (r < 0)
        return r;
    r = openssl->SSL_read(t->ssl, bytes, (int)MIN(len, (size_t)INT_MAX));
    return r > 0 ? r : find_error(t, r);
}

/* A record at a time. Of one that is only partly on its way, nothing is told to be. */
ssize_t
tls_write(struct tls *t, const void *bytes, size_t len)
{
    size_t at = 0;
    int r = prepare(t);
    if (r < 0)
        return r;
    while (at < len) {
        r = openssl->SSL_write(t->ssl, (const char *)bytes + at,
                               (int)MIN(len - at, (size_t)INT_MAX));
        if (r <= 0)
            break;
        at += (size_t)r;
    }
    if (at == len)
        return (ssize_t)at;
    r = find_error(t, r);
    return at > 0 ? (ssize_t)at : r == 0 ? -ECONNRESET : r;
}

/* What does not fit into the socket now is not said: whoever reads HTTP knows without. */
void
tls_end(struct tls *t)
{
    if (t->failed || !tls_is_open(t))
        return;
    openssl->ERR_clear_error();
    (void)openssl->SSL_shutdown(t->ssl);
    openssl->ERR_clear_error();
}

const char *
tls_why(const struct tls *t)
{
    return t->why;
}
