/* Connections and spare calls of a client; what a single call does is in client_call.c. */

#include "http/client.h"

#include "base/mem.h"
#include "http/client_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* An end of file that came while a link was idle is seen at the end of a pass of the loop; behind
 * a pass that took long it may be there unseen. Links used a moment ago are not asked. */
#define PEEK_AFTER_US 100000

const struct http_client_config http_client_config_default = {
    .head = {.target_bytes = 8192,
             .head_bytes = 64 * KIB,
             .fields = HTTP1_FIELDS_MAX,
             .extension_bytes = 1 * MIB,
             .trailer_bytes = 16 * KIB},
    .body_bytes_max = 256 * MIB,
    .request_bytes_max = 256 * MIB,
    .high_bytes = 256 * KIB,
    .low_bytes = 64 * KIB,
    .connections_max = 4096,
    .idle_max = 256,
    .idle_us = 4 * 1000000,
    .connect_us = 5 * 1000000,
    .first_byte_us = 60 * 1000000,
    .between_us = 60 * 1000000,
    .total_us = 0,
};

/* Links */

static void
close_link(struct link *link)
{
    struct http_client *client = link->client;
    if (link->wait.list)
        client->counts.idle--;
    wait_end(&client->waits, &link->wait);
    loop_fd_stop(&link->watch);
    if (link->tls)
        tls_end(link->tls);
    tls_free(link->tls);
    (void)close(link->fd);
    free(link);
    client->links--;
}

/* An idle link has nothing to say: when it does, or ends, it is of no use any more. */
static void
on_link(struct loop_fd *watch, unsigned events)
{
    struct link *link = container_of(watch, struct link, watch);
    if (link->pending)
        pending_ready(link->pending, events);
    else
        close_link(link);
}

