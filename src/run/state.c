#include "run/state.h"

#include "fmt/json.h"

#include <stdio.h>
#include <string.h>

#define ARENA_MAX (256 * KIB)

static const struct {
    const char *word;
    bool healthy;
} phases[] = {
#define PHASE(name, word, healthy, help) [RUN_##name] = {word, healthy},
    RUN_PHASES(PHASE)
#undef PHASE
};

const char *
run_phase_word(enum run_phase phase)
{
    return phases[phase].word;
}

bool
run_phase_is_healthy(enum run_phase phase)
{
    return phases[phase].healthy;
}

static void
print_engine(struct json_writer *w, const struct run_state *s)
{
    json_open_map(w, "engine");
    json_str(w, "kind", s->engine);
    json_str(w, "version", s->version[0] ? s->version : NULL);
    json_u64(w, "pid", s->pid);
    json_str(w, "address", s->address);
    json_str(w, "model", s->model);
    json_close_map(w);
}

void
run_state_print(const struct run_state *s, struct buf *out)
{
    struct json_writer w;
    json_init(&w, out, false);
    json_open_map(&w, NULL);
    json_str(&w, "name", s->name);
    json_str(&w, "phase", phases[s->phase].word);
    json_u64(&w, "since_us", s->since_us);
    json_str(&w, "status", s->status);
    if (s->why.id != ERR_NONE) {
        json_open_map(&w, "why");
        json_str(&w, "id", err_row(s->why.id)->name);
        json_str(&w, "what", s->why.what);
        json_str(&w, "fix", s->why.fix[0] ? s->why.fix : NULL);
        json_close_map(&w);
    }
    print_engine(&w, s);
    json_u64(&w, "sleep_level", s->sleep_level);
    json_u64(&w, "failures", s->failures);
    json_u64(&w, "slots", s->slots);
    json_real(&w, "running", s->running);
    json_real(&w, "waiting", s->waiting);
    json_real(&w, "kv_usage", s->kv_usage);
    json_open_list(&w, "gpus");
    for (size_t i = 0; i < s->gpu_count; i++)
        json_u64(&w, NULL, s->gpus[i]);
    json_close_list(&w);
    json_close_map(&w);
    buf_add_char(out, '\n');
}

/* ---- reading ---- */

static double
take_real(const struct value *v)
{
    double n = 0;
    return value_real(v, &n) && n >= 0 ? n : 0;
}

static bool
read_phase(const struct value *v, enum run_phase *ret_phase)
{
    const char *word = value_str(v);
    for (unsigned i = 0; word && i < RUN_PHASE_COUNT; i++)
        if (text_eq(word, phases[i].word)) {
            *ret_phase = (enum run_phase)i;
            return true;
        }
    return false;
}

static void
read_why(const struct value *v, struct err *why)
{
    if (!v)
        return;
    why->id = err_find(value_str(value_get(v, "id")));
    if (why->id == ERR_NONE)
        why->id = ERR_SYSTEM;
    value_copy_str(value_get(v, "what"), why->what, sizeof(why->what));
    value_copy_str(value_get(v, "fix"), why->fix, sizeof(why->fix));
}

static void
read_engine(const struct value *v, struct run_state *s)
{
    value_copy_str(value_get(v, "kind"), s->engine, sizeof(s->engine));
    value_copy_str(value_get(v, "version"), s->version, sizeof(s->version));
    value_copy_str(value_get(v, "address"), s->address, sizeof(s->address));
    value_copy_str(value_get(v, "model"), s->model, sizeof(s->model));
    s->pid = value_u32(value_get(v, "pid"));
}

int
run_state_parse(const char *text, size_t len, struct run_state *ret_state, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct run_state s = {0};
    struct value *root;
    arena_init(&arena, ARENA_MAX);
    if (len > RUN_STATE_MAX)
        return err_set(reterr, ERR_TOO_LARGE, "the state of a model is larger than %d bytes",
                       (int)RUN_STATE_MAX);
    int r = json_parse(&arena, text, len, JSON_STRICT, &root, NULL, reterr);
    if (r < 0)
        return r;
    value_copy_str(value_get(root, "name"), s.name, sizeof(s.name));
    if (!text_is_name(s.name) || !read_phase(value_get(root, "phase"), &s.phase) ||
        !value_u64(value_get(root, "since_us"), &s.since_us))
        return err_set(reterr, ERR_SYNTAX, "this is not the state of a model");
    value_copy_str(value_get(root, "status"), s.status, sizeof(s.status));
    read_why(value_get(root, "why"), &s.why);
    read_engine(value_get(root, "engine"), &s);
    s.sleep_level = value_u32(value_get(root, "sleep_level"));
    s.failures = value_u32(value_get(root, "failures"));
    s.slots = value_u32(value_get(root, "slots"));
    s.running = take_real(value_get(root, "running"));
    s.waiting = take_real(value_get(root, "waiting"));
    s.kv_usage = take_real(value_get(root, "kv_usage"));
    const struct value *gpus = value_get(root, "gpus");
    for (const struct value *v = gpus && gpus->type == VALUE_LIST ? gpus->first : NULL;
         v && s.gpu_count < RUN_STATE_GPUS_MAX; v = v->next)
        s.gpus[s.gpu_count++] = value_u32(v);
    *ret_state = s;
    return 0;
}
