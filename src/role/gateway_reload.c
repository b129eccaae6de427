/* A changed configuration, while answers are under way: none of them is cut. What the gateway reads
 * only when it starts (its addresses, the paths) makes it refuse the whole: who asked starts it
 * anew.
 *
 * What was renewed stands under its old name: files that the configuration names (certificates, the
 * keys of peers, whom those are trusted by) are read whether or not an option has changed. */

#include "role/gateway_int.h"

#include "config/reread.h"
#include "http/tls.h"
#include "service/service.h"
#include "sys/log.h"

static void
tell_what_changed(const struct config_diff *diff)
{
    if (diff->count == 0)
        log_info("no option changed; keys and certificates were read anew");
    else
        log_info("%zu option%s changed, the first: %s", diff->count, diff->count == 1 ? "" : "s",
                 diff->items[0].path);
}

static int
take(struct gateway *g, struct config_reread *reread, struct err *reterr)
{
    struct tls_context *context;
    int r = gateway_read_tls(reread->config, &context, reterr);
    if (r < 0)
        return r;
    r = relay_configure(g->relay, reread->config, reterr);
    if (r < 0) {
        tls_context_free(context);
        return r;
    }
    http_server_speak_tls(g->server, context);
    g->config = take_ptr(reread->config);
    config_set_log_level(g->config);
    gateway_limits_changed(g);
    gateway_told_watch(g);
    gateway_monitor_look(g);
    if (g->was_local != gateway_is_local(g))
        gateway_listen_anew(g);
    tell_what_changed(&reread->diff);
    return 0;
}

int
gateway_reload(struct gateway *g, struct json_writer *w, struct err *reterr)
{
    _cleanup_config_reread_ struct config_reread reread = {0};
    int r = config_reread(g->config, SERVICE_GATEWAY, &reread, reterr);
    if (r < 0)
        return r;
    config_reread_print(&reread, w);
    if (reread.restart)
        return 0;
    notify_reloading(&g->life.notify);
    r = take(g, &reread, reterr);
    notify_state(&g->life.notify, g->drains ? "STOPPING=1" : "READY=1");
    return r;
}
