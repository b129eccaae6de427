#include "base/exit.h"

#include <stddef.h>

const struct exit_row exit_rows[] = {
#define EXIT(name, code, help) {#name, EXIT_CODE_##name, help},
#include "base/exit.def"
#undef EXIT
    {NULL, EXIT_CODE_OK, NULL},
};
