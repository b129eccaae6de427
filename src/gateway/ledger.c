#include "gateway/ledger.h"

#include "fmt/json.h"

const char *
ledger_end_word(enum ledger_end end)
{
    static const char *const words[LEDGER_ENDS] = {
#define END(name, word, help) [LEDGER_##name] = word,
#include "gateway/end.def"
#undef END
    };
    return words[end];
}

void
ledger_print(const struct ledger_row *row, const char *id, struct json_writer *w)
{
    json_u64(w, "time_us", row->time_us);
    if (id)
        json_str(w, "id", id);
    json_str(w, "key", row->key ? row->key_name : NULL);
    json_str(w, "model", row->model[0] ? row->model : NULL);
    json_str(w, "backend", row->backend[0] ? row->backend : NULL);
    json_u64(w, "status", row->status);
    json_str(w, "end", ledger_end_word(row->end));
    json_u64(w, "tokens_in", row->tokens_in);
    json_u64(w, "tokens_out", row->tokens_out);
    json_u64(w, "tokens_cached", row->tokens_cached);
    json_bool(w, "estimate", row->is_estimate);
    json_u64(w, "queue_us", row->queue_us);
    json_u64(w, "first_us", row->first_us);
    json_u64(w, "duration_us", row->duration_us);
}
