#pragma once

/* Versions of engines as Python writes them (PEP 440): 0.11.0, 0.8.5.post1, 0.26.1rc1.dev1046,
 * 0.11.0+cu129. What stands behind '+' names a build and takes no part in the order. */

#include "base/err.h"

struct engine_version {
    /* In order of weight: four parts of the release; kind and number of the pre-release; number of
     * the post-release; number of the development build. Absent ones have the value that sorts
     * them right, so that comparing two versions is comparing two rows of numbers. */
    int64_t order[8];
};

#define ENGINE_VERSION_TEXT_MAX 96
typedef char engine_version_text[ENGINE_VERSION_TEXT_MAX];

int engine_version_parse(const char *text, struct engine_version *ret_version, struct err *reterr)
    must_check;
const char *engine_version_print(const struct engine_version *version, engine_version_text text);

/* <0, 0, >0 */
int engine_version_compare(const struct engine_version *a, const struct engine_version *b)
    must_check;

/* Likewise by the release alone: 0.18.0rc1 counts as the 0.18.0 that it leads to. */
int engine_version_compare_release(const struct engine_version *a, const struct engine_version *b)
    must_check;

/* The version of a package that is installed in a Python environment, read from the name of its
 * metadata directory (PYTHON_ENV/lib/python3.N/site-packages/PACKAGE-VERSION.dist-info); Python is
 * not run. ENGINE_NOT_INSTALLED when there is none, or more than one. */
int engine_version_find(const char *python_env, const char *package,
                        struct engine_version *ret_version, struct err *reterr) must_check;
