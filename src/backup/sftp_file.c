/* What the other host does with its files.
 *
 * Of one transfer up to WINDOW requests are under way, SFTP_PIECE bytes each. Their answers take
 * less room than a pipe has when we write, and so do they when we read: neither side ever waits
 * for the other to read first. */

#include "backup/sftp_int.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW 64
#define HANDLE_MAX 256
#define LISTINGS_MAX 1000000 /* answers to one listing */
#define MODE_FILE 0600
#define MODE_DIRECTORY 0700

enum {
    STATUS_OK,
    STATUS_EOF,
    STATUS_NO_FILE,
    STATUS_DENIED,
    STATUS_FAILURE,
    STATUS_UNSUPPORTED = 8
};

#define OPEN_READ 0x01
#define OPEN_BOTH 0x03
#define OPEN_NEW 0x1a /* write, create, truncate */

#define ATTR_SIZE 0x1
#define ATTR_OWNER 0x2
#define ATTR_MODE 0x4
#define ATTR_TIMES 0x8
#define ATTR_EXTENDED 0x80000000

struct handle {
    uint8_t bytes[HANDLE_MAX];
    size_t len;
};

/* ---- what they say to it ---- */

static int
errno_of(uint32_t status)
{
    switch (status) {
    case STATUS_OK:
        return 0;
    case STATUS_EOF:
        return -ENODATA;
    case STATUS_NO_FILE:
        return -ENOENT;
    case STATUS_DENIED:
        return -EACCES;
    case STATUS_UNSUPPORTED:
        return -EOPNOTSUPP;
    default:
        return -EIO; /* a full disk is one of them: the protocol does not tell */
    }
}

/* What a status says; the numbers and words of a stranger. */
static int
status(struct sftp *s, struct rest *answer, const char *doing, const char *path, struct err *reterr)
{
    uint32_t code = take_u32(answer);
    struct rest words = answer->len > 0 ? take_string(answer) : (struct rest){0};
    if (answer->bad)
        return sftp_strange(s, reterr);
    int r = errno_of(code);
    if (r < 0)
        (void)err_set(reterr, r == -ENOENT ? ERR_NOT_FOUND : ERR_REMOTE_REFUSED,
                      "the other host cannot %s '%s': %.*s", doing, path, (int)MIN(words.len, 200),
                      words.len > 0 ? (const char *)words.at : "it does not say why");
    return r;
}

/* Of a request that has no other answer. */
static int
ask_status(struct sftp *s, const char *doing, const char *path, struct err *reterr)
{
    struct rest answer;
    int type = sftp_ask(s, &answer, reterr);
    if (type < 0)
        return type;
    return type == PACKET_STATUS ? status(s, &answer, doing, path, reterr)
                                 : sftp_strange(s, reterr);
}

/* Of one that has an answer of another type, or fails. */
static int
ask_for(struct sftp *s, enum packet want, struct rest *ret, const char *doing, const char *path,
        struct err *reterr)
{
    int type = sftp_ask(s, ret, reterr);
    if (type < 0 || type == (int)want)
        return MIN(type, 0);
    int r = type == PACKET_STATUS ? status(s, ret, doing, path, reterr) : sftp_strange(s, reterr);
    return r == 0 ? sftp_strange(s, reterr) : r;
}

static int
open_handle(struct sftp *s, enum packet how, const char *path, uint32_t flags, struct handle *ret,
            struct err *reterr)
{
    struct rest answer;
    sftp_begin(s, how);
    sftp_add_string(s, path);
    if (how == PACKET_OPEN) {
        sftp_add_u32(s, flags);
        sftp_add_u32(s, flags == OPEN_NEW ? ATTR_MODE : 0);
        if (flags == OPEN_NEW)
            sftp_add_u32(s, MODE_FILE);
    }
    int r = ask_for(s, PACKET_HANDLE, &answer, "open", path, reterr);
    if (r < 0)
        return r;
    struct rest handle = take_string(&answer);
    if (handle.bad || handle.len > HANDLE_MAX)
        return sftp_strange(s, reterr);
    memcpy(ret->bytes, handle.at, handle.len);
    ret->len = handle.len;
    return 0;
}

static int
close_handle(struct sftp *s, const struct handle *handle, const char *path, struct err *reterr)
{
    if (s->is_lost)
        return -ECONNRESET;
    sftp_begin(s, PACKET_CLOSE);
    sftp_add_bytes(s, handle->bytes, handle->len);
    return ask_status(s, "close", path, reterr);
}

