#include "cli/logs.h"
#include "service/journal.h"
#include "sys/clock.h"

#include <unistd.h>

static bool
show(uint64_t at_us, const char *name, const char *line, size_t len, void *arg)
{
    char time[CLOCK_LOCAL_MAX];
    return logs_show(arg, clock_print_local(at_us, time), name, line, len);
}

int
logs_read_journal(const struct logs *logs)
{
    const struct journal_wish wish = {.names = logs->names,
                                      .count = logs->count,
                                      .lines = logs->lines,
                                      .since_us = logs->since_us,
                                      .follow = logs->follow,
                                      .line = show,
                                      .arg = (void *)(uintptr_t)logs};
    uint64_t told;
    int r = journal_read(&wish, &told, &logs->cli->err);
    if (r < 0)
        return r;
    if (told == 0 && !logs->follow)
        cli_note(logs->cli, "the journal has nothing of %s%s that you may read%s", logs->asked,
                 logs->since_us ? " in that time" : "",
                 geteuid() ? "; the same with sudo, or as one of the group systemd-journal" : "");
    return 0;
}
