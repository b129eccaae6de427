#pragma once

/* For tests: a made-up driver in the test's directory, seen through the fake libnvidia-ml.so.1 as
 * it is really loaded, and through its control side. */

#include "gpu/nvml.h"
#include "sim/nvml/fake.h"
#include "tap.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef FAKE_NVML_PATH /* the build names the one it made */
#    define FAKE_NVML_PATH "libnvidia-ml.so.1"
#endif

struct rig {
    struct fake fake;
    struct nvml nvml;
};

static inline void
rig_close(struct rig *rig)
{
    nvml_close(&rig->nvml);
    fake_close(&rig->fake);
}

#define _cleanup_rig_ _cleanup_(rig_close)
#define RIG_INIT          \
    {                     \
        .fake = FAKE_INIT \
    }

/* description: the text of DIR/gpus, or NULL. */
static inline bool
rig_open(struct rig *rig, const char *description)
{
    struct err err = {0};
    char path[512];
    (void)setenv(FAKE_NVML_ENV, tap_dir(), 1);
    (void)snprintf(path, sizeof(path), "%s/gpus", tap_dir());
    FILE *file = description ? fopen(path, "we") : NULL;
    if (file) {
        (void)fputs(description, file);
        (void)fclose(file);
    }
    int r = fake_open(&rig->fake, tap_dir(), &err);
    if (r == 0)
        r = nvml_open(&rig->nvml, FAKE_NVML_PATH, &err);
    if (r < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    return r == 0;
}

static inline struct nvml_device *
rig_device(struct rig *rig, unsigned index)
{
    struct nvml_device *device = NULL;
    int code = nvml_call(&rig->nvml, DeviceGetHandleByIndex_v2, index, &device);
    if (code != NVML_SUCCESS)
        tap_fail(__FILE__, __LINE__, "GPU %u: %s", index, nvml_code_text(code));
    return device;
}

/* A child that runs f(arg) and, once that is done, says so and waits for its end. */
struct rig_child {
    pid_t pid;
    int said; /* readable when f is done, or the child dead */
};

static inline struct rig_child
rig_fork(void (*f)(void *arg), void *arg)
{
    int ends[2];
    struct rig_child child = {-1, -1};
    if (pipe(ends) < 0)
        return child;
    child.pid = fork();
    if (child.pid == 0) {
        (void)close(ends[0]);
        f(arg);
        (void)!write(ends[1], "", 1);
        for (;;)
            (void)pause();
    }
    (void)close(ends[1]);
    child.said = ends[0];
    return child;
}

static inline bool
rig_said(const struct rig_child *child, int timeout_ms)
{
    struct pollfd p = {.fd = child->said, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

static inline void
rig_kill(struct rig_child *child)
{
    (void)kill(child->pid, SIGKILL);
    (void)waitpid(child->pid, NULL, 0);
    cleanup_close(&child->said);
}
