#pragma once

/* The log, as a release of vLLM writes it: who speaks (the API server, the engine's core, a worker),
 * the level, the time and the place in the source. Lines of one pass of the loop are written
 * together; say_flush() writes them now. */

#include "base/util.h"

#include <stdarg.h>
#include <sys/types.h>

struct loop;
struct settings;

enum say_who {
    SAY_BARE,    /* nobody in particular: before there are several processes */
    SAY_API,     /* the process that serves HTTP */
    SAY_CORE,    /* VLLM::EngineCore */
    SAY_WORKERS, /* the worker of each GPU: with one GPU, the core itself */
};

enum say_level { SAY_INFO, SAY_WARNING, SAY_ERROR, SAY_PLAIN /* no level, no time, no place */ };

void say_init(struct loop *loop, const struct settings *settings);
void say_set_core(pid_t core);
void say_set_worker(unsigned rank, pid_t pid); /* with several GPUs */

/* place: "file.py:123"; ignored for SAY_PLAIN. */
void say(enum say_who who, enum say_level level, const char *place, const char *fmt, ...)
    printf_like(4, 5);
/* One worker alone. */
void say_worker(unsigned rank, enum say_level level, const char *place, const char *fmt, ...)
    printf_like(4, 5);

void say_flush(void);
