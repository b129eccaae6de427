#pragma once

/* For the tests of this room: recorded pages and logs. */

#include "base/mem.h"
#include "tap.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

/* tests/data/DIRECTORY/NAME as text, for free(); NULL, and the test failed, when it is not there. */
static inline char *
test_read(const char *directory, const char *name, size_t *ret_len)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "tests/data/%s/%s", directory, name);
    FILE *f = fopen(tap_source(path), "rbe");
    CHECK(f != NULL);
    if (!f)
        return NULL;
    const size_t room = 1 << 20;
    char *text = mem_alloc(room);
    *ret_len = fread(text, 1, room - 1, f);
    (void)fclose(f);
    return text;
}

/* How many files in tests/data/DIRECTORY end so: a table of expectations has one row for each. */
static inline size_t
test_count(const char *directory, const char *ending)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "tests/data/%s", directory);
    DIR *dir = opendir(tap_source(path));
    size_t count = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        size_t len = strlen(entry->d_name);
        count += len > strlen(ending) && !strcmp(entry->d_name + len - strlen(ending), ending);
    }
    if (dir)
        (void)closedir(dir);
    return count;
}
