#include "cli/ask.h"

#include "base/mem.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* A line, or its beginning; nothing at the end of the input. */
static void
read_answer(char *text, size_t room)
{
    size_t len = 0;
    char c = '\0';
    while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
        if (len + 1 < room)
            text[len++] = c;
    text[len] = '\0';
}

int
cli_ask(struct cli *cli, const char *question, const char *option)
{
    char answer[16];
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        (void)err_set(&cli->err, ERR_USAGE, "%s Nobody can be asked, as this is no terminal",
                      question);
        err_fix(&cli->err, "the same with --%s", option);
        return -EINVAL;
    }
    int r = cli_flush(cli);
    if (r < 0)
        return r;
    (void)dprintf(STDERR_FILENO, "%s [y/N] ", question);
    read_answer(answer, sizeof(answer));
    if (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0)
        return 1;
    cli_note(cli, "Nothing was changed.");
    return 0;
}

const char *
cli_asker(char text[64])
{
    char room[4 * KIB];
    struct passwd user, *found = NULL;
    const char *name = getenv("SUDO_USER");
    if (!name && getpwuid_r(geteuid(), &user, room, sizeof(room), &found) == 0 && found)
        name = user.pw_name;
    if (name)
        (void)snprintf(text, 64, "%s", name);
    else
        (void)snprintf(text, 64, "user %u", (unsigned)geteuid());
    return text;
}
