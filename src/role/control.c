#include "role/control.h"

#include "base/mem.h"
#include "sys/files.h"
#include "sys/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64

static int
listen_at(const struct role_control *c, const char *role, struct err *reterr)
{
    const struct sock_addr addr = {.family = AF_UNIX, .path = c->path};
    _cleanup_free_ char *dir = mem_strndup(c->path, (size_t)(strrchr(c->path, '/') - c->path));
    int r = file_make_dirs(dir, 0755, reterr);
    int fd = r < 0 ? r : sock_listen(&addr, 0666, reterr);
    if (fd == -EADDRINUSE) {
        fd = err_set(reterr, ERR_SERVICE_TWICE, "a %s answers at '%s' already", role, c->path);
        err_fix(reterr, "citadel status; or end that one first");
    }
    return fd;
}

int
role_control_open(struct role_control *c, struct loop *loop, const struct role_control_place *place,
                  const struct http_service *service, struct err *reterr)
{
    struct http_server_config config = http_server_config_default;
    c->path = mem_printf("%s/%s", place->run_dir, place->socket);
    int fd = listen_at(c, place->role, reterr);
    if (fd < 0)
        return fd;
    config.connections_max = CONNECTIONS_MAX;
    config.body_bytes_max = config.content_bytes_max = 64 * KIB;
    config.answer_bytes_max = 2 * CONTROL_ANSWER_MAX;
    config.has_secrets = true; /* a key that is made */
    c->server = http_server_new(loop, &config, service);
    return http_server_listen(c->server, fd, reterr);
}

void
role_control_close(struct role_control *c)
{
    if (c->server) {
        (void)unlink(c->path); /* while we are still the only one */
        http_server_free(c->server);
    }
    free(c->path);
}
