#include "cli/verb.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define OPTION(name, letter, kind, label, help) {name, letter, ARG_##kind, label, help},
#define OPTIONS(...)             \
    (const struct verb_option[]) \
    {                            \
        __VA_ARGS__              \
        {                        \
            0                    \
        }                        \
    }

const struct verb verb_rows[] = {
#define VERB(function, group, words, arguments, kind, min, max, summary, ...) \
    {                                                                         \
        verb_##function,                                                      \
        GROUP_##group,                                                        \
        words,                                                                \
        arguments,                                                            \
        ARG_##kind,                                                           \
        min,                                                                  \
        max,                                                                  \
        summary,                                                              \
        OPTIONS(__VA_ARGS__),                                                 \
        &verb_##function##_help},
#include "cli/verbs.def"
    {0},
};

const struct verb_option verb_common[] = {
#define COMMON(...) __VA_ARGS__
#include "cli/verbs.def"
    {0},
};

const char *const verb_group_titles[GROUP_COUNT] = {
#define GROUP(name, title) [GROUP_##name] = title,
#include "cli/verbs.def"
};

void
verb_choices(const char *label, struct verb_choices *ret_choices)
{
    size_t count = 0;
    char *rest = ret_choices->text;
    int len = snprintf(rest, sizeof(ret_choices->text), "%s", label + (label[0] == '['));
    assert(len > 0 && (size_t)len < sizeof(ret_choices->text));
    rest[strcspn(rest, "]")] = '\0';
    while (rest) {
        assert(count + 1 < ARRAY_SIZE(ret_choices->words));
        ret_choices->words[count++] = strsep(&rest, "|");
    }
    ret_choices->words[count] = NULL;
}

bool
verb_is_choice(const struct verb_choices *choices, const char *word)
{
    for (size_t i = 0; choices->words[i]; i++)
        if (text_eq(choices->words[i], word))
            return true;
    return false;
}

const struct verb *
verb_find(const struct verb *verbs, const char *words)
{
    for (const struct verb *v = verbs; v->words; v++)
        if (text_eq(v->words, words))
            return v;
    return NULL;
}

bool
verb_is_stem(const struct verb *verbs, const char *words)
{
    char next[VERB_WORD_MAX];
    for (const struct verb *v = verbs; v->words; v++)
        if (verb_next_word(v, words, next))
            return true;
    return false;
}

bool
verb_extend(const struct verb *verbs, char words[VERB_WORDS_MAX], const char *word,
            const struct verb **ret_verb)
{
    char longer[VERB_WORDS_MAX];
    int len = snprintf(longer, sizeof(longer), "%s%s%s", words, words[0] ? " " : "", word);
    if (!word[0] || strchr(word, ' ') || len >= (int)sizeof(longer))
        return false;
    const struct verb *verb = verb_find(verbs, longer);
    if (!verb && !verb_is_stem(verbs, longer))
        return false;
    memcpy(words, longer, sizeof(longer));
    *ret_verb = verb;
    return true;
}

bool
verb_is_option(const char *word)
{
    return word[0] == '-' && word[1];
}

static const struct verb_option *
find_in(const struct verb_option *options, const char *word, size_t len)
{
    for (const struct verb_option *o = options; o->name; o++) {
        bool is_long = len > 2 && strlen(o->name) == len - 2 && text_starts(word, "--") &&
                       strncmp(word + 2, o->name, len - 2) == 0;
        if (is_long || (len == 2 && o->letter && word[1] == o->letter))
            return o;
    }
    return NULL;
}

struct verb_found
verb_find_option(const struct verb *verb, const struct verb_option *common, const char *word)
{
    const char *equals = text_starts(word, "--") ? strchr(word, '=') : NULL;
    struct verb_found found = {.name_len = equals ? (size_t)(equals - word) : strlen(word),
                               .value = equals ? equals + 1 : NULL};
    found.option = find_in(common, word, found.name_len);
    if (!found.option && verb) {
        found.option = find_in(verb->options, word, found.name_len);
        found.own = found.option != NULL;
        while (found.own && found.option->kind == ARG_SAME)
            found.option--;
    }
    return found;
}

bool
verb_next_word(const struct verb *verb, const char *stem, char ret_word[VERB_WORD_MAX])
{
    size_t stem_len = strlen(stem);
    if (!text_starts(verb->words, stem) || (stem_len > 0 && verb->words[stem_len] != ' '))
        return false;
    const char *word = verb->words + stem_len + (stem_len > 0);
    size_t len = strcspn(word, " ");
    assert(len < VERB_WORD_MAX);
    memcpy(ret_word, word, len);
    ret_word[len] = '\0';
    return true;
}
