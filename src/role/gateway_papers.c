/* What the configuration names in files, read at once: certificates, keys of other servers, and
 * whom those are trusted by. */

#include "config/config.h"
#include "http/tls.h"
#include "role/gateway_int.h"
#include "sys/clock.h"
#include "sys/log.h"

#include <stdlib.h>

static int
read_own(const struct config *config, struct tls_context **ret_context, struct err *reterr)
{
    const struct config_tls *tls = &config->gateway.tls;
    const struct tls_files files = {tls->certificate, tls->key, tls->client_ca};
    return tls->certificate ? tls_server(&files, ret_context, reterr) : 0;
}

/* Without one requests are answered, too: at a start that is no reason to answer nobody. */
static void
read_collector(const struct config *config, struct gateway_papers *papers)
{
    const struct config_gateway *c = &config->gateway;
    const struct papers_wish wish = {"gateway.trace_url", c->trace_url, c->trace_ca, &c->trace_key};
    int r =
        c->trace_url ? papers_read(config, &wish, &papers->collector, &papers->no_collector) : 0;
    assert((r < 0) == (papers->no_collector.id != ERR_NONE));
}

int
gateway_papers_read(const struct config *config, struct gateway_papers *ret, struct err *reterr)
{
    struct gateway_papers papers = {.config = config};
    int r = read_own(config, &papers.own, reterr);
    if (r == 0)
        r = papers_read_peers(config, &papers.peers, reterr);
    if (r == 0)
        read_collector(config, &papers);
    if (r < 0)
        gateway_papers_finish(&papers);
    else
        *ret = papers;
    return r;
}

void
gateway_papers_finish(struct gateway_papers *papers)
{
    tls_context_free(papers->own);
    if (papers->config)
        papers_free_peers(papers->config, papers->peers);
    papers_finish(&papers->collector);
}

/* Nobody can use one that has ended; yet that is no reason to answer nobody. */
void
gateway_speak_tls(struct gateway *g, struct gateway_papers *papers)
{
    tls_day day;
    if (papers->own && tls_context_end_s(papers->own) < (int64_t)(clock_wall_us() / 1000000))
        log_warning("the certificate %s has ended on %s: no client will trust it",
                    papers->config->gateway.tls.certificate, tls_context_end_day(papers->own, day));
    http_server_speak_tls(g->server, take_ptr(papers->own));
}
