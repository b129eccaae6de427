#include "sim/say.h"

#include "base/buf.h"
#include "sim/settings.h"
#include "sys/loop.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINES_BYTES_MAX (64 * MIB)
#define RANKS_MAX 256

/* The log of a process is one, so this is not a struct that is handed around. */
static struct {
    struct loop *loop;
    const struct settings *settings;
    struct loop_defer flush;
    struct buf lines;
    pid_t core, workers[RANKS_MAX];
    unsigned worker_count;
} writer = {.lines = BUF_INIT(LINES_BYTES_MAX)};

static void
on_flush(struct loop_defer *defer unused_arg)
{
    say_flush();
}

void
say_init(struct loop *loop, const struct settings *settings)
{
    writer.loop = loop;
    writer.settings = settings;
    writer.flush.run = on_flush;
}

void
say_set_core(pid_t core)
{
    writer.core = core;
}

void
say_set_worker(unsigned rank, pid_t pid)
{
    assert(rank < RANKS_MAX);
    writer.workers[rank] = pid;
    writer.worker_count = MAX(writer.worker_count, rank + 1);
}

/* A log that cannot be written is no reason to end. */
void
say_flush(void)
{
    const char *p = writer.lines.data, *end = p + writer.lines.len;
    while (p < end) {
        ssize_t n = write(STDOUT_FILENO, p, (size_t)(end - p));
        if (n < 0 && errno != EINTR)
            break;
        p += MAX(n, 0);
    }
    buf_clear(&writer.lines);
}

/* From 0.10 on every line names its process, and from 0.20 on there is one name for the core. */
static void
add_name(enum say_who who, unsigned rank)
{
    unsigned release = writer.settings ? writer.settings->release : 0;
    if (who == SAY_BARE || release < 10)
        return;
    if (who == SAY_API)
        buf_printf(&writer.lines, "(APIServer pid=%d) ", getpid());
    else if (who == SAY_WORKERS && writer.worker_count)
        buf_printf(&writer.lines, "(Worker_TP%u pid=%d) ", rank, writer.workers[rank]);
    else
        buf_printf(&writer.lines, "(EngineCore%s pid=%d) ", release < 20 ? "_DP0" : "",
                   writer.core);
}

static void
add_stamp(enum say_level level, const char *place)
{
    static const char *const levels[] = {"INFO", "WARNING", "ERROR"};
    time_t now = time(NULL);
    struct tm tm;
    char text[24];
    if (level == SAY_PLAIN || !localtime_r(&now, &tm))
        return;
    if (strftime(text, sizeof(text), "%m-%d %H:%M:%S", &tm))
        buf_printf(&writer.lines, "%s %s [%s] ", levels[level], text, place);
}

static void add_line(enum say_who who, unsigned rank, enum say_level level, const char *place,
                     const char *fmt, va_list args) printf_like(5, 0);

static void
add_line(enum say_who who, unsigned rank, enum say_level level, const char *place, const char *fmt,
         va_list args)
{
    add_name(who, rank);
    add_stamp(level, place);
    buf_vprintf(&writer.lines, fmt, args);
    buf_add_char(&writer.lines, '\n');
    if (writer.loop)
        loop_defer(writer.loop, &writer.flush);
    else
        say_flush();
}

void
say(enum say_who who, enum say_level level, const char *place, const char *fmt, ...)
{
    unsigned ranks = who == SAY_WORKERS ? MAX(writer.worker_count, 1) : 1;
    for (unsigned rank = 0; rank < ranks; rank++) {
        va_list args;
        va_start(args, fmt);
        add_line(who, rank, level, place, fmt, args);
        va_end(args);
    }
}

void
say_worker(unsigned rank, enum say_level level, const char *place, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add_line(SAY_WORKERS, rank, level, place, fmt, args);
    va_end(args);
}
