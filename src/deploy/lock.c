/* The note is a line for people and one that tells who is meant:
 *
 *     anna: `citadel apply`, process 4711, since 2026-11-21 17:30:01
 *     4711 918273
 *
 * A process that was killed leaves it behind; so it counts only while there is that process, which is
 * known by its number and by when it started. */

#include "deploy/lock.h"

#include "base/buf.h"
#include "base/mem.h"
#include "sys/clock.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/kin.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOTE_MAX 512

static int
refuse(const char *holder, struct err *reterr)
{
    int r = err_set(reterr, ERR_DEPLOY_BUSY, "what is deployed is being changed by %s", holder);
    err_fix(reterr, "wait until it has ended");
    return r;
}

/* The line for people; false: whom the note means is no more. */
static bool
read_holder(const char *state_dir, struct buf *line)
{
    _cleanup_free_ char *path = mem_printf("%s/deploy/holder", state_dir);
    struct kin kin;
    char *end = NULL;
    if (file_read(path, line, NULL) < 0)
        return false;
    const char *who = strchr(line->data, '\n');
    long pid = who ? strtol(who + 1, &end, 10) : 0;
    uint64_t start = end ? strtoull(end, &end, 10) : 0;
    bool is_there =
        end && *end == '\n' && pid > 0 && kin_look((pid_t)pid, &kin) == 0 && kin.start == start;
    if (who)
        buf_truncate(line, (size_t)(who - line->data));
    return is_there;
}

static int
write_holder(const char *state_dir, const char *by, const char *what, struct deploy_lock *lock,
             struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/deploy/holder", state_dir);
    _cleanup_buf_ struct buf note = BUF_INIT(NOTE_MAX);
    char since[CLOCK_LOCAL_MAX];
    struct kin self = {0};
    int r = kin_look(getpid(), &self);
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot look at process %d", (int)getpid());
    lock->note = file_open(path, O_RDWR | O_CREAT, 0644);
    if (lock->note < 0)
        return root_err(reterr, lock->note, "cannot open %s", path);
    buf_printf(&note, "%.64s: `%.200s`, process %d, since %s\n%d %" PRIu64 "\n", by, what,
               (int)self.pid, clock_print_local(clock_wall_us(), since), (int)self.pid, self.start);
    r = fault_truncate(lock->note, 0);
    if (r == 0)
        r = fault_write(lock->note, note.data, note.len);
    return r < 0 ? err_set_errno(reterr, -r, "cannot write %s", path) : 0;
}

static int
take(const char *state_dir, struct deploy_lock *lock, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/deploy/lock", state_dir);
    _cleanup_buf_ struct buf holder = BUF_INIT(NOTE_MAX);
    lock->fd = file_open(path, O_RDWR | O_CREAT, 0600);
    if (lock->fd < 0)
        return root_err(reterr, lock->fd, "cannot open %s", path);
    if (flock(lock->fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return err_set_errno(reterr, errno, "cannot lock %s", path);
    bool known = read_holder(state_dir, &holder);
    return refuse(known ? holder.data : "somebody who has just begun", reterr);
}

int
deploy_lock(const char *state_dir, const char *by, const char *what, struct deploy_lock *ret,
            struct err *reterr)
{
    _cleanup_free_ char *dir = mem_printf("%s/deploy", state_dir);
    *ret = (struct deploy_lock)DEPLOY_LOCK_INIT;
    int r = file_make_dirs(dir, 0755, reterr);
    if (r == 0)
        r = take(state_dir, ret, reterr);
    if (r == 0)
        r = write_holder(state_dir, by, what, ret, reterr);
    if (r < 0)
        deploy_unlock(ret);
    return r;
}

void
deploy_unlock(struct deploy_lock *lock)
{
    if (lock->note >= 0)
        (void)!fault_truncate(lock->note, 0);
    cleanup_close(&lock->note);
    cleanup_close(&lock->fd);
}

int
deploy_lock_look(const char *state_dir, struct err *reterr)
{
    _cleanup_buf_ struct buf holder = BUF_INIT(NOTE_MAX);
    return read_holder(state_dir, &holder) ? refuse(holder.data, reterr) : 0;
}
