/* The kernel tells of each socket its number, and of each process which sockets it has open. */

#include "sys/listener.h"

#include "base/text.h"
#include "base/vec.h"
#include "sys/files.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* That listen on one address: some servers open one for each worker, and who makes more has no other
 * aim than to make many. */
#define SOCKETS_MAX 4096

/* Who listens on 127.0.0.1 itself goes before who listens on all addresses. */
enum rank { NOT_HERE, ALL_IPV6, ALL_IPV4, LOOPBACK };

struct socket_seen {
    uint64_t inode;
    bool found; /* at a process */
};

struct sockets {
    bool anywhere; /* not just where a connection to 127.0.0.1 comes to */
    enum rank rank;
    VEC(struct socket_seen) items;
    bool more; /* than are looked at */
};

static void
finish(struct sockets *sockets)
{
    vec_finish(&sockets->items);
}

/* An address as the kernel's tables write it: words of 32 bits, each as a number of this machine. */
static enum rank
rank_of(const char *address)
{
    char loopback[9], mapped[33];
    (void)snprintf(loopback, sizeof(loopback), "%08X", htonl(INADDR_LOOPBACK));
    (void)snprintf(mapped, sizeof(mapped), "%016X%08X%s", 0, htonl(0xffff), loopback);
    size_t len = strcspn(address, ":");
    if (len == strspn(address, "0"))
        return len == 8 ? ALL_IPV4 : ALL_IPV6;
    bool is_v4 = len == 8 && strncmp(address, loopback, len) == 0;
    bool is_v6 = len == 32 && strncmp(address, mapped, len) == 0;
    return is_v4 || is_v6 ? LOOPBACK : NOT_HERE;
}

/* "  0: 0100007F:2C88 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12345 ...": the
 * n-th word, from 0 on. */
static const char *
word_at(const char *line, unsigned n)
{
    line += strspn(line, " ");
    for (; n > 0 && *line; n--) {
        line += strcspn(line, " ");
        line += strspn(line, " ");
    }
    return line;
}

static void
take_line(struct sockets *sockets, const char *line, uint16_t port)
{
    const char *address = word_at(line, 1), *colon = strchr(address, ':');
    bool listens = text_starts(word_at(line, 3), "0A ");
    if (!listens || !colon || strtoul(colon + 1, NULL, 16) != port)
        return;
    enum rank rank = sockets->anywhere ? LOOPBACK : rank_of(address);
    if (rank > sockets->rank) {
        sockets->rank = rank;
        sockets->items.count = 0;
    }
    if (!rank || rank != sockets->rank)
        return;
    if (sockets->items.count < SOCKETS_MAX)
        vec_add(&sockets->items)->inode = strtoull(word_at(line, 9), NULL, 10);
    else
        sockets->more = true;
}

static int
read_table(struct sockets *sockets, const char *path, uint16_t port)
{
    char line[512];
    FILE *table = fopen(path, "re");
    if (!table)
        return -errno;
    while (fgets(line, sizeof(line), table))
        take_line(sockets, line, port);
    (void)fclose(table);
    return 0;
}

static int
read_sockets(struct sockets *sockets, uint16_t port)
{
    int v4 = read_table(sockets, "/proc/self/net/tcp", port);
    int v6 = read_table(sockets, "/proc/self/net/tcp6", port);
    return v4 < 0 && v6 < 0 ? v4 : 0;
}

/* ---- whose they are ---- */

static bool
mark(struct sockets *sockets, const char *link)
{
    static const char kind[] = "socket:[";
    if (!text_starts(link, kind))
        return false;
    uint64_t inode = strtoull(link + sizeof(kind) - 1, NULL, 10);
    vec_foreach (&sockets->items, s)
        if (s->inode == inode)
            return s->found = true;
    return false;
}

/* Whether a process has one of them open, or -errno. */
static int
mark_open(struct sockets *sockets, pid_t pid)
{
    char path[64], link[64];
    int any = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *dir = file_open_dir(AT_FDCWD, path, 0);
    if (!dir)
        return errno == ENOENT || errno == ESRCH ? 0 : -errno;
    for (struct dirent *e; (e = readdir(dir));) {
        ssize_t len = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);
        link[MAX(len, 0)] = '\0';
        any |= mark(sockets, link);
    }
    (void)closedir(dir);
    return any;
}

/* The next process whose session is that one, or is not; 0: there is none. */
static pid_t
next_process(DIR *proc, pid_t session, bool is)
{
    for (struct dirent *e; (e = readdir(proc));) {
        char *end;
        long pid = strtol(e->d_name, &end, 10);
        pid_t its = pid > 0 && !*end ? getsid((pid_t)pid) : -1;
        if (its >= 0 && (its == session) == is)
            return (pid_t)pid;
    }
    return 0;
}

static bool
are_all_found(const struct sockets *sockets)
{
    bool all = !sockets->more;
    vec_foreach (&sockets->items, s)
        all = all && s->found;
    return all;
}

int
listener_find(pid_t session, uint16_t port)
{
    _cleanup_(finish) struct sockets sockets = {0};
    int r = read_sockets(&sockets, port);
    DIR *proc = r == 0 ? file_open_dir(AT_FDCWD, "/proc", 0) : NULL;
    if (!proc)
        return r < 0 ? r : -errno;
    for (pid_t pid; !are_all_found(&sockets) && (pid = next_process(proc, session, true));)
        r = MIN(r, mark_open(&sockets, pid));
    (void)closedir(proc);
    if (are_all_found(&sockets))
        return sockets.items.count > 0 ? LISTENER_ITS : LISTENER_NONE;
    return r < 0 ? r : LISTENER_OTHER;
}

const char *
listener_print_other(pid_t session, uint16_t port, char text[LISTENER_TEXT_MAX])
{
    _cleanup_(finish) struct sockets sockets = {0};
    char path[64];
    text[0] = '\0';
    DIR *proc = read_sockets(&sockets, port) == 0 ? file_open_dir(AT_FDCWD, "/proc", 0) : NULL;
    for (pid_t pid; proc && !*text && (pid = next_process(proc, session, false));) {
        _cleanup_buf_ struct buf name = BUF_INIT(64);
        if (mark_open(&sockets, pid) <= 0)
            continue;
        (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
        (void)!file_read(path, &name, NULL); /* it may have just ended */
        (void)snprintf(text, LISTENER_TEXT_MAX, "process %d (%.*s)", (int)pid,
                       (int)strcspn(name.data, "\n"), name.data);
    }
    if (proc)
        (void)closedir(proc);
    return text;
}

int
listener_each(uint16_t port, bool (*look)(pid_t pid, void *arg), void *arg)
{
    _cleanup_(finish) struct sockets sockets = {.anywhere = true};
    int r = read_sockets(&sockets, port), hidden = 0;
    DIR *proc = r == 0 ? file_open_dir(AT_FDCWD, "/proc", 0) : NULL;
    if (!proc)
        return r < 0 ? r : -errno;
    bool more = sockets.items.count > 0;
    for (pid_t pid; more && (pid = next_process(proc, -1, false));) {
        int any = mark_open(&sockets, pid);
        if (any > 0)
            more = look(pid, arg);
        hidden = MIN(hidden, any);
    }
    (void)closedir(proc);
    return more ? hidden : 0;
}
