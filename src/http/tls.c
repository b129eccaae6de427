/* Contexts: files are read, and it is said which of them is wrong and why. */

#include "http/tls_int.h"

#include "base/mem.h"
#include "sys/files.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Of TLS 1.2; all suites of 1.3 are as good. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

static const unsigned char protocols[] = "\x08http/1.1"; /* ALPN: each behind its length */

const char *
tls_reason(const char *otherwise)
{
    const char *reason = openssl->ERR_reason_error_string(openssl->ERR_peek_last_error());
    openssl->ERR_clear_error();
    return reason ? reason : otherwise;
}

/* ---- files ---- */

/* OpenSSL opens it itself: a pipe would keep it, and who reads files one after the other, for ever. */
static int
check_readable(const char *what, const char *path, struct err *reterr)
{
    int fd = file_open_regular(path, reterr);
    if (fd < 0) {
        err_prefix(reterr, "the %s", what);
        return fd;
    }
    (void)close(fd);
    return 0;
}

/* Nobody is there to be asked. */
static int
no_passphrase(char *bytes unused_arg, int size unused_arg, int writes unused_arg, void *arg)
{
    *(bool *)arg = true;
    return -1;
}

static int
use_certificate(SSL_CTX *ssl, const char *path, struct err *reterr)
{
    int r = check_readable("certificate", path, reterr);
    if (r < 0)
        return r;
    if (openssl->SSL_CTX_use_certificate_chain_file(ssl, path) == 1)
        return 0;
    r = err_set(reterr, ERR_TLS_FILE, "%s is no certificate in PEM: %s", path,
                tls_reason("it is empty"));
    err_fix(reterr, "openssl x509 -in %s -text -noout tells what it has", path);
    return r;
}

static int
use_key(SSL_CTX *ssl, const struct tls_files *files, struct err *reterr)
{
    bool is_locked = false;
    int r = check_readable("key", files->key, reterr);
    if (r < 0)
        return r;
    openssl->SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    openssl->SSL_CTX_set_default_passwd_cb_userdata(ssl, &is_locked);
    r = openssl->SSL_CTX_use_PrivateKey_file(ssl, files->key, SSL_FILETYPE_PEM);
    openssl->SSL_CTX_set_default_passwd_cb_userdata(ssl, NULL);
    openssl->SSL_CTX_set_default_passwd_cb(ssl, NULL);
    if (r == 1)
        return 0;
    if (is_locked) {
        openssl->ERR_clear_error();
        r = err_set(reterr, ERR_TLS_FILE, "the key %s has a passphrase", files->key);
        err_fix(reterr, "openssl pkey -in %s -out NEW writes one without", files->key);
        return r;
    }
    if (ERR_GET_REASON(openssl->ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH) {
        openssl->ERR_clear_error();
        return err_set(reterr, ERR_TLS_FILE, "the key %s is not that of the certificate %s",
                       files->key, files->certificate);
    }
    return err_set(reterr, ERR_TLS_FILE, "%s is no private key in PEM: %s", files->key,
                   tls_reason("it is empty"));
}

static int
use_authorities(SSL_CTX *ssl, const char *path, struct err *reterr)
{
    int r = check_readable("authorities", path, reterr);
    if (r < 0)
        return r;
    if (openssl->SSL_CTX_load_verify_file(ssl, path) == 1)
        return 0;
    return err_set(reterr, ERR_TLS_FILE, "%s has no certificates in PEM: %s", path,
                   tls_reason("it is empty"));
}

/* ---- contexts ---- */

static int64_t
end_of(const X509 *certificate)
{
    struct tm tm;
    if (!certificate ||
        openssl->ASN1_TIME_to_tm(openssl->X509_get0_notAfter(certificate), &tm) != 1)
        return 0;
    return timegm(&tm);
}

static int
use_own(struct tls_context *context, const struct tls_files *files, struct err *reterr)
{
    int r = use_certificate(context->ssl, files->certificate, reterr);
    if (r == 0)
        r = use_key(context->ssl, files, reterr);
    if (r == 0)
        context->end_s = end_of(openssl->SSL_CTX_get0_certificate(context->ssl));
    return r;
}

/* SSL_read() comes back after each record that has no content (no SSL_MODE_AUTO_RETRY): who sends
 * nothing but such ones does not keep the loop. */
static struct tls_context *
new_context(const SSL_METHOD *method)
{
    struct tls_context *context = mem_new(struct tls_context);
    SSL_CTX *ssl = openssl->SSL_CTX_new(method);
    bool is_made =
        ssl &&
        openssl->SSL_CTX_ctrl(ssl, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL) == 1 &&
        openssl->SSL_CTX_set_cipher_list(ssl, CIPHERS) == 1;
    assert(is_made);
    openssl->SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                          SSL_OP_CIPHER_SERVER_PREFERENCE |
                                          SSL_OP_PRIORITIZE_CHACHA);
    (void)openssl->SSL_CTX_ctrl(ssl, SSL_CTRL_CLEAR_MODE, SSL_MODE_AUTO_RETRY, NULL);
    (void)openssl->SSL_CTX_ctrl(ssl, SSL_CTRL_MODE,
                                SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS,
                                NULL);
    (void)openssl->SSL_CTX_ctrl(ssl, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, NULL);
    context->ssl = ssl;
    return context;
}

