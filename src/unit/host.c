/* What the host is asked for beside units: accounts, directories, and who may start what. `make install`
 * puts these files where the host looks for them, with the names of the default configuration
 * (systemd/); where a configuration has others, they are installed from here. */

#include "storage/layout.h"
#include "sys/root.h"
#include "unit/unit_int.h"

#define PLACES_MAX (16 * MIB) /* a configuration's models and caches, some hundred bytes each */

/* TYPE NAME ID "GECOS" HOME SHELL */
void
unit_print_sysusers(struct unit_draft *d)
{
    const struct config_service *s = &d->config->service;
    d->directive = "sysusers.d";
    buf_add_str(d->out, "# The accounts of Citadel's services.\n");
    if (s->group)
        buf_printf(d->out, "g %s -\n", s->group);
    buf_printf(d->out, "u %s -%s%s \"Citadel's models and monitor\" ", s->user, s->group ? ":" : "",
               s->group ? s->group : "");
    draft_word(d, root_strip(d->config->paths.state), UNIT_WORD);
    buf_printf(d->out, "\nu %s - \"Citadel's gateway\" - -\n", s->gateway_user);
}

static void
directory(struct unit_draft *d, const struct storage_place *p)
{
    _cleanup_buf_ struct buf path = BUF_INIT(2 * ROOT_PATH_MAX);
    const struct config_service *s = &d->config->service;
    const char *const users[STORAGE_OWNERS] = {
        [STORAGE_ROOT] = "root",
        [STORAGE_SERVICE] = s->user,
        [STORAGE_GATEWAY] = s->gateway_user,
    };
    const char *group = p->owner == STORAGE_SERVICE && s->group ? s->group : users[p->owner];
    buf_printf(&path, "%s%s%s", root_strip(storage_area_path(d->config, p->area)),
               *p->name ? "/" : "", p->name);
    buf_add_str(d->out, "d ");
    draft_word(d, path.data, UNIT_WORD);
    buf_printf(d->out, " %04o %s %s -\n", (unsigned)p->mode, users[p->owner], group);
}

/* What is an operator's is made by `citadel storage setup`, and so is what lies below a mount point, and what
 * each model has. Where there need be no disk, setup could not make the point itself from inside its
 * sandbox. */
static bool
is_made_at_boot(const struct config *c, const struct storage_place *p)
{
    if (storage_area_is_disk(p->area))
        return !*p->name && !c->storage.require_mounts;
    return p->held && !p->of_model;
}

void
unit_print_tmpfiles(struct unit_draft *d)
{
    _cleanup_arena_ struct arena arena;
    size_t count = 0;
    arena_init(&arena, PLACES_MAX);
    const struct storage_place *places = storage_places(d->config, &arena, &count);
    d->directive = "tmpfiles.d";
    buf_add_str(d->out, "# The directories of Citadel on the system's own disk.\n");
    assert(places); /* as many as a configuration can name */
    for (size_t i = 0; i < count; i++)
        if (is_made_at_boot(d->config, &places[i]))
            directory(d, &places[i]);
}

/* The name of an account has nothing in it that JavaScript would read otherwise. */
void
unit_print_polkit(struct unit_draft *d)
{
    buf_printf(d->out,
               "// The monitor starts and stops Citadel's units, and nothing else.\n"
               "polkit.addRule(function (action, subject) {\n"
               "    if (action.id == \"org.freedesktop.systemd1.manage-units\" &&\n"
               "        subject.user == \"%s\" &&\n"
               "        /^citadel-[a-z0-9._-]+$/.test(action.lookup(\"unit\")) &&\n"
               "        [\"start\", \"stop\", \"restart\", \"reset-failed\"]"
               ".indexOf(action.lookup(\"verb\")) >= 0)\n"
               "        return polkit.Result.YES;\n"
               "});\n",
               d->config->service.user);
}
