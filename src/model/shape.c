#include "base/text.h"
#include "model/model_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* config.json in one vocabulary. Its authors wrote it for Transformers, and engines read it as
 * Transformers does: so defaults, precedence and oddities here are those. */

static const char file_name[] = "config.json";

/* Where the language part of a model of several parts stands. */
static const char *const text_paths[] = {"text_config", "thinker_config.text_config", "llm_config",
                                         "language_config"};

static const struct value *
get_path(const struct value *v, const char *path)
{
    while (v) {
        size_t len = strcspn(path, ".");
        const struct value *member = v->type == VALUE_MAP ? v->first : NULL;
        while (member && (strncmp(member->name, path, len) != 0 || member->name[len]))
            member = member->next;
        if (!member || !path[len])
            return member && member->type != VALUE_NULL ? member : NULL;
        v = member;
        path += len + 1;
    }
    return NULL;
}

const struct value *
shape_get(const struct shape *sh, const char *path)
{
    const struct value *v = get_path(sh->text, path);
    return v || sh->text == sh->root ? v : get_path(sh->root, path);
}

uint64_t
shape_u64(const struct shape *sh, const char *path, uint64_t most)
{
    uint64_t n;
    return value_u64(shape_get(sh, path), &n) && n <= most ? n : 0;
}

/* The names of each number: names_of_hidden, ... */
#define DIM(field, least, most, ...) \
    static const char *const names_of_##field[] = {__VA_ARGS__, NULL};
#include "model/dims.def"

/* A string where others have a number: "auto", or letters that layers.c reads. */
static bool
is_no_number(const struct value *v)
{
    return v->type == VALUE_STRING &&
           (text_eq(v->text, "auto") || text_eq(v->name, "sliding_window_pattern"));
}

/* What stands under the first of several names that is there. */
static const struct value *
get_first(const struct shape *sh, const char *const *names)
{
    const struct value *v = NULL;
    for (; *names && !v; names++) {
        v = shape_get(sh, *names);
        v = v && is_no_number(v) ? NULL : v;
    }
    return v;
}

/* What Transformers fills in for a name that a nested configuration leaves out; 0: nothing. */
static uint64_t
usual_value(const struct shape *sh, const char *const *names)
{
    const char *p = sh->family && sh->text != sh->root ? sh->family->values : "";
    for (; *p; p += strcspn(p, " "), p += *p == ' ') {
        for (const char *const *name = names; *name; name++) {
            size_t len = strlen(*name);
            if (strncmp(p, *name, len) == 0 && p[len] == '=')
                return strtoull(p + len + 1, NULL, 10);
        }
    }
    return 0;
}

static uint64_t
read_dim(struct scan *s, uint64_t least, uint64_t most, const char *const *names)
{
    const struct value *v = get_first(&s->shape, names);
    char allowed[64];
    uint64_t n;
    if (!v)
        return usual_value(&s->shape, names);
    if (v->type == VALUE_LIST)
        return DIM_VARIES;
    if (value_u64(v, &n) && n >= least && n <= most)
        return n;
    (void)snprintf(allowed, sizeof(allowed), "a whole number %s %" PRIu64,
                   least ? "from 1 to" : "up to", most);
    scan_refuse(s, file_name, v, allowed);
    return 0;
}

static enum answer
read_flag(const struct shape *sh, const char *const *names)
{
    bool yes;
    for (; *names; names++)
        if (value_bool(shape_get(sh, *names), &yes))
            return yes ? ANSWER_YES : ANSWER_NO;
    return ANSWER_NONE;
}

/* Each of them serves as many heads as the others do. */
static void
check_kv_heads(struct scan *s)
{
    const struct dims *d = &s->shape.d;
    const struct value *v = get_first(&s->shape, names_of_kv_heads);
    char allowed[64];
    if (!v || d->kv_rank || d->kv_heads == 0 || d->kv_heads == DIM_VARIES ||
        d->heads == DIM_VARIES || d->heads % d->kv_heads == 0)
        return;
    (void)snprintf(allowed, sizeof(allowed), "a divisor of the %" PRIu64 " heads", d->heads);
    scan_refuse(s, file_name, v, allowed);
}