void
tls_context_free(struct tls_context *context)
{
    if (!context)
        return;
    openssl->SSL_CTX_free(context->ssl);
    free(context);
}

int64_t
tls_context_end_s(const struct tls_context *context)
{
    return context->end_s;
}

const char *
tls_context_end_day(const struct tls_context *context, tls_day day)
{
    const time_t end = context->end_s;
    struct tm tm;
    if (!gmtime_r(&end, &tm) || strftime(day, sizeof(tls_day), "%Y-%m-%d", &tm) == 0)
        day[0] = '\0';
    return day;
}

/* RFC 7301, 3.2: who offers protocols, but none of ours, is told so. */
static int
choose_protocol(SSL *ssl unused_arg, const unsigned char **ret_name, unsigned char *ret_len,
                const unsigned char *offered, unsigned int len, void *arg unused_arg)
{
    unsigned char *name;
    int r = openssl->SSL_select_next_proto(&name, ret_len, protocols, sizeof(protocols) - 1,
                                           offered, len);
    *ret_name = name;
    return r == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int
ask_clients(SSL_CTX *ssl, const char *authorities, struct err *reterr)
{
    int r = use_authorities(ssl, authorities, reterr);
    if (r < 0)
        return r;
    openssl->SSL_CTX_set_client_CA_list(ssl, openssl->SSL_load_client_CA_file(authorities));
    openssl->SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

static int
keep(struct tls_context *context, int r, struct tls_context **ret_context)
{
    if (r < 0)
        tls_context_free(context);
    else
        *ret_context = context;
    return r;
}

int
tls_server(const struct tls_files *files, struct tls_context **ret_context, struct err *reterr)
{
    static const unsigned char name[] = "citadel"; /* tickets of others are not taken for ours */
    int r = openssl_load(reterr);
    if (r < 0)
        return r;
    struct tls_context *context = new_context(openssl->TLS_server_method());
    (void)openssl->SSL_CTX_set_session_id_context(context->ssl, name, sizeof(name) - 1);
    (void)openssl->SSL_CTX_set_num_tickets(context->ssl, 1);
    openssl->SSL_CTX_set_alpn_select_cb(context->ssl, choose_protocol, NULL);
    r = use_own(context, files, reterr);
    if (r == 0 && files->authorities)
        r = ask_clients(context->ssl, files->authorities, reterr);
    return keep(context, r, ret_context);
}

int
tls_client(const struct tls_files *files, struct tls_context **ret_context, struct err *reterr)
{
    int r = openssl_load(reterr);
    if (r < 0)
        return r;
    struct tls_context *context = new_context(openssl->TLS_client_method());
    r = files->certificate ? use_own(context, files, reterr) : 0;
    openssl->SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, NULL);
    (void)openssl->SSL_CTX_set_alpn_protos(context->ssl, protocols, sizeof(protocols) - 1);
    if (r == 0 && files->authorities)
        r = use_authorities(context->ssl, files->authorities, reterr);
    else if (r == 0)
        (void)openssl->SSL_CTX_set_default_verify_paths(context->ssl);
    return keep(context, r, ret_context);
}
