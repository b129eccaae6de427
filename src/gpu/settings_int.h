#pragma once

/* The file of what was found, for those who change it. */

#include "gpu/settings.h"

char *settings_path(const char *state) must_check;
int settings_save(const char *state, const struct gpu_memory_file *memory, struct err *reterr)
    must_check;
/* The entry of a GPU, made where there is none; NULL: there are too many. */
struct gpu_settings *settings_entry(struct gpu_memory_file *memory, const char *uuid);
void settings_drop_empty(struct gpu_memory_file *memory);
