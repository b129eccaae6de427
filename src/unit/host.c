/* What the host is asked for beside units: accounts, directories, and who may start what. `make install`
 * puts these files where the host looks for them, with the names of the default configuration
 * (systemd/); where a configuration has others, they are installed from here. */

#include "sys/root.h"
#include "unit/unit_int.h"

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
directory(struct unit_draft *d, const char *dir, const char *below, const char *mode,
          const char *user)
{
    _cleanup_buf_ struct buf path = BUF_INIT(2 * ROOT_PATH_MAX);
    const struct config_service *s = &d->config->service;
    const char *group = user == s->user && s->group ? s->group : user;
    buf_printf(&path, "%s%s", root_strip(dir), below);
    buf_add_str(d->out, "d ");
    draft_word(d, path.data, UNIT_WORD);
    buf_printf(d->out, " %s %s %s -\n", mode, user, group);
}

/* Whose parent is root's, since tmpfiles follows nobody else's; below mount points nothing: those are
 * made by `citadel storage setup`, when they are mounted. */
void
unit_print_tmpfiles(struct unit_draft *d)
{
    const struct config_paths *p = &d->config->paths;
    const char *user = d->config->service.user, *gateway = d->config->service.gateway_user;
    d->directive = "tmpfiles.d";
    buf_add_str(d->out, "# The directories of Citadel on the system's own disk.\n");
    directory(d, p->run, "", "0755", user);
    directory(d, p->state, "", "0755", "root");
    directory(d, p->state, "/models", "0755", user);
    directory(d, p->state, "/monitor", "0755", user);
    directory(d, p->state, "/gateway", "0700", gateway);
    directory(d, p->generations, "", "0755", "root");
    directory(d, p->generations, "/secrets", "0700", "root");
    directory(d, p->root, "", "0755", "root");
    directory(d, p->root, "/monitoring", "0755", user);
    directory(d, p->logs, "", "0755", "root");
    directory(d, p->logs, "/models", "0755", user);
    directory(d, p->logs, "/monitoring", "0755", user);
    directory(d, p->logs, "/services", "0755", gateway);
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
