/* The connection: packets, one after the other, and an end that is noticed. */

#include "backup/sftp_int.h"

#include "base/mem.h"
#include "sys/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define VERSION 3
#define WORDS_MAX 4096
#define EXTENSIONS_MAX 64

/* ---- what is said ---- */

void
sftp_add_u32(struct sftp *s, uint32_t n)
{
    n = htobe32(n);
    buf_add(&s->sent, &n, sizeof(n));
}

void
sftp_add_u64(struct sftp *s, uint64_t n)
{
    sftp_add_u32(s, (uint32_t)(n >> 32));
    sftp_add_u32(s, (uint32_t)n);
}

void
sftp_add_bytes(struct sftp *s, const void *bytes, size_t len)
{
    sftp_add_u32(s, (uint32_t)len);
    buf_add(&s->sent, bytes, len);
}

void
sftp_add_string(struct sftp *s, const char *text)
{
    sftp_add_bytes(s, text, strlen(text));
}

void
sftp_begin(struct sftp *s, enum packet type)
{
    buf_clear(&s->sent);
    sftp_add_u32(s, 0);
    buf_add_char(&s->sent, (char)type);
    if (type != PACKET_INIT)
        sftp_add_u32(s, ++s->last);
}

/* ---- the other end ---- */

/* With why, as it says itself: "Permission denied (publickey)". */
static int
lost(struct sftp *s, struct err *reterr, const char *what)
{
    const char *why = command_last_line(&s->said);
    s->is_lost = true;
    return err_set(reterr, ERR_REMOTE_LOST, "%s%s%s", what, why[0] ? ": " : "", why);
}

int
sftp_strange(struct sftp *s, struct err *reterr)
{
    return lost(s, reterr, "the other host answers what is not SFTP");
}

static void
hear_words(struct sftp *s)
{
    char words[512];
    ssize_t n;
    while (s->words >= 0 && (n = read(s->words, words, sizeof(words))) != 0) {
        if (n < 0)
            return;
        buf_add(&s->said, words, MIN((size_t)n, WORDS_MAX - MIN(s->said.len, (size_t)WORDS_MAX)));
    }
    cleanup_close(&s->words);
}

/* Until fd can be read or written; what the other end says meanwhile is kept. */
static int
wait_for(struct sftp *s, int fd, short events, struct err *reterr)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = s->words, .events = POLLIN}};
        int n = poll(fds, ARRAY_SIZE(fds), s->silence_ms);
        if (n < 0 && errno != EINTR)
            return err_set_errno(reterr, errno, "cannot wait for the other host");
        if (n == 0)
            return lost(s, reterr, "the other host says nothing any more");
        if (n > 0 && fds[1].revents)
            hear_words(s);
        if (n > 0 && fds[0].revents)
            return 0;
    }
}

/* Its words come after its end, if at all. */
static int
ended(struct sftp *s, struct err *reterr)
{
    for (struct pollfd fd = {.fd = s->words, .events = POLLIN};
         s->words >= 0 && poll(&fd, 1, 1000) > 0; fd.fd = s->words)
        hear_words(s);
    return lost(s, reterr, "the connection to the other host has ended");
}

