#pragma once

/* Inside the room: a directory being read, and its config.json in one vocabulary. */

#include "base/vec.h"
#include "fmt/value.h"
#include "model/model.h"

/* --- what is known of architectures: arch.def --- */

enum trait_bit {
#define TRAIT(name, meaning) T_BIT_##name,
#include "model/arch.def"
};

enum trait {
#define TRAIT(name, meaning) T_##name = UINT64_C(1) << T_BIT_##name,
#include "model/arch.def"
};

struct shape;

/* Parameters of a part of a model; false when they cannot be told. The dims are bounded so that no
 * sum of products of theirs overflows. */
typedef unsigned __int128 params_count;
typedef bool params_function(const struct shape *sh, params_count *ret_params);

params_function params_none, params_unknown;
params_function params_decoder, params_jamba, params_mamba, params_nemotron_h;
params_function params_bert, params_bert_pooler, params_bert_classifier;
params_function params_whisper;
params_function params_qwen2_5_vl, params_gemma3;

struct family {
    const char *name;
    params_function *layers;
    uint64_t traits;
    const char *values;
};

struct architecture {
    const char *name;
    enum model_kind kind;
    unsigned inputs;
    const struct family *family;
    params_function *tower;
};

const struct architecture *arch_find(const char *name); /* NULL: not in the table */
const struct family *arch_find_family(const char *model_type);

/* --- config.json --- */

#define DIM_VARIES UINT64_MAX /* a list: not the same for all layers */
#define LAYERS_MAX 1024

struct dims {
#define DIM(field, least, most, ...) uint64_t field; /* 0: not there */
#include "model/dims.def"
};

enum answer { ANSWER_NONE, ANSWER_NO, ANSWER_YES };

struct flags {
#define FLAG(field, ...) enum answer field;
#include "model/dims.def"
};

/* Layers by what they do; one may do several things. */
struct layer_counts {
    uint64_t full, window; /* attend, and keep keys and values */
    uint64_t shared;       /* attend to what another layer keeps */
    uint64_t state;        /* recur */
    uint64_t mlp, moe;
    bool unknown; /* the configuration names a kind of layer that is not known here */
};

struct shape {
    const struct value *root;
    const struct value *text; /* the language part: root, or a map in it */
    const struct architecture *arch;
    const struct family *family; /* NULL: not known */
    uint64_t traits;
    struct dims d;
    struct flags f;
    struct layer_counts layers;
    uint64_t window_tokens; /* 0: no layer has a window */
    uint64_t positions;     /* as the configuration has them; 0: not told */
    bool headless;          /* it is used without its output embedding */
};

/* What stands under a path ("attn_config.kv_n_heads") in the language part, or else in the whole;
 * NULL when there is nothing, or null. */
const struct value *shape_get(const struct shape *sh, const char *path);

/* A whole number from 1 to most there; else 0. */
uint64_t shape_u64(const struct shape *sh, const char *path, uint64_t most);

void layers_count(struct shape *sh);
uint64_t params_inner(const struct shape *sh); /* the width inside a Mamba layer; 0: not told */
uint64_t params_of(const struct shape *sh);    /* MODEL_UNKNOWN when it cannot be told */

/* --- a directory being read --- */

struct model model_blank(const char *dir); /* of which nothing is known */

enum file_nature { FILE_REGULAR, FILE_DIRECTORY, FILE_OTHER, FILE_DANGLING, FILE_UNREADABLE };

struct file {
    const char *name;
    enum file_nature nature;
    int error; /* errno, of one that cannot be looked at */
    uint64_t bytes;
    bool told; /* what is wrong with it has been said */
};

struct scan {
    struct arena *arena;  /* of all that remains */
    struct arena scratch; /* of the rest */
    struct model *model;
    int fd;                 /* of the directory */
    const char *only;       /* the one file of it that is the model; NULL: all */
    VEC(struct file) files; /* sorted by name */
    VEC(struct model_problem) problems;
    struct shape shape;
};

void scan_problem(struct scan *s, enum model_problem_id id, const char *file, const char *fmt, ...)
    printf_like(4, 5);
/* A value in a JSON file that is not what is allowed. */
void scan_refuse(struct scan *s, const char *file, const struct value *v, const char *allowed);
/* Says how to mend what was told last: in words; or as a command, whose words end with NULL and are
 * quoted here. One that is too long is not told: half of it could mean anything. */
void scan_fix(struct scan *s, const char *text);
void scan_command(struct scan *s, const char *const *words);
#define SCAN_COMMAND(s, ...) scan_command((s), (const char *const[]){__VA_ARGS__, NULL})
/* What was told last is about a run of files, up to this one. */
void scan_run(struct scan *s, const char *last_file);

/* A text that outlives the file it was read from, cut to a reasonable length. */
const char *scan_keep(struct scan *s, const char *text);

/* Those of the directory s->fd; 1 when there are too many to be looked at, which is told. */
int files_list(struct scan *s, struct err *reterr) must_check;
struct file *files_find(struct scan *s, const char *name);
/* Whether it is a file with content of its own; if not, that is told, once. */
bool files_check(struct scan *s, struct file *file);
/* An open descriptor, or -1 after telling why not. */
int files_open(struct scan *s, struct file *file);
/* A JSON file as a tree; NULL when it is not there, or is not one, which is told. */
struct value *files_read_json(struct scan *s, struct arena *arena, const char *name);
/* Whether a JSON file that may be long begins and ends as a map does; if not, that is told. */
bool files_check_json(struct scan *s, struct file *file);

void shape_read(struct scan *s, const struct value *root);
/* The rest, once kind and quantisation are known. */
void shape_derive(struct scan *s);
/* What a file says of quantisation, if anything; method: of a file that does not name it. */
void quant_read(struct scan *s, const char *file, const struct value *v, const char *method);
/* A GGUF file tells its precision in its name. */
void quant_read_gguf_name(struct scan *s, const char *name);
void weights_read(struct scan *s);
