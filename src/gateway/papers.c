#include "gateway/papers.h"

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"
#include "gateway/peer.h"
#include "http/tls.h"
#include "secrets/use.h"
#include "sys/files.h"

#include <stdlib.h>

#define AUTHORITIES_BYTES_MAX (16 * MIB) /* of their file */

/* Of one that cannot be read there is none: whoever needs it says so. */
static void
hash_authorities(const char *path, char hash[HASH_SHA256_HEX])
{
    _cleanup_buf_ struct buf text = BUF_INIT(AUTHORITIES_BYTES_MAX);
    if (file_read(path, &text, NULL) == 0)
        hash_sha256_text(text.data, text.len, hash);
}

int
papers_read(const struct config *config, const struct papers_wish *wish, struct papers *ret,
            struct err *reterr)
{
    struct papers papers = {0};
    struct peer_url url;
    int r = peer_read_url(wish->option, wish->url, &url, reterr);
    if (r == 0)
        r = secret_fetch_of(config, wish->key, &papers.key, reterr);
    if (r == 0 && wish->authorities)
        hash_authorities(wish->authorities, papers.authorities_hash);
    if (r == 0 && url.is_tls)
        r = tls_client(&(struct tls_files){.authorities = wish->authorities}, &papers.tls, reterr);
    if (r < 0)
        papers_finish(&papers);
    else
        *ret = papers;
    return r;
}

void
papers_finish(struct papers *papers)
{
    secret_finish(&papers->key);
    tls_context_free(papers->tls);
    *papers = (struct papers){0};
}

/* ---- peers ---- */

static int
read_peer(const struct config *config, const struct config_peer *peer, struct papers *ret,
          struct err *reterr)
{
    _cleanup_free_ char *option = mem_printf("gateway.peers.%s.url", peer->name);
    const struct papers_wish wish = {option, peer->url, peer->ca, &peer->key};
    return papers_read(config, &wish, ret, reterr);
}

int
papers_read_peers(const struct config *config, struct papers **ret_papers, struct err *reterr)
{
    size_t count = config->gateway.peers.count;
    struct papers *papers = mem_alloc(MAX(count, (size_t)1) * sizeof(*papers));
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++)
        r = read_peer(config, &config->gateway.peers.items[i], &papers[i], reterr);
    if (r < 0)
        papers_free_peers(config, papers);
    else
        *ret_papers = papers;
    return r;
}

void
papers_free_peers(const struct config *config, struct papers *papers)
{
    for (size_t i = 0; papers && i < config->gateway.peers.count; i++)
        papers_finish(&papers[i]);
    free(papers);
}
