/* Any bytes as all that an SFTP server says, from its greeting on; the first is what is asked of
 * it. Whatever it says, nothing is kept beyond what was asked for, and a connection that was lost
 * stays so. */

#include "backup/sftp_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define READ_BYTES (3 * SFTP_PIECE)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint8_t read_to[READ_BYTES];

static int
take_name(void *arg, const char *name, const struct sftp_file *file unused_arg)
{
    unsigned *count = arg;
    assert(name[0] && !strchr(name, '/') && strcmp(name, "..") != 0);
    return ++*count > 1000 ? -ECANCELED : 0;
}

static void
ask(struct sftp *s, unsigned what, int file)
{
    struct sftp_file told;
    unsigned count = 0;
    uint64_t room;
    switch (what % 8) {
    case 0:
        (void)!sftp_stat(s, "/x", &told, NULL);
        break;
    case 1:
        (void)!sftp_list(s, "/x", take_name, &count, NULL);
        break;
    case 2:
        (void)!sftp_read(s, "/x", 5, read_to, sizeof(read_to), NULL);
        break;
    case 3:
        (void)!sftp_store(s, file, "/.draft", "/x", NULL);
        break;
    case 4:
        (void)!sftp_make_directory(s, "/x", NULL);
        break;
    case 5:
        (void)!sftp_free_bytes(s, "/x", &room, NULL);
        break;
    case 6:
        (void)!sftp_rename(s, "/x", "/y", NULL);
        break;
    default:
        (void)!sftp_remove(s, "/x", NULL);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static int file = -1;
    struct sftp *s = NULL;
    if (len < 1)
        return 0;
    if (file < 0)
        file = memfd_create("from", MFD_CLOEXEC);
    int in = memfd_create("said", MFD_CLOEXEC), out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    bool made = file >= 0 && in >= 0 && out >= 0 && ftruncate(file, (off_t)READ_BYTES) == 0 &&
                write(in, data + 1, len - 1) == (ssize_t)(len - 1) && lseek(in, 0, SEEK_SET) == 0;
    assert(made);
    if (sftp_open(in, out, -1, &s, NULL) < 0)
        return 0;
    ask(s, data[0], file);
    bool was_lost = sftp_is_lost(s);
    ask(s, data[0] / 8, file);
    assert(!was_lost || sftp_is_lost(s));
    sftp_free(s);
    return 0;
}
