#pragma once

/* The texts of requests: what messages say, and what lists of tokens stand for. */

#include "sim/ask.h"

/* A content is a string, or a list of parts; of these what has a text, or a content of its own. */
void texts_add_content(struct buf *out, const struct value *content);

/* What messages say, a line each; *ret_last: where the last begins. False: one is no message, and
 * the call is answered. */
bool texts_read_messages(struct ask *a, const struct value *messages, struct buf *out,
                         size_t *ret_last);

/* A member that is a text, a list of tokens, or a list of either: how many they are, the first of
 * them, and one of them as text. */
size_t texts_count(const struct value *v);
const struct value *texts_first(const struct value *v);
bool texts_read(struct ask *a, const char *name, const struct value *one, struct buf *out);