/* ---- files ---- */

static struct sftp_file
take_attrs(struct rest *r)
{
    struct sftp_file file = {0};
    uint32_t flags = take_u32(r), mode = 0;
    if (flags & ATTR_SIZE)
        file.bytes = take_u64(r);
    if (flags & ATTR_OWNER)
        (void)take_u64(r);
    if (flags & ATTR_MODE)
        mode = take_u32(r);
    if (flags & ATTR_TIMES)
        file.changed_s = (int64_t)(take_u64(r) & UINT32_MAX);
    uint32_t more = flags & ATTR_EXTENDED ? take_u32(r) : 0;
    for (uint32_t i = 0; i < 2 * (uint64_t)more && !r->bad; i++)
        (void)take_string(r);
    file.is_file = (mode & 0170000) == 0100000;
    file.is_directory = (mode & 0170000) == 0040000;
    return file;
}

static int
stat_it(struct sftp *s, const char *path, struct sftp_file *ret, struct err *reterr)
{
    struct rest answer;
    sftp_begin(s, PACKET_STAT);
    sftp_add_string(s, path);
    int r = ask_for(s, PACKET_ATTRS, &answer, "find", path, reterr);
    if (r < 0)
        return r;
    struct sftp_file file = take_attrs(&answer);
    if (answer.bad)
        return sftp_strange(s, reterr);
    *ret = file;
    return 0;
}

struct listing {
    int (*each)(void *arg, const char *name, const struct sftp_file *file);
    void *arg;
};

/* One answer to READDIR: some names. */
static int
take_names(struct sftp *s, struct rest *answer, const struct listing *l, struct err *reterr)
{
    uint32_t count = take_u32(answer);
    int r = 0;
    for (uint32_t i = 0; i < count && !answer->bad && r >= 0; i++) {
        char name[NAME_MAX + 1];
        struct rest text = take_string(answer);
        (void)take_string(answer);
        struct sftp_file file = take_attrs(answer);
        if (answer->bad || text.len == 0 || text.len > NAME_MAX || memchr(text.at, 0, text.len) ||
            memchr(text.at, '/', text.len))
            return sftp_strange(s, reterr);
        memcpy(name, text.at, text.len);
        name[text.len] = '\0';
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            r = l->each(l->arg, name, &file);
    }
    return answer->bad || count == 0 ? sftp_strange(s, reterr) : r;
}

static int
list_it(struct sftp *s, const char *path, const struct listing *l, struct err *reterr)
{
    struct handle handle;
    struct rest answer;
    int r = open_handle(s, PACKET_OPENDIR, path, 0, &handle, reterr);
    if (r < 0)
        return r;
    for (int i = 0; i < LISTINGS_MAX && r == 0; i++) {
        sftp_begin(s, PACKET_READDIR);
        sftp_add_bytes(s, handle.bytes, handle.len);
        int type = sftp_ask(s, &answer, reterr);
        if (type == PACKET_NAME)
            r = take_names(s, &answer, l, reterr);
        else if (type == PACKET_STATUS)
            r = status(s, &answer, "list", path, reterr);
        else
            r = type < 0 ? type : sftp_strange(s, reterr);
    }
    int k = close_handle(s, &handle, path, NULL);
    return r == -ENODATA ? MIN(k, 0) : r;
}

/* One transfer: `len` bytes of a file from `at` on, SFTP_PIECE bytes a request, and what is done
 * with them. */
struct transfer {
    const struct handle *handle;
    const char *path;
    uint64_t at, len;
    uint8_t *memory; /* to where they go; NULL: into, or from, the file */
    int file;
    struct {
        uint32_t request;
        uint64_t at;
        size_t len;
    } under_way[WINDOW];
    size_t count;  /* of these */
    uint64_t next; /* to be asked for */
    int r;         /* the first thing that went wrong */
};

static int
put_piece(struct transfer *t, uint64_t at, const uint8_t *bytes, size_t len)
{
    if (t->memory)
        memcpy(t->memory + at, bytes, len);
    for (size_t done = 0; !t->memory && done < len;) {
        ssize_t n = pwrite(t->file, bytes + done, len - done, (off_t)(at + done));
        if (n < 0 && errno != EINTR)
            return -errno;
        done += (size_t)MAX(n, 0);
    }
    return 0;
}

static int
get_piece(struct transfer *t, uint64_t at, uint8_t *bytes, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(t->file, bytes + done, len - done, (off_t)(at + done));
        if (n == 0 || (n < 0 && errno != EINTR))
            return n == 0 ? -ENODATA : -errno;
        done += (size_t)MAX(n, 0);
    }
    return 0;
}

