#pragma once

/* What could stand next on a command line: asked by the shells, answered from the tables. */

#include "base/buf.h"
#include "cli/verb.h"

struct complete;

/* words are those behind the program's name; the last one is being typed, and may be empty.
 * Each line of the answer is a word, a tab and what it means; or ":file" or ":dir", which the asker
 * knows best. Nothing is said for a line that is wrong already. What names() offers, through
 * complete_offer(), are the names of things of a kind. */
void complete_words(const struct verb *verbs, const struct verb_option *common,
                    const char *const *words,
                    void (*names)(struct complete *complete, enum arg_kind kind), struct buf *out);

void complete_offer(struct complete *complete, const char *name, const char *what);
/* What is being typed, and what was given for an option before it (NULL: nothing). */
const char *complete_typed(const struct complete *complete);
const char *complete_value(const struct complete *complete, const char *option);
