/* Command lines from anybody: read or refused with a sentence, and the same again. The input: words,
 * a line feed between them; before an empty word, the JSON of $CITADEL_SIM. */

#include "sim/settings.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define WORDS_MAX 64

static void
require(bool true_thing)
{
    if (!true_thing)
        abort();
}

/* A file may be named: only ones that are not there. */
static bool
names_file(const char *word)
{
    return strncmp(word, "--config", strlen("--config")) == 0;
}

static enum settings_end
read_once(int argc, char *argv[], struct err *err)
{
    struct settings s;
    enum settings_end end = settings_read(&s, argc, argv, err);
    if (end == SETTINGS_OK) {
        require(s.names.count > 0 && s.release >= 8);
        require(s.tensor_parallel * s.pipeline_parallel > 0 && s.block_tokens > 0);
    }
    settings_finish(&s);
    return end;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *argv[WORDS_MAX + 1] = {(char *)(uintptr_t) "citadel-sim"};
    char *text = len <= 4096 ? calloc(1, len + 1) : NULL;
    struct err err = {0}, again = {0};
    int argc = 1;
    if (!text)
        return 0;
    memcpy(text, data, len);
    (void)unsetenv("CITADEL_SIM");
    for (char *p = text, *next; *p && argc < WORDS_MAX; p = next) {
        next = p + strcspn(p, "\n");
        if (*next)
            *next++ = '\0';
        if (!*p && argc == 2)
            (void)setenv("CITADEL_SIM", argv[--argc], 1);
        else if (!names_file(p))
            argv[argc++] = p;
    }
    argv[argc] = NULL;
    enum settings_end end = read_once(argc, argv, &err);
    require((end == SETTINGS_OK || end == SETTINGS_HELP) == !err.what[0]);
    require(read_once(argc, argv, &again) == end && strcmp(err.what, again.what) == 0);
    free(text);
    return 0;
}
