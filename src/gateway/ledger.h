#pragma once

/* Who used what: a row for each request for a model that a client was told the end of, or left.
 * Never what was said in it. The database keeps the rows; the access log has them as lines. */

#include "base/text.h"
#include "gateway/ask.h"

struct json_writer;

enum ledger_end {
#define END(name, word, help) LEDGER_##name,
#include "gateway/end.def"
#undef END
    LEDGER_ENDS
};

struct ledger_row {
    uint64_t time_us; /* since 1970, when it came */
    uint64_t key;     /* 0: it showed none */
    char key_name[TEXT_NAME_MAX + 1];
    char model[ASK_MODEL_MAX + 1];   /* as it is served; "": none was found */
    char backend[ASK_MODEL_MAX + 1]; /* that was asked last; "": none was */
    unsigned status;                 /* 0: it had ended before there was one */
    enum ledger_end end;
    uint64_t tokens_in, tokens_out, tokens_cached;
    bool is_estimate;  /* of the tokens: the model has not told them */
    uint64_t queue_us; /* that it waited */
    uint64_t first_us; /* from its head to the first byte of the answer; 0: there was none */
    uint64_t duration_us;
};

const char *ledger_end_word(enum ledger_end end);

/* Its members; id: of the request, NULL: it is not told. */
void ledger_print(const struct ledger_row *row, const char *id, struct json_writer *w);
