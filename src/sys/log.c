#include "sys/log.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Below PIPE_BUF (4096), so that lines of several processes do not mix in a pipe. */
#define LINE_MAX_BYTES 2048

static const struct {
    const char *word;
    const char *priority; /* of sd-daemon(3) */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", "<3>"},
    [LOG_LEVEL_WARNING] = {"warning", "<4>"},
    [LOG_LEVEL_INFO] = {"info", "<6>"},
    [LOG_LEVEL_DEBUG] = {"debug", "<7>"},
};

static enum log_level shown = LOG_LEVEL_INFO;
static bool insists;
static void (*taker)(const char *line, size_t len, void *arg);
static void *taker_arg;

bool
log_level_parse(const char *word, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        if (text_eq(word, levels[i].word)) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void
log_set_level(enum log_level level)
{
    if (!insists)
        shown = level;
}

void
log_insist_level(enum log_level level)
{
    shown = level;
    insists = true;
}

void
log_divert(void (*take)(const char *line, size_t len, void *arg), void *arg)
{
    taker = take;
    taker_arg = arg;
}

/* $JOURNAL_STREAM names the device and inode of what systemd gave us as standard error; a redirected
 * one has others. */
static bool
is_journal(void)
{
    char ours[64];
    struct stat st;
    const char *stream = getenv("JOURNAL_STREAM");
    if (!stream || fstat(STDERR_FILENO, &st) < 0)
        return false;
    (void)snprintf(ours, sizeof(ours), "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
    return text_eq(stream, ours);
}

static size_t
add_head(char *line, size_t room, enum log_level level)
{
    struct timespec now;
    struct tm tm;
    char when[32] = "";
    if (is_journal())
        return (size_t)snprintf(line, room, "%s", levels[level].priority);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (localtime_r(&now.tv_sec, &tm))
        (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
    return (size_t)snprintf(line, room, "%s.%03ld %s: ", when, now.tv_nsec / 1000000,
                            levels[level].word);
}

static void
write_line(const char *line, size_t len)
{
    ssize_t n;
    if (taker) {
        taker(line, len, taker_arg);
        return;
    }
    do
        n = write(STDERR_FILENO, line, len);
    while (n < 0 && errno == EINTR);
}

static void say(enum log_level level, const char *fmt, va_list args) printf_like(2, 0);

static void
say(enum log_level level, const char *fmt, va_list args)
{
    char line[LINE_MAX_BYTES], *end = line + sizeof(line) - 2;
    if (level > shown)
        return;
    char *text = line + add_head(line, sizeof(line), level);
    int wanted = vsnprintf(text, (size_t)(end - text) + 1, fmt, args);
    text_make_safe(text, (size_t)(end - text) + 1, wanted);
    char *stop = text + strlen(text);
    *stop++ = '\n';
    write_line(line, (size_t)(stop - line));
}

#define LEVEL(name, level)                \
    void log_##name(const char *fmt, ...) \
    {                                     \
        va_list args;                     \
        va_start(args, fmt);              \
        say(level, fmt, args);            \
        va_end(args);                     \
    }

LEVEL(error, LOG_LEVEL_ERROR)
LEVEL(warning, LOG_LEVEL_WARNING)
LEVEL(info, LOG_LEVEL_INFO)
LEVEL(debug, LOG_LEVEL_DEBUG)

void
log_err(const struct err *err)
{
    const char *id = err->id == ERR_NONE ? "unknown" : err_row(err->id)->name;
    if (err->fix[0])
        log_error("%s; try: %s [%s]", err->what, err->fix, id);
    else
        log_error("%s [%s]", err->what, id);
}