static void
read_dims(struct scan *s)
{
    struct shape *sh = &s->shape;
#define DIM(field, least, most, ...) sh->d.field = read_dim(s, least, most, names_of_##field);
#define FLAG(field, ...) sh->f.field = read_flag(sh, (const char *const[]){__VA_ARGS__, NULL});
#include "model/dims.def"
    if (sh->d.layers == 0 && sh->arch && !get_first(sh, names_of_layers))
        scan_problem(s, MODEL_PROBLEM_VALUE, file_name, "%s does not say num_hidden_layers",
                     file_name);
    /* Falcon's and StarCoder's way; the first may name another number and not mean it. */
    if (sh->f.multi_query == ANSWER_YES && sh->f.new_decoder != ANSWER_YES)
        sh->d.kv_heads = 1;
    check_kv_heads(s);
}

/* The architecture that has a row, or else the first. */
static void
read_architecture(struct scan *s)
{
    struct shape *sh = &s->shape;
    struct model *m = s->model;
    const struct value *list = get_path(sh->root, "architectures");
    for (const struct value *v = list && list->type == VALUE_LIST ? list->first : NULL;
         v && !sh->arch; v = v->next) {
        sh->arch = arch_find(value_str(v));
        if (value_str(v) && (!m->architecture || sh->arch))
            m->architecture = scan_keep(s, value_str(v));
    }
    for (size_t i = 0; i < ARRAY_SIZE(text_paths) && sh->text == sh->root; i++) {
        const struct value *text = get_path(sh->root, text_paths[i]);
        if (text && text->type == VALUE_MAP)
            sh->text = text;
    }
    sh->family = arch_find_family(value_str(get_path(sh->text, "model_type")));
    if (!sh->family || (sh->arch && sh->text == sh->root))
        sh->family = sh->arch ? sh->arch->family : sh->family;
    sh->traits = sh->family ? sh->family->traits : 0;
}

/* What an engine makes of an architecture it does not know: it goes by the ending of the name. */
static enum model_kind
kind_by_ending(const char *architecture)
{
    static const struct {
        const char *ending;
        enum model_kind kind;
    } endings[] = {
        {"ForCausalLM", MODEL_GENERATE},
        {"LMHeadModel", MODEL_GENERATE},
        {"ChatModel", MODEL_GENERATE},
        {"ForConditionalGeneration", MODEL_GENERATE},
        {"ForSequenceClassification", MODEL_CLASSIFY},
        {"ClassificationModel", MODEL_CLASSIFY},
        {"ForRewardModeling", MODEL_REWARD},
        {"RewardModel", MODEL_REWARD},
        {"Model", MODEL_EMBEDDING},
    };
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++)
        if (text_ends(architecture, endings[i].ending))
            return endings[i].kind;
    return MODEL_KIND_UNKNOWN;
}

static unsigned
inputs_by_parts(const struct shape *sh)
{
    unsigned inputs = 0;
    if (get_path(sh->root, "vision_config") || get_path(sh->root, "thinker_config.vision_config"))
        inputs |= MODEL_IMAGE;
    if (get_path(sh->root, "audio_config") || get_path(sh->root, "thinker_config.audio_config"))
        inputs |= MODEL_AUDIO;
    return inputs;
}

/* A classifier with one class is a score: a cross-encoder. */
static bool
has_one_label(const struct shape *sh)
{
    const struct value *names = shape_get(sh, "id2label");
    return sh->d.labels == 1 ||
           (sh->d.labels == 0 && names && names->type == VALUE_MAP && names->count == 1);
}

static void
tell_kind(struct scan *s)
{
    const struct shape *sh = &s->shape;
    struct model *m = s->model;
    m->known = sh->arch != NULL;
    m->kind = sh->arch          ? sh->arch->kind
              : m->architecture ? kind_by_ending(m->architecture)
                                : MODEL_KIND_UNKNOWN;
    m->inputs = sh->arch ? sh->arch->inputs : inputs_by_parts(sh);
    if (m->kind == MODEL_CLASSIFY && has_one_label(sh))
        m->kind = MODEL_RERANK;
    if (!m->architecture)
        scan_problem(s, MODEL_PROBLEM_UNKNOWN_ARCHITECTURE, file_name, "%s names no architecture",
                     file_name);
    else if (!sh->arch)
        scan_problem(s, MODEL_PROBLEM_UNKNOWN_ARCHITECTURE, file_name,
                     "the architecture %s is not in the table: only what %s says is told",
                     m->architecture, file_name);
}

static void
read_dtype(struct scan *s)
{
    const struct shape *sh = &s->shape;
    const char *dtype = value_str(shape_get(sh, "dtype"));
    if (!dtype)
        dtype = value_str(shape_get(sh, "torch_dtype"));
    if (dtype && text_starts(dtype, "torch."))
        dtype += strlen("torch.");
    s->model->dtype = scan_keep(s, dtype);
}

/* --- context: as vLLM derives it from a configuration --- */

