#pragma once

/* For tests: a strict S3 (tests/s3_server.py), which checks each signature by itself. */

#include "base/mem.h"
#include "http/fetch.h"
#include "sys/proc.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define S3_RIG_KEY "AKIAEXAMPLE"
#define S3_RIG_SECRET "the/secret+of=tests"
#define S3_RIG_REGION "eu-test-1"

struct s3_rig {
    struct proc proc;
    unsigned port;
};

static inline int
s3_rig_start(struct s3_rig *rig)
{
    const char *const argv[] = {"/usr/bin/python3", "-B", tap_source("tests/s3_server.py"), NULL};
    int out[2];
    char port[16] = {0};
    *rig = (struct s3_rig){0};
    if (pipe2(out, O_CLOEXEC) < 0)
        return -errno;
    const struct proc_wish wish = {.argv = argv, .fds = {-1, out[1], 2}, .death_signal = SIGKILL};
    int r = proc_start(&wish, &rig->proc, NULL);
    (void)close(out[1]);
    for (size_t len = 0; r == 0 && len < sizeof(port) - 1 && !strchr(port, '\n');) {
        ssize_t n = read(out[0], port + len, sizeof(port) - 1 - len);
        r = n > 0 ? 0 : -EIO;
        len += n > 0 ? (size_t)n : 0;
    }
    (void)close(out[0]);
    rig->port = (unsigned)strtoul(port, NULL, 10);
    return r;
}

static inline void
s3_rig_stop(struct s3_rig *rig)
{
    struct proc_end end;
    if (rig->proc.pid <= 0)
        return;
    (void)!proc_signal(&rig->proc, SIGKILL);
    (void)!proc_wait(&rig->proc, &end);
}

/* The answer's body. */
static inline const char *
s3_rig_tell(const struct s3_rig *rig, const char *method, const char *target)
{
    static char said[4096];
    _cleanup_buf_ struct buf body = BUF_INIT(sizeof(said) - 1);
    _cleanup_free_ char *address = mem_printf("127.0.0.1:%u", rig->port);
    const struct http_fetch fetch = {
        .address = address, .method = method, .target = target, .type = "text/plain", .body = ""};
    unsigned status = 0;
    bool told = http_fetch(&fetch, &status, &body, NULL) == 0 && status == 200;
    (void)snprintf(said, sizeof(said), "%s", told ? body.data : "failed");
    return said;
}
