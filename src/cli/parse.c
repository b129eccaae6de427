/* Reads the command line, strictly: no abbreviations, no guesses, one meaning for each word.
 *
 * The leading words name the verb: they are taken as long as they make a verb or the beginning of
 * one; options that every verb takes may stand before and between them. What follows are arguments
 * and options in any order; "--" ends the options. An option is "--name value", "--name=value" or
 * "-n value"; letters are not bundled. */

#include "base/quantity.h"
#include "base/text.h"
#include "cli/frame.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

struct parse {
    struct cli *cli;
    const struct verb *verbs;
    const struct verb_option *common;
    char *const *next;          /* the words that are left */
    char words[VERB_WORDS_MAX]; /* of the verb, so far */
    const char *before;         /* the words, in a suggestion: "" or "help " */
    bool settled;               /* the verb is known: no more words of it */
    bool plain;                 /* after "--" */
};

/* Words that could follow others, for a suggestion. */
struct words {
    char text[128][VERB_WORD_MAX];
    size_t count;
};

static const char *
words_at(size_t i, const void *arg)
{
    const struct words *words = arg;
    return i < words->count ? words->text[i] : NULL;
}

static void
words_after(const struct verb *verbs, const char *stem, struct words *ret_words)
{
    ret_words->count = 0;
    for (const struct verb *v = verbs; v->words; v++) {
        assert(ret_words->count < ARRAY_SIZE(ret_words->text));
        if (verb_next_word(v, stem, ret_words->text[ret_words->count]))
            ret_words->count++;
    }
}

static void
list_words(const struct words *words, char *ret_text, size_t room)
{
    size_t len = 0;
    for (size_t i = 0; i < words->count && len < room; i++)
        len +=
            (size_t)snprintf(ret_text + len, room - len, "%s%s", i > 0 ? ", " : "", words->text[i]);
}

/* What stands behind '=' may be a secret that was typed in the wrong place: it is not said again. */
static int
shown_len(const char *word)
{
    return (int)MIN(strcspn(word, "="), (size_t)INT_MAX);
}

static int
refuse_word(struct parse *p, const char *word)
{
    struct err *err = &p->cli->err;
    struct words words;
    int shown = shown_len(word);
    int r = p->words[0]
                ? err_set(err, ERR_NO_VERB, "'%s' has no verb '%.*s'", p->words, shown, word)
                : err_set(err, ERR_NO_VERB, "there is no verb '%.*s'", shown, word);
    words_after(p->verbs, p->words, &words);
    const char *nearest = text_nearest(word, words_at, &words);
    if (nearest) {
        err_fix(err, "citadel %s%s%s%s", p->before, p->words, p->words[0] ? " " : "", nearest);
        return r;
    }
    /* The end of a verb whose beginning was forgotten: "check" of "config check". */
    for (const struct verb *v = p->verbs; v->words; v++) {
        const char *last = strrchr(v->words, ' ');
        if (last && text_eq(last + 1, word)) {
            err_fix(err, "citadel %s%s", p->before, v->words);
            return r;
        }
    }
    err_fix(err, "citadel help%s%s", p->words[0] ? " " : "", p->words);
    return r;
}

struct option_names {
    const struct verb_option *own, *common;
};

static const char *
option_name_at(size_t i, const void *arg)
{
    const struct option_names *names = arg;
    for (const struct verb_option *o = names->own; o && o->name; o++)
        if (i-- == 0)
            return o->name;
    for (const struct verb_option *o = names->common; o->name; o++)
        if (i-- == 0)
            return o->name;
    return NULL;
}

static int
refuse_option(struct parse *p, const char *word, size_t len)
{
    struct err *err = &p->cli->err;
    const struct option_names names = {p->cli->verb ? p->cli->verb->options : NULL, p->common};
    int shown = (int)MIN(len, (size_t)100);
    int dashes = word[1] == '-' ? 2 : 1;
    char name[128];
    int r;
    if (p->cli->verb)
        r = err_set(err, ERR_NO_OPTION, "'%s' has no option '%.*s'", p->cli->verb->words, shown,
                    word);
    else
        r = err_set(err, ERR_NO_OPTION, "there is no option '%.*s' for every verb", shown, word);
    (void)snprintf(name, sizeof(name), "%.*s", shown - dashes, word + dashes);
    const char *nearest = text_nearest(name, option_name_at, &names);
    if (nearest && len > 2)
        err_fix(err, "--%s", nearest);
    else if (dashes == 1 && len > 2)
        err_fix(err, "short options one by one: -%c ...", word[1]);
    else
        err_fix(err, "citadel help%s%s", p->words[0] ? " " : "", p->words);
    return r;
}

static int
check_choice(struct parse *p, const char *where, const char *label, const char *value)
{
    struct err *err = &p->cli->err;
    struct verb_choices choices;
    struct words words = {.count = 0};
    char told[160] = "";
    verb_choices(label, &choices);
    if (verb_is_choice(&choices, value))
        return 0;
    for (size_t i = 0; choices.words[i]; i++) {
        size_t len = strlen(told);
        (void)snprintf(told + len, sizeof(told) - len, "%s%s", i > 0 ? ", " : "", choices.words[i]);
        (void)snprintf(words.text[words.count++], sizeof(words.text[0]), "%s", choices.words[i]);
    }
    int r = err_set(err, ERR_USAGE, "'%s' does not know '%s', but: %s", where, value, told);
    const char *nearest = text_nearest(value, words_at, &words);
    if (nearest && *where == '-')
        err_fix(err, "%s %s", where, nearest);
    else if (nearest)
        err_fix(err, "citadel %s %s", where, nearest);
    return r;
}