static int
ask_piece(struct sftp *s, struct transfer *t, uint64_t at, size_t len, struct err *reterr)
{
    sftp_begin(s, PACKET_READ);
    sftp_add_bytes(s, t->handle->bytes, t->handle->len);
    sftp_add_u64(s, t->at + at);
    sftp_add_u32(s, (uint32_t)len);
    t->under_way[t->count].request = s->last;
    t->under_way[t->count].at = at;
    t->under_way[t->count++].len = len;
    return sftp_send(s, reterr);
}

static int
send_piece(struct sftp *s, struct transfer *t, uint64_t at, size_t len, struct err *reterr)
{
    int r = get_piece(t, at, s->piece, len);
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot read what goes to '%s'", t->path);
    sftp_begin(s, PACKET_WRITE);
    sftp_add_bytes(s, t->handle->bytes, t->handle->len);
    sftp_add_u64(s, at);
    sftp_add_bytes(s, s->piece, len);
    t->under_way[t->count].request = s->last;
    t->under_way[t->count++].len = len;
    return sftp_send(s, reterr);
}

/* The next answer, to whichever request: its place in the list. */
static int
hear(struct sftp *s, struct transfer *t, struct rest *ret, size_t *ret_i, struct err *reterr)
{
    int type = sftp_receive(s, ret, reterr);
    if (type < 0)
        return type;
    uint32_t request = take_u32(ret);
    for (size_t i = 0; i < t->count; i++)
        if (t->under_way[i].request == request) {
            *ret_i = i;
            return type;
        }
    return sftp_strange(s, reterr);
}

static int
hear_data(struct sftp *s, struct transfer *t, struct err *reterr)
{
    struct rest answer;
    size_t i = 0;
    int type = hear(s, t, &answer, &i, reterr);
    if (type < 0)
        return type;
    uint64_t at = t->under_way[i].at;
    size_t want = t->under_way[i].len;
    t->under_way[i] = t->under_way[--t->count];
    if (type == PACKET_STATUS) {
        int r = status(s, &answer, "read", t->path, reterr);
        return r == 0 ? sftp_strange(s, reterr) : r;
    }
    struct rest data = take_string(&answer);
    if (type != PACKET_DATA || data.bad || data.len == 0 || data.len > want)
        return sftp_strange(s, reterr);
    int r = put_piece(t, at, data.at, data.len);
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot keep what '%s' holds", t->path);
    return data.len < want ? ask_piece(s, t, at + data.len, want - data.len, reterr) : 0;
}

static int
hear_written(struct sftp *s, struct transfer *t, struct err *reterr)
{
    struct rest answer;
    size_t i = 0;
    int type = hear(s, t, &answer, &i, reterr);
    if (type < 0)
        return type;
    t->under_way[i] = t->under_way[--t->count];
    return type == PACKET_STATUS ? status(s, &answer, "write", t->path, reterr)
                                 : sftp_strange(s, reterr);
}

/* What is under way is heard to its end, whatever went wrong: the next call wants answers of its
 * own. */
static int
transfer(struct sftp *s, struct transfer *t, bool writes, struct err *reterr)
{
    while (!s->is_lost && (t->count > 0 || (t->r == 0 && t->next < t->len))) {
        int r;
        struct err *err = t->r == 0 ? reterr : NULL;
        if (t->r == 0 && t->next < t->len && t->count < WINDOW) {
            size_t len = (size_t)MIN(t->len - t->next, (uint64_t)SFTP_PIECE);
            r = writes ? send_piece(s, t, t->next, len, err) : ask_piece(s, t, t->next, len, err);
            t->next += len;
        } else {
            r = writes ? hear_written(s, t, err) : hear_data(s, t, err);
        }
        t->r = t->r < 0 ? t->r : r;
    }
    return t->r;
}

static int
read_it(struct sftp *s, struct transfer *t, struct err *reterr)
{
    struct handle handle;
    int r = open_handle(s, PACKET_OPEN, t->path, OPEN_READ, &handle, reterr);
    if (r < 0)
        return r;
    t->handle = &handle;
    r = transfer(s, t, false, reterr);
    int k = close_handle(s, &handle, t->path, r == 0 ? reterr : NULL);
    return r < 0 ? r : k;
}

