#include "service/jobs.h"

#include "base/text.h"
#include "sys/clock.h"

#include <errno.h>
#include <stdio.h>

#define LOOK_AGAIN_US (500 * 1000ULL)

struct watched {
    const struct bus *bus;
    struct systemd_jobs *jobs;
};

static int
on_job_removed(sd_bus_message *m, void *arg, sd_bus_error *error unused_arg)
{
    const struct watched *w = arg;
    struct systemd_jobs *jobs = w->jobs;
    const char *path, *unit, *result;
    uint32_t id;
    if (w->bus->sd->bus_message_read(m, "uoss", &id, &path, &unit, &result) < 0)
        return 0;
    for (size_t i = 0; i < jobs->count; i++)
        if (text_eq(jobs->items[i].path, path))
            (void)snprintf(jobs->items[i].result, sizeof(jobs->items[i].result), "%s", result);
    return 0;
}

static int
ask(const struct bus *bus, struct systemd_job *job, struct err *reterr)
{
    const char *path;
    sd_bus_message *reply;
    /* Not loaded, it has nothing to forget. */
    if (!text_eq(job->method, "StopUnit"))
        (void)!bus_call(bus, BUS_MANAGER_PATH, BUS_MANAGER, "ResetFailedUnit", NULL, NULL, "s",
                        job->unit);
    int r = bus_call(bus, BUS_MANAGER_PATH, BUS_MANAGER, job->method, &reply, reterr, "ss",
                     job->unit, job->mode ? job->mode : "replace");
    if (r < 0)
        return r;
    r = bus->sd->bus_message_read(reply, "o", &path);
    if (r >= 0)
        (void)snprintf(job->path, sizeof(job->path), "%s", path);
    (void)bus->sd->bus_message_unref(reply);
    return r < 0 ? err_set_errno(reterr, -r, "systemd tells of a job in an unknown way") : 0;
}

static struct systemd_job *
first_open(const struct systemd_jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++)
        if (!jobs->items[i].result[0])
            return &jobs->items[i];
    return NULL;
}

static int
await(const struct bus *bus, const struct systemd_jobs *jobs, struct err *reterr)
{
    uint64_t look_us = 0;
    int r = 0;
    for (struct systemd_job *job; r >= 0 && (job = first_open(jobs));) {
        uint64_t now_us = clock_now_us();
        if (jobs->deadline_us && now_us >= jobs->deadline_us)
            return 0;
        if (jobs->waiting && now_us >= look_us) {
            jobs->waiting(bus, job, jobs->arg);
            look_us = clock_now_us() + LOOK_AGAIN_US;
            continue; /* an end may have been heard there */
        }
        r = bus->sd->bus_process(bus->connection, NULL);
        if (r == 0)
            r = bus->sd->bus_wait(bus->connection, LOOK_AGAIN_US);
        if (r == -EINTR)
            r = 0;
    }
    return r < 0 ? err_set_errno(reterr, -r, "the system bus was lost; what was asked for goes on")
                 : 0;
}

/* Signals wait until the bus is read, which is not before all were asked for. */
static int
run(const struct bus *bus, struct systemd_jobs *jobs, struct err *reterr)
{
    struct watched watched = {bus, jobs};
    int r = bus_call(bus, BUS_MANAGER_PATH, BUS_MANAGER, "Subscribe", NULL, reterr, "");
    if (r < 0)
        return r;
    r = bus->sd->bus_match_signal(bus->connection, NULL, "org.freedesktop.systemd1",
                                  BUS_MANAGER_PATH, BUS_MANAGER, "JobRemoved", on_job_removed,
                                  &watched);
    if (r < 0)
        return err_set_errno(reterr, -r, "systemd's jobs cannot be watched");
    r = 0;
    for (size_t i = 0; r == 0 && i < jobs->count; i++)
        r = ask(bus, &jobs->items[i], reterr);
    return r == 0 && jobs->wait ? await(bus, jobs, reterr) : r;
}

int
systemd_jobs_run(struct systemd_jobs *jobs, struct err *reterr)
{
    _cleanup_bus_ struct bus bus = {0};
    int r = bus_open(&bus, reterr);
    if (r < 0)
        return r;
    return run(&bus, jobs, reterr);
}
