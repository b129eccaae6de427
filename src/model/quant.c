#include "base/buf.h"
#include "base/text.h"
#include "model/model_int.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define TEXT_BYTES 120

static const char *const methods[] = {
    [MODEL_NOT_QUANTISED] = "none",
#define QUANT(name, text) [MODEL_##name] = text,
#include "model/quant.def"
};

static unsigned
small(const struct value *v)
{
    uint64_t n;
    return value_u64(v, &n) && n <= 1 << 20 ? (unsigned)n : 0;
}

/* The first of several names that is there. */
static const struct value *
get_either(const struct value *v, const char *name, const char *other)
{
    const struct value *found = value_get(v, name);
    return found ? found : value_get(v, other);
}

static void
add_word(struct buf *text, const char *word)
{
    if (!word)
        return;
    buf_add_char(text, ' ');
    for (; *word; word++)
        buf_add_char(text, (char)tolower((unsigned char)*word));
}

/* The weights of compressed-tensors: of its first group of layers. */
static const struct value *
first_weights(const struct value *v)
{
    const struct value *groups = value_get(v, "config_groups");
    return groups && groups->type == VALUE_MAP && groups->first
               ? value_get(groups->first, "weights")
               : NULL;
}

static void
tell_compressed(const struct value *v, struct model_quant *q, struct buf *text)
{
    const struct value *weights = first_weights(v);
    const char *format = value_str(value_get(v, "format"));
    const char *type = value_str(value_get(weights, "type"));
    q->bits = small(value_get(weights, "num_bits"));
    q->group_size = small(value_get(weights, "group_size"));
    if (format && strstr(format, "fp4"))
        buf_printf(text, " %.5s", format); /* nvfp4-pack-quantized */
    else if (q->bits)
        buf_printf(text, " %s%u", text_eq(type, "float") ? "fp" : "int", q->bits);
    else
        add_word(text, format);
}

static void
tell_fp8(const struct value *v, struct model_quant *q, struct buf *text)
{
    const struct value *block = value_get(v, "weight_block_size");
    q->bits = 8;
    add_word(text, value_str(value_get(v, "fmt")));
    if (block && block->type == VALUE_LIST && block->count == 2)
        buf_printf(text, " block %ux%u", small(block->first), small(block->first->next));
    add_word(text, value_str(value_get(v, "activation_scheme")));
}

static void
tell_bitsandbytes(const struct value *v, struct model_quant *q, struct buf *text)
{
    bool four = false;
    (void)(value_bool(get_either(v, "load_in_4bit", "_load_in_4bit"), &four));
    q->bits = four ? 4 : 8;
    add_word(text, four ? value_str(value_get(v, "bnb_4bit_quant_type")) : "int8");
}

static void
tell_modelopt(const struct value *v, struct model_quant *q, struct buf *text)
{
    const char *algorithm = value_str(value_get(v, "quant_algo"));
    if (algorithm && strstr(algorithm, "FP4"))
        q->bits = 4;
    else if (algorithm && strstr(algorithm, "FP8"))
        q->bits = 8;
    add_word(text, algorithm);
}

/* Some methods mix widths and tell their mean: 4.25. */
static void
check_bits(struct scan *s, const char *file, const struct value *bits)
{
    double n;
    if (bits && bits->type == VALUE_NUMBER && !(value_real(bits, &n) && n >= 1 && n <= 32))
        scan_refuse(s, file, bits, "from 1 to 32 bits");
}

static void
tell_integers(const struct value *v, struct model_quant *q, struct buf *text)
{
    q->bits = small(get_either(v, "bits", "w_bit"));
    if (q->bits)
        buf_printf(text, " int%u", q->bits);
}

static enum model_quant_method
find_method(const char *name)
{
    for (size_t i = MODEL_NOT_QUANTISED + 1; i < ARRAY_SIZE(methods); i++)
        if (text_eq(methods[i], name))
            return (enum model_quant_method)i;
    return MODEL_QUANT_OTHER;
}

void
quant_read(struct scan *s, const char *file, const struct value *v, const char *method)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_BYTES);
    struct model_quant *q = &s->model->quant;
    *q = (struct model_quant){.text = methods[MODEL_NOT_QUANTISED]};
    if (!v || v->type != VALUE_MAP)
        return;
    const char *name = value_str(value_get(v, "quant_method"));
    name = name ? name : method ? method : "unnamed";
    q->method = find_method(name);
    q->group_size = small(get_either(v, "group_size", "q_group_size"));
    buf_printf(&text, "%.*s", TEXT_BYTES / 2, name);
    if (q->method == MODEL_COMPRESSED_TENSORS) {
        tell_compressed(v, q, &text);
    } else if (q->method == MODEL_FP8) {
        tell_fp8(v, q, &text);
    } else if (q->method == MODEL_BITSANDBYTES) {
        tell_bitsandbytes(v, q, &text);
    } else if (q->method == MODEL_MODELOPT) {
        tell_modelopt(v, q, &text);
    } else if (q->method == MODEL_MXFP4) {
        q->bits = 4;
        q->group_size = 32; /* the format's own */
    } else {
        check_bits(s, file, get_either(v, "bits", "w_bit"));
        tell_integers(v, q, &text);
    }
    if (q->group_size && q->method != MODEL_MXFP4)
        buf_printf(&text, " group %u", q->group_size);
    q->text = scan_keep(s, text.data);
}

/* "Q4_K_M", "IQ3_XXS", "BF16": a word of a GGUF file's name that tells its precision. */
static unsigned
precision_bits(const char *word, size_t len)
{
    static const struct {
        const char *start;
        unsigned bits;
    } starts[] = {{"bf16", 16}, {"f16", 16}, {"f32", 32}, {"mxfp4", 4}};
    for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
        if (len == strlen(starts[i].start) && strncasecmp(word, starts[i].start, len) == 0)
            return starts[i].bits;
    const char *q = strchr("iItT", *word) && len > 1 ? word + 1 : word;
    bool told = (*q == 'q' || *q == 'Q') && q + 1 < word + len && isdigit((unsigned char)q[1]);
    return told ? (unsigned)(q[1] - '0') : 0;
}

void
quant_read_gguf_name(struct scan *s, const char *name)
{
    static const char word_bytes[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_BYTES);
    struct model_quant *q = &s->model->quant;
    const char *told = NULL;
    size_t told_len = 0;
    q->method = MODEL_IN_GGUF;
    while (*name) {
        size_t len = strspn(name, word_bytes);
        unsigned bits = len ? precision_bits(name, len) : 0;
        if (bits) {
            q->bits = bits;
            told = name;
            told_len = len;
        }
        name += len ? len : 1;
    }
    buf_add_str(&text, methods[MODEL_IN_GGUF]);
    if (told)
        buf_add_char(&text, ' ');
    for (size_t i = 0; i < told_len; i++)
        buf_add_char(&text, (char)tolower((unsigned char)told[i]));
    q->text = scan_keep(s, text.data);
}
