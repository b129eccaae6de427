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
