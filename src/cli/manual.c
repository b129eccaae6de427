#include "cli/manual.h"

#include "base/err.h"
#include "base/text.h"
#include "cli/roff.h"
#include "cli/verb.h"
#include "config/show.h"

#include <string.h>

struct told {
    const char *name;
    const char *what;
};

static const struct told environment[] = {
    {"CITADEL_CONFIG", "The configuration to use when --config is not given."},
    {"NO_COLOR", "When it holds anything, no colours are used."},
    {"TERM", "With dumb, or without it, no colours are used."},
    {"COLUMNS", "The width of a terminal that does not tell its own."},
    {"LC_ALL , LC_CTYPE , LANG", "Whether the terminal shows UTF-8."},
};

static const struct told files[] = {
    {"./citadel.yaml", "The configuration, where --config and CITADEL_CONFIG do not name one."},
    {"/etc/citadel/citadel.yaml", "The configuration, where there is none of the above."},
};

static void
tagged(struct buf *out, const char *macro, const struct told *list, size_t count)
{
    buf_add_str(out, ".Bl -tag -width Ds\n");
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, ".It %s %s\n", macro, list[i].name);
        roff_prose(out, list[i].what);
    }
    buf_add_str(out, ".El\n");
}

static void
argument(struct buf *out, const char *label)
{
    buf_add_str(out, " Ar ");
    roff_words(out, label);
}

static void
options(struct buf *out, const struct verb_option *list)
{
    buf_add_str(out, ".Bl -tag -width Ds\n");
    for (const struct verb_option *o = list; o->name; o++) {
        buf_add_str(out, ".It ");
        if (o->letter)
            buf_printf(out, "Fl %c , ", o->letter);
        buf_printf(out, "Fl Fl %s", o->name);
        if (o->label)
            argument(out, o->label);
        buf_add_char(out, '\n');
        roff_prose(out, o->help);
    }
    buf_add_str(out, ".El\n");
}

static void
verb(struct buf *out, const struct verb *v)
{
    buf_add_str(out, ".It Ic ");
    roff_words(out, v->words);
    if (v->arguments[0])
        argument(out, v->arguments);
    buf_add_char(out, '\n');
    roff_paragraphs(out, v->help->text);
    if (v->options->name)
        options(out, v->options);
}

static void
verbs(struct buf *out)
{
    buf_add_str(out, ".Sh VERBS\n");
    for (size_t group = 0; group < GROUP_COUNT; group++) {
        bool begun = false;
        for (const struct verb *v = verb_rows; v->words; v++) {
            if (v->group != group)
                continue;
            if (!begun)
                buf_printf(out, ".Ss %s\n.Bl -tag -width Ds\n",
                           verb_group_titles[group] ? verb_group_titles[group] : "Plumbing");
            begun = true;
            verb(out, v);
        }
        if (begun)
            buf_add_str(out, ".El\n");
    }
}

static void
exit_status(struct buf *out)
{
    buf_add_str(out, ".Sh EXIT STATUS\nEvery verb exits with one of these:\n"
                     ".Bl -tag -width Ds\n");
    for (const struct exit_row *row = exit_rows; row->name; row++) {
        buf_printf(out, ".It %d\n", (int)row->code);
        roff_prose(out, row->help);
    }
    buf_add_str(out, ".El\n");
}

static void
examples(struct buf *out)
{
    buf_add_str(out, ".Sh EXAMPLES\n.Bl -tag -width Ds\n");
    for (const struct verb *v = verb_rows; v->words; v++) {
        for (const struct verb_example *e = v->help->examples; e->command; e++) {
            buf_add_str(out, ".It Li ");
            roff_words(out, e->command);
            buf_add_char(out, '\n');
            roff_prose(out, e->what);
        }
    }
    buf_add_str(out, ".El\n");
}

static void
diagnostics(struct buf *out)
{
    buf_add_str(out, ".Sh DIAGNOSTICS\n");
    roff_paragraphs(out, "An error is told on standard error as a sentence and, where it is known, "
                         "the command or change that mends it. With --json it is one line of JSON "
                         "with the members id, message, fix (or null) and exit. The ids stay as "
                         "they are; scripts may match them:");
    buf_add_str(out, ".Bl -tag -width Ds\n");
    for (enum err_id id = ERR_NONE + 1; id < ERR_COUNT; id++) {
        const struct err_row *row = err_row(id);
        buf_add_str(out, ".It Er ");
        roff_words(out, row->name);
        buf_printf(out, " Pq exit %d\n", (int)row->exit);
        roff_prose(out, row->help);
    }
    buf_add_str(out, ".El\n");
}

static void
begin(struct buf *out, const char *title, const char *section, const char *name, const char *what)
{
    buf_printf(out, ".Dd %s\n.Dt %s %s\n.Os \"Citadel %s\"\n.Sh NAME\n.Nm %s\n.Nd %s\n",
               CITADEL_RELEASED, title, section, CITADEL_VERSION, name, what);
}

