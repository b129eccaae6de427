#pragma once

/* Exit codes, one table: exit.def. */

enum exit_code {
#define EXIT(name, code, help) EXIT_CODE_##name = (code),
#include "base/exit.def"
#undef EXIT
};

struct exit_row {
    const char *name;
    enum exit_code code;
    const char *help;
};

/* Ends with a row whose name is NULL. */
extern const struct exit_row exit_rows[];
