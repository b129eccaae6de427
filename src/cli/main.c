/* The one program, and the names as which it is called. */

#include "base/mem.h"
#include "base/text.h"
#include "cli/frame.h"
#include "unit/generator.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char *const argv[]);
} names[] = {
    {GENERATOR_NAME, generator_main},
};

/* Verbs that have a program's name of their own: `citadel-rollback status` is `citadel rollback status`. */
static struct {
    const char *name;
    char verb[16]; /* words of a command line may be written to */
} verb_names[] = {
    {"citadel-deploy", "deploy"},
    {"citadel-rollback", "rollback"},
};

static int
run_verb(char *verb, int argc, char *argv[])
{
    _cleanup_free_ char **words = mem_alloc(((size_t)argc + 2) * sizeof(*words));
    words[0] = argv[0];
    words[1] = verb;
    memcpy(words + 2, argv + 1, (size_t)argc * sizeof(*words));
    return cli_main(argc + 1, words);
}

int
main(int argc, char *argv[])
{
    const char *slash = argc ? strrchr(argv[0], '/') : NULL;
    for (size_t i = 0; argc && i < ARRAY_SIZE(names); i++)
        if (text_eq(slash ? slash + 1 : argv[0], names[i].name))
            return names[i].run(argc, argv);
    for (size_t i = 0; argc && i < ARRAY_SIZE(verb_names); i++)
        if (text_eq(slash ? slash + 1 : argv[0], verb_names[i].name))
            return run_verb(verb_names[i].verb, argc, argv);
    return cli_main(argc, argv);
}