static bool
is_alive(const struct link *link)
{
    char byte;
    if (loop_now_us(link->client->loop) - link->wait.since_us < PEEK_AFTER_US)
        return true;
    return recv(link->fd, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

/* The one used last is the least likely to have been closed. */
static struct link *
take_idle(struct http_client *client)
{
    struct wait *last;
    while ((last = client->lists[WAIT_IDLE].last)) {
        struct link *link = container_of(last, struct link, wait);
        if (is_alive(link)) {
            wait_end(&client->waits, &link->wait);
            client->counts.idle--;
            return link;
        }
        close_link(link);
    }
    return NULL;
}

static void
close_oldest_idle(struct http_client *client)
{
    struct wait *first = client->lists[WAIT_IDLE].first;
    if (first)
        close_link(container_of(first, struct link, wait));
}

static int
connect_link(struct http_client *client, struct link **ret_link, struct err *reterr)
{
    int fd = sock_connect(&client->addr, reterr);
    if (fd < 0)
        return fd;
    struct link *link = mem_new(struct link);
    link->client = client;
    link->moves = client->moves;
    link->fd = fd;
    link->watch.ready = on_link;
    int r = loop_fd_start(client->loop, &link->watch, fd, LOOP_WRITE);
    if (r < 0) {
        (void)err_set_errno(reterr, -r, "cannot watch a connection to %s", client->address);
        (void)close(fd);
        free(link);
        return r;
    }
    client->links++;
    client->counts.connects++;
    *ret_link = link;
    return 0;
}

/* What this process or host lacks says nothing of the server. */
static bool
is_our_lack(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS || err == ENOSPC ||
           err == EADDRNOTAVAIL;
}

void
client_take_link(struct pending *p, bool fresh)
{
    struct http_client *client = p->client;
    struct link *link = fresh ? NULL : take_idle(client);
    struct err error = {0};
    if (link)
        client->counts.reused++;
    if (!link && client->links >= client->config.connections_max)
        close_oldest_idle(client);
    if (!link && client->links >= client->config.connections_max) {
        pending_fail(p, ERR_SYSTEM, "all %u connections to %s are in use", client->links,
                     client->address);
        return;
    }
    int r = link ? 0 : connect_link(client, &link, &error);
    if (r < 0) {
        pending_fail(p, is_our_lack(-r) ? ERR_SYSTEM : ERR_HTTP_CONNECT, "%s", error.what);
        return;
    }
    link->pending = p;
    p->link = link;
}

void
client_drop_link(struct pending *p, bool keep)
{
    struct http_client *client = p->client;
    struct link *link = take_ptr(p->link);
    if (!link)
        return;
    link->pending = NULL;
    if (!keep || client->config.idle_max == 0 || link->moves != client->moves) {
        close_link(link);
        return;
    }
    if (client->counts.idle >= client->config.idle_max)
        close_oldest_idle(client);
    link->used = true;
    client->counts.idle++;
    loop_fd_change(&link->watch, LOOP_READ);
    wait_begin(&client->waits, &client->lists[WAIT_IDLE], &link->wait);
}

/* Calls */

static void
free_pending(struct pending *p)
{
    buf_finish(&p->in);
    buf_finish(&p->out);
    buf_finish(&p->call.content);
    free(p);
}

static struct pending *
take_pending(struct http_client *client)
{
    struct spare *spare = spares_take(&client->spares);
    if (spare)
        return container_of(spare, struct pending, spare);
    struct pending *p = mem_new(struct pending);
    p->client = client;
    buf_init(&p->in, client->config.head.head_bytes + LINK_READ_BYTES);
    buf_init(&p->out, client->config.request_bytes_max);
    buf_init(&p->call.content, MIN(client->config.body_bytes_max, BUF_CEILING_MAX));
    return p;
}

void
client_give_back(struct pending *p)
{
    struct http_client *client = p->client;
    spare_return(&client->room, &p->in);
    spare_trim(&p->out);
    spare_trim(&p->call.content);
    if (!spares_give(&client->spares, &p->spare))
        free_pending(p);
}

struct http_call *
http_call_new(struct http_client *client, const char *method, const char *target,
              const struct http_call_ops *ops, void *user)
{
    struct pending *p = take_pending(client);
    p->ops = ops;
    p->call.user = user;
    client->counts.calls++;
    client->counts.in_flight++;
    pending_init(p, method, target);
    return &p->call;
}

/* The client as a whole */

static void
on_expired(struct waits *waits, struct wait *wait)
{
    enum client_wait what = (enum client_wait)(wait->list - waits->lists);
    if (what == WAIT_IDLE)
        close_link(container_of(wait, struct link, wait));
    else if (what == WAIT_TOTAL)
        pending_expire(container_of(wait, struct pending, total), what);
    else
        pending_expire(container_of(wait, struct pending, wait), what);
}

void
http_client_configure(struct http_client *client, const struct http_client_config *config)
{
    client->config = *config;
    client->lists[WAIT_CONNECT].limit_us = config->connect_us;
    client->lists[WAIT_FIRST].limit_us = config->first_byte_us;
    client->lists[WAIT_BETWEEN].limit_us = config->between_us;
    client->lists[WAIT_TOTAL].limit_us = config->total_us;
    client->lists[WAIT_IDLE].limit_us = config->idle_us;
    waits_limits_changed(&client->waits);
}

int
http_client_new(struct loop *loop, const char *address, const char *host,
                const struct http_client_config *config, struct http_client **ret_client,
                struct err *reterr)
{
    struct http_client *client = mem_new(struct http_client);
    client->address = mem_strdup(address);
    int r = sock_addr_parse(client->address, &client->addr, reterr);
    if (r < 0) {
        free(client->address);
        free(client);
        return r;
    }
    client->loop = loop;
    buf_init(&client->room, BUF_CEILING_MAX);
    client->host = mem_strdup(host ? host : client->addr.path ? "localhost" : address);
    waits_init(&client->waits, loop, client->lists, CLIENT_WAITS, on_expired);
    http_client_configure(client, config);
    *ret_client = client;
    return 0;
}

int
http_client_move(struct http_client *client, const char *address, struct err *reterr)
{
    _cleanup_free_ char *text = mem_strdup(address);
    struct sock_addr addr;
    int r = sock_addr_parse(text, &addr, reterr);
    if (r < 0 || strcmp(address, client->address) == 0)
        return r;
    while (client->lists[WAIT_IDLE].first)
        close_oldest_idle(client);
    free(client->address);
    client->address = take_ptr(text);
    client->addr = addr;
    client->moves++;
    return 0;
}

void
http_client_speak_tls(struct http_client *client, const struct tls_context *context,
                      const char *name)
{
    assert(client->links == 0);
    client->tls = context;
    client->tls_name = mem_strdup(name);
}

void
http_client_free(struct http_client *client)
{
    if (!client)
        return;
    while (client->lists[WAIT_TOTAL].first)
        http_call_cancel(
            &container_of(client->lists[WAIT_TOTAL].first, struct pending, total)->call);
    while (client->lists[WAIT_IDLE].first)
        close_oldest_idle(client);
    waits_finish(&client->waits);
    for (struct spare *spare; (spare = spares_take(&client->spares));)
        free_pending(container_of(spare, struct pending, spare));
    buf_finish(&client->room);
    free(client->address);
    free(client->host);
    free(client->tls_name);
    free(client);
}

const struct http_client_counts *
http_client_counts(const struct http_client *client)
{
    return &client->counts;
}
