/* Ports: each can be bound, or who listens is Citadel itself. Who that is, the kernel tells in two
 * steps: the socket of a port in /proc/net, its process among the descriptors of all. */

#include "doctor/doctor_int.h"

#include "base/buf.h"
#include "base/text.h"
#include "sys/files.h"
#include "sys/sock.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TABLE_MAX (8 * MIB)
#define LISTENING 0x0A

/* The words of a line: sl local rem state tx:rx tr:when retrnsmt uid timeout inode */
enum { WORD_LOCAL = 1, WORD_STATE = 3, WORD_INODE = 9, WORDS };

uint64_t
doctor_read_listener(const char *line, uint16_t port)
{
    const char *words[WORDS];
    size_t count = 0;
    for (const char *at = line; count < WORDS; at += strcspn(at, " \n")) {
        at += strspn(at, " ");
        if (*at == '\0' || *at == '\n')
            return 0;
        words[count++] = at;
    }
    const char *colon = strchr(words[WORD_LOCAL], ':');
    bool listens = strtoul(words[WORD_STATE], NULL, 16) == LISTENING;
    bool here = colon && strtoul(colon + 1, NULL, 16) == port;
    return listens && here ? strtoull(words[WORD_INODE], NULL, 10) : 0;
}

static uint64_t
find_socket(uint16_t port)
{
    static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        _cleanup_buf_ struct buf text = BUF_INIT(TABLE_MAX);
        if (file_read(tables[i], &text, NULL) < 0)
            continue;
        for (const char *line = text.data; line; line = strchr(line, '\n')) {
            line += *line == '\n';
            uint64_t inode = doctor_read_listener(line, port);
            if (inode)
                return inode;
        }
    }
    return 0;
}

static bool
has_socket(const char *pid, const char *target)
{
    char path[64], link[64];
    (void)snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
        link[MAX(n, 0)] = '\0';
        found = text_eq(link, target);
    }
    if (d)
        (void)closedir(d);
    return found;
}

/* The number of its process; 0: not to be seen. */
static unsigned
find_holder(uint64_t inode)
{
    char target[64];
    unsigned pid = 0;
    DIR *d = opendir("/proc");
    (void)snprintf(target, sizeof(target), "socket:[%" PRIu64 "]", inode);
    for (struct dirent *e; d && pid == 0 && (e = readdir(d));)
        if (isdigit((unsigned char)e->d_name[0]) && has_socket(e->d_name, target))
            pid = (unsigned)strtoul(e->d_name, NULL, 10);
    if (d)
        (void)closedir(d);
    return pid;
}

/* Its control group is of one of our units, or it has the mark of those that we started. */
static bool
is_citadel(unsigned pid)
{
    _cleanup_buf_ struct buf text = BUF_INIT(256 * KIB);
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%u/cgroup", pid);
    if (file_read(path, &text, NULL) == 0 && strstr(text.data, "/citadel-"))
        return true;
    buf_clear(&text);
    (void)snprintf(path, sizeof(path), "/proc/%u/environ", pid);
    return file_read(path, &text, NULL) == 0 && memmem(text.data, text.len, "CITADEL_SERVICE=", 16);
}

static void
tell_holder(struct doctor *d, const char *subject, uint16_t port)
{
    _cleanup_buf_ struct buf name = BUF_INIT(64);
    char path[64];
    uint64_t inode = find_socket(port);
    unsigned pid = inode ? find_holder(inode) : 0;
    const char *remedy = doctor_text(d, "ss -ltnp 'sport = :%u'", port);
    if (pid == 0) {
        doctor_add(d, subject, geteuid() == 0 ? DOCTOR_FAILS : DOCTOR_UNKNOWN, remedy,
                   "it is in use, and by whom is not to be seen%s",
                   geteuid() == 0 ? "" : " by this user");
        return;
    }
    (void)snprintf(path, sizeof(path), "/proc/%u/comm", pid);
    if (file_read(path, &name, NULL) == 0 && name.len)
        buf_truncate(&name, name.len - 1);
    if (is_citadel(pid))
        doctor_add(d, subject, DOCTOR_HOLDS, "", "in use by Citadel itself (process %u)", pid);
    else
        doctor_add(d, subject, DOCTOR_FAILS, remedy, "it is in use by process %u, %s", pid,
                   name.data);
}

/* As the service would: at the address that it is given. */
static void
check_port(struct doctor *d, const char *whose, const char *ip, uint16_t port)
{
    char address[320];
    struct sock_addr addr;
    const char *subject = doctor_text(d, "%u (%s)", port, whose);
    (void)snprintf(address, sizeof(address), strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip, port);
    int fd = sock_addr_parse(address, &addr, NULL);
    if (fd == 0)
        fd = sock_listen(&addr, 0, NULL);
    if (fd >= 0) {
        doctor_add(d, subject, DOCTOR_HOLDS, "", "free");
        (void)close(fd);
    } else if (fd == -EADDRINUSE) {
        tell_holder(d, subject, port);
    } else {
        doctor_add(d, subject, DOCTOR_FAILS, doctor_text(d, "ip address; then %s.listen", whose),
                   "%s cannot be listened at: %s", address, strerror(-fd));
    }
}

static void
check_list(struct doctor *d, const char *whose, const struct config_list *listen, uint16_t port)
{
    for (size_t i = 0; i < listen->count; i++)
        check_port(d, whose, listen->items[i], port);
}

void
doctor_check_ports(struct doctor *d)
{
    const struct config *c = d->config;
    if (c->gateway.enabled)
        check_list(d, "gateway", &c->gateway.listen, c->gateway.port);
    if (c->monitor.enabled)
        check_list(d, "monitor", &c->monitor.listen, c->monitor.port);
    for (size_t i = 0; i < c->models.count; i++) {
        const struct config_model *m = &c->models.items[i];
        if (m->enabled)
            check_port(d, m->name, m->listen == CONFIG_LISTEN_NETWORK ? "0.0.0.0" : "127.0.0.1",
                       m->port);
    }
}