static uint64_t
read_positions(struct scan *s)
{
    static const char *const names[] = {
        "max_position_embeddings",
        "n_positions",
        "max_seq_len",
        "seq_length",
        "model_max_length",
        "max_target_positions",
        "max_sequence_length",
        "max_seq_length",
        "seq_len",
        NULL,
    };
    const struct shape *sh = &s->shape;
    uint64_t least = 0;
    for (size_t i = 0; names[i]; i++) {
        const struct value *v = shape_get(sh, names[i]);
        uint64_t n;
        if (!v)
            continue;
        if (!value_u64(v, &n) || n > UINT32_MAX)
            scan_refuse(s, file_name, v, "a whole number up to 4294967295");
        else if (n)
            least = least ? MIN(least, n) : n;
    }
    return least ? least : usual_value(sh, names);
}

struct rope {
    double factor;     /* 0: none */
    uint64_t original; /* of YaRN: what the factor multiplies; 0: the positions */
};

/* Of the ways to stretch positions, these are already in max_position_embeddings. */
static bool
is_counted_already(const char *type)
{
    return text_eq(type, "longrope") || text_eq(type, "su") || text_eq(type, "llama3");
}

static void
read_rope(const struct value *v, struct rope *rope)
{
    const char *type = value_str(get_path(v, "rope_type"));
    if (!type)
        type = value_str(get_path(v, "type"));
    if (is_counted_already(type))
        return;
    double factor;
    if (value_real(get_path(v, "factor"), &factor) && factor >= 1 && factor <= 100000)
        rope->factor = factor;
    if (type && strstr(type, "yarn"))
        (void)value_u64(get_path(v, "original_max_position_embeddings"), &rope->original);
}

static void
read_context(struct scan *s)
{
    struct shape *sh = &s->shape;
    struct rope rope = {0};
    const struct value *v = shape_get(sh, "rope_scaling");
    if (!v)
        v = shape_get(sh, "rope_parameters");
    if (v && v->type == VALUE_MAP && !(sh->traits & T_NO_ROPE_SCALE)) {
        read_rope(v, &rope);
        for (const struct value *part = v->first; part; part = part->next)
            if (part->type == VALUE_MAP) /* one for each kind of layer */
                read_rope(part, &rope);
    }
    sh->positions = read_positions(s);
    double tokens = (double)sh->positions;
    if (rope.original && rope.original <= UINT32_MAX)
        tokens = (double)rope.original;
    if (rope.factor > 0)
        tokens *= rope.factor;
    /* RoBERTa counts positions from behind that of padding. */
    if ((sh->traits & T_POSITIONS_PAD) && !(sh->traits & T_POSITIONS) && tokens > 0)
        tokens -= (double)shape_u64(sh, "pad_token_id", 64) + 1;
    s->model->context = tokens >= 1 ? (uint64_t)tokens : MODEL_UNKNOWN;
}

/* --- what a sequence keeps --- */

static bool
fill_attention(const struct shape *sh, struct model_cache *cache)
{
    const struct dims *d = &sh->d;
    uint64_t heads = d->kv_heads ? d->kv_heads : d->heads;
    uint64_t dim = d->head_dim ? d->head_dim : d->heads ? d->hidden / d->heads : 0;
    uint64_t v_dim = d->v_dim ? d->v_dim : dim;
    if (heads == DIM_VARIES || d->heads == DIM_VARIES || d->hidden == DIM_VARIES ||
        d->kv_rank == DIM_VARIES || d->rope_dim == DIM_VARIES || dim == DIM_VARIES ||
        v_dim == DIM_VARIES || d->global_kv_heads == DIM_VARIES || d->global_head_dim == DIM_VARIES)
        return false;
    if (d->kv_rank) {
        cache->mla = true;
        heads = 1;
        dim = d->kv_rank + d->rope_dim;
        v_dim = 0;
    }
    cache->full = cache->window = (struct model_attention){0, heads, dim, v_dim};
    if (d->global_kv_heads)
        cache->full.kv_heads = d->global_kv_heads;
    if (d->global_head_dim)
        cache->full.key_dim = cache->full.value_dim = d->global_head_dim;
    return heads && dim;
}

