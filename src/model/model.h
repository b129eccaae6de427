#pragma once

/* The catalogue: what a model directory holds, what is wrong with it, and what it will ask of a
 * GPU. Names, configuration files and the headers of safetensors files are read; tensors never.
 *
 * A number that the directory does not tell is MODEL_UNKNOWN and a text NULL; nothing is guessed.
 * A directory that is incomplete or broken is no error: its problems are part of what was read. */

#include "base/err.h"
#include "base/vec.h"

#define MODEL_UNKNOWN UINT64_MAX /* as a number: not told, or more than can be counted */

enum model_kind {
    MODEL_KIND_UNKNOWN,
#define KIND(name, text, help) MODEL_##name,
#include "model/kind.def"
    MODEL_KINDS
};

enum { MODEL_IMAGE = 1, MODEL_VIDEO = 2, MODEL_AUDIO = 4 }; /* inputs, beside text */

enum model_format {
    MODEL_NO_WEIGHTS,
    MODEL_SAFETENSORS,
    MODEL_PYTORCH, /* pickles: their size is all that is known of them */
    MODEL_GGUF,
};

enum model_quant_method {
    MODEL_NOT_QUANTISED,
#define QUANT(name, text) MODEL_##name,
#include "model/quant.def"
    MODEL_QUANT_OTHER, /* one that has no row; its text is what the configuration calls it */
};

struct model_quant {
    enum model_quant_method method;
    unsigned bits;       /* of a weight; 0: not told */
    unsigned group_size; /* weights that share a scale; 0: not told, or none do */
    const char *text;    /* "awq int4 group 128"; "none" */
};

struct model_weights {
    enum model_format format;
    size_t files;        /* that are there, of files_wanted */
    size_t files_wanted; /* as the index, or the files' own numbering, has it */
    size_t tensors;
    uint64_t bytes;          /* of the tensors that are there */
    uint64_t declared_bytes; /* total_size of the index */
    uint64_t gpu_bytes;      /* when loaded, over all GPUs: what is 32 bits wide loads as 16 */
    uint64_t params;         /* of the tensors, a packed one counted unpacked */
    uint64_t left_out_bytes; /* in files that repeat the weights in another form */
    bool whole;              /* nothing is missing */
};

/* Attention layers that are alike, and what they keep of every token. */
struct model_attention {
    uint64_t layers;
    uint64_t kv_heads;
    uint64_t key_dim;
    uint64_t value_dim; /* 0: one vector serves as both (MLA) */
};

/* What a sequence keeps on the GPU while it runs. */
struct model_cache {
    bool known;
    bool mla;                      /* one latent vector a token: the same on every GPU */
    struct model_attention full;   /* over all that went before */
    struct model_attention window; /* over the last window_tokens */
    uint64_t window_tokens;

    /* Recurrent layers (Mamba, linear attention, short convolutions) keep a state of one size,
     * however long the sequence: per layer conv_taps columns of conv_channels and of conv_groups
     * times conv_group_channels, and state_elements. */
    uint64_t state_layers;
    uint64_t conv_taps;
    uint64_t conv_channels;
    uint64_t conv_groups, conv_group_channels;
    uint64_t state_elements;
    unsigned state_element_bytes;
    bool state_known; /* false: there are such layers, of a kind whose size is not known here */

    uint64_t encoder_tokens; /* of an encoder whose keys and values each decoder layer keeps */
};

enum model_problem_id {
#define PROBLEM(name, text, breaks, help) MODEL_PROBLEM_##name,
#include "model/problem.def"
    MODEL_PROBLEMS
};

struct model_problem {
    enum model_problem_id id;
    const char *file;      /* that it is about; NULL: the directory */
    const char *last_file; /* of a numbered run of files that begins with that; NULL: it alone */
    const char *what;      /* a sentence, safe to print */
    const char *fix;       /* what mends it; "" when nothing general does */
};

struct model_problem_row {
    const char *text; /* "shard-missing" */
    bool breaks;      /* the model cannot be served as it is */
    const char *help;
};
extern const struct model_problem_row model_problem_rows[MODEL_PROBLEMS];

struct model {
    const char *name;     /* of its directory, below the models directory */
    const char *dir;      /* what an engine is given */
    const char *alias_of; /* the name under which the same directory was listed before */

    const char *architecture;
    bool known; /* the architecture has a row in the table */
    enum model_kind kind;
    unsigned inputs;
    const char *dtype; /* "bfloat16" */
    struct model_quant quant;
    struct model_weights weights;
    uint64_t params; /* from the weights, or else computed from the configuration */
    bool params_computed;

    uint64_t layers;
    uint64_t hidden_size;
    uint64_t heads;
    uint64_t vocabulary;
    uint64_t experts, experts_active; /* 0: none */
    uint64_t context;                 /* tokens */
    struct model_cache cache;

    bool has_tokenizer;
    bool has_chat_template;
    bool has_generation_config;
    bool has_own_code;      /* auto_map: Python that comes with the model */
    bool needs_remote_code; /* that code, and nothing else, knows the architecture */

    const struct model_problem *problems;
    size_t problems_count;
    size_t problems_untold; /* beyond the ceiling */
};

/* The model in a directory, or in a GGUF file; everything of it lives in the arena, 1 MiB of which is
 * enough for any. An error means that there is nothing that could be looked at. */
int model_read(struct arena *arena, const char *dir, struct model *ret, struct err *reterr)
    must_check;

bool model_is_whole(const struct model *m); /* no problem that breaks it */

/* Every model below a directory, sorted by name: sub-directories and GGUF files. A sub-directory that
 * is no model but has some is entered ("org/model"); links are followed once. */
#define MODEL_CATALOGUE_MAX 1000

struct model_catalogue {
    struct arena arena;
    VEC(struct model) models;
    bool more; /* there are more than MODEL_CATALOGUE_MAX */
};

void model_catalogue_init(struct model_catalogue *catalogue); /* an empty one, to add to */
int model_catalogue_read(const char *dir, struct model_catalogue *ret, struct err *reterr)
    must_check;
/* Adds one that lies elsewhere, or should: that it is not there is its problem then. */
int model_catalogue_add(struct model_catalogue *catalogue, const char *name, const char *dir,
                        struct err *reterr) must_check;
/* Adds the one of this name below the directory that was read, which is not told when there are more
 * than MODEL_CATALOGUE_MAX; -ENOENT: there is none. Models that were found before may have moved. */
int model_catalogue_add_below(struct model_catalogue *catalogue, const char *dir, const char *name,
                              struct err *reterr) must_check;
void model_catalogue_finish(struct model_catalogue *catalogue);
const struct model *model_catalogue_find(const struct model_catalogue *catalogue, const char *name);
#define _cleanup_model_catalogue_ _cleanup_(model_catalogue_finish)

const char *model_kind_text(enum model_kind kind);
const char *model_format_text(enum model_format format);
