#pragma once

/* Between the files of the YAML reader. */

#include "fmt/value.h"

struct yaml_parser_s;

/* Passes over a byte order mark, and refuses what cannot be YAML: too long, not UTF-8, characters
 * that have no business in a text. */
int yaml_check_text(const char **text, size_t *len, struct value_at *ret_at, struct err *reterr)
    must_check;

/* The place and the sentence for the error that libyaml stopped at. */
struct value_at yaml_translate(const struct yaml_parser_s *parser, const char *text, size_t len,
                               struct err *ret_err);

/* What a character is called when it may not stand in a document, else NULL. */
const char *yaml_forbidden(uint32_t code);