static bool
fill_state(const struct shape *sh, struct model_cache *cache)
{
    const struct dims *d = &sh->d;
    uint64_t inner = params_inner(sh);
    if (d->conv_taps == 0)
        return false;
    cache->conv_taps = d->conv_taps - 1;
    cache->conv_channels = inner;
    cache->state_elements = inner * d->state;
    const char *dtype = value_str(shape_get(sh, "mamba_ssm_dtype"));
    if (!dtype)
        dtype = value_str(shape_get(sh, "mamba_ssm_cache_dtype"));
    cache->state_element_bytes = text_eq(dtype, "float32") ? 4 : 2;
    if (sh->traits & T_STATE_MAMBA1)
        return inner && d->state;
    if (sh->traits & T_STATE_MAMBA2) {
        cache->conv_groups = d->state_groups ? d->state_groups : 1;
        cache->conv_group_channels = 2 * d->state;
        return inner && d->state;
    }
    if (sh->traits & T_STATE_DELTA) {
        uint64_t values = d->linear_value_heads * d->linear_value_dim;
        cache->conv_channels = 2 * d->linear_key_heads * d->linear_key_dim + values;
        cache->state_elements = values * d->linear_key_dim;
        return cache->state_elements != 0;
    }
    cache->conv_channels = d->hidden;
    cache->state_elements = 0;
    return (sh->traits & T_STATE_CONV) && d->hidden;
}

static bool
varies_in_state(const struct dims *d)
{
    const uint64_t dims[] = {d->intermediate,     d->hidden,         d->state,
                             d->conv_taps,        d->expand,         d->inner,
                             d->state_heads,      d->state_head_dim, d->state_groups,
                             d->linear_key_heads, d->linear_key_dim, d->linear_value_heads,
                             d->linear_value_dim};
    for (size_t i = 0; i < ARRAY_SIZE(dims); i++)
        if (dims[i] == DIM_VARIES)
            return true;
    return false;
}

static void
fill_cache(const struct shape *sh, struct model_cache *cache)
{
    const struct layer_counts *n = &sh->layers;
    bool attends = n->full || n->window;
    *cache = (struct model_cache){0};
    if (sh->traits & T_ENCODER) {
        cache->known = cache->state_known = true;
        return;
    }
    if (n->unknown || sh->d.layers == 0 || sh->d.layers == DIM_VARIES)
        return;
    cache->encoder_tokens = sh->d.encoder_positions;
    if (sh->f.encoder_decoder == ANSWER_YES && !cache->encoder_tokens)
        return;
    cache->known = !attends || fill_attention(sh, cache);
    cache->full.layers = n->full;
    cache->window.layers = n->window;
    cache->window_tokens = sh->window_tokens;
    cache->state_layers = n->state;
    cache->state_known = n->state == 0 || (!varies_in_state(&sh->d) && fill_state(sh, cache));
}

static void
check_letters(struct scan *s)
{
    const struct shape *sh = &s->shape;
    const struct value *v = shape_get(sh, "hybrid_override_pattern");
    const char *letters = value_str(v);
    if (letters && strlen(letters) != sh->d.layers)
        scan_problem(s, MODEL_PROBLEM_VALUE, file_name,
                     "%s:%u:%u: hybrid_override_pattern has %zu letters for %" PRIu64 " layers",
                     file_name, v->at.line, v->at.column, strlen(letters), sh->d.layers);
}

void
shape_read(struct scan *s, const struct value *root)
{
    struct shape *sh = &s->shape;
    struct model *m = s->model;
    *sh = (struct shape){.root = root, .text = root};
    read_architecture(s);
    read_dims(s);
    read_dtype(s);
    read_context(s);
    tell_kind(s);
    check_letters(s);
    layers_count(sh);
    const struct value *quantization = shape_get(sh, "quantization_config");
    quant_read(s, file_name, quantization ? quantization : shape_get(sh, "compression_config"),
               NULL);
    if (get_path(root, "auto_map"))
        m->has_own_code = true;
}

static uint64_t
known(uint64_t dim)
{
    return dim == 0 || dim == DIM_VARIES ? MODEL_UNKNOWN : dim;
}

void
shape_derive(struct scan *s)
{
    struct shape *sh = &s->shape;
    struct model *m = s->model;
    const struct dims *d = &sh->d;
    sh->headless = m->kind == MODEL_EMBEDDING;
    m->layers = known(d->layers);
    m->hidden_size = known(d->hidden);
    m->heads = known(d->heads);
    m->vocabulary = known(d->vocabulary);
    m->experts = d->experts == DIM_VARIES ? MODEL_UNKNOWN : d->experts;
    m->experts_active = d->experts_active == DIM_VARIES ? MODEL_UNKNOWN : d->experts_active;
    m->needs_remote_code = m->has_own_code && !m->known;
    fill_cache(sh, &m->cache);
    m->params = params_of(sh);
    m->params_computed = m->params != MODEL_UNKNOWN;
}
