#include "config/problem_int.h"

#include "base/text.h"
#include "fmt/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 100 problems of two texts that struct err bounds at 512 and 256 bytes, and the name of the file,
 * which the kernel bounds at 4 KiB, twice. */
#define ARENA_BYTES (128 * KIB)

void
config_problems_init(struct config_problems *problems)
{
    *problems = (struct config_problems){.file = "citadel.yaml"};
    arena_init(&problems->arena, ARENA_BYTES);
    buf_init(&problems->text, YAML_BYTES_MAX);
}

void
config_problems_finish(struct config_problems *problems)
{
    arena_finish(&problems->arena);
    buf_finish(&problems->text);
    problems->count = problems->left_out = problems->errors = 0;
}

const char *
trail_print(const struct trail *trail, char text[TRAIL_MAX])
{
    const struct trail *way[16];
    size_t depth = 0, len = 0;
    for (; trail && depth < ARRAY_SIZE(way); trail = trail->up)
        way[depth++] = trail;
    text[0] = '\0';
    while (depth > 0 && len < TRAIL_MAX) {
        const struct trail *step = way[--depth];
        int added = step->name
                        ? snprintf(text + len, TRAIL_MAX - len, "%s%s", len ? "." : "", step->name)
                        : snprintf(text + len, TRAIL_MAX - len, "[%zu]", step->index);
        len += (size_t)added;
    }
    return text;
}

/* A name that was cut to fit may end within a character. */
static void
mend_utf8(char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        size_t step = text_utf8_step(text, left);
        if (step == 0)
            *text = '?';
        text += MAX(step, (size_t)1);
        left -= MAX(step, (size_t)1);
    }
}

static void add(struct config_problems *problems, struct value_at at, bool warning,
                const char *allowed, const char *found_fmt, va_list args) printf_like(5, 0);

static void
add(struct config_problems *problems, struct value_at at, bool warning, const char *allowed,
    const char *found_fmt, va_list args)
{
    char found[2048]; /* more than struct err has room for, which marks what it cuts */
    struct err said;
    problems->errors += !warning;
    if (problems->count == CONFIG_PROBLEMS_MAX) {
        problems->left_out++;
        return;
    }
    (void)vsnprintf(found, sizeof(found), found_fmt, args);
    config_mask_secrets(found); /* whatever is wrong with it, it ends in a log */
    (void)err_set(&said, ERR_CONFIG_INVALID, "%s", found);
    err_fix(&said, "%s", allowed ? allowed : "");
    mend_utf8(said.what);
    struct config_problem p = {
        .at = at,
        .warning = warning,
        .found = arena_strdup(&problems->arena, said.what),
        .allowed = arena_strdup(&problems->arena, said.fix),
    };
    assert(p.found && p.allowed);
    problems->items[problems->count++] = p;
}

void
problem_add(struct config_problems *problems, struct value_at at, const char *allowed,
            const char *found_fmt, ...)
{
    va_list args;
    va_start(args, found_fmt);
    add(problems, at, false, allowed, found_fmt, args);
    va_end(args);
}

void
problem_warn(struct config_problems *problems, struct value_at at, const char *allowed,
             const char *found_fmt, ...)
{
    va_list args;
    va_start(args, found_fmt);
    add(problems, at, true, allowed, found_fmt, args);
    va_end(args);
}

bool
problem_is_at(const struct config_problems *problems, struct value_at at)
{
    for (size_t i = 0; i < problems->count; i++)
        if (problems->items[i].at.line == at.line && problems->items[i].at.column == at.column)
            return true;
    return false;
}

static int
compare(const void *a, const void *b)
{
    const struct config_problem *p = a, *q = b;
    if (p->at.line != q->at.line)
        return p->at.line < q->at.line ? -1 : 1;
    if (p->at.column != q->at.column)
        return p->at.column < q->at.column ? -1 : 1;
    return strcmp(p->found, q->found);
}

void
problem_sort(struct config_problems *problems)
{
    if (problems->count > 1)
        qsort(problems->items, problems->count, sizeof(problems->items[0]), compare);
}

void
config_problems_print(const struct config_problems *problems, struct buf *out)
{
    char file[1024]; /* as a terminal may be shown it */
    text_make_safe(file, sizeof(file), snprintf(file, sizeof(file), "%s", problems->file));
    for (size_t i = 0; i < problems->count; i++) {
        const struct config_problem *p = &problems->items[i];
        buf_add_str(out, file);
        if (p->at.line)
            buf_printf(out, ":%u:%u", p->at.line, p->at.column);
        buf_printf(out, ": %s%s", p->warning ? "warning: " : "", p->found);
        buf_printf(out, p->allowed[0] ? ": %s\n" : "%s\n", p->allowed);
    }
    if (problems->left_out)
        buf_printf(out, "%s: and %zu more\n", file, problems->left_out);
}

void
config_problems_json(const struct config_problems *problems, struct json_writer *w,
                     const char *name)
{
    json_open_list(w, name);
    for (size_t i = 0; i < problems->count; i++) {
        const struct config_problem *p = &problems->items[i];
        json_open_map(w, NULL);
        json_str(w, "file", problems->file);
        json_u64(w, "line", p->at.line);
        json_u64(w, "column", p->at.column);
        json_str(w, "severity", p->warning ? "warning" : "error");
        json_str(w, "found", p->found);
        json_str(w, "allowed", p->allowed);
        json_close_map(w);
    }
    json_close_list(w);
}
