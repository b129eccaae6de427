#pragma once

/* Python environments of an engine. Each release has a directory of its own, and a link beside them
 * leads to the one that is meant:
 *
 *     /opt/citadel/vllm-env -> vllm-env-0.14.1        paths.vllm_env
 *     /opt/citadel/vllm-env-0.13.0/  /opt/citadel/vllm-env-0.14.1/
 *
 * What runs does so from the directory and never through the link: Python loads parts of itself long
 * after its start, and the link may have moved by then. Nothing is installed here, and nothing run. */

#include "engine/version.h"

#include <limits.h>

struct arena;

struct engine_env {
    char path[PATH_MAX]; /* of the directory, without a link in it */
    struct engine_version version;
};

/* The directory that a path leads to. */
int engine_env_resolve(const char *path, char ret_path[PATH_MAX], struct err *reterr) must_check;

/* Likewise, with all that an engine needs of it: one release of the package, its program, its Python.
 * ENGINE_NOT_INSTALLED tells what is missing; ret_env->path is filled then, too, "" where there is no
 * directory. */
int engine_env_find(const char *path, const char *package, struct engine_env *ret_env,
                    struct err *reterr) must_check;

struct engine_env_item {
    const char *path;
    const char *version; /* "0.14.1"; "" where it is not whole */
    const char *trouble; /* why it is not; "" */
};

/* Those that lie beside a path or beside what it leads to, by path: directories that Python says are
 * environments, or that have the package. All lives in the arena. */
int engine_env_list(const char *path, const char *package, struct arena *arena,
                    struct engine_env_item **ret_items, size_t *ret_count, struct err *reterr)
    must_check;
