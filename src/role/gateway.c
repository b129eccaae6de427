#include "base/mem.h"
#include "base/text.h"
#include "config/config.h"
#include "http/client.h"
#include "plan/plan.h"
#include "role/gateway_int.h"
#include "role/listen.h"
#include "sys/clock.h"
#include "sys/handed.h"
#include "sys/log.h"
#include "sys/work.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LAST_US UINT64_C(2000000)  /* for clients to read what they are told last */
#define END_US UINT64_C(15000000)  /* for disks to take what is to be written at the end */
#define ASKING_US UINT64_C(100000) /* for threads that only ask */
#define OTHER_FILES 192 /* the control socket's connections, databases, logs, libraries */
#define CONNECTIONS_MIN 16
/* What is left behind gateway.drain_timeout: it ends well before it is killed. */
static_assert(LAST_US + GATEWAY_SPANS_US + END_US + ASKING_US <= PLAN_KEEPER_STOP_US / 3 * 2,
              "the end has one budget");

/* ---- its addresses ---- */

static void
tell_how(struct gateway *g)
{
    g->was_local = gateway_is_local(g);
    if (g->was_local)
        log_info("there are no keys: only this host is answered, whatever gateway.listen says");
    notify_status(&g->life.notify, g->was_local ? "answers this host" : "answers everybody");
}

/* What of this host stands for an address: only loopback and files while everybody else would be
 * refused. NULL: nothing does. */
static const char *
narrow(const struct gateway *g, const char *address)
{
    if (!gateway_is_local(g))
        return address;
    const char *here = role_reach(address);
    bool is_here = text_starts(here, "127.") || text_eq(here, "::1") || *here == '/';
    return is_here ? here : NULL;
}

static int
listen_at(struct gateway *g, const char *address, struct err *reterr)
{
    int r = role_listen(g->server, address, g->config->gateway.port, reterr);
    if (r == 0 && *address == '/')
        vec_push(&g->sockets, mem_strdup(address));
    return r;
}

/* While we are still the only one who listens there. */
static void
remove_sockets(struct gateway *g)
{
    vec_foreach (&g->sockets, at) {
        (void)unlink(*at);
        free(*at);
    }
    vec_finish(&g->sockets);
}

static int
listen_all(struct gateway *g, struct err *reterr)
{
    const struct config_list *addresses = &g->config->gateway.listen;
    size_t count = 0;
    for (size_t i = 0; i < addresses->count; i++) {
        const char *address = narrow(g, addresses->items[i]);
        int r = address ? listen_at(g, address, reterr) : 0;
        if (r < 0)
            return r;
        count += address != NULL;
    }
    return count ? 0 : listen_at(g, "127.0.0.1", reterr);
}

static int
listen_handed(struct gateway *g, int count, struct err *reterr)
{
    for (int i = 0; i < count; i++) {
        int r = http_server_listen(g->server, HANDED_FIRST + i, reterr);
        if (r < 0)
            return r;
    }
    return 0;
}

/* As many connections as there may be files: each may need another one, to its engine. Whoever starts us may
 * have given us few of those that we may have. */
