/* The heads are those of fmt/tar.h. One of the type 'x' before another has records as its content,
 * "LENGTH KEY=VALUE\n", where LENGTH is that of the whole record; they win over the head. */

#include "backup/pax.h"

#include "base/buf.h"
#include "fmt/tar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RECORDS_NAME "PaxHeaders/" /* begins what they are called by who does not know them */
#define RECORDS_PATH_MAX (TAR_NAME_MAX - (int)sizeof(RECORDS_NAME) + 1)

/* What is to be written of an entry. */
struct member {
    const struct snapshot_entry *entry;
    char type;
    char path[SNAPSHOT_NAME_MAX + SNAPSHOT_PATH_MAX + 3]; /* of a directory with a slash behind */
    char target[SNAPSHOT_NAME_MAX + SNAPSHOT_PATH_MAX + 2];
    uint64_t size, major, minor;
    int64_t seconds; /* rounded down, */
    long ns;         /* and what is left */
};

static int
put(struct pax *p, const void *bytes, size_t len, struct err *reterr)
{
    return len > 0 ? p->to.write(p->to.arg, bytes, len, reterr) : 0;
}

/* All begins at a block. */
static int
pad(struct pax *p, uint64_t behind, struct err *reterr)
{
    static const char zeros[TAR_BLOCK];
    return put(p, zeros, (size_t)(-behind % TAR_BLOCK), reterr);
}

/* ---- records ---- */

/* Where records go: nowhere while only their length is found. */
struct records {
    struct pax *pax;
    uint64_t bytes;
};

struct value {
    const void *bytes;
    size_t len;
};

/* The length counts its own digits. */
static size_t
record_length(size_t rest)
{
    int digits = 1;
    while (snprintf(NULL, 0, "%zu", rest + (size_t)digits) > digits)
        digits++;
    return rest + (size_t)digits;
}

static int
record(struct records *to, const char *key, struct value value, struct err *reterr)
{
    char begins[32];
    size_t all = record_length(strlen(" =\n") + strlen(key) + value.len);
    to->bytes += all;
    if (!to->pax)
        return 0;
    int n = snprintf(begins, sizeof(begins), "%zu ", all);
    int r = put(to->pax, begins, (size_t)n, reterr);
    if (r == 0)
        r = put(to->pax, key, strlen(key), reterr);
    if (r == 0)
        r = put(to->pax, "=", 1, reterr);
    if (r == 0)
        r = put(to->pax, value.bytes, value.len, reterr);
    return r < 0 ? r : put(to->pax, "\n", 1, reterr);
}

/* A name that the head has no room for, or nobody says in which letters. */
static int
record_name(struct records *to, const char *key, const char *name, size_t room, struct err *reterr)
{
    size_t len = strlen(name);
    bool fits = len <= room;
    for (size_t i = 0; i < len && fits; i++)
        fits = (unsigned char)name[i] < 0x80;
    return fits ? 0 : record(to, key, (struct value){name, len}, reterr);
}

/* digits: that the head has for it. */
static int
record_number(struct records *to, const char *key, uint64_t n, int digits, struct err *reterr)
{
    char text[24];
    if (n >> 3 * digits == 0)
        return 0;
    int len = snprintf(text, sizeof(text), "%" PRIu64, n);
    return record(to, key, (struct value){text, (size_t)len}, reterr);
}

static int
record_time(struct records *to, const struct member *m, struct err *reterr)
{
    char text[40];
    if (m->ns == 0 && m->seconds >= 0 && m->seconds >> 3 * TAR_LARGE_DIGITS == 0)
        return 0;
    bool before = m->seconds < 0 && m->ns > 0; /* as the decimal fraction counts from zero */
    int64_t seconds = before ? m->seconds + 1 : m->seconds;
    long ns = before ? 1000000000 - m->ns : m->ns;
    int len = snprintf(text, sizeof(text), "%s%" PRIu64 ".%09ld", m->seconds < 0 ? "-" : "",
                       (uint64_t)(seconds < 0 ? -seconds : seconds), ns);
    return record(to, "mtime", (struct value){text, (size_t)len}, reterr);
}

/* '=' would end the key; '%' begins what stands for either. */
static void
print_attribute(const char *name, struct buf *out)
{
    buf_clear(out);
    buf_add_str(out, "SCHILY.xattr.");
    for (; *name; name++)
        if (*name == '=' || *name == '%')
            buf_add_str(out, *name == '=' ? "%3D" : "%25");
        else
            buf_add_char(out, *name);
}

static int
record_attributes(struct records *to, const struct snapshot_entry *e, struct err *reterr)
{
    _cleanup_buf_ struct buf key = BUF_INIT(4 * SNAPSHOT_NAME_MAX);
    struct snapshot_records xattrs = e->xattrs;
    struct snapshot_xattr x;
    int r = 0;
    while (r == 0 && snapshot_next_xattr(&xattrs, &x)) {
        print_attribute(x.name, &key);
        assert(!key.failed);
        r = record(to, key.data, (struct value){x.value, x.len}, reterr);
    }
    return r;
}