static int
sync_it(struct sftp *s, const struct handle *handle, const char *path, struct err *reterr)
{
    if (!s->can_sync)
        return 0;
    sftp_begin(s, PACKET_EXTENDED);
    sftp_add_string(s, "fsync@openssh.com");
    sftp_add_bytes(s, handle->bytes, handle->len);
    return ask_status(s, "bring to its disk", path, reterr);
}

static int
write_it(struct sftp *s, struct transfer *t, struct err *reterr)
{
    struct handle handle;
    int r = open_handle(s, PACKET_OPEN, t->path, OPEN_NEW, &handle, reterr);
    if (r < 0)
        return r;
    t->handle = &handle;
    r = transfer(s, t, true, reterr);
    if (r == 0)
        r = sync_it(s, &handle, t->path, reterr);
    int k = close_handle(s, &handle, t->path, r == 0 ? reterr : NULL);
    return r < 0 ? r : k;
}

static int
rename_it(struct sftp *s, const char *from, const char *to, bool replaces, struct err *reterr)
{
    bool extended = replaces && s->can_replace;
    sftp_begin(s, extended ? PACKET_EXTENDED : PACKET_RENAME);
    if (extended)
        sftp_add_string(s, "posix-rename@openssh.com");
    sftp_add_string(s, from);
    sftp_add_string(s, to);
    return ask_status(s, "rename", from, reterr);
}

/* That the name is taken is a failure like others. */
static int
rename_new(struct sftp *s, const char *from, const char *to, struct err *reterr)
{
    struct sftp_file file;
    int r = rename_it(s, from, to, false, reterr);
    return r == -EIO && stat_it(s, to, &file, NULL) == 0 ? -EEXIST : r;
}

/* The protocol sets times to what we say; what is written has that of the other host. */
static int
touch_it(struct sftp *s, const char *path, struct err *reterr)
{
    struct handle handle;
    struct rest answer;
    int r = open_handle(s, PACKET_OPEN, path, OPEN_BOTH, &handle, reterr);
    if (r < 0)
        return r;
    sftp_begin(s, PACKET_READ);
    sftp_add_bytes(s, handle.bytes, handle.len);
    sftp_add_u64(s, 0);
    sftp_add_u32(s, 1);
    r = ask_for(s, PACKET_DATA, &answer, "read", path, reterr);
    struct rest first = r == 0 ? take_string(&answer) : (struct rest){0};
    if (r == 0 && first.len != 1)
        r = sftp_strange(s, reterr);
    if (r == 0) {
        const uint8_t byte = *first.at;
        sftp_begin(s, PACKET_WRITE);
        sftp_add_bytes(s, handle.bytes, handle.len);
        sftp_add_u64(s, 0);
        sftp_add_bytes(s, &byte, 1);
        r = ask_status(s, "write", path, reterr);
    }
    int k = close_handle(s, &handle, path, r == 0 ? reterr : NULL);
    return r < 0 ? r : k;
}

static int
make_it(struct sftp *s, const char *path, struct err *reterr)
{
    struct sftp_file file;
    sftp_begin(s, PACKET_MKDIR);
    sftp_add_string(s, path);
    sftp_add_u32(s, ATTR_MODE);
    sftp_add_u32(s, MODE_DIRECTORY);
    int r = ask_status(s, "make the directory", path, reterr);
    /* That there is one is a failure like others. */
    if (r == -EIO && stat_it(s, path, &file, NULL) == 0 && file.is_directory)
        return 0;
    return r;
}

static int
remove_it(struct sftp *s, const char *path, struct err *reterr)
{
    sftp_begin(s, PACKET_REMOVE);
    sftp_add_string(s, path);
    return ask_status(s, "remove", path, reterr);
}

/* statvfs@openssh.com: f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, and more. */
static int
ask_room(struct sftp *s, const char *path, uint64_t *ret_bytes, struct err *reterr)
{
    struct rest answer;
    sftp_begin(s, PACKET_EXTENDED);
    sftp_add_string(s, "statvfs@openssh.com");
    sftp_add_string(s, path);
    int r = ask_for(s, PACKET_EXTENDED_REPLY, &answer, "tell the room of", path, reterr);
    if (r < 0)
        return r;
    (void)take_u64(&answer);
    uint64_t block = take_u64(&answer);
    (void)take_u64(&answer);
    (void)take_u64(&answer);
    uint64_t blocks = take_u64(&answer), bytes;
    if (answer.bad)
        return sftp_strange(s, reterr);
    *ret_bytes = __builtin_mul_overflow(block, blocks, &bytes) ? UINT64_MAX : bytes;
    return 0;
}

