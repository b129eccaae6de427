/* The one program, and the names as which others call it. */

#include "base/text.h"
#include "cli/frame.h"
#include "unit/generator.h"

#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char *const argv[]);
} names[] = {
    {GENERATOR_NAME, generator_main},
};

int
main(int argc, char *argv[])
{
    const char *slash = argc ? strrchr(argv[0], '/') : NULL;
    for (size_t i = 0; argc && i < ARRAY_SIZE(names); i++)
        if (text_eq(slash ? slash + 1 : argv[0], names[i].name))
            return names[i].run(argc, argv);
    return cli_main(argc, argv);
}
