#include "sys/files.h"
#include "base/buf.h"
#include "base/text.h"
#include "fmt/json.h"
#include "model/model_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The files of a model directory. Hubs fill such directories with links into a store of blobs, so
 * links are followed; whoever clones without git-lfs finds pointers in the place of files. */

#define FILES_MAX 10000
#define JSON_FILE_MAX (32 * MIB)   /* the longest in use are indexes and tokenizers of a few MiB */
#define JSON_READ_WHOLE (64 * KIB) /* of files of which the ends are enough */
#define JSON_END_BYTES 4096
#define LFS_POINTER_MAX 1024 /* as git-lfs has it */

static const char lfs_head[] = "version https://git-lfs.github.com/spec/v1\n";

static int
by_name(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static void
add_file(struct scan *s, const char *name)
{
    struct file file = {.name = arena_strdup(&s->scratch, name)};
    struct stat st;
    if (!file.name)
        return;
    if (fstatat(s->fd, name, &st, 0) == 0) {
        file.nature = S_ISREG(st.st_mode)   ? FILE_REGULAR
                      : S_ISDIR(st.st_mode) ? FILE_DIRECTORY
                                            : FILE_OTHER;
        file.bytes = (uint64_t)st.st_size;
    } else if (errno == ENOENT && fstatat(s->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return; /* gone since it was listed */
    } else {
        file.error = errno;
        file.nature = errno == ENOENT || errno == ELOOP ? FILE_DANGLING : FILE_UNREADABLE;
    }
    vec_push(&s->files, file);
}

int
files_list(struct scan *s, struct err *reterr)
{
    if (s->only) {
        add_file(s, s->only);
        return 0;
    }
    DIR *dir = file_open_dir(s->fd, ".", 0);
    if (!dir)
        return err_set_errno(reterr, errno, "cannot list the directory %s", s->model->dir);
    for (struct dirent *e; (e = readdir(dir));) {
        if (text_eq(e->d_name, ".") || text_eq(e->d_name, ".."))
            continue;
        if (s->files.count == FILES_MAX) {
            /* Without all of them nothing that is said to be missing would be true. */
            scan_problem(s, MODEL_PROBLEM_TOO_MANY_FILES, NULL,
                         "more than %d entries, which is too many to look at", FILES_MAX);
            (void)closedir(dir);
            return 1;
        }
        add_file(s, e->d_name);
    }
    (void)closedir(dir);
    if (s->files.count)
        qsort(s->files.items, s->files.count, sizeof(*s->files.items), by_name);
    return 0;
}

struct file *
files_find(struct scan *s, const char *name)
{
    struct file key = {.name = name};
    return s->files.count ? bsearch(&key, s->files.items, s->files.count, sizeof(key), by_name)
                          : NULL;
}

/* What a pointer stands for: "size 4976698672". */
static uint64_t
lfs_size(const char *text)
{
    const char *size = strstr(text, "\nsize ");
    return size ? strtoull(size + strlen("\nsize "), NULL, 10) : 0;
}

static bool
is_lfs_pointer(struct scan *s, const struct file *file, uint64_t *ret_bytes)
{
    char text[LFS_POINTER_MAX + 1];
    if (file->bytes >= LFS_POINTER_MAX || file->bytes < sizeof(lfs_head) - 1)
        return false;
    _cleanup_close_ int fd = openat(s->fd, file->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : pread(fd, text, LFS_POINTER_MAX, 0);
    if (n < 0)
        return false;
    text[n] = '\0';
    *ret_bytes = lfs_size(text);
    return text_starts(text, lfs_head);
}

static void
tell_dangling(struct scan *s, const struct file *file)
{
    char target[256];
    ssize_t n = readlinkat(s->fd, file->name, target, sizeof(target) - 1);
    target[MAX(n, 0)] = '\0';
    scan_problem(s, MODEL_PROBLEM_DANGLING_LINK, file->name,
                 file->error == ELOOP ? "%s is a link to %s, which leads in a circle"
                                      : "%s is a link to %s, which is not there",
                 file->name, target);
    scan_fix(s, "download the model again: the store its links lead into has lost files");
}

bool
files_check(struct scan *s, struct file *file)
{
    uint64_t bytes = 0;
    bool fine = file->nature == FILE_REGULAR && file->bytes > 0 && !is_lfs_pointer(s, file, &bytes);
    if (fine || file->told)
        return fine;
    file->told = true;
    if (file->nature == FILE_DANGLING) {
        tell_dangling(s, file);
    } else if (file->nature == FILE_UNREADABLE) {
        scan_problem(s, MODEL_PROBLEM_UNREADABLE, file->name, "%s cannot be looked at: %s",
                     file->name, strerror(file->error));
    } else if (file->nature != FILE_REGULAR) {
        scan_problem(s, MODEL_PROBLEM_NOT_A_FILE, file->name, "%s is %s, not a file", file->name,
                     file->nature == FILE_DIRECTORY ? "a directory" : "a pipe, socket or device");
    } else if (file->bytes == 0) {
        scan_problem(s, MODEL_PROBLEM_EMPTY_FILE, file->name, "%s is empty", file->name);
    } else {
        scan_problem(s, MODEL_PROBLEM_LFS_POINTER, file->name,
                     "%s is a git-lfs pointer: its %" PRIu64 " bytes were never fetched",
                     file->name, bytes);
        SCAN_COMMAND(s, "git", "-C", s->model->dir, "lfs", "pull");
    }
    return false;
}

int
files_open(struct scan *s, struct file *file)
{
    struct stat st;
    if (!files_check(s, file))
        return -1;
    int fd = openat(s->fd, file->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        file->bytes = (uint64_t)st.st_size;
        return fd;
    }
    scan_problem(s, MODEL_PROBLEM_UNREADABLE, file->name, "%s cannot be opened: %s", file->name,
                 strerror(fd < 0 ? errno : EINVAL));
    if (fd >= 0)
        (void)close(fd);
    file->told = true;
    return -1;
}

struct value *
files_read_json(struct scan *s, struct arena *arena, const char *name)
{
    _cleanup_buf_ struct buf text = BUF_INIT(JSON_FILE_MAX);
    struct file *file = files_find(s, name);
    struct value *root = NULL;
    struct value_at at;
    struct err err;
    _cleanup_close_ int fd = file ? files_open(s, file) : -1;
    if (fd < 0)
        return NULL;
    int r = file->bytes > JSON_FILE_MAX ? -EFBIG : file_read_fd(fd, &text);
    if (r < 0) {
        scan_problem(s, MODEL_PROBLEM_UNREADABLE, name, "%s cannot be read: %s", name,
                     strerror(-r));
        return NULL;
    }
    if (json_parse(arena, text.data, text.len, JSON_PYTHON, &root, &at, &err) < 0) {
        scan_problem(s, MODEL_PROBLEM_SYNTAX, name, "%s:%u:%u: %s", name, at.line, at.column,
                     err.what);
        return NULL;
    }
    if (root->type == VALUE_MAP)
        return root;
    scan_problem(s, MODEL_PROBLEM_SYNTAX, name, "%s:%u:%u: %s, where a map should be", name,
                 root->at.line, root->at.column, value_type_name(root->type));
    return NULL;
}

/* The start of a text, from which a character may have been cut, or its end likewise. */
static bool
is_text(const char *text, size_t len)
{
    for (size_t cut = 0; cut < 4 && cut < len; cut++)
        for (size_t more = 0; more < 4 && cut + more < len; more++)
            if (text_is_utf8(text + cut, len - cut - more))
                return !memchr(text, '\0', len);
    return false;
}

static bool
has_json_ends(int fd, uint64_t bytes)
{
    static const char blank[] = " \t\r\n";
    char head[JSON_END_BYTES + 1], tail[JSON_END_BYTES];
    off_t tail_at = (off_t)(bytes - sizeof(tail));
    if (pread(fd, head, JSON_END_BYTES, 0) != JSON_END_BYTES ||
        pread(fd, tail, sizeof(tail), tail_at) != (ssize_t)sizeof(tail))
        return false;
    head[JSON_END_BYTES] = '\0';
    size_t last = sizeof(tail);
    while (last > 0 && strchr(blank, tail[last - 1]) && tail[last - 1])
        last--;
    return head[strspn(head, blank)] == '{' && last > 0 && tail[last - 1] == '}' &&
           is_text(head, JSON_END_BYTES) && is_text(tail, sizeof(tail));
}

bool
files_check_json(struct scan *s, struct file *file)
{
    if (file->bytes <= JSON_READ_WHOLE)
        return files_read_json(s, &s->scratch, file->name) != NULL;
    _cleanup_close_ int fd = files_open(s, file);
    if (fd < 0 || has_json_ends(fd, file->bytes))
        return fd >= 0;
    scan_problem(s, MODEL_PROBLEM_SYNTAX, file->name,
                 "%s does not begin with '{' and end with '}', as JSON", file->name);
    return false;
}
