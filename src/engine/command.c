/* Any other server, by a command line that a person wrote. */

#include "build_int.h"

#include "base/buf.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* Puts values in the place of {model}, {name}, {host}, {port} and {socket}; other braces are the
 * server's own (JSON, templates). */
static void
add_filled(struct engine_builder *b, const char *text, const char *host)
{
    const struct engine_wish *w = b->wish;
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", w->port);
    const struct {
        const char *name, *value;
    } places[] = {
        {"{model}", w->model_path}, {"{name}", w->name},          {"{host}", host},
        {"{port}", port},           {"{socket}", w->socket_path},
    };
    _cleanup_buf_ struct buf out = BUF_INIT(64 * KIB);
    while (*text) {
        size_t i = 0;
        while (i < ARRAY_SIZE(places) && !text_starts(text, places[i].name))
            i++;
        if (i == ARRAY_SIZE(places)) {
            buf_add_char(&out, *text++);
            continue;
        }
        if (!places[i].value)
            build_fail(b, ERR_ENGINE_OPTION, "%s: the command names %s, which is not set", w->name,
                       places[i].name);
        else
            buf_add_str(&out, places[i].value);
        text += strlen(places[i].name);
    }
    build_arg(b, out.data);
    if (buf_error(&out) < 0)
        build_fail(b, ERR_TOO_LARGE, "%s: the command line is too long", w->name);
}

void
build_command(struct engine_builder *b)
{
    const struct engine_wish *w = b->wish;
    const char *host = build_host(b);
    if (!w->command || !*w->command)
        build_fail(b, ERR_ENGINE_OPTION, "%s: the engine 'command' needs a command to run",
                   w->name);
    for (const char *const *arg = w->command; arg && *arg; arg++)
        add_filled(b, *arg, host);
    for (const char *const *arg = w->extra_args; arg && *arg; arg++)
        add_filled(b, *arg, host);
    if (w->sleep_mode)
        build_fail(b, ERR_ENGINE_OPTION, "%s: the engine 'command' cannot sleep", w->name);
    build_common_env(b);
}
