#include "gateway/models.h"

#include "fmt/json.h"
#include "gateway/backend.h"
#include "gateway/relay.h"
#include "gateway/target.h"

/* The best of those that can be asked. */
static const char *
state_of(const struct relay *relay, const struct target *target)
{
    enum backend_state best = BACKEND_FAILS;
    for (size_t i = 0; i < target->back_count; i++) {
        const struct backend *b = relay_backend_of(relay, &target->backs[i]);
        enum backend_state state = b ? backend_state(b) : BACKEND_UNKNOWN;
        if (state == BACKEND_ANSWERS)
            return "ready";
        if (state == BACKEND_UNKNOWN)
            best = BACKEND_UNKNOWN;
    }
    return best == BACKEND_FAILS ? "unavailable" : "unknown";
}

static void
write_model(struct json_writer *w, const struct relay *relay, const char *name,
            const struct target *target, uint64_t created_s)
{
    json_open_map(w, NULL);
    json_str(w, "id", name);
    json_str(w, "object", "model");
    json_u64(w, "created", created_s);
    json_str(w, "owned_by", "citadel");
    json_str(w, "root", target->name);
    json_str(w, "state", state_of(relay, target));
    json_close_map(w);
}

void
models_write_all(struct buf *out, const struct relay *relay, uint64_t created_s)
{
    const struct target_table *table = relay_targets(relay);
    const struct target *target;
    struct json_writer w;
    const char *name;
    json_init(&w, out, false);
    json_open_map(&w, NULL);
    json_str(&w, "object", "list");
    json_open_list(&w, "data");
    for (size_t i = 0; (name = target_name(table, i)); i++)
        if (target_find(table, name, &target, NULL) == 0)
            write_model(&w, relay, name, target, created_s);
    json_close_list(&w);
    json_close_map(&w);
}

int
models_write_one(struct buf *out, const struct relay *relay, const char *name, uint64_t created_s,
                 struct err *reterr)
{
    const struct target *target;
    struct json_writer w;
    int r = target_find(relay_targets(relay), name, &target, reterr);
    if (r < 0)
        return r;
    json_init(&w, out, false);
    write_model(&w, relay, name, target, created_s);
    return 0;
}
