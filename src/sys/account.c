/* A machine below --root has its names in its own /etc/passwd and /etc/group; this one may have them
 * in a directory on the network too, which the C library asks. */

#include "sys/account.h"

#include "base/text.h"
#include "sys/root.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#define ENTRY_BYTES (64 * KIB) /* a group has its members in it */

static FILE *
open_below_root(const char *name)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/etc/%s", root_dir(), name);
    return fopen(path, "re");
}

/* user: NULL for whoever has the number. */
static const struct passwd *
find_user(const char *user, uid_t uid, struct passwd *entry, char *text)
{
    struct passwd *found = NULL;
    if (!root_is_set()) {
        int r = user ? getpwnam_r(user, entry, text, ENTRY_BYTES, &found)
                     : getpwuid_r(uid, entry, text, ENTRY_BYTES, &found);
        return r == 0 ? found : NULL;
    }
    FILE *file = open_below_root("passwd");
    while (file && fgetpwent_r(file, entry, text, ENTRY_BYTES, &found) == 0)
        if (user ? text_eq(entry->pw_name, user) : entry->pw_uid == uid)
            break;
    if (file)
        (void)fclose(file);
    return found;
}

static const struct group *
find_group(const char *name, gid_t gid, struct group *entry, char *text)
{
    struct group *found = NULL;
    if (!root_is_set()) {
        int r = name ? getgrnam_r(name, entry, text, ENTRY_BYTES, &found)
                     : getgrgid_r(gid, entry, text, ENTRY_BYTES, &found);
        return r == 0 ? found : NULL;
    }
    FILE *file = open_below_root("group");
    while (file && fgetgrent_r(file, entry, text, ENTRY_BYTES, &found) == 0)
        if (name ? text_eq(entry->gr_name, name) : entry->gr_gid == gid)
            break;
    if (file)
        (void)fclose(file);
    return found;
}

int
account_find(const char *user, const char *group, struct account *ret_account, struct err *reterr)
{
    _cleanup_free_ char *text = mem_alloc(ENTRY_BYTES), *more = mem_alloc(ENTRY_BYTES);
    struct passwd passwd;
    struct group entry;
    const struct passwd *u = find_user(user, 0, &passwd, text);
    const struct group *g = group ? find_group(group, 0, &entry, more) : NULL;
    if (u && (g || !group)) {
        *ret_account = (struct account){u->pw_uid, g ? g->gr_gid : u->pw_gid};
        return 0;
    }
    int r = err_set(reterr, ERR_NO_ACCOUNT, "there is no %s '%s'%s%s", u ? "group" : "account",
                    u ? group : user, root_is_set() ? " in " : "", root_dir());
    err_fix(reterr, "systemd-sysusers%s%s, with citadel.sysusers of `citadel units`",
            root_is_set() ? " --root=" : "", root_dir());
    return r;
}

const char *
account_print_user(uid_t uid, char text[ACCOUNT_TEXT_MAX])
{
    _cleanup_free_ char *room = mem_alloc(ENTRY_BYTES);
    struct passwd entry;
    const struct passwd *u = find_user(NULL, uid, &entry, room);
    if (u || uid == 0) /* whose name every machine knows */
        (void)snprintf(text, ACCOUNT_TEXT_MAX, "%s", u ? u->pw_name : "root");
    else
        (void)snprintf(text, ACCOUNT_TEXT_MAX, "%u", uid);
    return text;
}

const char *
account_print_group(gid_t gid, char text[ACCOUNT_TEXT_MAX])
{
    _cleanup_free_ char *room = mem_alloc(ENTRY_BYTES);
    struct group entry;
    const struct group *g = find_group(NULL, gid, &entry, room);
    if (g)
        (void)snprintf(text, ACCOUNT_TEXT_MAX, "%s", g->gr_name);
    else
        (void)snprintf(text, ACCOUNT_TEXT_MAX, "%u", gid);
    return text;
}
