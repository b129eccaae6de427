#include "engine/progress.h"

#include "base/buf.h"
#include "base/text.h"
#include "match_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* More GPU memory than the contexts and displays of a machine hold: somebody else's model. */
#define OTHERS_GIB 1.0

enum verdict { MOVES, CONFIG, NOT_NOW, CRASHED, MEMORY, PORT };
enum when { START, EVER };

struct row {
    enum engine_dialect dialect;
    enum verdict verdict;
    enum engine_phase phase; /* of a step */
    int sure;
    enum when when;
    const char *pattern;
    const char *why, *fix;
};

#define IMPORTING ENGINE_IMPORTING
#define LOADING ENGINE_LOADING
#define COMPILING ENGINE_COMPILING
#define PROFILING ENGINE_PROFILING
#define CAPTURING ENGINE_CAPTURING
#define WARMING ENGINE_WARMING
#define READY ENGINE_READY
#define SERVING ENGINE_SERVING
#define STOPPING ENGINE_STOPPING
#define STEP(phase, pattern) \
    {DIALECT, MOVES, phase, 0, (phase) >= READY ? EVER : START, pattern, NULL, NULL},
#define FAIL(verdict, sure, when, pattern, why, fix) \
    {DIALECT, verdict, 0, sure, when, pattern, why, fix},

static const struct row rows[] = {
#define DIALECT ENGINE_SAYS_VLLM
#include "engine/progress_vllm.def"
#undef DIALECT
#define DIALECT ENGINE_SAYS_LLAMA
#include "engine/progress_llama.def"
#undef DIALECT
};

static const struct figure {
    const char *name;
    size_t offset;
} figures[] = {
#define FIGURE(name) {#name, offsetof(struct engine_figures, name)},
    ENGINE_FIGURES(FIGURE)
#undef FIGURE
};

static const char *const phase_names[ENGINE_PHASE_COUNT] = {
#define PHASE(name, text) [ENGINE_##name] = text,
    ENGINE_PHASES(PHASE)
#undef PHASE
};

const char *
engine_phase_name(enum engine_phase phase)
{
    assert(phase < ENGINE_PHASE_COUNT);
    return phase_names[phase];
}

static double *
figure_at(struct engine_progress *p, const struct figure *f)
{
    return (void *)((char *)&p->figures + f->offset);
}

void
engine_progress_init(struct engine_progress *progress, enum engine_dialect dialect)
{
    *progress = (struct engine_progress){.dialect = dialect};
    for (const struct figure *f = figures; f < figures + ARRAY_SIZE(figures); f++)
        *figure_at(progress, f) = NAN;
}

static double *
find_figure(struct engine_progress *p, const char *name, size_t len)
{
    for (const struct figure *f = figures; f < figures + ARRAY_SIZE(figures); f++)
        if (strlen(f->name) == len && memcmp(f->name, name, len) == 0)
            return figure_at(p, f);
    return NULL;
}

static void
take_figures(struct engine_progress *p, const struct match *m)
{
    for (size_t i = 0; i < m->count; i++) {
        double *figure = find_figure(p, m->figures[i].name, m->figures[i].name_len);
        assert(figure); /* a name in a pattern that ENGINE_FIGURES lacks */
        *figure = m->figures[i].value;
    }
    struct engine_figures *f = &p->figures;
    f->others_gib = f->total_gib - f->free_gib - f->own_gib;
    if (f->total_gib > 0)
        f->fits = floor(100 * f->free_gib / f->total_gib) / 100;
}

/* ---- sentences ---- */

/* 15984, 0.835, 22.05 */
static void
write_figure(double figure, struct buf *out)
{
    if (figure == floor(figure))
        buf_printf(out, "%.0f", figure);
    else if (fabs(figure) < 10)
        buf_printf(out, "%.3g", figure);
    else
        buf_printf(out, "%.2f", figure);
}

