#include "storage/walk.h"

#include "base/text.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define PATH_CEILING (WALK_DEPTH_MAX * 256)

static void walk_inside(struct walk *w, DIR *d, unsigned depth);

static bool
is_left_out(const struct walk *w, const struct stat *st)
{
    return st->st_dev != w->device || (w->passes && w->passes(w, st));
}

static void
walk_directory(struct walk *w, int dir, const char *name, const struct stat *st, unsigned depth)
{
    if (is_left_out(w, st))
        return;
    if (w->directory)
        w->directory(w, st);
    DIR *d = depth < WALK_DEPTH_MAX ? file_open_dir(dir, name, O_NOFOLLOW) : NULL;
    if (!d) {
        w->skipped++;
        return;
    }
    walk_inside(w, d, depth + 1);
    (void)closedir(d);
}

/* What has gone since it was listed is passed over. */
static void
walk_entry(struct walk *w, int dir, const char *name, unsigned depth)
{
    struct stat st;
    size_t len = w->path.len;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (len)
        buf_add_char(&w->path, '/');
    buf_add_str(&w->path, name);
    if (++w->entries % WALK_PROGRESS == 0 && w->progress)
        w->progress(w, w->path.data);
    if (S_ISDIR(st.st_mode))
        walk_directory(w, dir, name, &st, depth);
    else if (!w->file(w, w->path.data, &st))
        w->is_over = true;
    buf_truncate(&w->path, len);
    w->is_over = w->is_over || w->entries >= WALK_ENTRIES_MAX;
}

static void
walk_inside(struct walk *w, DIR *d, unsigned depth)
{
    for (struct dirent *e; !w->is_over && (e = readdir(d));)
        if (!text_eq(e->d_name, ".") && !text_eq(e->d_name, ".."))
            walk_entry(w, dirfd(d), e->d_name, depth);
}

int
walk_run(struct walk *walk, int top)
{
    struct stat st;
    DIR *d = file_open_dir(top, ".", 0);
    if (!d)
        return -errno;
    int r = fstat(dirfd(d), &st) < 0 ? -errno : 0;
    if (r == 0) {
        walk->device = st.st_dev;
        buf_init(&walk->path, PATH_CEILING);
        walk_inside(walk, d, 0);
        buf_finish(&walk->path);
    }
    (void)closedir(d);
    return r;
}