static int
record_all(struct records *to, const struct member *m, struct err *reterr)
{
    const struct snapshot_entry *e = m->entry;
    int r = record_name(to, "path", m->path, TAR_NAME_MAX, reterr);
    if (r == 0)
        r = record_name(to, "linkpath", m->target, TAR_NAME_MAX, reterr);
    if (r == 0)
        r = record_name(to, "uname", e->owner, TAR_OWNER_MAX, reterr);
    if (r == 0)
        r = record_name(to, "gname", e->group, TAR_OWNER_MAX, reterr);
    if (r == 0)
        r = record_number(to, "size", m->size, TAR_LARGE_DIGITS, reterr);
    if (r == 0)
        r = record_number(to, "uid", e->uid, TAR_DIGITS, reterr);
    if (r == 0)
        r = record_number(to, "gid", e->gid, TAR_DIGITS, reterr);
    if (r == 0)
        r = record_number(to, "SCHILY.devmajor", m->major, TAR_DIGITS, reterr);
    if (r == 0)
        r = record_number(to, "SCHILY.devminor", m->minor, TAR_DIGITS, reterr);
    if (r == 0)
        r = record_time(to, m, reterr);
    return r < 0 ? r : record_attributes(to, e, reterr);
}

/* ---- heads ---- */

static int
put_records(struct pax *p, const struct member *m, struct err *reterr)
{
    struct records records = {0}, written = {.pax = p};
    char name[TAR_NAME_MAX + 1], head[TAR_BLOCK];
    int r = record_all(&records, m, reterr);
    if (r < 0 || records.bytes == 0)
        return r;
    (void)snprintf(name, sizeof(name), RECORDS_NAME "%.*s", RECORDS_PATH_MAX, m->path);
    tar_print_head(
        &(struct tar_head){.name = name, .type = 'x', .mode = 0644, .size = records.bytes}, head);
    r = put(p, head, sizeof(head), reterr);
    if (r == 0)
        r = record_all(&written, m, reterr);
    return r < 0 ? r : pad(p, records.bytes, reterr);
}

static int
put_head(struct pax *p, const struct member *m, struct err *reterr)
{
    const struct snapshot_entry *e = m->entry;
    char head[TAR_BLOCK];
    tar_print_head(&(struct tar_head){.name = m->path,
                                      .target = m->target,
                                      .owner = e->owner,
                                      .group = e->group,
                                      .type = m->type,
                                      .mode = e->mode,
                                      .uid = e->uid,
                                      .gid = e->gid,
                                      .size = m->size,
                                      .modified_s = (uint64_t)MAX(m->seconds, INT64_C(0)),
                                      .major = m->major,
                                      .minor = m->minor},
                   head);
    return put(p, head, sizeof(head), reterr);
}

static void
print_path(char *to, size_t room, const char *top, const char *path, const char *ends)
{
    (void)snprintf(to, room, "%s%s%s%s", top, top[0] && path[0] ? "/" : "", path, ends);
}

static struct member
member_of(const char *top, const struct snapshot_entry *e)
{
    static const char types[SNAPSHOT_KINDS] = {
        [SNAPSHOT_DIRECTORY] = '5',    [SNAPSHOT_FILE] = '0', [SNAPSHOT_SYMLINK] = '2',
        [SNAPSHOT_HARDLINK] = '1',     [SNAPSHOT_FIFO] = '6', [SNAPSHOT_CHARACTER_DEVICE] = '3',
        [SNAPSHOT_BLOCK_DEVICE] = '4',
    };
    struct member m = {.entry = e, .type = types[e->kind]};
    m.seconds = e->mtime_ns / 1000000000;
    m.ns = (long)(e->mtime_ns % 1000000000);
    if (m.ns < 0) {
        m.seconds--;
        m.ns += 1000000000;
    }
    print_path(m.path, sizeof(m.path), top, e->path, e->kind == SNAPSHOT_DIRECTORY ? "/" : "");
    print_path(m.target, sizeof(m.target), e->kind == SNAPSHOT_HARDLINK ? top : "", e->target, "");
    if (e->kind == SNAPSHOT_FILE)
        m.size = e->size;
    if (e->kind == SNAPSHOT_CHARACTER_DEVICE || e->kind == SNAPSHOT_BLOCK_DEVICE) {
        m.major = e->size >> 32;
        m.minor = (uint32_t)e->size;
    }
    return m;
}

/* ---- the archive ---- */

void
pax_begin(struct pax *p, const struct flow_sink *to)
{
    *p = (struct pax){.to = *to};
}

int
pax_add(struct pax *p, const char *top, const struct snapshot_entry *e, struct err *reterr)
{
    const struct member m = member_of(top, e);
    assert(p->left == 0 && (top[0] || e->path[0]) && strlen(top) <= SNAPSHOT_NAME_MAX);
    p->size = p->left = m.size;
    int r = put_records(p, &m, reterr);
    return r < 0 ? r : put_head(p, &m, reterr);
}

int
pax_write(struct pax *p, const void *bytes, size_t len, struct err *reterr)
{
    assert(len <= p->left);
    p->left -= len;
    int r = put(p, bytes, len, reterr);
    return r < 0 || p->left > 0 || len == 0 ? r : pad(p, p->size, reterr);
}

int
pax_end(struct pax *p, struct err *reterr)
{
    static const char zeros[2 * TAR_BLOCK];
    assert(p->left == 0);
    return put(p, zeros, sizeof(zeros), reterr);
}
