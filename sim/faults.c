#include "sim/faults.h"

#include "base/buf.h"
#include "base/quantity.h"
#include "base/text.h"
#include "fmt/json.h"

#include <stdio.h>
#include <string.h>

enum each { START, ONCE, STATE, REQUEST };

static const struct row {
    const char *name;
    enum fault_phase phase;
    enum each each;
    const char *help;
} rows[FAULT_COUNT] = {
#define FAULT(id, name, when, each, help) [FAULT_##id] = {name, PHASE_##when, each, help},
#include "sim/faults.def"
#undef FAULT
};

static_assert(FAULT_COUNT <= 64, "faults are bits of a word");

static const char *const phases[] = {
#define PHASE(name, text) [PHASE_##name] = text,
    FAULT_PHASES(PHASE)
#undef PHASE
};

static void on_timer(struct loop_timer *timer);

void
faults_init(struct faults *f)
{
    *f = (struct faults){.timer.expired = on_timer};
}

void
faults_finish(struct faults *f)
{
    loop_timer_stop(&f->timer);
}

/* ---- words ---- */

static const char *
candidate(size_t i, const void *arg unused_arg)
{
    return i < FAULT_COUNT ? rows[i].name : NULL;
}

static int
parse_name(const char *name, struct fault_wish *wish, struct err *reterr)
{
    for (size_t i = 0; i < FAULT_COUNT; i++)
        if (text_eq(rows[i].name, name)) {
            wish->fault = (enum fault)i;
            wish->phase = rows[i].phase;
            return 0;
        }
    int r = err_set(reterr, ERR_USAGE, "there is no fault '%s'", name);
    const char *near = text_nearest(name, candidate, NULL);
    if (near)
        err_fix(reterr, "'%s' is meant?", near);
    return r;
}

static int
parse_when(const char *when, struct fault_wish *wish, struct err *reterr)
{
    if (text_starts(when, "request:")) {
        wish->moment = AT_REQUEST;
        if (quantity_parse_u64(when + strlen("request:"), &wish->request, NULL) == 0)
            return 0;
    } else if (text_starts(when, "after:")) {
        wish->moment = AT_TIME;
        if (quantity_parse_us(when + strlen("after:"), &wish->after_us, NULL) == 0)
            return 0;
    }
    for (size_t i = 0; i < PHASE_COUNT; i++)
        if (text_eq(phases[i], when)) {
            wish->phase = (enum fault_phase)i;
            return 0;
        }
    int r = err_set(reterr, ERR_USAGE, "'%s' is no moment for a fault", when);
    err_fix(reterr, "starting, loading, ready, sleeping, draining, request:N or after:TIME");
    return r;
}

int
fault_parse(const char *text, struct fault_wish *ret, struct err *reterr)
{
    char name[64], when[64] = "";
    size_t name_len = strcspn(text, "@*");
    const char *rest = text + name_len;
    *ret = (struct fault_wish){0};
    (void)snprintf(name, sizeof(name), "%.*s", (int)MIN(name_len, sizeof(name)), text);
    int r = parse_name(name, ret, reterr);
    if (r == 0 && *rest == '@') {
        size_t len = strcspn(++rest, "*");
        (void)snprintf(when, sizeof(when), "%.*s", (int)MIN(len, sizeof(when)), rest);
        rest += len;
        r = parse_when(when, ret, reterr);
    }
    if (r == 0 && *rest == '*' &&
        (quantity_parse_u64(rest + 1, &ret->times, NULL) < 0 || ret->times == 0))
        r = err_set(reterr, ERR_USAGE, "'%s' is no number of times", rest + 1);
    if (r == 0 && rows[ret->fault].each == START && *when && !text_eq(when, "starting") &&
        !text_eq(when, "loading"))
        r = err_set(reterr, ERR_USAGE, "%s happens while the engine starts, not '%s'", name, when);
    return r;
}

/* ---- moments ---- */

