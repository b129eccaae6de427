/* A block of 512 bytes that tells about a file, its bytes filled up to whole blocks, and two empty blocks
 * at the end. Numbers are octal digits; the sum of a head is that of its bytes, those of the sum itself
 * taken as blanks. */

#include "fmt/tar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BLOCK 512

struct head {
    char name[TAR_NAME_MAX], mode[8], uid[8], gid[8], size[12], modified[12], sum[8], type;
    char link[100], magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155];
    char rest[12];
};

_Static_assert(sizeof(struct head) == BLOCK, "a head is a block");

static void
set_number(char *field, size_t room, uint64_t n)
{
    char digits[24];
    (void)snprintf(digits, sizeof(digits), "%0*" PRIo64, (int)room - 1, n);
    memcpy(field, digits, room);
}

static unsigned
sum_of(const struct head *head)
{
    const unsigned char *bytes = (const unsigned char *)head;
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(*head); i++)
        sum += bytes[i];
    return sum;
}

bool
tar_add(struct buf *out, const char *name, const void *bytes, size_t len, uint64_t modified_s)
{
    static const char empty[BLOCK];
    struct head head = {.type = '0', .magic = "ustar", .version = {'0', '0'}};
    if (strlen(name) > TAR_NAME_MAX)
        return false;
    memcpy(head.name, name, strlen(name));
    set_number(head.mode, sizeof(head.mode), 0600);
    set_number(head.uid, sizeof(head.uid), 0);
    set_number(head.gid, sizeof(head.gid), 0);
    set_number(head.size, sizeof(head.size), len);
    set_number(head.modified, sizeof(head.modified), modified_s);
    memset(head.sum, ' ', sizeof(head.sum));
    set_number(head.sum, sizeof(head.sum) - 1, sum_of(&head));
    buf_add(out, &head, sizeof(head));
    buf_add(out, bytes, len);
    buf_add(out, empty, (BLOCK - len % BLOCK) % BLOCK);
    return !out->failed;
}

bool
tar_end(struct buf *out)
{
    static const char empty[2 * BLOCK];
    buf_add(out, empty, sizeof(empty));
    return !out->failed;
}
