/* The host that watches this one. A name is looked up by getent, since a resolver can take minutes. */

#include "doctor/doctor_int.h"

#include "base/buf.h"
#include "base/text.h"
#include "http/fetch.h"
#include "secrets/use.h"
#include "sys/sock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX (64 * KIB)

bool
doctor_read_url(const char *text, struct doctor_url *ret_url)
{
    static const char scheme[] = "http://";
    if (!text_starts(text, scheme))
        return false;
    const char *host = text + sizeof(scheme) - 1;
    size_t len = strcspn(host, "/?#"), host_len = len;
    const char *path = host + len;
    const char *colon = memrchr(host, ':', len);
    unsigned long port = 80;
    bool bracket = host[0] == '[';
    if (colon && (!bracket || memchr(host, ']', (size_t)(colon - host)))) {
        char *end;
        port = strtoul(colon + 1, &end, 10);
        host_len = (size_t)(colon - host);
        if (end != path || end == colon + 1 || port == 0 || port > UINT16_MAX)
            return false;
    }
    if (bracket && host_len >= 2 && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    }
    if (host_len == 0 || host_len >= sizeof(ret_url->host) || strlen(path) >= sizeof(ret_url->path))
        return false;
    (void)snprintf(ret_url->host, sizeof(ret_url->host), "%.*s", (int)host_len, host);
    (void)snprintf(ret_url->path, sizeof(ret_url->path), "%s", *path ? path : "/");
    ret_url->port = (uint16_t)port;
    return true;
}

