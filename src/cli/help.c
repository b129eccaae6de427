/* Help out of the table of verbs: lines of the terminal's width, or JSON. */

#include "base/text.h"
#include "cli/frame.h"

#include <stdio.h>
#include <string.h>

/* Lines longer than this are hard to read, however wide the terminal. */
#define WIDTH_MAX 100u
#define WIDTH_MIN 30u

struct page {
    struct buf *out;
    const struct table_look *look;
    size_t width;
};

/* Words in lines of the page's width, from column indent on; `at` is the column that the cursor is
 * in already. */
static void
flow(struct page *page, const char *text, size_t len, size_t indent, size_t at)
{
    const char *end = text + len;
    bool first = true;
    for (;;) {
        while (text < end && (*text == ' ' || *text == '\n'))
            text++;
        if (text == end)
            break;
        size_t word_len = MIN(strcspn(text, " \n"), (size_t)(end - text));
        if (!first && at + 1 + word_len > page->width) {
            buf_add_char(page->out, '\n');
            at = 0;
            first = true;
        }
        size_t spaces = first ? (at < indent ? indent - at : 0) : 1;
        buf_printf(page->out, "%*s%.*s", (int)spaces, "", (int)word_len, text);
        at += spaces + word_len;
        first = false;
        text += word_len;
    }
    buf_add_char(page->out, '\n');
}

static void
title(struct page *page, const char *text)
{
    buf_printf(page->out, "\n%s%s%s\n", tone_start(TONE_TITLE, page->look), text,
               tone_end(TONE_TITLE, page->look));
}

/* Paragraphs; one that begins with two spaces keeps its lines. */
static void
paragraphs(struct page *page, const char *text)
{
    while (*text) {
        const char *end = strstr(text, "\n\n");
        size_t len = end ? (size_t)(end - text) : strlen(text);
        buf_add_char(page->out, '\n');
        if (text_starts(text, "  "))
            buf_printf(page->out, "%.*s\n", (int)len, text);
        else
            flow(page, text, len, 0, 0);
        text += len + (end ? 2 : 0);
    }
}

/* A name, and beside it what it is; below it, when the name is too long for its column. */
static void
entry(struct page *page, const char *name, const char *what, size_t column)
{
    size_t len = strlen(name) + 2;
    buf_printf(page->out, "  %s", name);
    if (len + 2 > column) {
        buf_add_char(page->out, '\n');
        len = 0;
    }
    flow(page, what, strlen(what), column, len);
}

static void
verb_usage(const struct verb *verb, char *ret_text, size_t room)
{
    (void)snprintf(ret_text, room, "%s%s%s", verb->words, verb->arguments[0] ? " " : "",
                   verb->arguments);
}

static void
option_usage(const struct verb_option *o, char *ret_text, size_t room)
{
    char letter[8] = "    ";
    if (o->letter)
        (void)snprintf(letter, sizeof(letter), "-%c, ", o->letter);
    (void)snprintf(ret_text, room, "%s--%s%s%s", letter, o->name, o->label ? " " : "",
                   o->label ? o->label : "");
}

static void
options(struct page *page, const char *heading, const struct verb_option *list)
{
    if (!list->name)
        return;
    title(page, heading);
    for (const struct verb_option *o = list; o->name; o++) {
        char usage[128];
        option_usage(o, usage, sizeof(usage));
        entry(page, usage, o->help, MIN(page->width / 3, (size_t)28));
    }
}

static void
examples(struct page *page, const struct verb_example *list)
{
    title(page, "Examples");
    for (const struct verb_example *e = list; e->command; e++) {
        buf_printf(page->out, "  %s\n", e->command);
        flow(page, e->what, strlen(e->what), 6, 0);
    }
}

/* Whether it is the verb with these words, or begins with them. */
static bool
begins_with(const struct verb *verb, const char *stem)
{
    char next[VERB_WORD_MAX];
    return text_eq(verb->words, stem) || verb_next_word(verb, stem, next);
}

