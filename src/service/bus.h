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

/* Tells each unit that systemd has loaded and whose name is like the pattern. */
int bus_list_units(const struct bus *bus, const char *pattern,
                   void (*each)(const struct bus *bus, const char *unit, void *arg), void *arg,
                   struct err *reterr) must_check;

/* What is wanted of a unit. */
struct bus_property {
    const char *name;
    char
        type; /* of a basic value, as D-Bus writes it: s u i t b; a: whether a list of texts has one */
    size_t at;    /* in the struct that is filled */
    size_t bytes; /* of a text's room there; a text is cut, and safe to print */
};
struct bus_wish {
    const char *interface;                 /* of the unit's object; "": of any */
    const struct bus_property *properties; /* a name NULL behind the last */
};

/* A unit by its name, and the struct that is filled. It is loaded by that, if it was not: systemd forgets
 * units that nobody needs. */
struct bus_unit {
    const char *name;
    void *ret;
};

/* All are asked for before the first has answered. */
int bus_read_units(const struct bus *bus, const struct bus_wish *wish, const struct bus_unit *units,
                   size_t count, struct err *reterr) must_check;
