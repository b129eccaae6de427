#pragma once

/* The verbs as data: one row of verbs.def each, its long help beside its function. The parser, the
 * help, the manual and the completions read nothing else. */

#include "base/util.h"

struct cli;

/* What a word on the command line is: how it is checked, and what a shell offers for it. */
enum arg_kind {
    ARG_NONE,
    ARG_TEXT,
    ARG_FILE,
    ARG_DIR,
    ARG_MODEL,    /* a model of the configuration; the verb checks it, as the next two */
    ARG_OPTION,   /* the path of an option: "models.NAME.port" */
    ARG_SETTING,  /* the path of an option as it is in the configuration: "models.phi3.port" */
    ARG_VERB,     /* words of a verb */
    ARG_ENUM,     /* one of the words of its label: "bash|zsh|fish" */
    ARG_DURATION, /* as quantity_parse_us() reads it */
    ARG_SAME,     /* none: of an option that is another name of the one in the row before it */
};

struct verb_option {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    enum arg_kind kind;
    const char *label; /* of its value: "FILE", "low|high"; NULL when it takes none */
    const char *help;  /* a phrase, no full stop */
};

struct verb_example {
    const char *command;
    const char *what;
};

/* Text: paragraphs between empty lines; one whose lines begin with two spaces is shown as it is. */
struct verb_help {
    const char *text;
    const struct verb_example *examples; /* at least one; ends with command NULL */
};

#define VERB_EXAMPLES(...)        \
    (const struct verb_example[]) \
    {                             \
        __VA_ARGS__,              \
        {                         \
            NULL, NULL            \
        }                         \
    }

enum verb_group {
#define GROUP(name, title) GROUP_##name,
#include "cli/verbs.def"
    GROUP_COUNT
};

#define VERB_MANY 1000 /* as the most arguments: as many as there are */

struct verb {
    int (*run)(struct cli *cli);
    enum verb_group group;
    const char *words;     /* "config check" */
    const char *arguments; /* "[FILE]"; "" when it takes none; an ARG_ENUM's words: "[1|5]" */
    enum arg_kind kind;    /* of all its arguments */
    unsigned min, max;     /* how many */
    const char *summary;   /* a phrase, no full stop */
    const struct verb_option *options; /* ends with name NULL */
    const struct verb_help *help;
};

extern const struct verb verb_rows[];          /* ends with words NULL */
extern const struct verb_option verb_common[]; /* what every verb takes; ends with name NULL */
extern const char *const verb_group_titles[GROUP_COUNT];

#define VERB(function, ...)               \
    int verb_##function(struct cli *cli); \
    extern const struct verb_help verb_##function##_help;
#include "cli/verbs.def"

/* The words of an ARG_ENUM's label: "[1|5]" is "1" and "5". */
struct verb_choices {
    char text[128];
    const char *words[16]; /* NULL behind the last */
};
void verb_choices(const char *label, struct verb_choices *ret_choices);
bool verb_is_choice(const struct verb_choices *choices, const char *word);

#define VERB_WORD_MAX 32  /* a word, with its NUL */
#define VERB_WORDS_MAX 64 /* all of a verb */

/* The verb with exactly these words; NULL if there is none. */
const struct verb *verb_find(const struct verb *verbs, const char *words);
/* Whether some verb has these words and more: "config". */
bool verb_is_stem(const struct verb *verbs, const char *words);
/* The word of a verb that follows the stem; false when it does not begin with the stem, or ends
 * there. The stem "" is that of every verb. */
bool verb_next_word(const struct verb *verb, const char *stem, char ret_word[VERB_WORD_MAX]);

/* The grammar of a line, for those who read it and those who complete it. */

/* Takes one word more into the words so far, if these then are a verb (*ret_verb) or the beginning
 * of one (NULL). */
bool verb_extend(const struct verb *verbs, char words[VERB_WORDS_MAX], const char *word,
                 const struct verb **ret_verb);

/* Whether a word is an option's, or would be: "-" alone is an argument. */
bool verb_is_option(const char *word);

struct verb_found {
    const struct verb_option *option; /* never one of ARG_SAME; NULL: there is none of that name */
    size_t name_len;                  /* with the dashes, whether it is found or not */
    const char *value;                /* behind '='; NULL: none in this word */
    bool own;                         /* the verb's: no more words of it can follow */
};
/* What an option's word says: "--name", "--name=value" or "-n". verb: NULL while it is not known. */
struct verb_found verb_find_option(const struct verb *verb, const struct verb_option *common,
                                   const char *word);
