#pragma once

/* Models as rows of a table for people, and as JSON for programs. */

#include "fmt/json.h"
#include "fmt/table.h"
#include "model/model.h"

#define MODEL_COLUMNS 8
extern const struct table_column model_columns[MODEL_COLUMNS];

void model_add_row(struct table *table, const struct model *m);

/* A line a problem, indented, and one for what mends it; nothing when there is none. */
void model_print_problems(const struct model *m, struct buf *out);

/* An object; what is not known is null. */
void model_print_json(const struct model *m, struct json_writer *w);