static void
begin(struct faults *f, const struct fault_wish *wish)
{
    if (rows[wish->fault].each == ONCE) {
        f->strike(f, wish->fault);
        return;
    }
    bool held = faults_hold(f, wish->fault);
    f->holding |= UINT64_C(1) << wish->fault;
    f->left[wish->fault] = wish->times;
    if (rows[wish->fault].each == STATE && !held)
        f->strike(f, wish->fault);
}

static bool
is_due(const struct faults *f, const struct fault_wish *wish, uint64_t now_us)
{
    switch (wish->moment) {
    case AT_PHASE:
        return wish->phase == PHASE_SLEEPING ? f->phase == PHASE_SLEEPING : wish->phase <= f->phase;
    case AT_REQUEST:
        return f->requests >= wish->request;
    case AT_TIME:
        return f->ready_us && now_us - f->ready_us >= wish->after_us;
    }
    return false;
}

static void
set_timer(struct faults *f, uint64_t now_us)
{
    uint64_t first_us = UINT64_MAX;
    for (const struct fault_wish *w = f->wishes; w < f->wishes + f->wish_count; w++)
        if (w->moment == AT_TIME && f->ready_us)
            first_us = MIN(first_us, f->ready_us + w->after_us);
    if (first_us != UINT64_MAX)
        loop_timer_start(f->loop, &f->timer, first_us > now_us ? first_us - now_us : 0, 0);
}

/* A fault that strikes may end the process; it is off the list by then. */
void
faults_look(struct faults *f)
{
    uint64_t now_us = f->loop ? loop_now_us(f->loop) : 0;
    for (size_t i = 0; i < f->wish_count;) {
        struct fault_wish wish = f->wishes[i];
        if (!is_due(f, &wish, now_us)) {
            i++;
            continue;
        }
        f->wishes[i] = f->wishes[--f->wish_count];
        begin(f, &wish);
    }
    if (f->loop)
        set_timer(f, now_us);
}

static void
on_timer(struct loop_timer *timer)
{
    faults_look(container_of(timer, struct faults, timer));
}

int
faults_add(struct faults *f, const struct fault_wish *wish, struct err *reterr)
{
    if (f->wish_count == FAULTS_MAX)
        return err_set(reterr, ERR_USAGE, "more than %d faults", FAULTS_MAX);
    f->wishes[f->wish_count++] = *wish;
    return 0;
}

void
faults_clear(struct faults *f)
{
    f->holding = 0;
    f->wish_count = 0;
    loop_timer_stop(&f->timer);
}

void
faults_enter(struct faults *f, struct loop *loop, enum fault_phase phase)
{
    f->loop = loop;
    f->phase = phase;
    if (phase == PHASE_READY && !f->ready_us)
        f->ready_us = loop_now_us(loop);
    faults_look(f);
}

void
faults_count_request(struct faults *f)
{
    f->requests++;
    if (f->wish_count)
        faults_look(f);
}

bool
faults_take(struct faults *f, enum fault fault)
{
    if (!faults_hold(f, fault))
        return false;
    if (f->left[fault] && --f->left[fault] == 0)
        f->holding &= ~(UINT64_C(1) << fault);
    return true;
}

/* ---- telling ---- */

void
faults_print(const struct faults *f, struct json_writer *w)
{
    json_open_list(w, "holding");
    for (size_t i = 0; i < FAULT_COUNT; i++)
        if (faults_hold(f, (enum fault)i))
            json_str(w, NULL, rows[i].name);
    json_close_list(w);
    json_open_list(w, "to_come");
    for (size_t i = 0; i < f->wish_count; i++)
        json_str(w, NULL, rows[f->wishes[i].fault].name);
    json_close_list(w);
}

void
faults_help(struct buf *out)
{
    buf_add_str(out,
                "Faults, and when they happen unless @WHEN says otherwise (a phase: starting,\n"
                "loading, ready, sleeping, draining; or request:N, or after:TIME):\n");
    for (size_t i = 0; i < FAULT_COUNT; i++)
        buf_printf(out, "  %s (%s)\n        %s\n", rows[i].name, phases[rows[i].phase],
                   rows[i].help);
}
