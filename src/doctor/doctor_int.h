#pragma once

/* Between the files of this room. */

#include "base/buf.h"
#include "config/config.h"
#include "doctor/doctor.h"
#include "gpu/inventory.h"

#define DOCTOR_TOOL_US (5 * 1000000ULL) /* for a program that is asked something */
#define DOCTOR_NET_US (3 * 1000000ULL)  /* for another host */

/* A report that is being written. */
struct doctor {
    const struct config *config;
    struct doctor_report *report;
    const struct doctor_check *check;      /* whose findings are being added */
    const struct gpu_inventory *inventory; /* NULL: none, and driver_err tells why */
    const struct err *driver_err;
    bool fake_driver;
};

#define CHECK(id, group, need, function, help) void doctor_check_##function(struct doctor *d);
#include "doctor/doctor.def"

/* Adds a finding. remedy: "" or a command. */
void doctor_add(struct doctor *d, const char *subject, enum doctor_verdict verdict,
                const char *remedy, const char *fmt, ...) printf_like(5, 6);
/* Likewise one that matters in another way than its check does. */
void doctor_add_as(struct doctor *d, bool required, const char *subject,
                   enum doctor_verdict verdict, const char *remedy, const char *found);
/* What an error says, as a finding that fails. */
void doctor_add_err(struct doctor *d, const char *subject, const struct err *err);
const char *doctor_text(struct doctor *d, const char *fmt, ...)
    printf_like(2, 3); /* in its arena */

/* What a program says on its standard output, in so many bytes; "" when it fails. */
#define DOCTOR_ANSWER_MAX 4096
const char *doctor_ask(const char *const *argv, char answer[DOCTOR_ANSWER_MAX]);

/* How many enabled models have this engine. */
size_t doctor_count_engine(const struct config *config, enum config_engine engine);

/* Of one GPU, whether persistence mode is as the configuration wants it. */
enum doctor_verdict doctor_judge_persistence(enum config_switch wanted, struct gpu_value is);

/* Whether a process is of the service: its control group is that of the unit, or its environment has the
 * mark of those that we started. As /proc/PID/cgroup and /proc/PID/environ tell it. */
bool doctor_is_of_service(const char *service, const char *groups, const struct buf *environment);

/* A line "KEY=value" of /etc/os-release, without quotes; false: there is none. */
bool doctor_read_release(const char *text, const char *key, char *value, size_t room);
/* The first number of "systemd 252 (252.39-1~deb12u2)"; 0: there is none. */
unsigned doctor_read_systemd(const char *text);

/* "http://host:port/path" in its parts; false: it is no address of that kind. */
struct doctor_url {
    char host[254], path[512];
    uint16_t port;
};
bool doctor_read_url(const char *text, struct doctor_url *ret_url);