static void
verbs(struct page *page, const char *stem)
{
    for (size_t group = 0; group < GROUP_COUNT; group++) {
        bool titled = false;
        for (const struct verb *v = verb_rows; v->words; v++) {
            char usage[128];
            if (v->group != group || !verb_group_titles[group] || !begins_with(v, stem))
                continue;
            if (!titled)
                title(page, verb_group_titles[group]);
            titled = true;
            verb_usage(v, usage, sizeof(usage));
            entry(page, usage, v->summary, MIN(page->width / 3, (size_t)28));
        }
    }
}

static void
options_json(struct json_writer *w, const char *name, const struct verb_option *list)
{
    json_open_list(w, name);
    for (const struct verb_option *o = list; o->name; o++) {
        json_open_map(w, NULL);
        json_str(w, "name", o->name);
        json_strn(w, "letter", &o->letter, o->letter ? 1 : 0);
        json_str(w, "value", o->label);
        json_str(w, "help", o->help);
        json_close_map(w);
    }
    json_close_list(w);
}

static void
verb_json(struct json_writer *w, const struct verb *v)
{
    json_open_map(w, NULL);
    json_str(w, "verb", v->words);
    json_str(w, "arguments", v->arguments);
    json_str(w, "summary", v->summary);
    json_str(w, "text", v->help->text);
    options_json(w, "options", v->options);
    json_open_list(w, "examples");
    for (const struct verb_example *e = v->help->examples; e->command; e++) {
        json_open_map(w, NULL);
        json_str(w, "command", e->command);
        json_str(w, "what", e->what);
        json_close_map(w);
    }
    json_close_list(w);
    json_close_map(w);
}

static void
help_json(struct json_writer *w, const char *stem, const struct verb *only)
{
    json_open_map(w, NULL);
    json_open_list(w, "verbs");
    for (const struct verb *v = verb_rows; v->words; v++)
        if (only ? v == only : begins_with(v, stem))
            verb_json(w, v);
    json_close_list(w);
    options_json(w, "options", verb_common);
    json_close_map(w);
}

static void
help_one(struct page *page, const struct verb *verb)
{
    char usage[128];
    verb_usage(verb, usage, sizeof(usage));
    buf_printf(page->out, "%sUsage:%s citadel %s%s\n", tone_start(TONE_TITLE, page->look),
               tone_end(TONE_TITLE, page->look), usage, verb->options->name ? " [OPTIONS]" : "");
    paragraphs(page, verb->help->text);
    if (verb_is_stem(verb_rows, verb->words))
        verbs(page, verb->words);
    options(page, "Options", verb->options);
    options(page, "Options of every verb", verb_common);
    examples(page, verb->help->examples);
}

static void
help_many(struct page *page, const char *stem)
{
    buf_printf(page->out, "%sUsage:%s citadel %s%sVERB [ARGUMENTS] [OPTIONS]\n",
               tone_start(TONE_TITLE, page->look), tone_end(TONE_TITLE, page->look), stem,
               stem[0] ? " " : "");
    if (!stem[0])
        paragraphs(page, "Citadel makes a server with GPUs an appliance that serves language "
                         "models: one YAML file says what should run.");
    verbs(page, stem);
    options(page, "Options of every verb", verb_common);
    paragraphs(page,
               "'citadel help VERB' tells all about a verb; 'citadel manual | man -l -' is the "
               "whole manual.");
}

bool
cli_help(struct cli *cli, const char *words)
{
    const struct verb *verb = verb_find(verb_rows, words);
    if (!verb && words[0] && !verb_is_stem(verb_rows, words))
        return false;
    if (cli->json) {
        help_json(cli->json, words, verb);
        return true;
    }
    struct page page = {.out = &cli->frame->out, .look = &cli->look};
    page.width = cli->look.width ? cli->look.width : 80;
    page.width = MAX(MIN(page.width, WIDTH_MAX), WIDTH_MIN);
    if (verb)
        help_one(&page, verb);
    else
        help_many(&page, words);
    return true;
}
