#include "base/text.h"
#include "unit/unit_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (64 * KIB) /* of one file */

struct maker {
    const struct unit_input *in;
    struct arena *arena;
    struct buf text;
    struct unit_file *files;
    size_t count, room;
    struct err err;
};

/* ---- which files ---- */

static const struct config_schedule hourly = {.kind = CONFIG_SCHEDULE_EVERY, .minutes = 60};

size_t
unit_jobs(const struct config *c, struct unit_job *jobs, size_t room)
{
    size_t count = 0;
    const struct {
        bool wanted;
        struct unit_job job;
    } all[] = {
#define JOB(name, kind, words, condition, schedule, what) \
    {(condition), {name, UNIT_##kind, words, &(schedule), 1, what}},
#define JOBS(name, kind, words, condition, schedules, what) \
    {(condition), {name, UNIT_##kind, words, (schedules).items, (schedules).count, what}},
#include "unit/job.def"
    };
    for (size_t i = 0; i < ARRAY_SIZE(all) && count < room; i++) {
        bool due = false;
        for (size_t n = 0; n < all[i].job.schedule_count; n++)
            due |= all[i].job.schedules[n].kind != CONFIG_SCHEDULE_NEVER;
        if (all[i].wanted && due)
            jobs[count++] = all[i].job;
    }
    return count;
}

static struct unit_draft
draft(struct maker *m, unsigned kind, const char *name, const char *what)
{
    buf_clear(&m->text);
    return (struct unit_draft){.in = m->in,
                               .config = m->in->config,
                               .kind = kind,
                               .name = name,
                               .what = what,
                               .out = &m->text,
                               .err = &m->err};
}

static void
keep(struct maker *m, const char *name)
{
    char *text = arena_strndup(m->arena, m->text.data, m->text.len);
    if (buf_error(&m->text) < 0 && m->err.id == ERR_NONE)
        (void)err_set(&m->err, ERR_TOO_LARGE, "%s is larger than %llu bytes", name,
                      (unsigned long long)TEXT_MAX);
    assert(m->count < m->room);
    m->files[m->count++] = (struct unit_file){name, text ? text : ""};
}

static void
add(struct maker *m, struct unit_draft *d, const char *suffix)
{
    unit_print(d);
    char *name = arena_printf(m->arena, "citadel-%s.%s", d->name, suffix);
    keep(m, name ? name : "");
}

static void
add_service(struct maker *m, unsigned kind, const char *name, const char *words, const char *what)
{
    struct unit_draft d = draft(m, kind, name, what);
    d.words = words;
    add(m, &d, "service");
}

static void
add_model(struct maker *m, const struct config_model *model, const struct plan_model *planned)
{
    struct unit_draft d =
        draft(m, UNIT_MODEL, model->name, arena_printf(m->arena, "the model %s", model->name));
    d.words = "run";
    d.model = model;
    d.planned = planned;
    add(m, &d, "service");
}

static void
add_job(struct maker *m, const struct unit_job *job)
{
    struct unit_draft timer = draft(m, UNIT_TIMER, job->name, job->what);
    timer.job = job;
    add(m, &timer, "timer");
    struct unit_draft service = draft(m, job->kind, job->name, job->what);
    service.job = job;
    service.words = job->words;
    add(m, &service, "service");
}

/* ---- files for the host, which are no units ---- */

static void
add_host(struct maker *m, const char *name, void (*print)(struct unit_draft *d))
{
    struct unit_draft d = draft(m, UNIT_TARGET, name, "");
    print(&d);
    keep(m, name);
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct unit_file *)a)->name, ((const struct unit_file *)b)->name);
}

static void
add_all(struct maker *m, const struct unit_job *jobs, size_t job_count)
{
    const struct config *c = m->in->config;
    add_service(m, UNIT_STORAGE, "storage", "storage setup", "storage");
    add_service(m, UNIT_GPU, "gpu", "gpu optimize", "settings of the GPUs");
    if (c->gateway.enabled) {
        struct unit_draft d = draft(m, UNIT_SOCKET, "gateway", "the port of the gateway");
        add(m, &d, "socket");
        add_service(m, UNIT_GATEWAY, "gateway", "gateway", "the gateway");
    }
    if (c->monitor.enabled)
        add_service(m, UNIT_MONITOR, "monitor", "monitor", "the monitor");
    for (size_t i = 0; i < c->models.count; i++) {
        const struct config_model *model = &c->models.items[i];
        const struct plan_model *planned = plan_find_model(m->in->plan, model->name);
        if (planned && plan_fate_is_possible(planned->fate))
            add_model(m, model, planned);
    }
    struct unit_draft models = draft(m, UNIT_TARGET, "models", "the models");
    add(m, &models, "target");
    for (size_t i = 0; i < job_count; i++)
        add_job(m, &jobs[i]);
    add_host(m, "citadel.rules", unit_print_polkit);
    add_host(m, "citadel.sysusers", unit_print_sysusers);
    add_host(m, "citadel.tmpfiles", unit_print_tmpfiles);
    qsort(m->files, m->count, sizeof(*m->files), by_name);
}

int
unit_render(const struct unit_input *input, struct arena *arena, struct unit_set *ret_set,
            struct err *reterr)
{
    struct unit_job jobs[UNIT_JOBS_MAX];
    size_t job_count = unit_jobs(input->config, jobs, UNIT_JOBS_MAX);
    /* storage, gpu, gateway (2), monitor, models, and three for the host */
    size_t room = 9 + input->config->models.count + 2 * job_count;
    struct maker m = {.in = input, .arena = arena, .room = room, .text = BUF_INIT(TEXT_MAX)};
    m.files = arena_alloc(arena, room * sizeof(*m.files));
    if (m.files)
        add_all(&m, jobs, job_count);
    buf_finish(&m.text);
    if (arena->full)
        return err_set(reterr, ERR_TOO_LARGE, "there are too many units");
    if (m.err.id != ERR_NONE) {
        if (reterr)
            *reterr = m.err;
        return -err_row(m.err.id)->err;
    }
    *ret_set = (struct unit_set){m.files, m.count};
    return 0;
}

bool
unit_is_ours(const char *name)
{
    static const char *const ends[] = {".service", ".socket", ".target", ".timer"};
    if (strlen(name) >= UNIT_NAME_BYTES || !text_starts(name, "citadel-") ||
        name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-")])
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (text_ends(name, ends[i]))
            return true;
    return false;
}

const struct unit_file *
unit_find(const struct unit_set *set, const char *name)
{
    char service[TEXT_NAME_MAX + sizeof("citadel-.service")];
    (void)snprintf(service, sizeof(service), "citadel-%.*s.service", TEXT_NAME_MAX, name);
    for (size_t i = 0; i < set->count; i++)
        if (text_eq(set->files[i].name, name) || text_eq(set->files[i].name, service))
            return &set->files[i];
    return NULL;
}

/* ---- read again ---- */

static bool
has_line(const char *text, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = strstr(text, line); at; at = strstr(at + 1, line))
        if ((at == text || at[-1] == '\n') && (at[len] == '\n' || line[len - 1] == '='))
            return true;
    return false;
}

enum unit_care
unit_care_of(const char *text)
{
    if (has_line(text, "Slice=citadel-models.slice"))
        return UNIT_CARE_STOP_FIRST;
    if (has_line(text, "Type=oneshot"))
        return has_line(text, "RemainAfterExit=yes") ? UNIT_CARE_RELOAD : UNIT_CARE_NONE;
    bool acts =
        has_line(text, "[Service]") || has_line(text, "[Socket]") || has_line(text, "[Timer]");
    return acts ? UNIT_CARE_RESTART : UNIT_CARE_NONE;
}

/* The value of a line that begins with the directive; its length. */
static const char *
find_value(const char *text, const char *directive, size_t *ret_len)
{
    size_t len = strlen(directive);
    for (const char *at = strstr(text, directive); at; at = strstr(at + 1, directive))
        if ((at == text || at[-1] == '\n') && at[len] == '=') {
            *ret_len = strcspn(at + len + 1, "\n");
            return at + len + 1;
        }
    *ret_len = 0;
    return NULL;
}

void
unit_value_of(const char *text, const char *directive, char *ret, size_t room)
{
    size_t len;
    const char *value = find_value(text, directive, &len);
    (void)snprintf(ret, room, "%.*s", (int)len, value ? value : "");
}

/* Where what it does ends, and what starts it begins: the last section. */
static const char *
find_install(const char *text)
{
    const char *install = strstr(text, "\n[Install]\n");
    const char *end = install ? install : text + strlen(text);
    while (end > text && end[-1] == '\n')
        end--;
    return end;
}

static bool
is_same(const char *a, const char *a_end, const char *b, const char *b_end)
{
    return a_end - a == b_end - b && memcmp(a, b, (size_t)(a_end - a)) == 0;
}

enum unit_difference
unit_compare(const char *from, const char *to)
{
    size_t from_len, to_len;
    const char *from_end = find_install(from), *to_end = find_install(to);
    const char *a = find_value(from, UNIT_LIVE, &from_len), *b = find_value(to, UNIT_LIVE, &to_len);
    if (text_eq(from, to))
        return UNIT_DIFFERS_NOT;
    if (is_same(from, from_end, to, to_end))
        return UNIT_DIFFERS_AT_BOOT;
    return a && b && is_same(from, a, to, b) && is_same(a + from_len, from_end, b + to_len, to_end)
               ? UNIT_DIFFERS_LIVE
               : UNIT_DIFFERS;
}

bool
unit_is_wanted(const char *text)
{
    return has_line(text, "WantedBy=");
}

bool
unit_has_gpus(const char *text)
{
    return has_line(text, "DeviceAllow=/dev/nvidiactl rw");
}