int
sftp_send(struct sftp *s, struct err *reterr)
{
    uint32_t len = htobe32((uint32_t)(s->sent.len - sizeof(len)));
    assert(buf_error(&s->sent) == 0);
    memcpy(s->sent.data, &len, sizeof(len));
    for (size_t done = 0; done < s->sent.len;) {
        ssize_t n = write(s->out, s->sent.data + done, s->sent.len - done);
        if (n > 0)
            done += (size_t)n;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return ended(s, reterr);
        int r = done < s->sent.len ? wait_for(s, s->out, POLLOUT, reterr) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int
receive_bytes(struct sftp *s, uint8_t *to, size_t len, struct err *reterr)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = read(s->in, to + done, len - done);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return ended(s, reterr);
        done += (size_t)MAX(n, 0);
        int r = n < 0 ? wait_for(s, s->in, POLLIN, reterr) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

int
sftp_receive(struct sftp *s, struct rest *ret, struct err *reterr)
{
    uint8_t head[4];
    int r = receive_bytes(s, head, sizeof(head), reterr);
    if (r < 0)
        return r;
    size_t len = take_u32(&(struct rest){head, sizeof(head), false});
    if (len < 1 || len > SFTP_PACKET_MAX)
        return sftp_strange(s, reterr);
    r = receive_bytes(s, s->packet, len, reterr);
    *ret = (struct rest){s->packet + 1, len - 1, false};
    return r < 0 ? r : s->packet[0];
}

int
sftp_ask(struct sftp *s, struct rest *ret, struct err *reterr)
{
    int r = sftp_send(s, reterr);
    int type = r < 0 ? r : sftp_receive(s, ret, reterr);
    if (type >= 0 && (take_u32(ret) != s->last || ret->bad))
        return sftp_strange(s, reterr);
    return type;
}

/* ---- beginning and ending ---- */

static bool
is_word(const struct rest *string, const char *word)
{
    return !string->bad && string->len == strlen(word) &&
           memcmp(string->at, word, string->len) == 0;
}

static int
greet(struct sftp *s, struct err *reterr)
{
    struct rest answer;
    sftp_begin(s, PACKET_INIT);
    sftp_add_u32(s, VERSION);
    int r = sftp_send(s, reterr);
    int type = r < 0 ? r : sftp_receive(s, &answer, reterr);
    if (type < 0)
        return type;
    if (type != PACKET_VERSION || take_u32(&answer) < VERSION || answer.bad)
        return sftp_strange(s, reterr);
    for (int i = 0; i < EXTENSIONS_MAX && answer.len > 0; i++) {
        struct rest name = take_string(&answer), version = take_string(&answer);
        s->can_replace = s->can_replace || is_word(&name, "posix-rename@openssh.com");
        s->can_sync = s->can_sync || is_word(&name, "fsync@openssh.com");
        s->tells_room =
            s->tells_room || (is_word(&name, "statvfs@openssh.com") && is_word(&version, "2"));
    }
    return answer.bad ? sftp_strange(s, reterr) : 0;
}

static int
never_wait(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int
sftp_open(int in, int out, int words, struct sftp **ret, struct err *reterr)
{
    _cleanup_sftp_ struct sftp *s = mem_new(struct sftp);
    s->in = in;
    s->out = out;
    s->words = words;
    s->silence_ms = SFTP_SILENCE_MS;
    (void)pthread_mutex_init(&s->lock, NULL);
    buf_init(&s->sent, SFTP_PACKET_MAX);
    buf_init(&s->said, WORDS_MAX);
    int r = never_wait(in);
    if (r == 0)
        r = never_wait(out);
    if (r == 0 && words >= 0)
        r = never_wait(words);
    r = r < 0 ? err_set_errno(reterr, -r, "cannot speak to the other host") : greet(s, reterr);
    if (r == 0)
        *ret = take_ptr(s);
    return r;
}

void
sftp_end_program(struct proc *proc)
{
    struct proc_end end;
    if (proc->pid <= 0)
        return;
    (void)!proc_signal(proc, SIGTERM);
    (void)!proc_wait(proc, &end);
}

void
sftp_free(struct sftp *s)
{
    if (!s)
        return;
    cleanup_close(&s->in);
    cleanup_close(&s->out);
    cleanup_close(&s->words);
    sftp_end_program(&s->proc);
    (void)pthread_mutex_destroy(&s->lock);
    buf_finish(&s->sent);
    buf_finish(&s->said);
    free(s);
}

void
sftp_freep(struct sftp **s)
{
    sftp_free(*s);
}

bool
sftp_is_lost(const struct sftp *s)
{
    return s->is_lost;
}
