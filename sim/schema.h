#pragma once

/* A value that fits a JSON schema, the same for the same schema and text: texts are the text, numbers
 * the smallest that is allowed, lists have one item, maps all their properties. What a schema says
 * beyond types, properties, items, enum, const, minimum, anyOf and $ref is passed over. */

#include "fmt/json.h"

/* name: of the member that it is, or NULL. */
void schema_write(struct json_writer *w, const char *name, const struct value *schema,
                  const char *text);
