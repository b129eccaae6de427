#include "doctor/doctor_int.h"

#include "base/text.h"
#include "fmt/json.h"
#include "plan/plan.h"
#include "run/look.h"
#include "run/wish.h"
#include "sys/command.h"
#include "sys/loop.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ARENA_MAX (8 * MIB)
#define SENTENCE_MAX 1024

enum { OPTIONAL = false, REQUIRED = true };

const struct doctor_check doctor_checks[] = {
#define CHECK(id, group, need, function, help) {id, DOCTOR_##group, need, help},
#include "doctor/doctor.def"
    {.id = NULL},
};

static void (*const functions[])(struct doctor *) = {
#define CHECK(id, group, need, function, help) doctor_check_##function,
#include "doctor/doctor.def"
};

const char *
doctor_group_title(enum doctor_group group)
{
    static const char *const titles[] = {
#define GROUP(name, title) title,
#include "doctor/doctor.def"
    };
    return titles[group];
}

const char *
doctor_verdict_word(enum doctor_verdict verdict)
{
    static const char *const words[] = {
        [DOCTOR_HOLDS] = "ok",
        [DOCTOR_FAILS] = "failed",
        [DOCTOR_UNKNOWN] = "unknown",
        [DOCTOR_NOT_NEEDED] = "not-needed",
    };
    return words[verdict];
}

/* ---- findings ---- */

void
doctor_add_as(struct doctor *d, bool required, const char *subject, enum doctor_verdict verdict,
              const char *remedy, const char *found)
{
    struct doctor_report *report = d->report;
    const struct doctor_finding finding = {
        .check = d->check,
        .subject = arena_strdup(&report->arena, subject),
        .verdict = verdict,
        .required = required,
        .found = arena_strdup(&report->arena, found),
        .remedy = arena_strdup(&report->arena, remedy),
    };
    if (report->arena.full || report->count == DOCTOR_FINDINGS_MAX)
        report->untold++;
    else
        report->items[report->count++] = finding;
}

void
doctor_add(struct doctor *d, const char *subject, enum doctor_verdict verdict, const char *remedy,
           const char *fmt, ...)
{
    char found[SENTENCE_MAX];
    va_list args;
    va_start(args, fmt);
    text_make_safe(found, sizeof(found), vsnprintf(found, sizeof(found), fmt, args));
    va_end(args);
    doctor_add_as(d, d->check->required, subject, verdict, remedy, found);
}

void
doctor_add_err(struct doctor *d, const char *subject, const struct err *err)
{
    doctor_add_as(d, d->check->required, subject, DOCTOR_FAILS, err->fix, err->what);
}

const char *
doctor_text(struct doctor *d, const char *fmt, ...)
{
    char text[SENTENCE_MAX];
    va_list args;
    va_start(args, fmt);
    text_make_safe(text, sizeof(text), vsnprintf(text, sizeof(text), fmt, args));
    va_end(args);
    const char *kept = arena_strdup(&d->report->arena, text);
    return kept ? kept : "";
}

const char *
doctor_ask(const char *const *argv, char answer[DOCTOR_ANSWER_MAX])
{
    _cleanup_buf_ struct buf out = BUF_INIT(DOCTOR_ANSWER_MAX - 1), words = BUF_INIT(KIB);
    const struct command command = {
        .argv = argv, .in = -1, .limit_us = DOCTOR_TOOL_US, .out = &out, .words = &words};
    struct proc_end end;
    int r = command_run(&command, &end, NULL);
    bool said = r == 0 && !end.killed && end.status == 0;
    (void)snprintf(answer, DOCTOR_ANSWER_MAX, "%s", said ? out.data : "");
    return answer;
}

size_t
doctor_count_engine(const struct config *config, enum config_engine engine)
{
    size_t count = 0;
    for (size_t i = 0; i < config->models.count; i++)
        count += config->models.items[i].enabled && config->models.items[i].engine == engine;
    return count;
}

/* ---- all of it ---- */

struct looking {
    struct look look;
    struct loop *loop;
    struct doctor *doctor;
};

static void
run_checks(struct doctor *d)
{
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        d->check = &doctor_checks[i];
        functions[i](d);
    }
}

static void
on_looked(struct look *look, const struct gpu_inventory *inventory, const struct err *err)
{
    struct looking *l = container_of(look, struct looking, look);
    l->doctor->inventory = inventory;
    l->doctor->driver_err = err;
    run_checks(l->doctor); /* now: the inventory ends with this call */
    loop_stop(l->loop);
}

int
doctor_run(const struct config *config, struct doctor_report *ret_report, struct err *reterr)
{
    struct doctor d = {.config = config, .report = ret_report, .fake_driver = run_driver_is_fake()};
    struct looking l = {.look = LOOK_INIT, .doctor = &d};
    *ret_report = (struct doctor_report){0};
    arena_init(&ret_report->arena, ARENA_MAX);
    ret_report->items =
        arena_alloc(&ret_report->arena, DOCTOR_FINDINGS_MAX * sizeof(*ret_report->items));
    if (!ret_report->items)
        return err_set(reterr, ERR_TOO_LARGE, "there is no room for the findings");
    int r = loop_new(&l.loop, reterr);
    if (r < 0)
        return r;
    l.look.done = on_looked;
    r = look_start(l.loop, &l.look, reterr);
    if (r == 0)
        loop_run(l.loop);
    loop_free(l.loop);
    return r;
}

void
doctor_report_finish(struct doctor_report *report)
{
    arena_finish(&report->arena);
}

size_t
doctor_count_wrong(const struct doctor_report *report, bool required)
{
    size_t count = 0;
    for (size_t i = 0; i < report->count; i++) {
        const struct doctor_finding *f = &report->items[i];
        bool holds = f->verdict == DOCTOR_HOLDS || f->verdict == DOCTOR_NOT_NEEDED;
        count += f->required == required && !holds;
    }
    return count + (required ? report->untold : 0);
}

void
doctor_print_json(const struct doctor_report *report, struct json_writer *w)
{
    json_open_map(w, NULL);
    json_bool(w, "ok", doctor_count_wrong(report, true) == 0);
    json_u64(w, "required_wrong", doctor_count_wrong(report, true));
    json_u64(w, "optional_wrong", doctor_count_wrong(report, false));
    json_u64(w, "untold", report->untold);
    json_open_list(w, "findings");
    for (size_t i = 0; i < report->count; i++) {
        const struct doctor_finding *f = &report->items[i];
        json_open_map(w, NULL);
        json_str(w, "check", f->check->id);
        json_str(w, "group", doctor_group_title(f->check->group));
        json_str(w, "subject", f->subject);
        json_bool(w, "required", f->required);
        json_str(w, "verdict", doctor_verdict_word(f->verdict));
        json_str(w, "found", f->found);
        json_str(w, "remedy", f->remedy);
        json_close_map(w);
    }
    json_close_list(w);
    json_close_map(w);
}
