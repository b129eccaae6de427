/* Certificates are made by the program openssl, for each test anew. */

#include "http/client.h"
#include "http/tls.h"
#include "proc_rig.h"
#include "server_rig.h"

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define SUBJECT "/CN=localhost"
#define NAMES "subjectAltName=DNS:localhost,IP:127.0.0.1"

/* An authority NAME.ca, and what it has signed: NAME.pem with NAME.key. */
static bool
make_certificate(const char *name)
{
    char script[1024];
    (void)snprintf(
        script, sizeof(script),
        "cd '%s' && ec='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes' && n='%s' && "
        "openssl req -x509 $ec -subj /CN=$n -keyout ca.key -out $n.ca -days 2 && "
        "openssl req $ec -subj " SUBJECT " -keyout $n.key -out $n.csr && "
        "echo " NAMES " > ext && "
        "openssl x509 -req -in $n.csr -CA $n.ca -CAkey ca.key -CAcreateserial -days 1 "
        "-extfile ext -out $n.pem",
        tap_dir(), name);
    struct proc proc = proc_rig_start(script, NULL, false);
    struct proc_end end;
    return proc_wait(&proc, &end) == 0 && !end.killed && end.status == 0;
}

typedef char path_text[256];

static const char *
path_of(path_text path, const char *name)
{
    (void)snprintf(path, sizeof(path_text), "%s/%s", tap_dir(), name);
    return path;
}

