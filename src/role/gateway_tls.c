#include "config/config.h"
#include "http/tls.h"
#include "role/gateway_int.h"
#include "sys/clock.h"
#include "sys/log.h"

/* Nobody can use one that has ended; yet that is no reason to answer nobody. */
static void
warn_of_end(const struct tls_context *context, const char *certificate)
{
    tls_day day;
    if (tls_context_end_s(context) < (int64_t)(clock_wall_us() / 1000000))
        log_warning("the certificate %s has ended on %s: no client will trust it", certificate,
                    tls_context_end_day(context, day));
}

int
gateway_read_tls(const struct config *config, struct tls_context **ret_context, struct err *reterr)
{
    const struct config_tls *tls = &config->gateway.tls;
    const struct tls_files files = {tls->certificate, tls->key, tls->client_ca};
    *ret_context = NULL;
    if (!tls->certificate)
        return 0;
    int r = tls_server(&files, ret_context, reterr);
    if (r == 0)
        warn_of_end(*ret_context, tls->certificate);
    return r;
}
