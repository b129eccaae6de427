#include "service/bus.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DESTINATION "org.freedesktop.systemd1"
#define UNIT_PATH "/org/freedesktop/systemd1/unit"
#define ASKED_MAX 64 /* at once: a bus limits how many calls may wait for answers */
/* A manager that is busy with a reload of many units answers late; one that hangs, never. */
#define CALL_TIMEOUT_US (25 * 1000000ULL)

int
bus_open(struct bus *ret_bus, struct err *reterr)
{
    struct bus bus = {0};
    int r = libsystemd_load(&bus.sd, reterr);
    if (r < 0)
        return r;
    r = bus.sd->bus_open_system(&bus.connection);
    if (r >= 0)
        r = bus.sd->bus_set_method_call_timeout(bus.connection, CALL_TIMEOUT_US);
    if (r < 0) {
        bus_close(&bus);
        r = err_set_errno(reterr, -r, "the system bus cannot be reached");
        err_fix(reterr, "systemctl status dbus.socket");
        return r;
    }
    *ret_bus = bus;
    return 0;
}

void
bus_close(struct bus *bus)
{
    if (bus->connection)
        bus->connection = bus->sd->bus_flush_close_unref(bus->connection);
}

static enum err_id
id_of(const char *name)
{
    static const struct {
        const char *name;
        enum err_id id;
    } rows[] = {
        {"org.freedesktop.systemd1.NoSuchUnit", ERR_SERVICE_NONE},
        {"org.freedesktop.systemd1.LoadFailed", ERR_SERVICE_NONE},
        {"org.freedesktop.DBus.Error.AccessDenied", ERR_NOT_PERMITTED},
        {"org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", ERR_NOT_PERMITTED},
        {"org.freedesktop.DBus.Error.ServiceUnknown", ERR_SYSTEMD_ABSENT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (text_eq(name, rows[i].name))
            return rows[i].id;
    return ERR_SYSTEM;
}

static int
tell(int r, const char *method, const sd_bus_error *error, struct err *reterr)
{
    enum err_id id = id_of(error->name);
    if (!error->name)
        return err_set_errno(reterr, -r, "systemd did not answer %s", method);
    r = err_set(reterr, id, "systemd refused %s: %s", method,
                error->message ? error->message : error->name);
    if (id == ERR_NOT_PERMITTED)
        err_fix(reterr, "the same with sudo");
    return r;
}

int
bus_call(const struct bus *bus, const char *path, const char *interface, const char *method,
         sd_bus_message **ret_reply, struct err *reterr, const char *types, ...)
{
    sd_bus_message *message = NULL, *reply = NULL;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    va_list args;
    int r = bus->sd->bus_message_new_method_call(bus->connection, &message, DESTINATION, path,
                                                 interface, method);
    va_start(args, types);
    if (r >= 0 && *types)
        r = bus->sd->bus_message_appendv(message, types, args);
    va_end(args);
    if (r >= 0)
        r = bus->sd->bus_call(bus->connection, message, 0, &error, &reply);
    (void)bus->sd->bus_message_unref(message);
    if (r < 0)
        r = tell(r, method, &error, reterr);
    bus->sd->bus_error_free(&error);
    if (r >= 0 && ret_reply)
        *ret_reply = reply;
    else
        (void)bus->sd->bus_message_unref(reply);
    return MIN(r, 0);
}

/* ---- units ---- */

int
bus_list_units(const struct bus *bus, const char *pattern,
               void (*each)(const struct bus *bus, const char *unit, void *arg), void *arg,
               struct err *reterr)
{
    const struct libsystemd *sd = bus->sd;
    sd_bus_message *m = NULL;
    const char *unit;
    /* in no state that is meant above others, and of these names */
    int r = bus_call(bus, BUS_MANAGER_PATH, BUS_MANAGER, "ListUnitsByPatterns", &m, reterr, "asas",
                     0u, 1u, pattern);
    if (r < 0)
        return r;
    r = sd->bus_message_enter_container(m, 'a', "(ssssssouso)");
    while (r > 0 && (r = sd->bus_message_enter_container(m, 'r', "ssssssouso")) > 0) {
        r = sd->bus_message_read_basic(m, 's', &unit);
        if (r > 0)
            each(bus, unit, arg);
        if (r > 0)
            r = sd->bus_message_skip(m, "sssssouso");
        if (r >= 0)
            r = sd->bus_message_exit_container(m);
    }
    (void)sd->bus_message_unref(m);
    return r < 0 ? err_set_errno(reterr, -r, "systemd tells of its units in an unknown way") : 0;
}

/* ---- properties ---- */

static const struct bus_property *
find(const struct bus_property *wanted, const char *name, char type)
{
    for (; wanted->name; wanted++)
        if (wanted->type == type && text_eq(wanted->name, name))
            return wanted;
    return NULL;
}

static int
take_whether_any(const struct bus *bus, sd_bus_message *m, bool *ret)
{
    const char *text;
    int r = bus->sd->bus_message_enter_container(m, 'a', "s");
    *ret = false;
    while (r > 0 && (r = bus->sd->bus_message_read_basic(m, 's', &text)) > 0)
        *ret = true;
    return r < 0 ? r : bus->sd->bus_message_exit_container(m);
}

static int
take_value(const struct bus *bus, sd_bus_message *m, const struct bus_property *p, void *ret)
{
    void *to = (char *)ret + p->at;
    const char *text;
    int number;
    int r;
    if (p->type == 'a')
        return take_whether_any(bus, m, to);
    if (p->type == 'b') {
        r = bus->sd->bus_message_read_basic(m, 'b', &number);
        if (r > 0)
            *(bool *)to = number != 0;
        return r;
    }
    if (p->type != 's')
        return bus->sd->bus_message_read_basic(m, p->type, to);
    r = bus->sd->bus_message_read_basic(m, p->type, &text);
    if (r > 0)
        text_make_safe(to, p->bytes, snprintf(to, p->bytes, "%s", text));
    return r;
}

/* One entry of a{sv}, which has been entered. */
static int
take_entry(const struct bus *bus, sd_bus_message *m, const struct bus_property *wanted, void *ret)
{
    const char *name, *contents;
    int r = bus->sd->bus_message_read_basic(m, 's', &name);
    if (r > 0)
        r = bus->sd->bus_message_peek_type(m, NULL, &contents);
    if (r <= 0)
        return r < 0 ? r : -EBADMSG;
    bool is_known = contents[1] == '\0' || text_eq(contents, "as");
    const struct bus_property *p = is_known ? find(wanted, name, *contents) : NULL;
    if (!p)
        return bus->sd->bus_message_skip(m, "v");
    r = bus->sd->bus_message_enter_container(m, 'v', contents);
    if (r > 0)
        r = take_value(bus, m, p, ret);
    return r < 0 ? r : bus->sd->bus_message_exit_container(m);
}

static int
take_all(const struct bus *bus, sd_bus_message *m, const struct bus_property *wanted, void *ret)
{
    int r = bus->sd->bus_message_enter_container(m, 'a', "{sv}");
    while (r > 0 && (r = bus->sd->bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = take_entry(bus, m, wanted, ret);
        if (r >= 0)
            r = bus->sd->bus_message_exit_container(m);
    }
    return r;
}

/* ---- several units ---- */

struct reading {
    const struct bus *bus;
    const struct bus_wish *wish;
    size_t open; /* calls that are not answered */
    struct err err;
};

struct question {
    struct reading *reading;
    const struct bus_unit *unit;
    sd_bus_slot *slot;
};

static int
on_properties(sd_bus_message *m, void *arg, sd_bus_error *error unused_arg)
{
    const struct question *q = arg;
    struct reading *reading = q->reading;
    const sd_bus_error *refused = reading->bus->sd->bus_message_get_error(m);
    reading->open--;
    int r = refused ? tell(-EIO, "GetAll", refused, &reading->err)
                    : take_all(reading->bus, m, reading->wish->properties, q->unit->ret);
    if (r < 0 && !refused)
        (void)err_set_errno(&reading->err, -r, "systemd tells of it in an unknown way");
    if (r < 0)
        err_prefix(&reading->err, "%s", q->unit->name);
    return 0;
}

static int
ask(const struct bus *bus, struct question *q)
{
    char *path;
    int r = bus->sd->bus_path_encode(UNIT_PATH, q->unit->name, &path);
    if (r < 0)
        return r;
    r = bus->sd->bus_call_method_async(bus->connection, &q->slot, DESTINATION, path,
                                       "org.freedesktop.DBus.Properties", "GetAll", on_properties,
                                       q, "s", q->reading->wish->interface);
    free(path);
    return r;
}

static int
hear(struct reading *reading)
{
    const struct bus *bus = reading->bus;
    int r = 0;
    while (r >= 0 && reading->open && reading->err.id == ERR_NONE) {
        r = bus->sd->bus_process(bus->connection, NULL);
        if (r == 0)
            r = bus->sd->bus_wait(bus->connection, UINT64_MAX); /* each call has its own limit */
        if (r == -EINTR)
            r = 0;
    }
    return MIN(r, 0);
}

/* As many as may be asked for at once. */
static int
read_some(struct reading *reading, const struct bus_unit *units, size_t count, struct err *reterr)
{
    const struct bus *bus = reading->bus;
    struct question questions[ASKED_MAX] = {0};
    int r = 0;
    for (size_t i = 0; r >= 0 && i < count; i++) {
        questions[i] = (struct question){.reading = reading, .unit = &units[i]};
        r = ask(bus, &questions[i]);
        reading->open += r >= 0;
    }
    if (r >= 0)
        r = hear(reading);
    for (size_t i = 0; i < count; i++) /* nothing is heard any more */
        (void)bus->sd->bus_slot_unref(questions[i].slot);
    if (r < 0)
        return err_set_errno(reterr, -r, "the system bus was lost");
    if (reading->err.id == ERR_NONE)
        return 0;
    if (reterr)
        *reterr = reading->err;
    return -err_row(reading->err.id)->err;
}

int
bus_read_units(const struct bus *bus, const struct bus_wish *wish, const struct bus_unit *units,
               size_t count, struct err *reterr)
{
    struct reading reading = {.bus = bus, .wish = wish};
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i += ASKED_MAX)
        r = read_some(&reading, units + i, MIN(count - i, (size_t)ASKED_MAX), reterr);
    return r;
}
