#include "config/types.h"

#define WORDS(name)                                            \
    const char *config_##name##_word(enum config_##name value) \
    {                                                          \
        static const char *const words[] = {
#define WORD(name, constant, word, help) [CONFIG_##constant] = (word),
#define WORDS_END(name)  \
    }                    \
    ;                    \
    return words[value]; \
    }
#include "config/words.def"
