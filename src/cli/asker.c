#include "cli/asker.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *
cli_asker(char text[64])
{
    char room[4 * KIB];
    struct passwd user, *found = NULL;
    /* What others say who they are is not believed. */
    const char *name = geteuid() == 0 ? getenv("SUDO_USER") : NULL;
    if (!name && getpwuid_r(geteuid(), &user, room, sizeof(room), &found) == 0 && found)
        name = user.pw_name;
    if (name)
        (void)snprintf(text, 64, "%s", name);
    else
        (void)snprintf(text, 64, "user %u", (unsigned)geteuid());
    return text;
}
