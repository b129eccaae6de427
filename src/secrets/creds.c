/* systemd-creds as a child: what it is to encrypt or has decrypted goes through pipes, never through a
 * file, its words or its environment.
 *
 * The key is the host's (/var/lib/systemd/credential.secret), which systemd-creds makes when there is
 * none. Not the TPM's: what that encrypts cannot be read after the firmware was updated, and a server
 * whose services do not start for it is worse off than one whose disk was stolen whole. */

#include "secrets/store_int.h"

#include "base/text.h"
#include "sys/clock.h"
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_US \
    (30 * 1000000ULL) /* it takes milliseconds; a host key on a disk that hangs, for ever */
#define WORDS_MAX (4 * KIB)

struct creds {
    struct proc proc;
    int out, words; /* its 1 and 2 */
};

static int
start(const char *const *argv, int in, struct creds *ret_creds, struct err *reterr)
{
    int out[2] = {-1, -1}, words[2] = {-1, -1};
    int r = pipe2(out, O_CLOEXEC) < 0 || pipe2(words, O_CLOEXEC) < 0
                ? err_set_errno(reterr, errno, "a pipe to %s", argv[0])
                : 0;
    const struct proc_wish wish = {
        .argv = argv, .fds = {in, out[1], words[1]}, .death_signal = SIGKILL};
    if (r == 0)
        r = proc_start(&wish, &ret_creds->proc, reterr);
    cleanup_close(&out[1]);
    cleanup_close(&words[1]);
    ret_creds->out = out[0];
    ret_creds->words = words[0];
    return r;
}

/* What is there now. False: nothing more comes. What does not fit is read, too, so that nobody waits
 * for us. */
static bool
read_some(int fd, struct buf *to)
{
    char spill[512];
    size_t room = to->ceiling_bytes - to->len;
    char *at = room ? buf_reserve(to, room) : NULL;
    ssize_t n = read(fd, at ? at : spill, at ? room : sizeof(spill));
    if (n > 0 && at)
        buf_commit(to, (size_t)n);
    to->failed |= n > 0 && !at;
    return n > 0 || (n < 0 && errno == EINTR);
}

/* To the end of both. */
static int
listen_to(const struct creds *c, struct buf *out, struct buf *words)
{
    struct pollfd fds[] = {{.fd = c->out, .events = POLLIN}, {.fd = c->words, .events = POLLIN}};
    struct buf *const to[] = {out, words};
    uint64_t until = clock_now_us() + LIMIT_US;
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        uint64_t now = clock_now_us();
        if (now >= until)
            return -ETIMEDOUT;
        int n = poll(fds, ARRAY_SIZE(fds), (int)((until - now) / 1000 + 1));
        if (n < 0 && errno != EINTR)
            return -errno;
        for (size_t i = 0; n > 0 && i < ARRAY_SIZE(fds); i++)
            if (fds[i].revents && !read_some(fds[i].fd, to[i]))
                fds[i].fd = -1;
    }
    return 0;
}

/* The last line that it wrote is why it failed; those before are warnings. */
static const char *
last_line(struct buf *words)
{
    while (words->len && words->data[words->len - 1] == '\n')
        buf_truncate(words, words->len - 1);
    const char *newline = strrchr(words->data, '\n');
    return newline ? newline + 1 : words->data;
}

static int
judge(const struct proc_end *end, struct buf *words, const char *name, struct err *reterr)
{
    char text[64];
    if (!end->killed && end->status == 0)
        return 0;
    const char *why = words->len ? last_line(words) : proc_end_print(end, text);
    return err_set(reterr, ERR_SECRET_CREDS, "systemd-creds, of %s: %s", name, why);
}

static int
finish(struct creds *c, const char *name, struct buf *out, struct err *reterr)
{
    _cleanup_buf_ struct buf words = BUF_INIT(WORDS_MAX);
    struct proc_end end;
    int r = listen_to(c, out, &words);
    if (r < 0)
        (void)!proc_signal(&c->proc, SIGKILL);
    int ended = proc_wait(&c->proc, &end);
    proc_close(&c->proc);
    if (r == 0)
        r = ended;
    if (r < 0)
        return err_set(reterr, ERR_SECRET_CREDS, "systemd-creds, of %s: %s", name, strerror(-r));
    if (out->failed)
        return err_set(reterr, ERR_SECRET_CREDS,
                       "systemd-creds, of %s: it says more than %zu bytes", name,
                       out->ceiling_bytes);
    return judge(&end, &words, name, reterr);
}

static int
run(const char *const *argv, int in, const char *name, struct buf *out, struct err *reterr)
{
    struct creds c = {.proc = {.fd = -1}, .out = -1, .words = -1};
    int r = start(argv, in, &c, reterr);
    if (r == 0)
        r = finish(&c, name, out, reterr);
    cleanup_close(&c.out);
    cleanup_close(&c.words);
    return r;
}

/* A pipe with all of it inside: whoever gets its end need not be waited for. */
static int
fill_pipe(const struct secret *value, int *ret_end)
{
    const char *text = secret_reveal(value);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    _cleanup_close_ int in = ends[0], out = ends[1];
    size_t len = strlen(text);
    if (fcntl(out, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    ssize_t n = write(out, text, len);
    if (n < 0 || (size_t)n != len)
        return n < 0 ? -errno : -ENOBUFS;
    *ret_end = take_fd(&in);
    return 0;
}

int
creds_encrypt(const char *program, const char *name, const struct secret *value, struct buf *out,
              struct err *reterr)
{
    _cleanup_close_ int in = -1;
    char word[SECRET_FILE_MAX + 8];
    (void)snprintf(word, sizeof(word), "--name=%s", name);
    const char *const argv[] = {program, "encrypt", "--with-key=host", word, "-", "-", NULL};
    int r = fill_pipe(value, &in);
    if (r < 0)
        return err_set_errno(reterr, -r, "a pipe to %s", program);
    return run(argv, in, name, out, reterr);
}

int
creds_decrypt(const char *program, const char *name, const char *path, struct secret *ret_value,
              struct err *reterr)
{
    char word[SECRET_FILE_MAX + 8];
    struct buf out = BUF_INIT(SECRET_BYTES_MAX + 2);
    (void)snprintf(word, sizeof(word), "--name=%s", name);
    const char *const argv[] = {program, "decrypt", word, path, "-", NULL};
    if (!buf_reserve(&out, out.ceiling_bytes))
        return err_set_errno(reterr, ENOMEM, "reading %s", path);
    int r = run(argv, -1, name, &out, reterr);
    if (r == 0)
        r = secret_take(out.data, out.len, ret_value, reterr);
    explicit_bzero(out.data, out.room);
    buf_finish(&out);
    return r;
}
