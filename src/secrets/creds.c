/* systemd-creds as a child: what it is to encrypt or has decrypted goes through pipes, never through a
 * file, its words or its environment.
 *
 * The key is the host's (/var/lib/systemd/credential.secret), which systemd-creds makes when there is
 * none. Not the TPM's: what that encrypts cannot be read after the firmware was updated, and a server
 * whose services do not start for it is worse off than one whose disk was stolen whole. */

#include "secrets/store_int.h"

#include "sys/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_US \
    (30 * 1000000ULL) /* it takes milliseconds; a host key on a disk that hangs, for ever */
#define WORDS_MAX (4 * KIB)

static int
run(const char *const *argv, int in, const char *name, struct buf *out, struct err *reterr)
{
    _cleanup_buf_ struct buf words = BUF_INIT(WORDS_MAX);
    const struct command command = {
        .argv = argv, .in = in, .limit_us = LIMIT_US, .out = out, .words = &words};
    struct proc_end end;
    char text[64];
    int r = command_run(&command, &end, reterr);
    if (r < 0)
        return r;
    if (out->failed)
        return err_set(reterr, ERR_SECRET_CREDS,
                       "systemd-creds, of %s: it says more than %zu bytes", name,
                       out->ceiling_bytes);
    if (!end.killed && end.status == 0)
        return 0;
    /* Before its last line there are warnings. */
    const char *why = words.len ? command_last_line(&words) : proc_end_print(&end, text);
    return err_set(reterr, ERR_SECRET_CREDS, "systemd-creds, of %s: %s", name, why);
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
