/* New contents and links are made first, under second names beside the files they will be:
 * ".citadel-ID-N", ID being drawn for this change and N counting its files. Only renames and
 * removals are left then, which need no room and move in any order to the same end; so they can be
 * repeated. The journal says what they are:
 *
 *     citadel-change 1 PHASE ID COUNT\n
 *     file SHA-256 LENGTH:PATH\n          COUNT times, in the order of N: the second name becomes PATH,
 *     link SHA-256 LENGTH:PATH\n          a file with these contents or a link with this target
 *     remove LENGTH:PATH\n
 *     SHA-256 of all before, 64 digits\n
 *
 * PHASE is "staging" while second names are made: a crash then means that they are removed. The
 * journal is replaced by one that says "deciding", in one rename: from then on the change has
 * happened, and a crash means that what is left of it is done. The journal goes last.
 *
 * A commit that fails before names are moved ends like a crash, at once and under the same lock: the
 * journal on the disk, not what we meant to write, says whether the change has happened. It may say
 * "deciding" although writing it failed: then only the directory could not be synced. That sync must
 * succeed before the first name is moved, here and after a crash, or a power failure could bring
 * "staging" back behind names that have moved.
 *
 * A second name that is gone was moved already, if PATH is what it would become: the digest tells.
 * Otherwise somebody else removed it, or changed PATH afterwards. Its contents are not ours to
 * invent: all other names are moved, and the journal stays for a person to look at.
 *
 * The journal itself is written by file_write(), so it is there as a whole or not; one that does not
 * bear its digest was spoilt by something else and is left alone, since both ways would be guesses.
 * A lock on "JOURNAL.lock" keeps a second process out; the lock's file stays. */

#include "sys/change.h"

#include "base/hash.h"
#include "base/quantity.h"
#include "base/text.h"
#include "sys/change_int.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "citadel-change 1 "

/* Every path at its longest, with a word, a digest and a number before it: 5 + 65 + 5 bytes. */
#define JOURNAL_BYTES_MAX (CHANGE_FILES_MAX * (PATH_MAX + 96))

struct change_file {
    struct change_file *next;
    enum { PUT_FILE, PUT_LINK, REMOVE } kind;
    const char *path;
    char digest[HASH_SHA256_HEX]; /* of the contents; of a link's target */
    const char *bytes;            /* these themselves; not known after a crash */
    size_t len;
    mode_t mode;
};

static const char *const words[] = {
    [PUT_FILE] = "file ", [PUT_LINK] = "link ", [REMOVE] = "remove "};

static void
print_digest(const void *bytes, size_t len, char ret_text[HASH_SHA256_HEX])
{
    struct hash_sha256 h;
    uint8_t digest[HASH_SHA256_BYTES];
    hash_sha256_init(&h);
    hash_sha256_update(&h, bytes, len);
    hash_sha256_final(&h, digest);
    hash_sha256_hex(digest, ret_text);
}

/* ---- noting ---- */

void
change_init(struct change *c, const char *journal)
{
    uint64_t lot = 0;
    *c = (struct change){.journal = journal};
    c->last = &c->first;
    arena_init(&c->arena, CHANGE_BYTES_MAX);
    ssize_t n = getrandom(&lot, sizeof(lot), 0);
    assert(n == sizeof(lot));
    (void)snprintf(c->id, sizeof(c->id), "%016" PRIx64, lot);
}

void
change_finish(struct change *c)
{
    arena_finish(&c->arena);
    c->first = NULL;
}

static struct change_file *
note(struct change *c, const char *path)
{
    struct change_file *file = arena_new(&c->arena, struct change_file);
    char *copy = arena_strdup(&c->arena, path);
    if (c->err.id != ERR_NONE)
        return NULL;
    if (!file || !copy || c->count == CHANGE_FILES_MAX) {
        (void)err_set(&c->err, ERR_TOO_LARGE, "one change holds %d files and %d MiB at most",
                      CHANGE_FILES_MAX, (int)(CHANGE_BYTES_MAX / MIB));
        return NULL;
    }
    if (path[0] != '/' || strlen(path) >= PATH_MAX) {
        (void)err_set(&c->err, ERR_VALUE, "'%s' is not an absolute path", path);
        return NULL;
    }
    for (const struct change_file *f = c->first; f; f = f->next) {
        if (text_eq(f->path, path)) {
            (void)err_set(&c->err, ERR_VALUE, "'%s' is changed twice in one change", path);
            return NULL;
        }
    }
    file->path = copy;
    *c->last = file;
    c->last = &file->next;
    c->count++;
    return file;
}

