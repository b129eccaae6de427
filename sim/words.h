#pragma once

/* Tokens: a word with the blanks before it. */

#include "base/map.h"
#include "base/mem.h"

/* The length of the first token of the text; 0 at its end. What follows the last word is none. */
size_t word_len(const char *text, const char *end);
uint64_t word_count(const char *text, size_t len);

/* Numbers for tokens, given in the order in which /tokenize first meets them; from WORDS_MAX words
 * on, new ones share the number 0. */
#define WORDS_MAX 65536
struct words {
    struct map ids; /* of a word: where it is in texts */
    const char **texts;
    size_t count, room;
    struct arena arena;
};

void words_init(struct words *words);
void words_finish(struct words *words);
unsigned words_id(struct words *words, const char *text, size_t len);
const char *words_text(const struct words *words, uint64_t id); /* NULL: no token has it */