/* ---- one at a time ---- */

/* All paths are bounded here, and what is lost stays lost. */
static int
enter(struct sftp *s, const char *path, struct err *reterr)
{
    if (strlen(path) >= PATH_MAX)
        return err_set(reterr, ERR_TOO_LARGE, "a path of %zu bytes is none", strlen(path));
    (void)pthread_mutex_lock(&s->lock);
    if (!s->is_lost)
        return 0;
    (void)pthread_mutex_unlock(&s->lock);
    return err_set(reterr, ERR_REMOTE_LOST, "the connection to the other host has ended before");
}

static int
leave(struct sftp *s, int r)
{
    (void)pthread_mutex_unlock(&s->lock);
    return r;
}

int
sftp_stat(struct sftp *s, const char *path, struct sftp_file *ret, struct err *reterr)
{
    int r = enter(s, path, reterr);
    return r < 0 ? r : leave(s, stat_it(s, path, ret, reterr));
}

int
sftp_list(struct sftp *s, const char *path,
          int (*each)(void *arg, const char *name, const struct sftp_file *file), void *arg,
          struct err *reterr)
{
    const struct listing listing = {each, arg};
    int r = enter(s, path, reterr);
    return r < 0 ? r : leave(s, list_it(s, path, &listing, reterr));
}

int
sftp_make_directory(struct sftp *s, const char *path, struct err *reterr)
{
    int r = enter(s, path, reterr);
    return r < 0 ? r : leave(s, make_it(s, path, reterr));
}

int
sftp_read(struct sftp *s, const char *path, uint64_t at, void *ret_bytes, size_t len,
          struct err *reterr)
{
    struct transfer t = {.path = path, .at = at, .len = len, .memory = ret_bytes};
    int r = enter(s, path, reterr);
    return r < 0 ? r : leave(s, read_it(s, &t, reterr));
}

int
sftp_fetch(struct sftp *s, const char *path, int to, uint64_t most, struct err *reterr)
{
    struct sftp_file file;
    int r = enter(s, path, reterr);
    if (r < 0)
        return r;
    r = stat_it(s, path, &file, reterr);
    if (r == 0 && file.bytes > most)
        r = err_set(reterr, ERR_TOO_LARGE, "'%s' has %llu bytes, of at most %llu", path,
                    (unsigned long long)file.bytes, (unsigned long long)most);
    if (r < 0)
        return leave(s, r);
    struct transfer t = {.path = path, .len = file.bytes, .file = to};
    return leave(s, read_it(s, &t, reterr));
}

static int
store(struct sftp *s, int from, const char *draft, const char *path, bool only_new,
      struct err *reterr)
{
    struct stat st;
    if (fstat(from, &st) < 0)
        return err_set_errno(reterr, errno, "cannot read what goes to '%s'", path);
    struct transfer t = {.path = draft, .len = (uint64_t)st.st_size, .file = from};
    int r = enter(s, path, reterr);
    if (r < 0)
        return r;
    r = write_it(s, &t, reterr);
    if (r == 0)
        r = only_new ? rename_new(s, draft, path, reterr) : rename_it(s, draft, path, true, reterr);
    return leave(s, r);
}

int
sftp_store(struct sftp *s, int from, const char *draft, const char *path, struct err *reterr)
{
    return store(s, from, draft, path, false, reterr);
}

int
sftp_store_new(struct sftp *s, int from, const char *draft, const char *path, struct err *reterr)
{
    return store(s, from, draft, path, true, reterr);
}

int
sftp_touch(struct sftp *s, const char *path, struct err *reterr)
{
    int r = enter(s, path, reterr);
    return r < 0 ? r : leave(s, touch_it(s, path, reterr));
}

int
sftp_rename(struct sftp *s, const char *from, const char *to, struct err *reterr)
{
    int r = enter(s, from, reterr);
    return r < 0 ? r : leave(s, rename_it(s, from, to, true, reterr));
}

int
sftp_remove(struct sftp *s, const char *path, struct err *reterr)
{
    int r = enter(s, path, reterr);
    return r < 0 ? r : leave(s, remove_it(s, path, reterr));
}

int
sftp_free_bytes(struct sftp *s, const char *path, uint64_t *ret_bytes, struct err *reterr)
{
    if (!s->tells_room)
        return -EOPNOTSUPP;
    int r = enter(s, path, reterr);
    return r < 0 ? r : leave(s, ask_room(s, path, ret_bytes, reterr));
}