static struct tls_context *
context_of(int (*make)(const struct tls_files *, struct tls_context **, struct err *),
           const char *name, const char *authorities)
{
    struct tls_context *context = NULL;
    struct err err;
    char file[64];
    path_text certificate, key, ca;
    struct tls_files files = {.authorities = authorities ? path_of(ca, authorities) : NULL};
    if (name) {
        (void)snprintf(file, sizeof(file), "%s.pem", name);
        files.certificate = path_of(certificate, file);
        (void)snprintf(file, sizeof(file), "%s.key", name);
        files.key = path_of(key, file);
    }
    if (make(&files, &context, &err) < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    return context;
}

/* ---- what is in files ---- */

static bool
write_file(const char *name, const char *text)
{
    path_text path;
    FILE *f = fopen(path_of(path, name), "we");
    return f && fputs(text, f) >= 0 && fclose(f) == 0;
}

TEST(tls_files_are_what_they_should_be)
{
    static const struct {
        const char *certificate, *key, *authorities, *want;
    } rows[] = {
        {"none.pem", "a.key", NULL, "the certificate: cannot read 'DIR/none.pem': No such file"},
        {"text", "a.key", NULL, "DIR/text is no certificate in PEM"},
        {"empty", "a.key", NULL, "DIR/empty is no certificate in PEM"},
        {"a.key", "a.key", NULL, "DIR/a.key is no certificate in PEM"},
        {"a.pem", "none.key", NULL, "the key: cannot read 'DIR/none.key': No such file"},
        {"a.pem", "text", NULL, "DIR/text is no private key in PEM"},
        {"a.pem", "b.key", NULL, "the key DIR/b.key is not that of the certificate DIR/a.pem"},
        {"a.pem", "locked.key", NULL, "the key DIR/locked.key has a passphrase"},
        {"a.pem", "a.key", "none.ca", "the authorities: cannot read 'DIR/none.ca': No such file"},
        {"pipe", "a.key", NULL, "the certificate: 'DIR/pipe' is not a file but a device, pipe"},
        {"a.pem", "pipe", NULL, "the key: 'DIR/pipe' is not a file but a device, pipe"},
        {"a.pem", "a.key", "pipe", "the authorities: 'DIR/pipe' is not a file but a device, pipe"},
        {"a.pem", "a.key", "text", "DIR/text has no certificates in PEM"},
    };
    char script[512];
    path_text pipe;
    REQUIRE(make_certificate("a") && make_certificate("b") && write_file("empty", "") &&
            write_file("text", "no certificate\n") && mkfifo(path_of(pipe, "pipe"), 0600) == 0);
    (void)snprintf(script, sizeof(script),
                   "openssl pkey -aes128 -passout pass:word -in '%s/a.key' -out '%s/locked.key'",
                   tap_dir(), tap_dir());
    struct proc proc = proc_rig_start(script, NULL, false);
    CHECK_EQ(proc_rig_end(&proc), 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tls_context *context = NULL;
        struct err err = {0};
        path_text certificate, key, ca;
        char want[512] = "";
        const struct tls_files files = {
            .certificate = path_of(certificate, rows[i].certificate),
            .key = path_of(key, rows[i].key),
            .authorities = rows[i].authorities ? path_of(ca, rows[i].authorities) : NULL};
        for (const char *at = rows[i].want; *at; at++) {
            bool is_dir = strncmp(at, "DIR", 3) == 0;
            size_t len = strlen(want);
            (void)snprintf(want + len, sizeof(want) - len, "%.*s", is_dir ? 256 : 1,
                           is_dir ? tap_dir() : at);
            at += is_dir ? 2 : 0;
        }
        tap_note("%s", rows[i].want);
        CHECK(tls_server(&files, &context, &err) < 0);
        if (strncmp(err.what, want, strlen(want)) != 0)
            CHECK_STR(err.what, want);
        CHECK(!context);
    }
}

TEST(tls_tells_when_its_certificate_ends)
{
    REQUIRE(make_certificate("a"));
    struct tls_context *context = context_of(tls_server, "a", NULL);
    REQUIRE(context);
    int64_t left = tls_context_end_s(context) - time(NULL);
    CHECK(left > 86400 - 120 && left <= 86400);
    tls_context_free(context);
}

/* ---- our client and our server ---- */

struct told {
    bool finished;
    bool failed;
    struct err error;
    unsigned status;
    size_t len;
};

static void
on_told(struct http_call *call, const struct err *error)
{
    struct told *told = call->user;
    told->finished = true;
    told->failed = error != NULL;
    told->status = call->head.status;
    told->len = call->content.len;
    if (error)
        told->error = *error;
    loop_stop(rig->turn.loop);
}

static struct http_client *
client_of(const struct tls_context *context, const char *name)
{
    struct http_client *client;
    sock_addr_text address;
    if (http_client_new(rig->turn.loop, sock_addr_print(&rig->addr, address), "h",
                        &http_client_config_default, &client, NULL) < 0)
        abort();
    http_client_speak_tls(client, context, name);
    return client;
}

/* An echo of so many bytes. */
static struct told
echo(struct http_client *client, size_t len)
{
    static const struct http_call_ops ops = {.finished = on_told};
    struct told told = {0};
    char *bytes = calloc(1, len + 1);
    struct http_call *call = http_call_new(client, "POST", "/echo", &ops, &told);
    http_call_whole(call, bytes, len);
    CHECK(WAIT(told.finished));
    free(bytes);
    return told;
}

/* A server with NAME's certificate, which asks clients for one of `authorities`. */
#define TLS_RIG(name, authorities, ...)                      \
    REQUIRE(make_certificate("a") && make_certificate("b")); \
    RIG(__VA_ARGS__);                                        \
    http_server_speak_tls(rig->server, context_of(tls_server, name, authorities))

TEST(tls_both_ways)
{
    TLS_RIG("a", NULL);
    struct tls_context *trust = context_of(tls_client, NULL, "a.ca");
    struct http_client *client = client_of(trust, "localhost");
    static const size_t sizes[] = {1, 16384, 16385, 3 * MIB};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct told told = echo(client, sizes[i]);
        CHECK_STR(told.failed ? told.error.what : "", "");
        CHECK_EQ(told.status, 200);
        CHECK_EQ(told.len, sizes[i]);
    }
    CHECK_EQ(counts()->accepted, 1); /* it was kept */
    http_client_free(client);
    CHECK(WAIT(counts()->connections == 0));
    CHECK_EQ(counts()->handshakes_failed, 0);
    tls_context_free(trust);
}