/* "192.168.10.36:9090" of a host, by name or by number; false: nobody knows it. */
static bool
find_address(const char *host, uint16_t port, char *address, size_t room)
{
    struct sock_addr ignored;
    char answer[DOCTOR_ANSWER_MAX];
    const char *const argv[] = {"getent", "ahosts", host, NULL};
    (void)snprintf(address, room, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    if (sock_addr_parse(address, &ignored, NULL) == 0)
        return true;
    int len = (int)strcspn(doctor_ask(argv, answer), " \t\n");
    (void)snprintf(address, room, memchr(answer, ':', (size_t)len) ? "[%.*s]:%u" : "%.*s:%u", len,
                   answer, port);
    return len > 0 && sock_addr_parse(address, &ignored, NULL) == 0;
}

/* One question to it; false, with a finding: there was no answer. */
static bool
ask(struct doctor *d, const char *subject, const struct doctor_url *url, struct http_fetch fetch,
    unsigned *ret_status, struct buf *answer)
{
    char address[300], host[300];
    struct err err = {0};
    if (!find_address(url->host, url->port, address, sizeof(address))) {
        doctor_add(d, subject, DOCTOR_FAILS, doctor_text(d, "getent hosts %s", url->host),
                   "nobody knows the name %s", url->host);
        return false;
    }
    (void)snprintf(host, sizeof(host), strchr(url->host, ':') ? "[%s]:%u" : "%s:%u", url->host,
                   url->port);
    fetch.address = address;
    fetch.host = host;
    fetch.target = url->path;
    fetch.timeout_us = DOCTOR_NET_US;
    if (http_fetch(&fetch, ret_status, answer, &err) == 0)
        return true;
    doctor_add(d, subject, DOCTOR_FAILS, doctor_text(d, "curl -v http://%s%s", host, url->path),
               "%s", err.what);
    return false;
}

static void
check_service(struct doctor *d, const char *subject, const char *given, uint16_t port,
              const char *path)
{
    _cleanup_buf_ struct buf answer = BUF_INIT(ANSWER_MAX);
    struct doctor_url url = {.port = port};
    struct http_fetch fetch = {0};
    unsigned status = 0;
    if (given && !doctor_read_url(given, &url)) {
        doctor_add(d, subject, DOCTOR_UNKNOWN, doctor_text(d, "curl -v %s", given),
                   "%s is not plain HTTP, and is not tried", given);
        return;
    }
    if (!given)
        (void)snprintf(url.host, sizeof(url.host), "%s", d->config->devops.address);
    (void)snprintf(url.path, sizeof(url.path), "%s", path);
    if (!ask(d, subject, &url, fetch, &status, &answer))
        return;
    bool well = status < 400 || status == 401 || status == 403;
    doctor_add(d, subject, well ? DOCTOR_HOLDS : DOCTOR_FAILS,
               well ? "" : doctor_text(d, "look at it on %s", url.host),
               "%s:%u answers with status %u", url.host, url.port, status);
}

static bool
is_watched(struct doctor *d)
{
    if (!d->config->devops.address)
        doctor_add(d, "", DOCTOR_NOT_NEEDED, "", "devops.address is none");
    return d->config->devops.address != NULL;
}

void
doctor_check_devops(struct doctor *d)
{
    const struct config_devops *o = &d->config->devops;
    if (!is_watched(d))
        return;
    check_service(d, "prometheus", NULL, o->prometheus.port, "/-/ready");
    check_service(d, "grafana", o->grafana.url, o->grafana.port, "/api/health");
    if (o->alertmanager.enabled)
        check_service(d, "alertmanager", o->alertmanager.url, o->alertmanager.port, "/-/ready");
}

/* ---- remote write ---- */

static void
add_base64(struct buf *out, const char *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        size_t n = MIN(len - i, (size_t)3);
        uint32_t word = 0;
        for (size_t k = 0; k < 3; k++)
            word = word << 8 | (k < n ? (uint8_t)bytes[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            buf_add_char(out, k <= n ? digits[word >> (18 - 6 * k) & 63] : '=');
    }
}

/* "Basic ..." or "Bearer ..."; "" when there is no password. */
static int
authorise(const struct config_prometheus *p, struct buf *out, struct err *reterr)
{
    _cleanup_secret_ struct secret password = {0};
    const struct secret_use use = {.option = "devops.prometheus.password", .secret = &p->password};
    int r = secret_fetch(&use, &password, reterr);
    if (r < 0 || !secret_is_set(&password))
        return r;
    if (p->user) {
        char *both = mem_printf("%s:%s", p->user, secret_reveal(&password));
        buf_add_str(out, "Basic ");
        add_base64(out, both, strlen(both));
        explicit_bzero(both, strlen(both));
        free(both);
    } else {
        buf_printf(out, "Bearer %s", secret_reveal(&password));
    }
    return 0;
}

static void
judge(struct doctor *d, unsigned status)
{
    if (status / 100 == 2)
        doctor_add(d, "", DOCTOR_HOLDS, "", "accepted, status %u", status);
    else if (status == 404)
        doctor_add(d, "", DOCTOR_FAILS, "start Prometheus with --web.enable-remote-write-receiver",
                   "Prometheus has no receiver there, status 404");
    else if (status == 401 || status == 403)
        doctor_add(d, "", DOCTOR_FAILS, "set devops.prometheus.user and password",
                   "Prometheus refuses this user, status %u", status);
    else
        doctor_add(d, "", DOCTOR_FAILS, "look at Prometheus' log", "status %u", status);
}

/* A write request without a sample is a whole one, of no bytes; in snappy that is its length, 0. It is
 * taken like any other, and writes nothing. */
static void
write_nothing(struct doctor *d, const struct doctor_url *url)
{
    _cleanup_buf_ struct buf answer = BUF_INIT(ANSWER_MAX);
    struct buf authorization = BUF_INIT(2 * SECRET_BYTES_MAX);
    struct err err = {0};
    unsigned status = 0;
    bool may = buf_reserve(&authorization, SECRET_BYTES_MAX) &&
               authorise(&d->config->devops.prometheus, &authorization, &err) == 0;
    struct http_fetch fetch = {.method = "POST",
                               .type = "application/x-protobuf",
                               .authorization = authorization.len ? authorization.data : NULL,
                               .body = "\0",
                               .len = 1};
    if (!may)
        doctor_add(d, "", DOCTOR_UNKNOWN, err.fix, "%s", err.what);
    else if (ask(d, "", url, fetch, &status, &answer))
        judge(d, status);
    explicit_bzero(authorization.data, authorization.len);
    buf_finish(&authorization);
}

void
doctor_check_remote_write(struct doctor *d)
{
    const struct config_prometheus *p = &d->config->devops.prometheus;
    struct doctor_url url = {.port = p->port, .path = "/api/v1/write"};
    if (!is_watched(d))
        return;
    if (!p->remote_write) {
        doctor_add(d, "", DOCTOR_NOT_NEEDED, "", "devops.prometheus.remote_write is false");
        return;
    }
    (void)snprintf(url.host, sizeof(url.host), "%s", d->config->devops.address);
    if (p->remote_write_url && !doctor_read_url(p->remote_write_url, &url))
        doctor_add(d, "", DOCTOR_UNKNOWN, doctor_text(d, "curl -v %s", p->remote_write_url),
                   "%s is not plain HTTP, and is not tried", p->remote_write_url);
    else
        write_nothing(d, &url);
}
