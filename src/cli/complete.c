#include "cli/complete.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

struct complete {
    const struct verb *verbs;
    const struct verb_option *common;
    struct buf *out;
    const struct verb *verb;
    char stem[VERB_WORDS_MAX];       /* words of the verb so far */
    bool settled;                    /* arguments have begun */
    bool plain;                      /* after "--" */
    size_t args_count;               /* before the last word */
    const struct verb_option *value; /* the last word is its value */
    const char *before;              /* what of the last word stands: "--model=" */
    const char *last;
    const char *const *words;
    void (*names)(struct complete *complete, enum arg_kind kind);
};

/* The option in this word takes its value from the next one, which may be the last. False when one
 * of the two cannot stand there. */
static bool
pass_option(struct complete *c, const char *const **words)
{
    const struct verb_found found = verb_find_option(c->verb, c->common, **words);
    if (!found.option || (found.option->kind == ARG_NONE && found.value))
        return false;
    c->settled |= found.own;
    if (found.option->kind == ARG_NONE || found.value)
        return true;
    if (!(*words)[2]) {
        c->value = found.option;
        return true;
    }
    return !verb_is_option(*++*words);
}

/* Whatever is no word of a verb is an argument of one, where it takes any more. */
static bool
pass_word(struct complete *c, const char *word)
{
    if (!c->settled && verb_extend(c->verbs, c->stem, word, &c->verb))
        return true;
    c->settled = true;
    return c->verb && c->args_count++ < c->verb->max;
}

/* Reads the words before the last; false when one of them cannot stand there. */
static bool
walk(struct complete *c, const char *const *words)
{
    assert(words[0]);
    for (; words[1]; words++) {
        if (!c->plain && text_eq(*words, "--")) {
            c->plain = c->settled = true;
            continue;
        }
        bool option = !c->plain && verb_is_option(*words);
        if (option ? !pass_option(c, &words) : !pass_word(c, *words))
            return false;
    }
    c->last = *words;
    return true;
}

/* A line of the answer, if the word begins as the last one does. */
static void
offer(struct complete *c, const char *before, const char *word, const char *what)
{
    char whole[128];
    (void)snprintf(whole, sizeof(whole), "%s%s", before, word);
    if (text_starts(whole, c->last))
        buf_printf(c->out, "%s\t%s\n", whole, what);
}

/* The words that may follow the stem, each once. */
static void
offer_words(struct complete *c, const char *stem)
{
    char told[VERB_WORD_MAX] = "", word[VERB_WORD_MAX];
    for (const struct verb *v = c->verbs; v->words; v++) {
        if (!verb_group_titles[v->group] || !verb_next_word(v, stem, word))
            continue;
        /* Verbs with the same beginning stand together in the table. */
        if (!text_eq(word, told))
            offer(c, "", word,
                  text_ends(v->words, word) ? v->summary : verb_group_titles[v->group]);
        memcpy(told, word, sizeof(told));
    }
}

void
complete_offer(struct complete *c, const char *name, const char *what)
{
    offer(c, c->before, name, what);
}

const char *
complete_typed(const struct complete *c)
{
    return c->last + strlen(c->before);
}

const char *
complete_value(const struct complete *c, const char *option)
{
    for (const char *const *word = c->words; word[0] && word[1]; word++) {
        if (!verb_is_option(word[0]))
            continue;
        const struct verb_found found = verb_find_option(c->verb, c->common, word[0]);
        if (found.option && text_eq(found.option->name, option))
            return found.value ? found.value : word[1];
    }
    return NULL;
}

static void
offer_kind(struct complete *c, enum arg_kind kind, const char *label)
{
    struct verb_choices choices;
    switch (kind) {
    case ARG_FILE:
        buf_add_str(c->out, ":file\n");
        break;
    case ARG_DIR:
        buf_add_str(c->out, ":dir\n");
        break;
    case ARG_ENUM:
        verb_choices(label, &choices);
        for (size_t i = 0; choices.words[i]; i++)
            complete_offer(c, choices.words[i], "");
        break;
    case ARG_MODEL:
    case ARG_OPTION:
    case ARG_SETTING:
        c->names(c, kind);
        break;
    case ARG_VERB:
    case ARG_DURATION:
    case ARG_TEXT:
    case ARG_NONE:
    case ARG_SAME:
        break;
    }
}

static void
offer_options(struct complete *c)
{
    const struct verb_option *lists[] = {c->verb ? c->verb->options : NULL, c->common};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        for (const struct verb_option *o = lists[i]; o && o->name; o++)
            offer(c, "--", o->name, o->help);
}

/* "help config": its arguments are words of another verb. */
static void
offer_verb_argument(struct complete *c, const char *const *words)
{
    struct complete other = {.verbs = c->verbs, .common = c->common, .out = c->out};
    while (*words && !text_eq(*words, c->verb->words))
        words++;
    if (*words && walk(&other, words + 1) && !other.settled)
        offer_words(&other, other.stem);
}

/* "--option=": the value, whose beginning stands in the same word. */
static void
offer_joined(struct complete *c)
{
    char before[64];
    const struct verb_option *o = verb_find_option(c->verb, c->common, c->last).option;
    if (!o)
        return;
    (void)snprintf(before, sizeof(before), "--%s=", o->name);
    c->before = before;
    offer_kind(c, o->kind, o->label);
    c->before = "";
}

void
complete_words(const struct verb *verbs, const struct verb_option *common, const char *const *words,
               void (*names)(struct complete *complete, enum arg_kind kind), struct buf *out)
{
    struct complete c = {
        .verbs = verbs, .common = common, .out = out, .before = "", .words = words, .names = names};
    if (!*words || !walk(&c, words))
        return;
    if (c.value) {
        offer_kind(&c, c.value->kind, c.value->label);
    } else if (!c.plain && text_starts(c.last, "--") && strchr(c.last, '=')) {
        offer_joined(&c);
    } else if (!c.plain && c.last[0] == '-') {
        offer_options(&c);
    } else {
        if (!c.settled)
            offer_words(&c, c.stem);
        if (c.verb && c.verb->kind == ARG_VERB)
            offer_verb_argument(&c, words);
        else if (c.verb && c.args_count < c.verb->max)
            offer_kind(&c, c.verb->kind, c.verb->arguments);
    }
}