TEST(tls_is_for_a_name_that_an_authority_has_signed)
{
    static const struct {
        const char *authorities, *name, *want;
    } rows[] = {
        {"a.ca", "localhost", ""},
        {"a.ca", "127.0.0.1", ""},
        {"a.ca", "other.example", "hostname mismatch"},
        {"a.ca", "127.0.0.2", "IP address mismatch"},
        {"b.ca", "localhost", "unable to get local issuer certificate"},
        {NULL, "localhost", "unable to get local issuer certificate"},
    };
    TLS_RIG("a", NULL);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tls_context *trust = context_of(tls_client, NULL, rows[i].authorities);
        struct http_client *client = client_of(trust, rows[i].name);
        struct told told = echo(client, 10);
        tap_note("%s", rows[i].name);
        CHECK_EQ(told.failed, rows[i].want[0] != '\0');
        CHECK(strstr(told.error.what, rows[i].want));
        http_client_free(client);
        tls_context_free(trust);
    }
    CHECK(WAIT(counts()->connections == 0));
    CHECK_EQ(counts()->requests, 2);
}

TEST(tls_asks_clients_for_a_certificate)
{
    static const char *const names[] = {NULL, "b", "a"};
    TLS_RIG("a", "a.ca");
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct tls_context *own = context_of(tls_client, names[i], "a.ca");
        struct http_client *client = client_of(own, "localhost");
        struct told told = echo(client, 10);
        tap_note("%s", names[i] ? names[i] : "none");
        CHECK_EQ(told.failed, i < 2);
        CHECK_EQ(counts()->requests, i == 2);
        http_client_free(client);
        tls_context_free(own);
    }
    CHECK(WAIT(counts()->connections == 0));
    CHECK_EQ(counts()->handshakes_failed, 2);
}

TEST(tls_takes_another_certificate_while_connections_go_on)
{
    TLS_RIG("a", NULL);
    struct tls_context *trust_a = context_of(tls_client, NULL, "a.ca");
    struct tls_context *trust_b = context_of(tls_client, NULL, "b.ca");
    struct http_client *before = client_of(trust_a, "localhost");
    struct http_client *after = client_of(trust_b, "localhost");
    struct http_client *late = client_of(trust_a, "localhost");
    CHECK(!echo(before, 10).failed);
    http_server_speak_tls(rig->server, context_of(tls_server, "b", NULL));
    CHECK(!echo(before, MIB).failed);
    CHECK(!echo(after, MIB).failed);
    CHECK(echo(late, 10).failed);
    CHECK_EQ(http_client_counts(before)->connects, 1);
    http_client_free(before);
    http_client_free(after);
    http_client_free(late);
    tls_context_free(trust_a);
    tls_context_free(trust_b);
}

/* ---- who does not do as he should ---- */

#define PLAIN_REFUSED "400 Bad Request: plain-http: this port speaks TLS: ask it by https://"

TEST(tls_says_to_plain_http_what_it_speaks)
{
    TLS_RIG("a", NULL);
    _cleanup_client_ struct client c, d;
    client_open(&c);
    CHECK(client_send(&c, GET("/hello")));
    EXPECT(&c, ERROR("400 Bad Request", "70", PLAIN_REFUSED));
    EXPECT_END(&c);
    client_open(&d);
    for (const char *at = GET("/hello"); *at && !d.ended; at++) {
        (void)client_send_n(&d, at, 1);
        run_for(0);
    }
    EXPECT(&d, ERROR("400 Bad Request", "70", PLAIN_REFUSED));
    client_close(&c);
    client_close(&d);
    CHECK(WAIT(counts()->connections == 0));
    CHECK_EQ(counts()->handshakes_failed, 2);
    CHECK_EQ(counts()->requests, 0);
}

TEST(tls_waits_for_a_handshake_so_long)
{
    TLS_RIG("a", NULL, r_.config.handshake_us = 20000);
    _cleanup_client_ struct client silent, slow;
    client_open(&silent);
    client_open(&slow);
    CHECK(client_send_n(&slow, "\x16\x03\x01\x02", 4));
    EXPECT_END(&silent);
    EXPECT_END(&slow);
    CHECK_EQ(counts()->timed_out, 2);
    CHECK_EQ(counts()->evicted, 0);
}

