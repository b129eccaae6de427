#include "service/service.h"

#include "fmt/json.h"

#include <stdio.h>
#include <string.h>

#define NOT_NOW_US (30 * 1000000ULL) /* doubled up to the next line */
#define NOT_NOW_MAX_US (300 * 1000000ULL)

static const struct {
    const char *word;
    bool settled;
} states[] = {
#define STATE(name, word, settled, help) [SERVICE_##name] = {word, settled},
    SERVICE_STATES(STATE)
#undef STATE
};

const char *
service_state_word(enum service_state state)
{
    return states[state].word;
}

bool
service_state_is_settled(enum service_state state)
{
    return states[state].settled;
}

uint64_t
service_not_now_delay(unsigned times)
{
    uint64_t delay = NOT_NOW_US << MIN(times, 4u);
    return MIN(delay, NOT_NOW_MAX_US);
}

static void
print_log(const struct service_status *s, struct json_writer *w)
{
    json_open_map(w, "log");
    json_str(w, "path", s->log_path);
    json_u64(w, "lost_lines", s->log_lost_lines);
    json_u64(w, "lost_bytes", s->log_lost_bytes);
    if (s->log_errno) {
        json_i64(w, "errno", s->log_errno);
        json_str(w, "error", strerror(s->log_errno));
    }
    json_close_map(w);
}

int
service_check_spelling(const char *name, struct err *reterr)
{
    if (text_is_name(name))
        return 0;
    int r = err_set(reterr, ERR_SERVICE_NONE, "there is no service '%.80s%s'", name,
                    strlen(name) > 80 ? "..." : "");
    err_fix(reterr, "citadel status");
    return r;
}

void
service_status_print(const struct service_status *s, struct json_writer *w)
{
    json_str(w, "name", s->name);
    json_str(w, "kind", s->kind);
    json_str(w, "address", s->address[0] ? s->address : NULL);
    json_str(w, "state", states[s->state].word);
    json_u64(w, "since_us", s->since_us);
    if (s->next_us)
        json_u64(w, "next_us", s->next_us);
    json_str(w, "status", s->status);
    json_str(w, "reason", s->reason[0] ? s->reason : NULL);
    json_u64(w, "pid", s->pid);
    json_u64(w, "restarts", s->restarts);
    json_u64(w, "failures", s->failures);
    if (s->last_exit >= 0)
        json_i64(w, "last_exit", s->last_exit);
    if (s->at_start[0])
        json_str(w, "at_start", s->at_start);
    if (s->live[0])
        json_str(w, "live", s->live);
    if (s->engine[0])
        json_str(w, "engine", s->engine);
    print_log(s, w);
}

static void
read_log(const struct value *v, struct service_status *s)
{
    uint64_t n = 0;
    value_copy_str(value_get(v, "path"), s->log_path, sizeof(s->log_path));
    (void)value_u64(value_get(v, "lost_lines"), &s->log_lost_lines);
    (void)value_u64(value_get(v, "lost_bytes"), &s->log_lost_bytes);
    if (value_u64(value_get(v, "errno"), &n) && n < INT_MAX)
        s->log_errno = (int)n;
}

bool
service_status_read(const struct value *v, struct service_status *ret_status)
{
    struct service_status s = {.last_exit = -1, .state = SERVICE_STATE_COUNT};
    const char *word = value_str(value_get(v, "state"));
    uint64_t n;
    for (unsigned i = 0; word && i < SERVICE_STATE_COUNT; i++)
        if (text_eq(word, states[i].word))
            s.state = (enum service_state)i;
    value_copy_str(value_get(v, "name"), s.name, sizeof(s.name));
    if (s.state == SERVICE_STATE_COUNT || !text_is_name(s.name) ||
        !value_u64(value_get(v, "since_us"), &s.since_us))
        return false;
    (void)value_u64(value_get(v, "next_us"), &s.next_us);
    value_copy_str(value_get(v, "kind"), s.kind, sizeof(s.kind));
    value_copy_str(value_get(v, "address"), s.address, sizeof(s.address));
    value_copy_str(value_get(v, "status"), s.status, sizeof(s.status));
    value_copy_str(value_get(v, "reason"), s.reason, sizeof(s.reason));
    s.pid = value_u32(value_get(v, "pid"));
    s.restarts = value_u32(value_get(v, "restarts"));
    s.failures = value_u32(value_get(v, "failures"));
    if (value_u64(value_get(v, "last_exit"), &n) && n <= 255)
        s.last_exit = (int)n;
    value_copy_str(value_get(v, "at_start"), s.at_start, sizeof(s.at_start));
    value_copy_str(value_get(v, "live"), s.live, sizeof(s.live));
    value_copy_str(value_get(v, "engine"), s.engine, sizeof(s.engine));
    read_log(value_get(v, "log"), &s);
    *ret_status = s;
    return true;
}

void
service_source_print(const struct service_source *source, struct json_writer *w)
{
    json_open_map(w, "source");
    json_u64(w, "generation", source->generation);
    json_str(w, "file", source->file[0] ? source->file : NULL);
    json_str(w, "digest", source->digest);
    json_close_map(w);
}

void
service_source_read(const struct value *v, struct service_source *ret_source)
{
    ret_source->generation = value_u32(value_get(v, "generation"));
    value_copy_str(value_get(v, "file"), ret_source->file, sizeof(ret_source->file));
    value_copy_str(value_get(v, "digest"), ret_source->digest, sizeof(ret_source->digest));
}