void
manual_citadel(struct buf *out)
{
    begin(out, "CITADEL", "1", "citadel", "serve language models from this machine");
    buf_add_str(out, ".Sh SYNOPSIS\n.Nm\n.Ar verb\n.Op Ar arguments\n.Op Ar options\n"
                     ".Sh DESCRIPTION\n.Nm\n");
    roff_paragraphs(out, "makes a server with GPUs an appliance that serves language models: one "
                         "YAML file says what should run.\n\n"
                         "Verbs and options are never abbreviated. Options may stand anywhere "
                         "behind their verb; those of every verb also before it. After -- "
                         "everything is an argument. Results go to standard output, messages and "
                         "errors to standard error. On a terminal, tables are cut to its width, "
                         "the least important columns first; elsewhere they are whole.");
    verbs(out);
    buf_add_str(out, ".Sh OPTIONS\nEvery verb takes these:\n");
    options(out, verb_common);
    buf_add_str(out, ".Sh ENVIRONMENT\n");
    tagged(out, "Ev", environment, ARRAY_SIZE(environment));
    buf_add_str(out, ".Sh FILES\n");
    tagged(out, "Pa", files, ARRAY_SIZE(files));
    exit_status(out);
    examples(out);
    diagnostics(out);
    buf_add_str(out, ".Sh SEE ALSO\n.Xr citadel.yaml 5\n");
}

struct option_pages {
    struct buf *out;
    char section[64]; /* the first word of the paths, for the headings */
    bool open;        /* a list of options */
};

static void
begin_section(struct option_pages *p, const char *name, size_t len)
{
    assert(len < sizeof(p->section));
    if (p->open)
        buf_add_str(p->out, ".El\n");
    p->open = false;
    memcpy(p->section, name, len);
    p->section[len] = '\0';
    buf_printf(p->out, ".Ss %s\n", p->section);
}

static void
heading(struct option_pages *p, const struct config_option *o)
{
    /* What stands in the file without a section has one here. */
    bool bare = !o->section && !strchr(o->path, '.');
    const char *name = bare ? "general" : o->path;
    size_t len = strcspn(name, ".");
    if (strlen(p->section) == len && strncmp(p->section, name, len) == 0)
        return;
    begin_section(p, name, len);
    if (o->section)
        roff_prose(p->out, o->help);
}

static void
tell_option(const struct config_option *o, void *arg)
{
    struct option_pages *p = arg;
    heading(p, o);
    if (o->section)
        return;
    if (!p->open)
        buf_add_str(p->out, ".Bl -tag -width Ds\n");
    p->open = true;
    _cleanup_buf_ struct buf told = BUF_INIT(8 * KIB);
    buf_printf(&told, "%s. Allowed: %s. ", o->help, o->allowed);
    if (o->meanings[0])
        buf_printf(&told, "%s. ", o->meanings);
    if (o->preset)
        buf_printf(&told, "Default: %s. ", o->preset);
    else
        buf_add_str(&told, "It must be given. ");
    buf_printf(&told, "A change %s.", o->reload);
    buf_add_str(p->out, ".It Cm ");
    roff_words(p->out, o->path);
    buf_add_char(p->out, '\n');
    roff_prose(p->out, told.data);
}

void
manual_citadel_yaml(struct buf *out)
{
    struct option_pages pages = {.out = out};
    begin(out, "CITADEL.YAML", "5", "citadel.yaml", "what Citadel should run");
    buf_add_str(out, ".Sh DESCRIPTION\n");
    roff_paragraphs(out,
                    "One file in YAML says everything: which models are served, and how this "
                    "machine is kept. Only what differs from the defaults needs to be in it. The "
                    "smallest one names a model:\n\n"
                    "  models:\n"
                    "    phi3:\n"
                    "      path: phi-3-mini-128k\n\n"
                    "What is read is the file of --config, else the one that CITADEL_CONFIG names, "
                    "else ./citadel.yaml, else /etc/citadel/citadel.yaml.\n\n"
                    "'citadel config check' tells everything that is wrong with it, each with its "
                    "line and column; 'citadel config show' shows what holds, defaults included; "
                    "'citadel config init' writes a first one; 'citadel config schema' makes "
                    "editors complete and check it.\n\n"
                    "NAME stands for a name that you choose. The options of a model may also "
                    "stand under defaults, for all models.");
    buf_add_str(out, ".Sh OPTIONS\n");
    config_each_option(tell_option, &pages);
    if (pages.open)
        buf_add_str(out, ".El\n");
    buf_add_str(out, ".Sh FILES\n");
    tagged(out, "Pa", files, ARRAY_SIZE(files));
    buf_add_str(out, ".Sh SEE ALSO\n.Xr citadel 1\n");
}