/* Puts figures and {what} in their places. */
static void
write_sentence(struct engine_progress *p, const struct match *m, const char *sentence,
               struct buf *out)
{
    while (*sentence) {
        const char *close = *sentence == '{' ? strchr(sentence, '}') : NULL;
        if (!close) {
            buf_add_char(out, *sentence++);
            continue;
        }
        size_t len = (size_t)(close - sentence) - 1;
        double *figure = find_figure(p, sentence + 1, len);
        if (figure)
            write_figure(*figure, out);
        else if (m->what)
            buf_add(out, m->what, MIN(m->what_len, (size_t)300));
        sentence = close + 1;
    }
}

static void
blame(struct engine_progress *p, const struct match *m, enum err_id id, const char *why,
      const char *fix)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4096);
    write_sentence(p, m, why, &text);
    (void)err_set(&p->why, id, "%s", text.data);
    buf_clear(&text);
    write_sentence(p, m, fix, &text);
    err_fix(&p->why, "%s", text.data);
}

static void
take_verdict(struct engine_progress *p, const struct row *row, const struct match *m)
{
    static const enum err_id ids[] = {
        [CONFIG] = ERR_ENGINE_CONFIG,   [NOT_NOW] = ERR_ENGINE_NOT_NOW,
        [CRASHED] = ERR_ENGINE_CRASHED, [MEMORY] = ERR_ENGINE_CONFIG,
        [PORT] = ERR_ENGINE_NOT_NOW,
    };
    if (row->sure <= p->sure)
        return;
    p->sure = (uint8_t)row->sure;
    p->lost_port = row->verdict == PORT;
    bool serving = p->phase >= ENGINE_READY;
    if (row->verdict == MEMORY && serving)
        blame(p, m, ERR_ENGINE_CRASHED, row->why, row->fix);
    else if (row->verdict == MEMORY && p->figures.others_gib > OTHERS_GIB)
        blame(p, m, ERR_ENGINE_NOT_NOW,
              "GPU memory ran out: others hold {others_gib} GiB of the GPU's {total_gib}",
              "free the GPU: see nvidia-smi");
    else
        blame(p, m, ids[row->verdict], row->why, row->fix);
}

void
engine_progress_forgive(struct engine_progress *p)
{
    p->why = (struct err){0};
    p->sure = 0;
    p->lost_port = false;
}

/* ---- steps ---- */

static void
enter(struct engine_progress *p, enum engine_phase phase)
{
    if (phase == p->phase)
        return;
    if (phase == ENGINE_READY) {
        engine_progress_forgive(p); /* what was wrong on the way did not matter */
    }
    p->phase = phase;
    p->figures.done = p->figures.total = NAN;
}

/* A start may go back and forth, and measures twice; what is ready stays so until it stops. */
static bool
is_allowed(const struct engine_progress *p, enum engine_phase phase)
{
    return p->phase < ENGINE_READY || phase >= p->phase;
}

static void
take_step(struct engine_progress *p, const struct row *row, const struct match *m)
{
    if (is_allowed(p, row->phase))
        enter(p, row->phase);
    take_figures(p, m);
    p->news++;
}

void
engine_progress_line(struct engine_progress *progress, const char *line)
{
    bool starting = progress->phase < ENGINE_READY;
    for (const struct row *row = rows; row < rows + ARRAY_SIZE(rows); row++) {
        struct match m;
        if (row->dialect != progress->dialect || (!starting && row->when == START))
            continue;
        if (!match_line(row->pattern, line, &m))
            continue;
        if (row->verdict == MOVES) {
            take_step(progress, row, &m);
        } else if (row->sure > progress->sure) {
            take_figures(progress, &m);
            take_verdict(progress, row, &m);
        }
    }
}

void
engine_progress_print(const struct engine_progress *progress, struct buf *out)
{
    const struct engine_figures *f = &progress->figures;
    buf_add_str(out, engine_phase_name(progress->phase));
    if (f->done >= 0 && f->total > 0)
        buf_printf(out, ", %.0f of %.0f", f->done, f->total);
}
