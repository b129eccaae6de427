#pragma once

/* What could stand next on a command line: asked by the shells, answered from the tables. */

#include "base/buf.h"
#include "cli/verb.h"

/* words are those behind the program's name; the last one is being typed, and may be empty.
 * Each line of the answer is a word, a tab and what it means; or ":file", ":dir" or ":model", for
 * which the asker knows the names. Nothing is said for a line that is wrong already. */
void complete_words(const struct verb *verbs, const struct verb_option *common,
                    const char *const *words, struct buf *out);