static void
note_content(struct change *c, struct change_file *file, const void *bytes, size_t len)
{
    char *copy = file ? arena_alloc(&c->arena, len + 1) : NULL;
    if (copy && len)
        memcpy(copy, bytes, len);
    if (file && !copy)
        (void)err_set(&c->err, ERR_TOO_LARGE, "'%s' and what comes before it are above %d MiB",
                      file->path, (int)(CHANGE_BYTES_MAX / MIB));
    if (copy) {
        file->bytes = copy;
        file->len = len;
        print_digest(copy, len, file->digest);
    }
}

void
change_write(struct change *c, const char *path, const void *bytes, size_t len, mode_t mode)
{
    struct change_file *file = note(c, path);
    note_content(c, file, bytes, len);
    if (file)
        file->mode = mode;
}

void
change_link(struct change *c, const char *path, const char *target)
{
    struct change_file *file = note(c, path);
    note_content(c, file, target, strlen(target));
    if (file)
        file->kind = PUT_LINK;
}

void
change_remove(struct change *c, const char *path)
{
    struct change_file *file = note(c, path);
    if (file)
        file->kind = REMOVE;
}

/* ---- the journal ---- */

void
change_print(const struct change *c, bool decided, struct buf *out)
{
    char hex[HASH_SHA256_HEX];
    buf_printf(out, MAGIC "%s %s %zu\n", decided ? "deciding" : "staging", c->id, c->count);
    for (const struct change_file *f = c->first; f; f = f->next)
        buf_printf(out, "%s%s%s%zu:%s\n", words[f->kind], f->digest, f->kind == REMOVE ? "" : " ",
                   strlen(f->path), f->path);
    print_digest(out->data, out->len, hex);
    buf_printf(out, "%s\n", hex);
}

static bool
has_digest(const char *text, size_t len)
{
    char hex[HASH_SHA256_HEX];
    if (len < HASH_SHA256_HEX || text[len - 1] != '\n')
        return false;
    size_t body = len - HASH_SHA256_HEX; /* 64 digits and the line's end */
    print_digest(text, body, hex);
    return memcmp(text + body, hex, HASH_SHA256_HEX - 1) == 0;
}

/* The number up to `end` at *at, as it is printed, and the place behind that. */
static bool
read_number(const char **at, char end, size_t max, size_t *ret_n)
{
    char digits[24];
    const char *stop = strchr(*at, end);
    size_t len = stop ? (size_t)(stop - *at) : sizeof(digits);
    uint64_t n;
    if (len >= sizeof(digits))
        return false;
    memcpy(digits, *at, len);
    digits[len] = '\0';
    if (digits[0] == '0' && len > 1)
        return false;
    if (quantity_parse_u64(digits, &n, NULL) < 0 || n > max)
        return false;
    *ret_n = (size_t)n;
    *at = stop + 1;
    return true;
}

static bool
read_word(const char **at, const char *word)
{
    if (!text_starts(*at, word))
        return false;
    *at += strlen(word);
    return true;
}

static bool
read_digest(const char **at, char ret_text[HASH_SHA256_HEX])
{
    const size_t digits = HASH_SHA256_HEX - 1;
    if (strspn(*at, "0123456789abcdef") != digits || (*at)[digits] != ' ')
        return false;
    memcpy(ret_text, *at, digits);
    ret_text[digits] = '\0';
    *at += HASH_SHA256_HEX;
    return true;
}

static bool
read_file_line(const char **at, const char *end, struct change *c)
{
    struct change_file line = {.kind = PUT_FILE};
    size_t len;
    while (!read_word(at, words[line.kind]))
        if (line.kind++ == REMOVE)
            return false;
    if (line.kind != REMOVE && !read_digest(at, line.digest))
        return false;
    if (!read_number(at, ':', PATH_MAX - 1, &len) || len >= (size_t)(end - *at) ||
        (*at)[len] != '\n')
        return false;
    char *path = arena_strndup(&c->arena, *at, len);
    if (!path || strlen(path) != len)
        return false;
    struct change_file *file = note(c, path);
    if (!file)
        return false;
    file->kind = line.kind;
    memcpy(file->digest, line.digest, sizeof(line.digest));
    *at += len + 1;
    return true;
}

bool
change_parse(const char *text, size_t len, struct change *c, bool *ret_decided)
{
    const char *at = text, *end = text + len;
    size_t count;
    if (!has_digest(text, len) || !read_word(&at, MAGIC))
        return false;
    *ret_decided = read_word(&at, "deciding ");
    if (!*ret_decided && !read_word(&at, "staging "))
        return false;
    if (strspn(at, "0123456789abcdef") != sizeof(c->id) - 1 || at[sizeof(c->id) - 1] != ' ')
        return false;
    memcpy(c->id, at, sizeof(c->id) - 1);
    at += sizeof(c->id);
    if (!read_number(&at, '\n', CHANGE_FILES_MAX, &count))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!read_file_line(&at, end, c))
            return false;
    return end - at == HASH_SHA256_HEX;
}

