/* A changed configuration, while answers are under way: none of them is cut. What the gateway reads only
 * when it starts (its addresses, the paths) makes it refuse the whole: who asked starts it anew. */

#include "role/gateway_int.h"

#include "config/reread.h"
#include "service/service.h"
#include "sys/log.h"

static int
take(struct gateway *g, struct config_reread *reread, struct err *reterr)
{
    bool was_local = gateway_is_local(g);
    int r = relay_configure(g->relay, reread->config, reterr);
    if (r < 0)
        return r;
    g->config = take_ptr(reread->config);
    config_set_log_level(g->config);
    gateway_limits_changed(g);
    if (was_local != gateway_is_local(g))
        gateway_listen_anew(g);
    log_info("%zu option%s changed, the first: %s", reread->diff.count,
             reread->diff.count == 1 ? "" : "s", reread->diff.items[0].path);
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
    if (reread.restart || reread.diff.count == 0)
        return 0;
    notify_reloading(&g->life.notify);
    r = take(g, &reread, reterr);
    notify_state(&g->life.notify, g->drains ? "STOPPING=1" : "READY=1");
    return r;
}
