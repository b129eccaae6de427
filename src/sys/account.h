#pragma once

/* Accounts of the machine; under --root, of the one that is being built there. */

#include "base/err.h"

#include <sys/types.h>

struct account {
    uid_t uid;
    gid_t gid;
};

/* group: NULL for the account's own. */
int account_find(const char *user, const char *group, struct account *ret_account,
                 struct err *reterr) must_check;

/* "root", or a number where it has no name. */
#define ACCOUNT_TEXT_MAX 64
const char *account_print_user(uid_t uid, char text[ACCOUNT_TEXT_MAX]);
const char *account_print_group(gid_t gid, char text[ACCOUNT_TEXT_MAX]);
