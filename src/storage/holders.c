#include "storage/holders.h"

#include "base/buf.h"
#include "base/quantity.h"
#include "sys/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAPS_MAX (16 * MIB) /* of one process: 150,000 mappings; the kernel allows 65,530 */

void
holders_each(bool (*look)(int process, pid_t pid, void *arg), void *arg)
{
    uint64_t pid;
    bool more = true;
    DIR *d = file_open_dir(AT_FDCWD, "/proc", 0);
    for (struct dirent *e; d && more && (e = readdir(d));) {
        if (quantity_parse_u64(e->d_name, &pid, NULL) < 0)
            continue;
        _cleanup_close_ int process = openat(dirfd(d), e->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (process >= 0)
            more = look(process, (pid_t)pid, arg);
    }
    if (d)
        (void)closedir(d);
}

void
holders_open(int process, bool (*file)(const struct stat *st, void *arg), void *arg)
{
    struct stat st;
    bool more = true;
    DIR *d = file_open_dir(process, "fd", 0);
    for (struct dirent *e; d && more && (e = readdir(d));)
        if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
            (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
            more = file(&st, arg);
    if (d)
        (void)closedir(d);
}

/* A line: addresses, rights, offset, device in hexadecimal, inode, path. */
static bool
read_mapping(char *line, dev_t *ret_device, ino_t *ret_inode)
{
    char *words[5], *end;
    uint64_t inode;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (!(words[i] = strsep(&line, " ")))
            return false;
    unsigned long major = strtoul(words[3], &end, 16);
    if (*end != ':' || quantity_parse_u64(words[4], &inode, NULL) < 0 || inode == 0)
        return false;
    *ret_device = makedev((unsigned)major, (unsigned)strtoul(end + 1, NULL, 16));
    *ret_inode = inode;
    return true;
}

void
holders_mapped(int process, bool (*file)(dev_t device, ino_t inode, void *arg), void *arg)
{
    _cleanup_buf_ struct buf text = BUF_INIT(MAPS_MAX);
    _cleanup_close_ int fd = openat(process, "maps", O_RDONLY | O_CLOEXEC);
    dev_t device;
    ino_t inode;
    if (fd < 0 || (file_read_fd(fd, &text) < 0 && text.len == 0))
        return;
    char *rest = text.data;
    for (char *line; (line = strsep(&rest, "\n"));)
        if (read_mapping(line, &device, &inode) && !file(device, inode, arg))
            return;
}