static int
write_journal(const struct change *c, bool decided, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(JOURNAL_BYTES_MAX);
    change_print(c, decided, &text);
    assert(buf_error(&text) == 0);
    return file_write(c->journal, text.data, text.len, 0600, reterr);
}

/* Into an empty change; -ENOENT when there is none. */
static int
read_journal(struct change *c, bool *ret_decided, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(JOURNAL_BYTES_MAX);
    int r = file_read(c->journal, &text, reterr);
    if (r < 0)
        return r;
    if (!change_parse(text.data, text.len, c, ret_decided)) {
        r = err_set(reterr, ERR_CHANGE_DAMAGED, "the journal '%s' is damaged", c->journal);
        err_fix(reterr, "compare the files it names with a backup, then remove it");
    }
    return r;
}

/* Makes sure that the journal which can be read now is the one that a power failure leaves. */
static int
sync_journal(const char *journal, struct err *reterr)
{
    struct file_place place;
    int r = file_place_open(journal, &place);
    if (r == 0) {
        _cleanup_close_ int dir = place.dir;
        r = fault_sync(dir);
    }
    return r < 0 ? root_err(reterr, r, "cannot sync '%s'", journal) : 0;
}

static int
remove_journal(const char *journal, struct err *reterr)
{
    struct file_place place;
    int r = file_place_open(journal, &place);
    if (r == 0) {
        _cleanup_close_ int dir = place.dir;
        r = fault_unlink(dir, place.name, false);
        if (r == 0)
            r = fault_sync(dir);
    }
    return r < 0 ? root_err(reterr, r, "cannot remove '%s'", journal) : 0;
}

static int
lock_journal(const char *journal, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s.lock", journal);
    _cleanup_close_ int fd = file_open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return root_err(reterr, fd, "cannot open '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return take_fd(&fd);
    if (errno != EWOULDBLOCK)
        return err_set_errno(reterr, errno, "cannot lock '%s'", path);
    int r =
        err_set(reterr, ERR_CHANGE_BUSY, "another process is changing these files ('%s')", journal);
    err_fix(reterr, "wait until it has ended, and try again");
    return r;
}

/* ---- doing ---- */

static void
second_name(const struct change *c, size_t n, char *name, size_t room)
{
    (void)snprintf(name, room, ".citadel-%s-%zu", c->id, n);
}

static int
stage_file(int dir, const char *second, const char *name, const struct change_file *f)
{
    if (f->kind == PUT_LINK)
        return fault_symlink(f->bytes, dir, second);
    _cleanup_close_ int fd = fault_create(dir, second, 0600);
    int r = fd < 0 ? fd : fault_write(fd, f->bytes, f->len);
    if (r == 0)
        r = file_take_owner(fd, dir, name, f->mode);
    return r < 0 ? r : fault_sync(fd);
}

/* Names can be moved over files and links only. */
static int
check_target(int dir, const char *name)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    return S_ISDIR(st.st_mode) ? -EISDIR : 0;
}

/* Whether the file or link is already what its second name was to make it. */
static bool
is_in_place(const struct change_file *f)
{
    _cleanup_buf_ struct buf now = BUF_INIT(CHANGE_BYTES_MAX);
    char digest[HASH_SHA256_HEX], target[PATH_MAX];
    ssize_t len = readlink(f->path, target, sizeof(target));
    if ((len >= 0) != (f->kind == PUT_LINK))
        return false;
    if (len >= 0)
        buf_add(&now, target, (size_t)len);
    else if (file_read(f->path, &now, NULL) < 0)
        return false;
    print_digest(now.data, now.len, digest);
    return text_eq(digest, f->digest);
}

enum step { STAGE, UNSTAGE, APPLY };

static int
do_step(const struct change *c, const struct change_file *f, size_t n, enum step step)
{
    struct file_place place;
    char second[64];
    int r = file_place_open(f->path, &place);
    if (r == -EXDEV && step == UNSTAGE)
        return 0; /* nothing was made behind a link that leaves the root */
    if (r == -ENOENT && step != STAGE && (step == UNSTAGE || f->kind == REMOVE))
        return 0; /* it went with its directory */
    if (r < 0)
        return r;
    _cleanup_close_ int dir = place.dir;
    second_name(c, n, second, sizeof(second));
    switch (step) {
    case STAGE:
        r = check_target(dir, place.name);
        if (r == 0 && f->kind != REMOVE)
            r = stage_file(dir, second, place.name, f);
        break;
    case UNSTAGE:
        r = f->kind == REMOVE ? 0 : fault_unlink(dir, second, false);
        r = r == -ENOENT ? 0 : r;
        break;
    case APPLY:
        r = f->kind == REMOVE ? fault_unlink(dir, place.name, false)
                              : fault_rename(dir, second, place.name);
        if (r == -ENOENT && (f->kind == REMOVE || is_in_place(f)))
            r = 0;
        break;
    }
    return r < 0 ? r : fault_sync(dir);
}

