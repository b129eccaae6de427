#include "service/service.h"

#include "fmt/json.h"

#include <stdio.h>
#include <string.h>

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
    print_log(s, w);
}

static void
take_text(char *to, size_t room, const struct value *v)
{
    const char *text = value_str(v);
    text_make_safe(to, room, snprintf(to, room, "%s", text ? text : ""));
}

static unsigned
take_unsigned(const struct value *v)
{
    uint64_t n = 0;
    return value_u64(v, &n) && n <= UINT32_MAX ? (unsigned)n : 0;
}

static void
read_log(const struct value *v, struct service_status *s)
{
    uint64_t n = 0;
    take_text(s->log_path, sizeof(s->log_path), value_get(v, "path"));
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
    take_text(s.name, sizeof(s.name), value_get(v, "name"));
    if (s.state == SERVICE_STATE_COUNT || !text_is_name(s.name) ||
        !value_u64(value_get(v, "since_us"), &s.since_us))
        return false;
    (void)value_u64(value_get(v, "next_us"), &s.next_us);
    take_text(s.kind, sizeof(s.kind), value_get(v, "kind"));
    take_text(s.address, sizeof(s.address), value_get(v, "address"));
    take_text(s.status, sizeof(s.status), value_get(v, "status"));
    take_text(s.reason, sizeof(s.reason), value_get(v, "reason"));
    s.pid = take_unsigned(value_get(v, "pid"));
    s.restarts = take_unsigned(value_get(v, "restarts"));
    s.failures = take_unsigned(value_get(v, "failures"));
    if (value_u64(value_get(v, "last_exit"), &n) && n <= 255)
        s.last_exit = (int)n;
    read_log(value_get(v, "log"), &s);
    *ret_status = s;
    return true;
}
