/* What no single option can tell: combinations, references, places. */

#include "base/map.h"
#include "base/text.h"
#include "config/check_int.h"
#include "config/type_int.h"
#include "sys/root.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOCKET_PATH_MAX 107

static bool
is_model(const struct config *config, const void *section)
{
    for (size_t i = 0; i < config->models.count; i++)
        if (section == &config->models.items[i])
            return true;
    return false;
}

struct value_at
check_at(const struct loading *l, const void *section, const char *option)
{
    const struct section_head *head = section;
    const struct value *v = option ? value_get(head->given, option) : NULL;
    if (!v && option && is_model(l->config, section))
        v = value_get(l->config->defaults.given, option);
    if (v)
        return v->at;
    if (!head->given)
        return (struct value_at){0};
    return head->given->name ? head->given->name_at : head->given->at;
}

static bool
is_below(const char *path, const char *top)
{
    size_t len = strlen(top);
    return strncmp(path, top, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* What Citadel makes and removes files in, and gives to the account of its services, is a directory of its
 * own: never one that the system has, nor one within what is the kernel's or the distribution's. */
static bool
is_systems(const char *path)
{
    static const char *const directories[] = {
        "/",
        "/etc",
        "/etc/systemd",
        "/home",
        "/media",
        "/mnt",
        "/opt",
        "/root",
        "/run",
        "/run/lock",
        "/run/systemd",
        "/run/user",
        "/srv",
        "/tmp",
        "/usr",
        "/usr/local",
        "/var",
        "/var/cache",
        "/var/lib",
        "/var/lock",
        "/var/log",
        "/var/run",
        "/var/spool",
        "/var/tmp",
        "/usr/local/bin",
        "/usr/local/lib",
        "/usr/local/share",
    };
    static const char *const trees[] = {
        "/bin",       "/boot",     "/dev",       "/lib",     "/lib32",   "/lib64",
        "/libx32",    "/proc",     "/sbin",      "/sys",     "/usr/bin", "/usr/lib",
        "/usr/lib64", "/usr/sbin", "/usr/share", "/etc/ssl", "/etc/ssh", "/lost+found",
    };
    for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
        if (text_eq(path, directories[i]))
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(trees); i++)
        if (is_below(path, trees[i]))
            return !is_below(path, "/dev/shm") || text_eq(path, "/dev/shm");
    return false;
}

static void
check_place(const struct loading *l, const char *name, const char *path)
{
    if (is_systems(path))
        problem_add(l->problems, check_at(l, &l->config->paths, name), "a directory of its own",
                    "paths.%s is %s", name, path);
}

static void
check_paths(const struct loading *l)
{
    const struct config_paths *p = &l->config->paths;
    const struct {
        const char *name;
        const char *path;
    } apart[] = {{"root", p->root},   {"models", p->models}, {"backup", p->backup},
                 {"state", p->state}, {"run", p->run},       {"generations", p->generations}};
    for (size_t i = 0; i < ARRAY_SIZE(apart); i++)
        check_place(l, apart[i].name, root_strip(apart[i].path));
    check_place(l, "logs", root_strip(p->logs));
    for (size_t i = 0; i < ARRAY_SIZE(apart); i++)
        for (size_t k = 0; k < i; k++)
            if (text_eq(apart[i].path, apart[k].path))
                problem_add(l->problems, check_at(l, p, apart[i].name),
                            "give each its own directory", "paths.%s is %s, which is paths.%s",
                            apart[i].name, root_strip(apart[i].path), apart[k].name);
    if (!text_eq(p->backup, p->models) && is_below(p->backup, p->models))
        problem_add(l->problems, check_at(l, p, "backup"), "another disk, mounted elsewhere",
                    "paths.backup is inside paths.models, and would be lost with it");
    if (!text_eq(p->backup, p->models) && is_below(p->models, p->backup))
        problem_add(l->problems, check_at(l, p, "models"), "another disk, mounted elsewhere",
                    "paths.models is inside paths.backup, and would back itself up");
}

static void
check_lists(const struct loading *l, const struct config_list *list, const void *section,
            const char *section_name, const char *option)
{
    for (size_t i = 0; i < list->count; i++)
        for (size_t k = 0; k < i; k++)
            if (text_eq(list->items[i], list->items[k]))
                problem_add(l->problems, check_at(l, section, option), "name each once",
                            "%s.%s has %s twice", section_name, option, list->items[i]);
}

static bool
is_label(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    static const char all[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return *name && strchr(letters, *name) && !name[strspn(name, all)] && !text_starts(name, "__");
}

void
check_labels(const struct loading *l, const struct config_pairs *labels, const void *section,
             const char *path)
{
    for (size_t i = 0; i < labels->count; i++)
        if (!is_label(labels->items[i].name))
            problem_add(l->problems, check_at(l, section, "labels"),
                        "letters, digits and '_', not beginning with a digit or '__'",
                        "%s.labels has the name '%s'", path, labels->items[i].name);
}

/* Clears the bits of an address behind the first `bits`; whether any was set. */
static bool
clear_host_bits(unsigned char *address, size_t len, unsigned long bits)
{
    bool any = false;
    for (size_t i = 0; i < len; i++) {
        unsigned long kept = bits > 8 * i ? MIN(bits - 8 * i, 8ul) : 0;
        unsigned char mask = (unsigned char)(0xFF00u >> kept);
        any = any || address[i] & (unsigned char)~mask;
        address[i] &= mask;
    }
    return any;
}

/* 10.1.2.3/8 is a slip: 10.0.0.0/8 or 10.1.2.3 may be meant. */
static void
check_networks(const struct loading *l, const struct config_list *list, const void *section,
               const char *section_name, const char *option)
{
    for (size_t i = 0; i < list->count; i++) {
        unsigned char address[16];
        char text[INET6_ADDRSTRLEN], host[INET6_ADDRSTRLEN] = "";
        const char *slash = strchr(list->items[i], '/');
        int family = strchr(list->items[i], ':') ? AF_INET6 : AF_INET;
        if (!slash || (size_t)(slash - list->items[i]) >= sizeof(host))
            continue;
        memcpy(host, list->items[i], (size_t)(slash - list->items[i]));
        if (inet_pton(family, host, address) != 1 ||
            !clear_host_bits(address, family == AF_INET ? 4 : 16, strtoul(slash + 1, NULL, 10)))
            continue;
        char fix[2 * INET6_ADDRSTRLEN + 32];
        (void)snprintf(fix, sizeof(fix), "%s%s, or %s alone",
                       inet_ntop(family, address, text, sizeof(text)), slash, host);
        problem_add(l->problems, check_at(l, section, option), fix,
                    "%s.%s has %s, an address with a network's length", section_name, option,
                    list->items[i]);
    }
}

/* "https://example.org:8443", or "*". */
static bool
is_origin(const char *text)
{
    const char *host = text_starts(text, "https://")  ? text + strlen("https://")
                       : text_starts(text, "http://") ? text + strlen("http://")
                                                      : NULL;
    return text_eq(text, "*") || (host && *host && !host[strcspn(host, "/?#@ ,;\"'<>\\")]);
}

static void
check_origins(const struct loading *l, const struct config_gateway *g)
{
    check_lists(l, &g->cors_origins, g, "gateway", "cors_origins");
    for (size_t i = 0; i < g->cors_origins.count; i++)
        if (!is_origin(g->cors_origins.items[i]))
            problem_add(l->problems, check_at(l, g, "cors_origins"),
                        "like https://chat.example.org, without a path; or \"*\"",
                        "gateway.cors_origins has %s", g->cors_origins.items[i]);
}

static bool
is_here(const char *address)
{
    return text_starts(address, "127.") || text_eq(address, "::1") || *address == '/';
}

/* What systemd takes, and what clients can ask for, ends at what the kernel's struct has room for. */
static void
check_sockets(const struct loading *l, const struct config_gateway *g)
{
    for (size_t i = 0; i < g->listen.count; i++)
        if (g->listen.items[i][0] == '/' && strlen(g->listen.items[i]) > SOCKET_PATH_MAX)
            problem_add(l->problems, check_at(l, g, "listen"), "a shorter path",
                        "gateway.listen has %s, and a socket's path has %d bytes at most",
                        g->listen.items[i], SOCKET_PATH_MAX);
}

static void
check_gateway(const struct loading *l)
{
    const struct config_gateway *g = &l->config->gateway;
    check_lists(l, &g->listen, g, "gateway", "listen");
    check_sockets(l, g);
    check_origins(l, g);
    check_networks(l, &g->metrics_allow, g, "gateway", "metrics_allow");
    if (!g->tls.certificate != !g->tls.key)
        problem_add(l->problems, check_at(l, &g->tls, g->tls.key ? "key" : "certificate"),
                    "give both, or neither", "gateway.tls has a %s but no %s",
                    g->tls.key ? "key" : "certificate", g->tls.key ? "certificate" : "key");
    if (g->tls.client_ca && !g->tls.certificate)
        problem_add(l->problems, check_at(l, &g->tls, "client_ca"), "add certificate and key",
                    "gateway.tls.client_ca is given, but port %u does not speak TLS", g->port);
    if (g->limits.body_bytes > g->limits.bodies_bytes)
        problem_add(l->problems, check_at(l, &g->limits, "body"), "at most gateway.limits.bodies",
                    "gateway.limits.body is larger than all bodies together may be");
    for (size_t i = 0; g->anonymous && i < g->listen.count; i++) {
        if (is_here(g->listen.items[i]))
            continue;
        problem_warn(l->problems, check_at(l, g, "anonymous"),
                     "make keys with `citadel keys create`, or listen on 127.0.0.1",
                     "gateway.anonymous lets everybody use the models who reaches %s",
                     g->listen.items[i]);
        return;
    }
}

static void
check_notifier(const struct loading *l, const struct config_notifier *n)
{
    const char *missing = NULL;
    bool url = n->url || n->url_secret.kind != CONFIG_SECRET_NONE;
    if (!value_get(n->given, "kind"))
        return; /* that was said already */
    switch (n->kind) {
    case CONFIG_NOTIFIER_WEBHOOK:
    case CONFIG_NOTIFIER_SLACK:
        missing = url ? NULL : "url or url_secret";
        break;
    case CONFIG_NOTIFIER_EMAIL:
        missing = !n->to.count ? "to" : !n->server ? "server" : NULL;
        break;
    case CONFIG_NOTIFIER_COMMAND:
        missing = n->command.count ? NULL : "command";
        break;
    }
    if (missing)
        problem_add(l->problems, check_at(l, n, NULL), "", "alerts.notifiers.%s needs %s", n->name,
                    missing);
    if (n->url && n->url_secret.kind != CONFIG_SECRET_NONE)
        problem_add(l->problems, check_at(l, n, "url"), "one of the two",
                    "alerts.notifiers.%s has both url and url_secret", n->name);
}

static void
check_command(const struct loading *l, const struct config_list *command, const void *section,
              const char *path, const char *option)
{
    if (command->count && command->items[0][0] != '/')
        problem_add(l->problems, check_at(l, section, option), "an absolute path, then arguments",
                    "%s.%s begins with %s", path, option, command->items[0]);
}

static void
check_alerts(const struct loading *l)
{
    const struct config_hooks *h = &l->config->hooks;
    for (size_t i = 0; i < l->config->alerts.notifiers.count; i++) {
        const struct config_notifier *n = &l->config->alerts.notifiers.items[i];
        check_notifier(l, n);
        check_command(l, &n->command, n, n->name, "command");
    }
    check_command(l, &h->model_appeared, h, "hooks", "model_appeared");
    check_command(l, &h->health_changed, h, "hooks", "health_changed");
    check_command(l, &h->deployment_ended, h, "hooks", "deployment_ended");
    check_command(l, &h->backup_ended, h, "hooks", "backup_ended");
}

static void
check_backup(const struct loading *l)
{
    const struct config_backup *b = &l->config->backup;
    const struct config_backup_shares *s = &b->shares;
    double sum = s->models_percent + s->system_percent + s->logs_percent + s->temporary_percent;
    if (sum > 100)
        problem_add(l->problems, check_at(l, s, NULL), "100% at most",
                    "backup.shares add up to %g%%", sum);
    if (b->copy.to && text_eq(b->copy.to, b->repository))
        problem_add(l->problems, check_at(l, &b->copy, "to"), "another repository",
                    "backup.copy.to is backup.repository itself");
}

/* Only root may give rights away; and what runs engines must have none. */
static void
check_service(const struct loading *l)
{
    const struct config_service *s = &l->config->service;
    if (text_eq(s->user, "root"))
        problem_add(l->problems, check_at(l, s, "user"), "an account without rights",
                    "service.user is root");
    if (text_eq(s->gateway_user, "root"))
        problem_add(l->problems, check_at(l, s, "gateway_user"), "an account without rights",
                    "service.gateway_user is root");
}

static void
check_devops(const struct loading *l)
{
    const struct config_devops *d = &l->config->devops;
    const char *fix = "give devops.address, or the URL";
    check_labels(l, &d->labels, d, "devops");
    if (d->address)
        return;
    if (d->prometheus.remote_write && !d->prometheus.remote_write_url)
        problem_add(l->problems, check_at(l, &d->prometheus, "remote_write"), fix,
                    "devops.prometheus.remote_write is on, but nothing says where to");
    if (d->grafana.token.kind != CONFIG_SECRET_NONE && !d->grafana.url)
        problem_add(l->problems, check_at(l, &d->grafana, "token"), fix,
                    "devops.grafana has a token, but nothing says for which host");
}

void
config_check(const struct loading *loading)
{
    _cleanup_map_ struct map served = {0};
    struct loading l = *loading;
    const struct config_monitor *m = &l.config->monitor;
    l.served = &served;
    check_service(&l);
    check_paths(&l);
    check_models(&l);
    check_routes(&l);
    check_gateway(&l);
    check_lists(&l, &m->listen, m, "monitor", "listen");
    check_networks(&l, &m->allow, m, "monitor", "allow");
    check_alerts(&l);
    check_backup(&l);
    check_devops(&l);
}
