#include "cli/confirm.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define QUESTION_MAX 512

bool
cli_is_attended(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

static int
refuse(struct cli *cli, const char *why)
{
    int r = err_set(&cli->err, ERR_UNCONFIRMED, "nothing was done: %s", why);
    err_fix(&cli->err, "the same with -y");
    return r;
}

int
cli_confirm(struct cli *cli, const char *fmt, ...)
{
    char question[QUESTION_MAX], answer[16] = "";
    va_list args;
    if (cli_flag(cli, "yes"))
        return 0;
    if (cli->json)
        return refuse(cli, "with --json nobody is asked");
    if (!cli_is_attended())
        return refuse(cli, "there is no terminal to ask at");
    va_start(args, fmt);
    text_make_safe(question, sizeof(question), vsnprintf(question, sizeof(question), fmt, args));
    va_end(args);
    int r = cli_flush(cli); /* what is asked about */
    if (r < 0)
        return r;
    (void)fprintf(stderr, "%s [y/N] ", question);
    if (!fgets(answer, sizeof(answer), stdin))
        answer[0] = '\0';
    if (text_eq(answer, "y\n") || text_eq(answer, "yes\n"))
        return 0;
    return refuse(cli, "it was not confirmed");
}