static int
check_value(struct parse *p, const struct verb_option *option, const char *value)
{
    struct err *err = &p->cli->err;
    uint64_t us;
    char where[64];
    int r = 0;
    (void)snprintf(where, sizeof(where), "--%s", option->name);
    if (!value[0]) {
        r = err_set(err, ERR_USAGE, "'%s' needs a value: %s", where, option->label);
    } else if (option->kind == ARG_ENUM) {
        r = check_choice(p, where, option->label, value);
    } else if (option->kind == ARG_DURATION) {
        r = quantity_parse_us(value, &us, err);
        if (r < 0)
            err_prefix(err, "%s", where);
    }
    return r;
}

static int
note_given(struct parse *p, const struct verb_option *option, const char *value)
{
    struct cli_frame *frame = p->cli->frame;
    for (size_t i = 0; i < frame->given_count; i++) {
        if (frame->given[i].option != option)
            continue;
        if (!value || text_eq(value, frame->given[i].value))
            return 0;
        return err_set(&p->cli->err, ERR_USAGE, "'--%s' is given twice: '%s' and '%s'",
                       option->name, frame->given[i].value, value);
    }
    assert(frame->given_count < CLI_GIVEN_MAX);
    frame->given[frame->given_count++] = (struct cli_given){option, value};
    return value ? check_value(p, option, value) : 0;
}

static int
take_option(struct parse *p)
{
    const char *word = *p->next++;
    const struct verb_found found = verb_find_option(p->cli->verb, p->common, word);
    const struct verb_option *option = found.option;
    const char *value = found.value;
    if (!option)
        return refuse_option(p, word, found.name_len);
    p->settled |= found.own;
    if (option->kind == ARG_NONE && value)
        return err_set(&p->cli->err, ERR_USAGE, "'--%s' takes no value, and was given one",
                       option->name);
    if (option->kind != ARG_NONE && !value) {
        value = *p->next;
        if (!value || verb_is_option(value)) {
            int r = err_set(&p->cli->err, ERR_USAGE, "'--%s' needs a value: %s", option->name,
                            option->label);
            if (value)
                err_fix(&p->cli->err, "--%s=%s, if that is the value", option->name, value);
            return r;
        }
        p->next++;
    }
    return note_given(p, option, value);
}

static int
take_argument(struct parse *p, const char *word)
{
    struct cli *cli = p->cli;
    const struct verb *verb = cli->verb;
    if (!verb || (verb->max == 0 && !p->settled && verb_is_stem(p->verbs, verb->words)))
        return refuse_word(p, word);
    p->settled = true;
    if (cli->args_count == verb->max) {
        int r = verb->max == 0
                    ? err_set(&cli->err, ERR_USAGE, "'%s' takes no arguments, but '%.*s' was given",
                              verb->words, shown_len(word), word)
                    : err_set(&cli->err, ERR_USAGE, "'%s' takes only %s, but '%.*s' was given too",
                              verb->words, verb->arguments, shown_len(word), word);
        err_fix(&cli->err, "citadel help %s", verb->words);
        return r;
    }
    cli->frame->args[cli->args_count++] = word;
    return verb->kind == ARG_ENUM ? check_choice(p, verb->words, verb->arguments, word) : 0;
}

static int
take_word(struct parse *p)
{
    const char *word = *p->next;
    if (!p->plain && text_eq(word, "--")) {
        p->plain = p->settled = true;
        p->next++;
        return 0;
    }
    if (!p->plain && verb_is_option(word))
        return take_option(p);
    p->next++;
    if (!p->settled && verb_extend(p->verbs, p->words, word, &p->cli->verb))
        return 0;
    return take_argument(p, word);
}

/* The line ends before there is a verb. */
static int
refuse_end(struct parse *p)
{
    struct err *err = &p->cli->err;
    struct words words;
    char told[256] = "";
    int r;
    if (p->words[0]) {
        words_after(p->verbs, p->words, &words);
        list_words(&words, told, sizeof(told));
        r = err_set(err, ERR_USAGE, "'%s' needs one more word: %s", p->words, told);
    } else {
        r = err_set(err, ERR_USAGE, "no verb is given");
    }
    err_fix(err, "citadel help%s%s", p->words[0] ? " " : "", p->words);
    return r;
}

static int
check_complete(struct parse *p)
{
    struct cli *cli = p->cli;
    if (cli_given(cli, "help", NULL) || cli_given(cli, "version", NULL))
        return 0;
    if (!cli->verb)
        return refuse_end(p);
    if (cli->args_count < cli->verb->min) {
        int r =
            err_set(&cli->err, ERR_USAGE, "'%s' needs %s", cli->verb->words, cli->verb->arguments);
        err_fix(&cli->err, "citadel help %s", cli->verb->words);
        return r;
    }
    return 0;
}

int
cli_parse(struct cli *cli, const struct verb *verbs, const struct verb_option *common, int argc,
          char *const argv[])
{
    struct parse p = {
        .cli = cli, .verbs = verbs, .common = common, .next = argv + (argc > 0), .before = ""};
    cli->frame->args = mem_alloc(((size_t)argc + 1) * sizeof(*cli->frame->args));
    cli->args = cli->frame->args;
    while (*p.next) {
        int r = take_word(&p);
        if (r < 0)
            return r;
    }
    (void)snprintf(cli->frame->words, sizeof(cli->frame->words), "%s", p.words);
    return check_complete(&p);
}

int
cli_refuse_words(struct cli *cli, const struct verb *verbs, const char *const *words)
{
    struct parse p = {.cli = cli, .verbs = verbs, .before = "help "};
    while (*words && verb_extend(verbs, p.words, *words, &cli->verb))
        words++;
    assert(*words);
    return refuse_word(&p, *words);
}
