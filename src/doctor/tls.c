/* What the gateway speaks TLS with: the files are there, belong together, and last for a while. */

#include "doctor/doctor_int.h"

#include "http/tls.h"
#include "sys/clock.h"

#define SOON_S (14 * 86400) /* a fortnight is time enough to renew it */

static void
judge_end(struct doctor *d, const char *certificate, const struct tls_context *context)
{
    int64_t left_s = tls_context_end_s(context) - (int64_t)(clock_wall_us() / 1000000);
    tls_day day;
    (void)tls_context_end_day(context, day);
    if (left_s < 0)
        doctor_add(d, certificate, DOCTOR_FAILS, "renew it, then citadel reload",
                   "it has ended on %s", day);
    else if (left_s < SOON_S)
        doctor_add_as(d, false, certificate, DOCTOR_FAILS, "renew it, then citadel reload",
                      doctor_text(d, "it ends soon, on %s", day));
    else
        doctor_add(d, certificate, DOCTOR_HOLDS, "", "its key fits; it ends on %s", day);
}

void
doctor_check_tls(struct doctor *d)
{
    const struct config_tls *tls = &d->config->gateway.tls;
    const struct tls_files files = {tls->certificate, tls->key, tls->client_ca};
    struct tls_context *context = NULL;
    struct err err;
    if (!tls->certificate) {
        doctor_add(d, "", DOCTOR_NOT_NEEDED, "", "the gateway speaks plain HTTP");
        return;
    }
    if (tls_server(&files, &context, &err) < 0) {
        doctor_add_err(d, tls->certificate, &err);
        return;
    }
    judge_end(d, tls->certificate, context);
    tls_context_free(context);
}