static int
tell_failed(const struct change *c, const struct change_file *f, enum step step, int r,
            struct err *reterr)
{
    if (step != APPLY || r != -ENOENT)
        return root_err(reterr, r, "cannot change '%s'", f->path);
    r = err_set(reterr, ERR_CHANGE_DAMAGED,
                "somebody else removed what was to become '%s', or changed that since", f->path);
    err_fix(reterr, "see that '%s' is as it should be, then remove '%s'", f->path, c->journal);
    return r;
}

/* What can be undone or done is, also behind an error; the first one counts. */
static int
do_all(const struct change *c, enum step step, struct err *reterr)
{
    size_t n = 0;
    int r = 0;
    for (const struct change_file *f = c->first; f; f = f->next, n++) {
        int one = do_step(c, f, n, step);
        if (one < 0 && r == 0)
            r = tell_failed(c, f, step, one, reterr);
        if (r < 0 && step == STAGE)
            break;
    }
    return r;
}

/* Undoes or completes; the journal stays if that fails too. */
static int
end_change(const struct change *c, enum step step, struct err *reterr)
{
    int r = do_all(c, step, reterr);
    return r < 0 ? r : remove_journal(c->journal, reterr);
}

static int
tell_half(struct err *reterr)
{
    const struct err cause = reterr ? *reterr : (struct err){0};
    int r = err_set(reterr, ERR_CHANGE_HALF, "%s, with a part of the change done", cause.what);
    err_fix(reterr, "%s",
            cause.fix[0] ? cause.fix : "mend that; what is left is done at the next start");
    return r;
}

/* After an error before any name was moved, of which reterr tells. */
static int
end_early(const struct change *c, int error, struct err *reterr)
{
    bool decided = false;
    _cleanup_change_ struct change found;
    change_init(&found, c->journal);
    int r = read_journal(&found, &decided, NULL);
    if (!decided && (r == 0 || r == -ENOENT)) {
        (void)!end_change(c, UNSTAGE, NULL);
        return error;
    }
    if (r == 0)
        r = sync_journal(c->journal, NULL);
    if (r == 0)
        r = end_change(c, APPLY, reterr);
    if (r < 0)
        return tell_half(reterr);
    if (reterr)
        *reterr = (struct err){0};
    return 0;
}

int
change_commit(struct change *c, struct err *reterr)
{
    if (c->err.id != ERR_NONE) {
        if (reterr)
            *reterr = c->err;
        return -err_row(c->err.id)->err;
    }
    _cleanup_close_ int lock = lock_journal(c->journal, reterr);
    if (lock < 0)
        return lock;
    if (access(c->journal, F_OK) == 0)
        return err_set(reterr, ERR_CHANGE_BUSY, "an earlier change is not ended yet ('%s')",
                       c->journal);
    int r = write_journal(c, false, reterr);
    if (r == 0)
        r = do_all(c, STAGE, reterr);
    if (r == 0)
        r = write_journal(c, true, reterr);
    if (r < 0)
        return end_early(c, r, reterr);
    r = end_change(c, APPLY, reterr);
    return r < 0 ? tell_half(reterr) : 0;
}

/* ---- after a crash ---- */

static int
recover(const char *journal, enum change_recovered *ret_what, struct err *reterr)
{
    bool decided = false;
    _cleanup_change_ struct change c;
    change_init(&c, journal);
    int r = read_journal(&c, &decided, reterr);
    if (r == -ENOENT) {
        *ret_what = CHANGE_NOTHING;
        if (reterr)
            *reterr = (struct err){0};
        return 0;
    }
    if (r == 0 && decided)
        r = sync_journal(journal, reterr);
    if (r == 0)
        r = end_change(&c, decided ? APPLY : UNSTAGE, reterr);
    if (r == 0)
        *ret_what = decided ? CHANGE_COMPLETED : CHANGE_UNDONE;
    return r;
}

int
change_recover(const char *journal, enum change_recovered *ret_what, struct err *reterr)
{
    _cleanup_close_ int lock = lock_journal(journal, reterr);
    int r = lock < 0 ? lock : file_remove_draft(journal, reterr);
    return r < 0 ? r : recover(journal, ret_what, reterr);
}
