/* Ports: each can be bound, or who listens is the service that is to have it. */

#include "doctor/doctor_int.h"

#include "base/text.h"
#include "run/run.h"
#include "sys/files.h"
#include "sys/listener.h"
#include "sys/sock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GATEWAY "gateway"

/* ---- whose a process is ---- */

static bool
ends_a_name(char c)
{
    return c == '\0' || c == '/' || c == '\n';
}

/* "/NAME" in a path, whole. */
static bool
has_part(const char *path, const char *part)
{
    const size_t len = strlen(part);
    for (const char *at = path; (at = strstr(at, part)); at += len)
        if (ends_a_name(at[len]))
            return true;
    return false;
}

bool
doctor_is_of_service(const char *service, const char *groups, const struct buf *environment)
{
    static const char mark[] = RUN_MARK "=";
    char part[TEXT_NAME_MAX + 32];
    (void)snprintf(part, sizeof(part), "/citadel-%s.service", service);
    if (has_part(groups, part))
        return true;
    const char *marked = environment->len
                             ? memmem(environment->data, environment->len, mark, sizeof(mark) - 1)
                             : NULL;
    static const char *const below[] = {"/services", "/models"};
    for (size_t i = 0; marked && i < ARRAY_SIZE(below); i++) {
        (void)snprintf(part, sizeof(part), "%s/%s", below[i], service);
        if (has_part(marked, part))
            return true;
    }
    return false;
}

static bool
is_of_service(const char *service, pid_t pid)
{
    _cleanup_buf_ struct buf groups = BUF_INIT(64 * KIB), environment = BUF_INIT(256 * KIB);
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    (void)!file_read(path, &groups, NULL); /* it may have just ended, */
    (void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    (void)!file_read(path, &environment, NULL); /* or be another user's */
    return doctor_is_of_service(service, groups.data, &environment);
}

struct holders {
    const char *service;
    pid_t ours, first; /* 0: none */
};

static bool
on_holder(pid_t pid, void *arg)
{
    struct holders *h = arg;
    h->first = h->first ? h->first : pid;
    if (is_of_service(h->service, pid))
        h->ours = pid;
    return h->ours == 0;
}

/* ---- a port ---- */

/* systemd has the port of the gateway over its restarts, and before its first start. */
static bool
is_gateways_socket(const struct holders *h)
{
    static const char *const argv[] = {"systemctl", "is-active", "citadel-gateway.socket", NULL};
    char answer[DOCTOR_ANSWER_MAX];
    return h->first == 1 && text_eq(h->service, GATEWAY) &&
           text_starts(doctor_ask(argv, answer), "active");
}

static void
tell_holder(struct doctor *d, const char *subject, const char *service, uint16_t port)
{
    _cleanup_buf_ struct buf name = BUF_INIT(64);
    struct holders h = {.service = service};
    char path[64];
    const char *remedy = doctor_text(d, "ss -ltnp 'sport = :%u'", port);
    int r = listener_each(port, on_holder, &h);
    if (h.ours) {
        doctor_add(d, subject, DOCTOR_HOLDS, "", "in use by Citadel itself (process %d)",
                   (int)h.ours);
    } else if (is_gateways_socket(&h)) {
        doctor_add(d, subject, DOCTOR_HOLDS, "", "in use by systemd, for the gateway");
    } else if (h.first == 0) {
        doctor_add(d, subject, r == 0 ? DOCTOR_FAILS : DOCTOR_UNKNOWN, remedy,
                   "it is in use, and by whom is not to be seen%s", r == 0 ? "" : " by this user");
    } else {
        (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)h.first);
        (void)!file_read(path, &name, NULL);
        doctor_add(d, subject, DOCTOR_FAILS, remedy, "it is in use by process %d, %.*s",
                   (int)h.first, (int)strcspn(name.data, "\n"), name.data);
    }
}

/* As the service would: at the address that it is given. */
static void
check_port(struct doctor *d, const char *whose, const char *ip, uint16_t port)
{
    char address[320];
    struct sock_addr addr;
    const char *subject = doctor_text(d, "%u (%s)", port, whose);
    (void)snprintf(address, sizeof(address), strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip, port);
    int r = sock_addr_parse(address, &addr, NULL);
    if (r == 0)
        r = sock_try(&addr);
    if (r == 0)
        doctor_add(d, subject, DOCTOR_HOLDS, "", "free");
    else if (r == -EADDRINUSE)
        tell_holder(d, subject, whose, port);
    else
        doctor_add(d, subject, DOCTOR_FAILS, doctor_text(d, "ip address; then %s.listen", whose),
                   "%s cannot be listened at: %s", address, strerror(-r));
}

static void
check_list(struct doctor *d, const char *whose, const struct config_list *listen, uint16_t port)
{
    for (size_t i = 0; i < listen->count; i++)
        if (listen->items[i][0] != '/')
            check_port(d, whose, listen->items[i], port);
}

void
doctor_check_ports(struct doctor *d)
{
    const struct config *c = d->config;
    if (c->gateway.enabled)
        check_list(d, GATEWAY, &c->gateway.listen, c->gateway.port);
    if (c->monitor.enabled)
        check_list(d, "monitor", &c->monitor.listen, c->monitor.port);
    for (size_t i = 0; i < c->models.count; i++) {
        const struct config_model *m = &c->models.items[i];
        if (m->enabled)
            check_port(d, m->name, m->listen == CONFIG_LISTEN_NETWORK ? "0.0.0.0" : "127.0.0.1",
                       m->port);
    }
}
