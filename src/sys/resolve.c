#include "sys/resolve.h"

#include "base/mem.h"
#include "sys/work.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define IP_TEXT_MAX (INET6_ADDRSTRLEN + 2) /* with brackets */

struct resolve {
    struct work work;
    char *host;
    char ip[IP_TEXT_MAX];
    const char *why; /* NULL: there is an address */
    resolve_told told;
    void *arg;
    bool is_forgotten;
};

static bool
print(const struct addrinfo *found, char text[IP_TEXT_MAX])
{
    char ip[INET6_ADDRSTRLEN];
    const void *bytes = NULL;
    if (found->ai_family == AF_INET)
        bytes = &((const struct sockaddr_in *)(const void *)found->ai_addr)->sin_addr;
    else if (found->ai_family == AF_INET6)
        bytes = &((const struct sockaddr_in6 *)(const void *)found->ai_addr)->sin6_addr;
    if (!bytes || !inet_ntop(found->ai_family, bytes, ip, sizeof(ip)))
        return false;
    (void)snprintf(text, IP_TEXT_MAX, found->ai_family == AF_INET6 ? "[%s]" : "%s", ip);
    return true;
}

static void
ask(struct work *work)
{
    struct resolve *r = container_of(work, struct resolve, work);
    const struct addrinfo wanted = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *all;
    int e = getaddrinfo(r->host, NULL, &wanted, &all);
    r->why = e ? gai_strerror(e) : "it has no address";
    for (const struct addrinfo *found = e ? NULL : all; found && r->why; found = found->ai_next)
        if (print(found, r->ip))
            r->why = NULL;
    if (!e)
        freeaddrinfo(all);
}

static void
on_done(struct work *work, bool cancelled unused_arg)
{
    struct resolve *r = container_of(work, struct resolve, work);
    if (!r->is_forgotten)
        r->told(r->arg, r->why ? NULL : r->ip, r->why);
    free(r->host);
    free(r);
}

struct resolve *
resolve_begin(struct loop *loop, const char *host, resolve_told told, void *arg)
{
    struct resolve *r = mem_new(struct resolve);
    *r = (struct resolve){
        .work = {.run = ask, .done = on_done}, .host = mem_strdup(host), .told = told, .arg = arg};
    work_start(loop, &r->work);
    return r;
}

/* on_done() still comes. */
void
resolve_forget(struct resolve *r)
{
    if (!r)
        return;
    r->is_forgotten = true;
    (void)work_cancel(&r->work);
}
