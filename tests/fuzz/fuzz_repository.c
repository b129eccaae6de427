/* Any text as what a repository says of itself: one that is accepted has an id. */

#include "backup/repository_int.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct repository_about about = {0};
    if (repository_parse((const char *)data, len, &about, NULL) == 0)
        assert(strlen(about.id) == REPOSITORY_ID_TEXT - 1);
    return 0;
}
