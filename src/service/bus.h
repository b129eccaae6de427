#pragma once

/* The system bus: systemd's manager and its objects. */

#include "service/libsystemd.h"

struct bus {
    const struct libsystemd *sd;
    sd_bus *connection;
};

int bus_open(struct bus *ret_bus, struct err *reterr) must_check;
void bus_close(struct bus *bus);
#define _cleanup_bus_ _cleanup_(bus_close)

/* Calls a method of systemd's manager, or of one of its objects; *ret_reply may be NULL, else it is to
 * be given to message_unref(). The error is that of the other side, with `what` before it. */
int bus_call(const struct bus *bus, const char *path, const char *interface, const char *method,
             sd_bus_message **ret_reply, struct err *reterr, const char *types, ...) must_check;

#define BUS_MANAGER_PATH "/org/freedesktop/systemd1"
#define BUS_MANAGER "org.freedesktop.systemd1.Manager"

/* The properties that are wanted of an object, as GetAll tells them. The list ends with a name NULL. */
struct bus_property {
    const char *name;
    char
        type; /* of a basic value, as D-Bus writes it: s o u i t b; a: whether a list of texts has one */
    size_t at;    /* in the struct that is filled */
    size_t bytes; /* of a text's room there; a text is cut, and safe to print */
};
int bus_read_properties(const struct bus *bus, const char *path, const char *interface,
                        const struct bus_property *wanted, void *ret, struct err *reterr)
    must_check;
