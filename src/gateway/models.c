#include "gateway/models.h"

#include "config/config.h"
#include "fmt/json.h"
#include "gateway/backend.h"
#include "gateway/relay.h"
#include "gateway/target.h"

/* As who watches over it says; where nobody does, as requests have found it. */
static enum presence_state
state_of(const struct backend *b)
{
    static const enum presence_state found[] = {[BACKEND_UNKNOWN] = PRESENCE_UNKNOWN,
                                                [BACKEND_ANSWERS] = PRESENCE_THERE,
                                                [BACKEND_FAILS] = PRESENCE_AWAY};
    enum presence_state said = backend_presence(b)->state;
    return said == PRESENCE_UNKNOWN ? found[backend_state(b)] : said;
}

/* The best of those that can be asked. */
static const struct backend *
best_of(const struct relay *relay, const struct target *target)
{
    static const enum presence_state ranks[] = {PRESENCE_THERE, PRESENCE_COMING, PRESENCE_UNKNOWN,
                                                PRESENCE_COLD, PRESENCE_AWAY};
    for (size_t k = 0; k < ARRAY_SIZE(ranks); k++)
        for (size_t i = 0; i < target->back_count; i++) {
            const struct backend *b = relay_backend_of(relay, &target->backs[i]);
            if (b && state_of(b) == ranks[k])
                return b;
        }
    return NULL;
}

static const struct config_model *
model_of(const struct target *target)
{
    for (size_t i = 0; i < target->back_count; i++)
        if (target->backs[i].model)
            return target->backs[i].model;
    return NULL;
}

static void
write_limits(struct json_writer *w, const struct config_model *model)
{
    if (!model)
        return;
    if (model->max_model_len)
        json_u64(w, "max_model_len", model->max_model_len);
    json_open_map(w, "limits");
    json_u64(w, "queue", model->queue_length);
    json_u64(w, "queue_seconds", model->queue_timeout_us / 1000000);
    json_close_map(w);
}

static void
write_model(struct json_writer *w, const struct relay *relay, const char *name,
            const struct target *target, uint64_t created_s)
{
    const struct backend *best = best_of(relay, target);
    json_open_map(w, NULL);
    json_str(w, "id", name);
    json_str(w, "object", "model");
    json_u64(w, "created", created_s);
    json_str(w, "owned_by", "citadel");
    json_str(w, "root", target->name);
    json_str(w, "state", presence_word(best ? state_of(best) : PRESENCE_UNKNOWN));
    if (best && backend_presence(best)->why[0])
        json_str(w, "why", backend_presence(best)->why);
    write_limits(w, model_of(target));
    json_close_map(w);
}

void
models_write_all(struct buf *out, const struct relay *relay, const struct key *key,
                 uint64_t created_s)
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
        if (target_find(table, key, name, &target, NULL) == 0)
            write_model(&w, relay, name, target, created_s);
    json_close_list(&w);
    json_close_map(&w);
}

int
models_write_one(struct buf *out, const struct relay *relay, const struct key *key,
                 const char *name, uint64_t created_s, struct err *reterr)
{
    const struct target *target;
    struct json_writer w;
    int r = target_find(relay_targets(relay), key, name, &target, reterr);
    if (r < 0)
        return r;
    json_init(&w, out, false);
    write_model(&w, relay, name, target, created_s);
    return 0;
}
