/* By the `ssh` program. */

#include "backup/sftp_int.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int
no_place(struct err *reterr, const char *text, const char *why)
{
    int r = err_set(reterr, ERR_REPOSITORY_OTHER, "'%s' %s", text, why);
    err_fix(reterr, "as in sftp://backup@nas/srv/citadel");
    return r;
}

/* A user or a host that ssh could take for an option, or a shell of ProxyCommand for more than a name. */
static bool
take_name(char *to, size_t room, const char *from, size_t len)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:";
    if (len == 0 || len >= room || from[0] == '-')
        return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return strspn(to, letters) == len;
}

static bool
take_port(struct sftp_place *place, const char *from, size_t len)
{
    unsigned long port = 0;
    for (size_t i = 0; i < len; i++) {
        if (from[i] < '0' || from[i] > '9' || port > UINT16_MAX)
            return false;
        port = 10 * port + (unsigned long)(from[i] - '0');
    }
    place->port = (unsigned)port;
    return len > 0 && port >= 1 && port <= UINT16_MAX;
}

/* HOST, HOST:PORT, [ADDRESS] or [ADDRESS]:PORT. */
static bool
take_host(struct sftp_place *place, const char *from, size_t len)
{
    const char *end = from + len, *colon = memchr(from, ':', len);
    if (len > 0 && from[0] == '[') {
        const char *close = memchr(from, ']', len);
        if (!close || (close + 1 < end && close[1] != ':'))
            return false;
        if (!take_name(place->host, sizeof(place->host), from + 1, (size_t)(close - from - 1)))
            return false;
        return close + 1 == end || take_port(place, close + 2, (size_t)(end - close - 2));
    }
    return take_name(place->host, sizeof(place->host), from,
                     (size_t)((colon ? colon : end) - from)) &&
           (!colon || take_port(place, colon + 1, (size_t)(end - colon - 1)));
}

int
sftp_parse(const char *text, struct sftp_place *ret, struct err *reterr)
{
    static const char scheme[] = "sftp://";
    struct sftp_place place = {0};
    if (!text_starts(text, scheme))
        return no_place(reterr, text, "is no place for SFTP");
    const char *from = text + strlen(scheme), *slash = strchr(from, '/');
    const char *at = slash ? memchr(from, '@', (size_t)(slash - from)) : NULL;
    if (!slash || slash[1] == '\0')
        return no_place(reterr, text, "names no path on the other host");
    if (at && memchr(from, ':', (size_t)(at - from)))
        return no_place(reterr, "sftp://...", "has a password, which ssh does not take: use a key");
    if (at && !take_name(place.user, sizeof(place.user), from, (size_t)(at - from)))
        return no_place(reterr, text, "names a user that is none");
    from = at ? at + 1 : from;
    if (!take_host(&place, from, (size_t)(slash - from)))
        return no_place(reterr, text, "names a host or a port that is none");
    place.path = text_starts(slash, "/~/") ? slash + 3 : slash;
    *ret = place;
    return 0;
}

/* pipe2() of the other's 0, 1 and 2; ours are the other ends. */
static int
make_pipes(int theirs[3], int ours[3])
{
    for (int i = 0; i < 3; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
            return -errno;
        theirs[i] = ends[i == 0 ? 0 : 1];
        ours[i] = ends[i == 0 ? 1 : 0];
    }
    return 0;
}

static void
close_all(int fds[3])
{
    for (int i = 0; i < 3; i++)
        cleanup_close(&fds[i]);
}

int
sftp_start(const struct sftp_wish *wanted, struct sftp **ret, struct err *reterr)
{
    const struct sftp_place *place = &wanted->place;
    char port[16];
    _cleanup_free_ char *known =
        wanted->known_hosts ? mem_printf("-oUserKnownHostsFile=%s", wanted->known_hosts) : NULL;
    const char *argv[24] = {"ssh",
                            "-oBatchMode=yes",
                            "-oConnectTimeout=20",
                            "-oServerAliveInterval=15",
                            "-oServerAliveCountMax=3",
                            "-oForwardAgent=no",
                            "-oForwardX11=no",
                            "-oPermitLocalCommand=no"};
    size_t n = 8;
    (void)snprintf(port, sizeof(port), "-p%u", place->port);
    if (place->port)
        argv[n++] = port;
    if (place->user[0]) {
        argv[n++] = "-l";
        argv[n++] = place->user;
    }
    if (wanted->key) {
        argv[n++] = "-oIdentitiesOnly=yes";
        argv[n++] = "-i";
        argv[n++] = wanted->key;
    }
    if (known) {
        argv[n++] = known;
        argv[n++] = "-oStrictHostKeyChecking=yes";
    }
    argv[n++] = "-s";
    argv[n++] = "--";
    argv[n++] = place->host;
    argv[n++] = "sftp";
    struct proc_wish wish = {.argv = argv, .fds = PROC_FDS_NULL, .new_session = true};
    int ours[3] = PROC_FDS_NULL;
    struct proc proc = {0};
    int r = make_pipes(wish.fds, ours);
    r = r < 0 ? err_set_errno(reterr, -r, "cannot make a pipe") : proc_start(&wish, &proc, reterr);
    close_all(wish.fds);
    if (r < 0) {
        err_fix(reterr, "install the program ssh: apt-get install openssh-client");
        close_all(ours);
        return r;
    }
    r = sftp_open(ours[1], ours[0], ours[2], ret, reterr);
    if (r == 0)
        (*ret)->proc = proc;
    else
        sftp_end_program(&proc);
    if (r < 0) {
        err_prefix(reterr, "ssh %s", place->host);
        err_fix(reterr, "ssh -v%s%s%s%s %s, as the same user, tells more", place->port ? " " : "",
                place->port ? port : "", place->user[0] ? " -l " : "", place->user, place->host);
    }
    return r;
}
