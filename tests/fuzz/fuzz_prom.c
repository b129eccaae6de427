/* Any bytes as a metrics page: what the reader returns must point into the page, and the labels of
 * a sample it accepted must be found again. */

#include "engine/metrics.h"
#include "fmt/prom.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
check_sample(const struct prom_sample *s, const char *text, size_t len)
{
    const char *value;
    size_t value_len;
    assert(s->name >= text && s->name_len > 0 && s->name + s->name_len <= text + len);
    assert(s->labels >= s->name && s->labels + s->labels_len <= text + len);
    if (prom_label(s, "engine", &value, &value_len))
        assert(value > s->labels && value + value_len < s->labels + s->labels_len);
    (void)prom_label_is(s, "le", "+Inf");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *text = (const char *)data;
    struct prom_reader reader;
    struct prom_sample sample;
    struct err err;
    struct engine_load load;
    int got, whole;
    prom_init(&reader, text, len);
    while ((got = prom_next(&reader, &sample, &err)) > 0)
        check_sample(&sample, text, len);
    whole = engine_load_read(ENGINE_SAYS_VLLM, text, len, &load, &err);
    assert((whole < 0) == (got < 0));
    whole = engine_load_read(ENGINE_SAYS_LLAMA, text, len, &load, &err);
    assert((whole < 0) == (got < 0));
    return 0;
}
