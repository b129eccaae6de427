#pragma once

/* Models as rows of a table for people, and as JSON for programs. */

#include "fmt/json.h"
#include "fmt/table.h"
#include "model/demand.h"

/* As what a model is served, or would be. */
struct model_use {
    const char *service; /* NULL: of none */
    unsigned tensor_parallel;
    enum kv_dtype kv_dtype;
    const char *kv_dtype_text; /* as a person writes it */
};

#define MODEL_COLUMNS 9
extern const struct table_column model_columns[MODEL_COLUMNS];

void model_add_row(struct table *table, const struct model *m, const struct model_use *use);

/* A line a problem, indented, and one for what mends it; nothing when there is none. */
void model_print_problems(const struct model *m, struct buf *out);

/* An object; what is not known is null. */
void model_print_json(const struct model *m, const struct model_use *use, struct json_writer *w);
