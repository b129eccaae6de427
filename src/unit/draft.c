/* One unit, line by line as directive.def has them. */

#include "base/text.h"
#include "unit/unit_int.h"

#include <stdarg.h>

enum section {
    SECTION_Unit,
    SECTION_Service,
    SECTION_Socket,
    SECTION_Timer,
    SECTION_Install,
    SECTIONS
};

static const char *const section_names[] = {"Unit", "Service", "Socket", "Timer", "Install"};

/* The kinds of unit_int.h as the table writes them. */
enum {
    MODEL = UNIT_MODEL,
    GATEWAY = UNIT_GATEWAY,
    MONITOR = UNIT_MONITOR,
    STORAGE = UNIT_STORAGE,
    GPU = UNIT_GPU,
    HEALTH = UNIT_HEALTH,
    BACKUP = UNIT_BACKUP,
    IMAGE = UNIT_IMAGE,
    DRILL = UNIT_DRILL,
    REPORT = UNIT_REPORT,
    SOCKET = UNIT_SOCKET,
    TIMER = UNIT_TIMER,
    TARGET = UNIT_TARGET,
    LASTING = UNIT_LASTING,
    ONCE = UNIT_ONCE,
    SAVING = UNIT_SAVING,
    JOB = UNIT_JOB,
    SERVICE = UNIT_SERVICE,
    ROOT = UNIT_ROOT,
    ANY = UNIT_ANY,
};

static const struct row {
    enum section section;
    unsigned kinds;
    const char *name;
    const char *value;                   /* or */
    void (*lines)(struct unit_draft *d); /* writes them */
    const char *why;
} rows[] = {
#define DIRECTIVE(section, kinds, name, value, why) \
    {SECTION_##section, kinds, name, value, NULL, why},
#define LINES(section, kinds, name, function, why) \
    {SECTION_##section, kinds, name, NULL, lines_##function, why},
#include "unit/directive.def"
};

void
draft_begin(struct unit_draft *d)
{
    buf_printf(d->out, "%s=", d->directive);
}

void
draft_word(struct unit_draft *d, const char *text, enum unit_quote quote)
{
    struct err err;
    if (!unit_escape(d->out, text, quote, &err) && d->err->id == ERR_NONE) {
        *d->err = err;
        err_prefix(d->err, "citadel-%s: %s=", d->name, d->directive);
    }
}

void
draft_end(struct unit_draft *d)
{
    buf_add_char(d->out, '\n');
}

void
draft_line(struct unit_draft *d, const char *before, const char *text, enum unit_quote quote)
{
    draft_begin(d);
    buf_add_str(d->out, before);
    draft_word(d, text, quote);
    draft_end(d);
}

void
draft_linef(struct unit_draft *d, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    draft_begin(d);
    buf_vprintf(d->out, fmt, args);
    draft_end(d);
    va_end(args);
}

/* The reason stands before the first line, the section before the first row; where there are no lines,
 * neither. */
static void
print_row(struct unit_draft *d, const struct row *row, enum section *section)
{
    size_t begin = d->out->len;
    d->directive = row->name;
    if (row->section != *section)
        buf_printf(d->out, "\n[%s]\n", section_names[row->section]);
    if (d->in->explain)
        buf_printf(d->out, "# %s\n", row->why);
    size_t head = d->out->len;
    if (row->lines)
        row->lines(d);
    else
        draft_linef(d, "%s", row->value);
    if (d->out->len > head)
        *section = row->section;
    else if (!d->out->failed)
        buf_truncate(d->out, begin);
}

void
unit_print(struct unit_draft *d)
{
    enum section section = SECTIONS;
    buf_add_str(d->out, UNIT_HEAD);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].kinds & d->kind)
            print_row(d, &rows[i], &section);
}
