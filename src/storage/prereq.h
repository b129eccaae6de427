#pragma once

/* What must be there before Citadel can work on this machine, as far as storage goes. */

#include "base/err.h"
#include "base/mem.h"

struct config;

#define STORAGE_CHECKS_MAX 16

struct storage_check {
    const char *name; /* "free space" */
    bool required;    /* else something is lost without it, and models run */
    bool ok;
    char found[256];
    char fix[256]; /* "" when it is ok */
};

struct storage_checks {
    size_t count;
    struct storage_check items[STORAGE_CHECKS_MAX];
};

int storage_prereq(const struct config *config, struct storage_checks *ret_checks,
                   struct err *reterr) must_check;
