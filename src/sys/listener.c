/* The kernel tells of each socket its number, and of each process which sockets it has open. */

#include "sys/listener.h"

#include "base/text.h"
#include "sys/files.h"
#include "sys/kin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOCKETS_MAX 16 /* that listen on one port: an address each */

struct sockets {
    uint64_t inodes[SOCKETS_MAX];
    size_t count;
};

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
    if (listens && colon && strtoul(colon + 1, NULL, 16) == port && sockets->count < SOCKETS_MAX)
        sockets->inodes[sockets->count++] = strtoull(word_at(line, 9), NULL, 10);
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

static bool
is_one_of(const struct sockets *sockets, const char *link)
{
    static const char kind[] = "socket:[";
    if (!text_starts(link, kind))
        return false;
    uint64_t inode = strtoull(link + sizeof(kind) - 1, NULL, 10);
    for (size_t i = 0; i < sockets->count; i++)
        if (sockets->inodes[i] == inode)
            return true;
    return false;
}

/* 1, 0 or -errno, as above. */
static int
has_open(pid_t pid, const struct sockets *sockets)
{
    char path[64], link[64];
    int found = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *dir = file_open_dir(AT_FDCWD, path, 0);
    if (!dir)
        return errno == ENOENT || errno == ESRCH ? 0 : -errno;
    for (struct dirent *e; !found && (e = readdir(dir));) {
        ssize_t len = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);
        link[MAX(len, 0)] = '\0';
        found = is_one_of(sockets, link);
    }
    (void)closedir(dir);
    return found;
}

int
listener_is_of(pid_t session, uint16_t port)
{
    struct sockets sockets = {.count = 0};
    int v4 = read_table(&sockets, "/proc/self/net/tcp", port);
    int v6 = read_table(&sockets, "/proc/self/net/tcp6", port);
    if (v4 < 0 && v6 < 0)
        return v4;
    DIR *proc = file_open_dir(AT_FDCWD, "/proc", 0);
    if (!proc)
        return -errno;
    int result = 0;
    for (struct dirent *e; result != 1 && (e = readdir(proc));) {
        struct kin kin;
        char *end;
        long pid = strtol(e->d_name, &end, 10);
        if (pid <= 0 || *end || kin_look((pid_t)pid, &kin) < 0 || kin.session != session)
            continue;
        int r = has_open((pid_t)pid, &sockets);
        result = r ? r : result;
    }
    (void)closedir(proc);
    return result;
}
