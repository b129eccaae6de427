/* All services that systemd runs. It forgets units that rest and that nobody needs, and reads their files
 * anew for whoever asks for one: which takes it a while, and whoever watches it hears of. So nothing is asked
 * of one that it has forgotten, and that a generation has. */

#include "config/config.h"
#include "run/record.h"
#include "run/run.h"
#include "service/list.h"
#include "service/systemd.h"
#include "service/systemd_int.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "citadel-"
#define SUFFIX ".service"
#define TARGET "citadel-models.target"

/* What is asked for, and then what is told of it. */
struct candidate {
    char name[TEXT_NAME_MAX + 1];
    const struct config_model *model; /* NULL: none that is deployed */
    bool is_model, is_loaded;
    char unit_name[sizeof(PREFIX SUFFIX) + TEXT_NAME_MAX];
    struct systemd_unit unit;
};

struct viewing {
    const struct config *config;
    VEC(struct candidate) all;
};

static struct candidate *
add(struct viewing *v, const char *name)
{
    struct candidate *c = vec_add(&v->all);
    (void)snprintf(c->name, sizeof(c->name), "%s", name);
    (void)snprintf(c->unit_name, sizeof(c->unit_name), PREFIX "%s" SUFFIX, c->name);
    return c;
}

static void
add_deployed(struct viewing *v)
{
    for (size_t i = 0; service_keepers[i]; i++)
        (void)add(v, service_keepers[i]);
    for (size_t i = 0; i < v->config->models.count; i++) {
        const struct config_model *model = &v->config->models.items[i];
        if (!model->enabled)
            continue;
        struct candidate *c = add(v, model->name);
        c->model = model;
        c->is_model = true;
    }
}

static struct candidate *
find(const struct viewing *v, const char *unit_name)
{
    vec_foreach (&v->all, c)
        if (text_eq(c->unit_name, unit_name))
            return c;
    return NULL;
}

/* What is deployed no more, and may run all the same. */
static struct candidate *
add_stranger(struct viewing *v, const char *unit_name)
{
    char name[TEXT_NAME_MAX + 1];
    size_t len = strlen(unit_name) - strlen(PREFIX SUFFIX);
    if (len > TEXT_NAME_MAX)
        return NULL;
    (void)snprintf(name, sizeof(name), "%.*s", (int)len, unit_name + strlen(PREFIX));
    if (!text_is_name(name) || !run_record_has_place(v->config->paths.state, name))
        return NULL;
    struct candidate *c = add(v, name);
    c->is_model = true;
    return c;
}

static void
note_loaded(const struct bus *bus unused_arg, const char *unit_name, void *arg)
{
    struct candidate *c = find(arg, unit_name);
    if (!c)
        c = add_stranger(arg, unit_name);
    if (c)
        c->is_loaded = true;
}

static bool
is_generated(const char *unit_name)
{
    _cleanup_free_ char *path = mem_printf(SYSTEMD_GENERATED "/%s", unit_name);
    return access(path, F_OK) == 0;
}

static int
read_all(struct viewing *v, const struct bus *bus, struct systemd_unit *target, struct err *reterr)
{
    size_t count = 0;
    _cleanup_free_ struct bus_unit *units = mem_alloc((v->all.count + 1) * sizeof(*units));
    vec_foreach (&v->all, c)
        if (c->is_loaded || !is_generated(c->unit_name))
            units[count++] = (struct bus_unit){c->unit_name, &c->unit};
    units[count++] = (struct bus_unit){TARGET, target};
    return bus_read_units(bus, &systemd_of_service, units, count, reterr);
}

/* systemd may have lost the file of one whose processes it still has. */
static bool
is_there(const struct candidate *c, enum service_state state)
{
    return !text_eq(c->unit.load_state, "not-found") || state == SERVICE_READY ||
           !service_state_is_settled(state);
}

static void
tell(const struct candidate *c, struct service_view *view)
{
    struct service_seen seen = {.unwanted = !c->unit.wanted};
    struct service_status *s = &seen.status;
    char address[RUN_ADDRESS_MAX];
    memcpy(s->name, c->name, sizeof(s->name));
    (void)snprintf(s->kind, sizeof(s->kind), "%s", c->is_model ? "model" : "service");
    if (c->model)
        (void)snprintf(s->address, sizeof(s->address), "%s", run_address(c->model->port, address));
    systemd_tell(&c->unit, s);
    if (is_there(c, s->state))
        vec_push(&view->items, seen);
}

static int
read_view(struct viewing *v, struct service_view *view, struct err *reterr)
{
    _cleanup_bus_ struct bus bus = {0};
    struct systemd_unit target = {0};
    add_deployed(v);
    int r = bus_open(&bus, reterr);
    if (r == 0)
        r = bus_list_units(&bus, PREFIX "*" SUFFIX, note_loaded, v, reterr);
    if (r == 0)
        r = read_all(v, &bus, &target, reterr);
    if (r < 0)
        return r;
    vec_foreach (&v->all, c)
        tell(c, view);
    /* A target has no processes, and stops before what it wants. */
    if (!text_eq(target.active_state, "active"))
        view->stopped_us = target.since_us;
    return 0;
}

int
systemd_view_read(const struct config *config, struct service_view *ret_view, struct err *reterr)
{
    struct viewing v = {.config = config};
    *ret_view = (struct service_view){.by_systemd = true, .pid = 1};
    (void)snprintf(ret_view->containment, sizeof(ret_view->containment), "systemd");
    (void)snprintf(ret_view->promise, sizeof(ret_view->promise),
                   "systemd ends all that a service has started, by its control group");
    int r = read_view(&v, ret_view, reterr);
    vec_finish(&v.all);
    if (r < 0 || ret_view->items.count)
        return r;
    r = err_set(reterr, ERR_SERVICE_DOWN,
                "no supervisor of ours runs, and systemd knows no service of %s", config->name);
    err_fix(reterr, "citadel up");
    return r;
}
