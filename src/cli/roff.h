#pragma once

/* Text as roff reads it: nothing in it is taken for a request or an escape. */

#include "base/buf.h"

/* A word or more inside a line or as one argument of a macro, quoted where it must be. */
void roff_words(struct buf *out, const char *text);

/* Sentences, each from a new line on, as typesetters of roff want them. */
void roff_prose(struct buf *out, const char *text);

/* Paragraphs between empty lines; one whose lines begin with two spaces is shown as it is. */
void roff_paragraphs(struct buf *out, const char *text);
