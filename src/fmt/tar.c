/* A block of 512 bytes that tells about a file, its bytes filled up to whole blocks, and two empty
 * blocks at the end. Numbers are octal digits; the sum of a head is that of its bytes, those of the
 * sum itself taken as blanks. */

#include "fmt/tar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct head {
    char name[TAR_NAME_MAX], mode[8], uid[8], gid[8], size[12], modified[12], sum[8], type;
    char target[TAR_NAME_MAX], magic[6], version[2], owner[32], group[32], major[8], minor[8];
    char prefix[155], rest[12];
};

_Static_assert(sizeof(struct head) == TAR_BLOCK, "a head is a block");

static void
set_number(char *field, size_t room, uint64_t n)
{
    char text[24];
    int digits = (int)room - 1;
    if (n >> 3 * digits != 0)
        n = (UINT64_C(1) << 3 * digits) - 1;
    (void)snprintf(text, sizeof(text), "%0*" PRIo64, digits, n);
    memcpy(field, text, room);
}

static void
set_text(char *field, size_t room, const char *text)
{
    if (text)
        memcpy(field, text, strnlen(text, room));
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

void
tar_print_head(const struct tar_head *head, char ret[TAR_BLOCK])
{
    struct head h = {.type = head->type, .magic = "ustar", .version = {'0', '0'}};
    set_text(h.name, sizeof(h.name), head->name);
    set_text(h.target, sizeof(h.target), head->target);
    set_text(h.owner, TAR_OWNER_MAX, head->owner);
    set_text(h.group, TAR_OWNER_MAX, head->group);
    set_number(h.mode, sizeof(h.mode), head->mode);
    set_number(h.uid, sizeof(h.uid), head->uid);
    set_number(h.gid, sizeof(h.gid), head->gid);
    set_number(h.size, sizeof(h.size), head->size);
    set_number(h.modified, sizeof(h.modified), head->modified_s);
    set_number(h.major, sizeof(h.major), head->major);
    set_number(h.minor, sizeof(h.minor), head->minor);
    memset(h.sum, ' ', sizeof(h.sum));
    set_number(h.sum, sizeof(h.sum) - 1, sum_of(&h));
    memcpy(ret, &h, sizeof(h));
}

bool
tar_add(struct buf *out, const char *name, const void *bytes, size_t len, uint64_t modified_s)
{
    static const char empty[TAR_BLOCK];
    char head[TAR_BLOCK];
    if (strlen(name) > TAR_NAME_MAX)
        return false;
    tar_print_head(
        &(struct tar_head){
            .name = name, .type = '0', .mode = 0600, .size = len, .modified_s = modified_s},
        head);
    buf_add(out, head, sizeof(head));
    buf_add(out, bytes, len);
    buf_add(out, empty, (TAR_BLOCK - len % TAR_BLOCK) % TAR_BLOCK);
    return !out->failed;
}

bool
tar_end(struct buf *out)
{
    static const char empty[2 * TAR_BLOCK];
    buf_add(out, empty, sizeof(empty));
    return !out->failed;
}