static unsigned
count_connections(unsigned wanted)
{
    struct rlimit files;
    rlim_t need = (rlim_t)wanted * 2 + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return wanted;
    if (files.rlim_cur < need) {
        files.rlim_cur = MIN(files.rlim_max, need);
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    rlim_t room = MAX(files.rlim_cur, (rlim_t)OTHER_FILES + 2 * CONNECTIONS_MIN) - OTHER_FILES;
    if (files.rlim_cur < need)
        log_warning("gateway.limits.connections is %u, and this process may open %llu files: %llu "
                    "connections at a time; service.open_files, or `ulimit -n`, gives it more",
                    wanted, (unsigned long long)files.rlim_cur, (unsigned long long)room / 2);
    return (unsigned)MIN((rlim_t)wanted, room / 2);
}

static struct http_server_config
server_config(const struct config_gateway_limits *limits)
{
    struct http_server_config c = http_server_config_default;
    c.connections_max = count_connections(limits->connections);
    c.head.head_bytes = (uint32_t)limits->header_bytes;
    c.idle_us = limits->idle_timeout_us;
    c.handshake_us = limits->header_timeout_us;
    c.head_us = limits->header_timeout_us;
    c.body_us = limits->body_timeout_us;
    return c;
}

static int
open_server(struct gateway *g, struct gateway_papers *papers, struct err *reterr)
{
    const struct http_server_config config = server_config(&g->config->gateway.limits);
    const struct http_service service = gateway_service(g);
    int handed = handed_take();
    g->is_handed = handed > 0;
    g->server = http_server_new(g->life.loop, &config, &service);
    relay_bound_connections(g->relay, config.connections_max);
    gateway_speak_tls(g, papers);
    return handed ? listen_handed(g, handed, reterr) : listen_all(g, reterr);
}

void
gateway_limits_changed(struct gateway *g)
{
    const struct http_server_config config = server_config(&g->config->gateway.limits);
    http_server_configure(g->server, &config);
    relay_bound_connections(g->relay, config.connections_max);
}

/* What cannot be had is told; whoever asks from this host is answered in any case. */
void
gateway_listen_anew(struct gateway *g)
{
    struct err err;
    if (!g->is_handed && !g->drains) {
        remove_sockets(g);
        http_server_unlisten(g->server);
        if (listen_all(g, &err) < 0) {
            log_err(&err);
            (void)!listen_at(g, "127.0.0.1", NULL);
        }
    }
    tell_how(g);
}

/* ---- a life ---- */

/* First who waits for an answer, or for more of one, is told that there will be none; what he does
 * not read soon is cut. */
static void
hurry(struct gateway *g)
{
    if (g->dismisses) {
        loop_stop(g->life.loop);
        return;
    }
    g->dismisses = true;
    http_server_dismiss(g->server);
    loop_timer_start(g->life.loop, &g->deadline, LAST_US, 0);
}

static void
on_deadline(struct loop_timer *timer)
{
    struct gateway *g = container_of(timer, struct gateway, deadline);
    unsigned count = http_server_counts(g->server)->in_flight;
    if (!g->dismisses && count > 0)
        log_warning("%u answers were not complete within gateway.drain_timeout; they are broken "
                    "off, and their clients told",
                    count);
    hurry(g);
}

/* What is under way is answered; http_service.drained() tells when that is done. Who says it once
 * more does not wait for that. */
static void
end(struct life *life)
{
    struct gateway *g = container_of(life, struct gateway, life);
    if (g->drains) {
        hurry(g);
        return;
    }
    g->drains = true;
    notify_state(&life->notify, "STOPPING=1");
    g->deadline.expired = on_deadline;
    loop_timer_start(life->loop, &g->deadline, g->config->gateway.drain_timeout_us, 0);
    http_server_drain(g->server);
}

static int
open_all(struct gateway *g, struct err *reterr)
{
    _cleanup_(gateway_papers_finish) struct gateway_papers papers = {0};
    int r = life_open(&g->life, end, reterr);
    if (r == 0)
        r = gateway_control_open(g, reterr); /* the first: there is one gateway */
    if (r == 0)
        r = gateway_keys_open(g, reterr);
    if (r == 0)
        r = gateway_papers_read(g->config, &papers, reterr);
    if (r == 0)
        r = relay_new(g->life.loop, g->config, papers.peers, &g->relay, reterr);
    if (r == 0)
        r = gateway_monitor_open(g, reterr);
    if (r == 0)
        r = gateway_pages_open(g, reterr);
    if (r < 0)
        return r;
    gateway_told_open(g);
    gateway_told_watch(g, &papers);
    return open_server(g, &papers, reterr);
}

/* What writes is waited for until then, and what only asks (a resolver, a sum of the ledger) is not: nothing
 * is lost with it. Threads that hang stay behind: exit() might ask them. */
static void
end_work(const struct gateway *g, uint64_t until_us, bool is_written, const struct err *failure)
{
    struct loop *loop = g->life.loop;
    uint64_t now_us = clock_now_us();
    const char *name;
    bool keys_are_told = !is_written;
    is_written &= work_write_out(loop, until_us > now_us ? until_us - now_us : 0);
    if (is_written && loop_drain(loop, ASKING_US))
        return;
    for (size_t i = 0; (name = work_unwritten(loop, i)); i++)
        if (!keys_are_told || !text_eq(name, g->config->gateway.keys_file))
            log_error("'%s' does not answer; the gateway ends without it", name);
    if (failure)
        log_err(failure);
    _exit(failure ? (int)err_exit(failure) : is_written ? EXIT_CODE_OK : EXIT_CODE_FAILED);
}

/* failure: why it cannot live; NULL: it has. */
static void
close_all(struct gateway *g, const struct err *failure)
{
    if (!g->life.loop)
        return;
    g->has_ended = true;
    life_leave(&g->life);
    loop_timer_stop(&g->deadline);
    remove_sockets(g);
    role_control_close(&g->control); /* from then on there may be another gateway */
    http_server_free(g->server);
    gateway_monitor_close(g);
    http_client_free(g->pages);
    struct config *last = relay_take_config(g->relay); /* g->config, which the keys go by yet */
    uint64_t until_us = clock_now_us() + END_US;
    relay_free(g->relay);
    gateway_told_close(g);
    bool is_written = gateway_keys_close(g, END_US);
    end_work(g, until_us, is_written, failure);
    config_free(last);
    life_close(&g->life);
}

int
gateway_run(const struct config *config, struct err *reterr)
{
    struct gateway g = {.config = config, .since_us = clock_wall_us()};
    int r = open_all(&g, reterr);
    if (r == 0) {
        tell_how(&g);
        notify_state(&g.life.notify, "READY=1");
        loop_run(g.life.loop);
    }
    close_all(&g, r < 0 ? reterr : NULL);
    return r;
}