/* Between a client's TLS and the server: what the client writes comes here first. */
struct middle {
    int client, outer, inner;
    struct tls *tls;
    size_t bytes; /* that went through, from the client */
};

static bool
middle_open(struct middle *m, const struct tls_context *trust)
{
    int client[2], server[2];
    *m = (struct middle){0};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, client) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, server) < 0 ||
        http_server_adopt(rig->server, server[1]) < 0)
        return false;
    m->tls = tls_connect(trust, client[0], "localhost");
    m->client = client[0];
    m->outer = client[1];
    m->inner = server[0];
    return true;
}

/* Passes on what the client has written, but no more than that. False: nothing was there. */
static bool
pass_on(struct middle *m, size_t most)
{
    char bytes[4096];
    ssize_t n = recv(m->outer, bytes, MIN(sizeof(bytes), most), 0);
    if (n > 0)
        CHECK_EQ(send(m->inner, bytes, (size_t)n, MSG_NOSIGNAL), n);
    m->bytes += n > 0 ? (size_t)n : 0;
    return n > 0;
}

static void
pass_back(struct middle *m)
{
    char bytes[4096];
    ssize_t n = recv(m->inner, bytes, sizeof(bytes), 0);
    if (n > 0)
        CHECK_EQ(send(m->outer, bytes, (size_t)n, MSG_NOSIGNAL), n);
}

/* As far as it goes when no more than so many bytes of the client come through. */
static bool
shake_to(struct middle *m, size_t end, size_t at_a_time)
{
    int r = -EAGAIN;
    for (int idle = 0; idle < 20 && r == -EAGAIN; idle++) {
        r = tls_open(m->tls);
        while (m->bytes < end && pass_on(m, MIN(end - m->bytes, at_a_time))) {
            run_for(0);
            idle = 0;
        }
        run_for(0);
        pass_back(m);
    }
    return r == 0;
}

static void
middle_close(struct middle *m)
{
    tls_free(m->tls);
    (void)close(m->client);
    (void)close(m->outer);
    (void)close(m->inner);
}

/* How many bytes of the client a handshake has. */
static size_t
measure(const struct tls_context *trust)
{
    struct middle m;
    if (!middle_open(&m, trust) || !shake_to(&m, SIZE_MAX, 1))
        return 0;
    size_t bytes = m.bytes;
    middle_close(&m);
    return bytes;
}

TEST(tls_shakes_byte_by_byte_and_is_cut_anywhere)
{
    TLS_RIG("a", NULL);
    struct tls_context *trust = context_of(tls_client, NULL, "a.ca");
    size_t whole = measure(trust);
    CHECK(whole > 200);
    CHECK(WAIT(counts()->connections == 0));
    CHECK_EQ(counts()->handshakes_failed, 0);
    for (size_t cut = 0; cut < whole; cut++) {
        struct middle m;
        REQUIRE(middle_open(&m, trust));
        bool client_is_open = shake_to(&m, cut, SIZE_MAX);
        tap_note("%zu of %zu", cut, whole);
        CHECK(!client_is_open || cut > whole / 2); /* it has sent its last words by then */
        middle_close(&m);
        CHECK(WAIT(counts()->connections == 0));
        CHECK_EQ(counts()->handshakes_failed, cut + 1);
    }
    CHECK_EQ(counts()->requests, 0);
    tls_context_free(trust);
}

TEST(tls_is_not_what_is_changed_on_its_way)
{
    TLS_RIG("a", NULL);
    struct tls_context *trust = context_of(tls_client, NULL, "a.ca");
    size_t whole = measure(trust), failed = 0;
    for (size_t at = 1; at < whole; at += 7) {
        struct middle m;
        char byte;
        REQUIRE(middle_open(&m, trust));
        (void)shake_to(&m, at, SIZE_MAX);
        if (recv(m.outer, &byte, 1, 0) == 1) {
            byte = (char)(byte ^ 0x55);
            CHECK_EQ(send(m.inner, &byte, 1, MSG_NOSIGNAL), 1);
            (void)shake_to(&m, SIZE_MAX, SIZE_MAX);
            failed++;
        }
        middle_close(&m);
        CHECK(WAIT(counts()->connections == 0));
    }
    CHECK(failed > whole / 14);
    CHECK_EQ(counts()->requests, 0);
    tls_context_free(trust);
}

