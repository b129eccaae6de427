#pragma once

/* A service: something that is kept running, whoever does that. */

#include "base/budget.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/text.h"
#include "base/vec.h"

#include <limits.h>

struct buf;
struct config;
struct json_writer;
struct secret_use;
struct value;

/* STATE(NAME, "word", settled, "what it means"); settled: nothing will happen by itself */
#define SERVICE_STATES(STATE)                                                     \
    STATE(STOPPED, "stopped", true, "it was not started, or was stopped")         \
    STATE(WAITING, "waiting", false, "what it needs is not ready yet")            \
    STATE(STARTING, "starting", false, "it has not said that it is ready")        \
    STATE(READY, "ready", true, "it works")                                       \
    STATE(STOPPING, "stopping", false, "it was told to end")                      \
    STATE(BACKING_OFF, "backing-off", false, "it failed, and is tried again")     \
    STATE(NOT_NOW, "not-now", false, "what it lacks may come; it is tried again") \
    STATE(FAILED, "failed", true, "it is not tried again by itself")

enum service_state {
#define STATE(name, word, settled, help) SERVICE_##name,
    SERVICE_STATES(STATE)
#undef STATE
        SERVICE_STATE_COUNT
};
const char *service_state_word(enum service_state state);
bool service_state_is_settled(enum service_state state);

/* Until one is tried again that could not be started now, after so many other times in a row. */
uint64_t service_not_now_delay(unsigned times);

#define SERVICE_AFTER_MAX 16

struct service {
    const char *name;
    const char *kind;    /* "model" */
    const char *address; /* "127.0.0.1:11400"; NULL: none */
    const char *const *argv;
    const char *log_path;
    bool wanted;                          /* from the beginning; else once a person starts it */
    const char *after[SERVICE_AFTER_MAX]; /* ready before it starts, and stopped after it */
    size_t after_count;
    bool
        dispensable; /* who comes after it waits for its start, and starts without it if that fails */
    uint64_t stop_us;     /* from being told to end to being killed */
    uint64_t watchdog_us; /* 0: none */
    struct budget budget;
    const struct secret_use *secrets; /* that it is given when it starts */
    size_t secret_count;
    const char *at_start, *live; /* what it reads, as numbers: config/diff.h; NULL: nothing */
    const char *engine;          /* what it is started with: plan_engine_print(); NULL: nothing */
};

/* From where a supervisor has what it runs. */
struct service_source {
    unsigned generation;          /* 0: of none */
    char file[PATH_MAX];          /* that was read; "": there is none, and nothing runs */
    char digest[HASH_SHA256_HEX]; /* of its bytes */
};
void service_source_print(const struct service_source *source, struct json_writer *w);
void service_source_read(const struct value *v, struct service_source *ret_source);

#define SERVICE_NUMBER_MAX 40
#define SERVICE_ENGINE_MAX (PATH_MAX + 64)
#define SERVICE_MONITOR "monitor"
#define SERVICE_MONITOR_SOCKET "monitor/control.sock" /* below the run directory */
#define SERVICE_GATEWAY "gateway"
#define SERVICE_GATEWAY_SOCKET "gateway/control.sock"

/* What is told of one. */
struct service_status {
    char name[TEXT_NAME_MAX + 1];
    char kind[16];
    char address[128];
    enum service_state state;
    uint64_t since_us; /* since 1970 */
    uint64_t next_us;  /* of BACKING_OFF and NOT_NOW: when it is tried again, since 1970 */
    char status[256];  /* as it says itself */
    char reason[512];  /* why it is not as it should be */
    unsigned pid, restarts, failures;
    int last_exit; /* -1: none yet; 128 + a signal */
    char log_path[PATH_MAX];
    uint64_t log_lost_lines, log_lost_bytes; /* since it is supervised */
    int log_errno;                           /* why its log cannot be written now; 0: it can */
    /* Of our own supervisor: as struct service has them, of what runs and of what it would start as. */
    char at_start[SERVICE_NUMBER_MAX], live[SERVICE_NUMBER_MAX], engine[SERVICE_ENGINE_MAX];
};

/* ERR_SERVICE_NONE: nothing can be called so. Before a name becomes a part of a path or a URL. */
int service_check_spelling(const char *name, struct err *reterr) must_check;

/* The members of a map that the caller opens and closes. */
void service_status_print(const struct service_status *status, struct json_writer *w);
bool service_status_read(const struct value *v, struct service_status *ret_status);
