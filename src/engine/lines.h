#pragma once

/* Cuts what an engine writes into lines that are safe to look at and to show: a carriage return
 * ends a line as a newline does (progress bars redraw with it), colours and other escape sequences
 * and control bytes are taken out, empty lines are left out, of an overlong line the beginning is
 * kept. */

#include "base/util.h"

#define ENGINE_LINE_MAX 4096

struct engine_lines {
    char text[ENGINE_LINE_MAX + 1];
    size_t len;
    uint8_t state;
};

/* line ends with '\0' and lives until take() returns. */
typedef void engine_lines_take(const char *line, size_t len, void *arg);

/* A zeroed struct engine_lines is a fresh one. */
void engine_lines_feed(struct engine_lines *lines, const char *bytes, size_t len,
                       engine_lines_take *take, void *arg);
void engine_lines_end(struct engine_lines *lines, engine_lines_take *take, void *arg);