/* ---- an answer that ends with its connection ---- */

static int
read_end(struct middle *m)
{
    char bytes[4096];
    ssize_t n;
    run_for(0);
    pass_back(m);
    while ((n = tls_read(m->tls, bytes, sizeof(bytes))) > 0)
        ;
    return (int)n;
}

TEST(tls_ends_with_a_word_unless_an_answer_is_cut)
{
    static const char ask[] = "GET /late HTTP/1.0\r\n\r\n";
    TLS_RIG("a", NULL);
    struct tls_context *trust = context_of(tls_client, NULL, "a.ca");
    for (size_t i = 0; i < 2; i++) {
        struct middle m;
        int end = -EAGAIN;
        REQUIRE(middle_open(&m, trust));
        REQUIRE(shake_to(&m, SIZE_MAX, SIZE_MAX));
        CHECK_EQ(tls_write(m.tls, ask, strlen(ask)), strlen(ask));
        CHECK(WAIT((pass_on(&m, SIZE_MAX), rig->late_count > i)));
        http_answer_begin(rig->late[i], 200);
        http_answer_stream(rig->late[i]);
        (void)http_answer_write(rig->late[i], "part", 4);
        if (i == 0)
            http_answer_end(rig->late[i]);
        else
            http_answer_cut(rig->late[i]);
        run_for(1000);
        pass_back(&m);
        (void)shutdown(m.outer, SHUT_WR); /* as the server's end of file would come */
        CHECK(WAIT(end != -EAGAIN || (end = read_end(&m)) != -EAGAIN));
        CHECK_EQ(end, i == 0 ? 0 : -ECONNRESET);
        middle_close(&m);
    }
    tls_context_free(trust);
}

/* Without the words that TLS ends with, anybody on the way could have ended it. */
static struct told
ask_until_end(struct http_client *client, const struct tls_context *context, int listener,
              bool with_words)
{
    static const struct http_call_ops ops = {.finished = on_told};
    struct told told = {0};
    static const char answer[] = "HTTP/1.1 200 OK\r\n\r\npart";
    char bytes[4096];
    ssize_t got = 0;
    int fd = -1;
    struct http_call *call = http_call_new(client, "GET", "/", &ops, &told);
    http_call_whole(call, NULL, 0);
    CHECK(WAIT(fd >= 0 || (fd = sock_accept(listener, NULL)) >= 0));
    struct tls *server = tls_accept(context, fd);
    CHECK(WAIT(tls_open(server) == 0));
    CHECK(WAIT(got > 0 || (got = tls_read(server, bytes, sizeof(bytes))) > 0));
    CHECK_EQ(tls_write(server, answer, strlen(answer)), strlen(answer));
    if (with_words)
        tls_end(server);
    tls_free(server);
    (void)close(fd);
    CHECK(WAIT(told.finished));
    return told;
}

TEST(tls_answers_that_are_cut_are_not_whole)
{
    TLS_RIG("a", NULL);
    struct tls_context *context = context_of(tls_server, "a", NULL);
    struct tls_context *trust = context_of(tls_client, NULL, "a.ca");
    struct sock_addr there;
    REQUIRE(sock_addr_parse("127.0.0.1:0", &there, NULL) == 0);
    _cleanup_close_ int listener = sock_listen(&there, 0600, NULL);
    REQUIRE(listener >= 0);
    rig->addr.port = (uint16_t)sock_bound_port(listener);
    struct http_client *client = client_of(trust, "localhost");
    struct told told = ask_until_end(client, context, listener, true);
    CHECK(!told.failed && told.len == 4);
    told = ask_until_end(client, context, listener, false);
    CHECK(told.failed);
    CHECK_EQ(told.error.id, ERR_HTTP_CUT);
    http_client_free(client);
    tls_context_free(context);
    tls_context_free(trust);
}
