#include "model/model.h"

#include "base/buf.h"
#include "base/text.h"
#include "model/model_int.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROBLEMS_MAX 500
#define PROBLEM_TEXT_MAX 512
#define FIX_TEXT_MAX \
    768 /* with PROBLEMS_MAX of them a model takes less than the arena it is given */
#define TEXT_KEPT_MAX 255
#define SCRATCH_MAX (64 * MIB)

const struct model_problem_row model_problem_rows[MODEL_PROBLEMS] = {
#define PROBLEM(name, text, breaks, help) [MODEL_PROBLEM_##name] = {text, breaks, help},
#include "model/problem.def"
};

const char *
model_kind_text(enum model_kind kind)
{
    static const char *const texts[MODEL_KINDS] = {
        [MODEL_KIND_UNKNOWN] = "unknown",
#define KIND(name, text, help) [MODEL_##name] = text,
#include "model/kind.def"
    };
    return texts[kind];
}

const char *
model_format_text(enum model_format format)
{
    static const char *const texts[] = {
        [MODEL_NO_WEIGHTS] = "none",
        [MODEL_SAFETENSORS] = "safetensors",
        [MODEL_PYTORCH] = "pytorch",
        [MODEL_GGUF] = "gguf",
    };
    return texts[format];
}

bool
model_is_whole(const struct model *m)
{
    for (size_t i = 0; i < m->problems_count; i++)
        if (model_problem_rows[m->problems[i].id].breaks)
            return false;
    return m->problems_untold == 0;
}

const char *
scan_keep(struct scan *s, const char *text)
{
    return text ? arena_strndup(s->arena, text, strnlen(text, TEXT_KEPT_MAX)) : NULL;
}

void
scan_problem(struct scan *s, enum model_problem_id id, const char *file, const char *fmt, ...)
{
    char what[PROBLEM_TEXT_MAX];
    va_list args;
    if (s->problems.count == PROBLEMS_MAX) {
        s->model->problems_untold++;
        return;
    }
    va_start(args, fmt);
    text_make_safe(what, sizeof(what), vsnprintf(what, sizeof(what), fmt, args));
    va_end(args);
    struct model_problem *problem = vec_add(&s->problems);
    problem->id = id;
    problem->file = scan_keep(s, file);
    problem->last_file = NULL;
    problem->what = arena_strdup(s->arena, what);
    problem->fix = "";
}

void
scan_refuse(struct scan *s, const char *file, const struct value *v, const char *allowed)
{
    const char *quote = v->type == VALUE_STRING ? "\"" : "";
    scan_problem(s, MODEL_PROBLEM_VALUE, file, "%s:%u:%u: %s is %s%s%s: %s", file, v->at.line,
                 v->at.column, v->name ? v->name : "it", quote,
                 v->text ? v->text : value_type_name(v->type), quote, allowed);
}

/* The problem that was told last; NULL when it was one too many. */
static struct model_problem *
last_problem(struct scan *s)
{
    return s->problems.count && !s->model->problems_untold
               ? &s->problems.items[s->problems.count - 1]
               : NULL;
}

void
scan_fix(struct scan *s, const char *text)
{
    struct model_problem *problem = last_problem(s);
    const char *kept = problem ? arena_strdup(s->arena, text) : NULL;
    if (kept)
        problem->fix = kept;
}

void
scan_command(struct scan *s, const char *const *words)
{
    _cleanup_buf_ struct buf line = BUF_INIT(FIX_TEXT_MAX);
    for (; *words; words++) {
        buf_add_word(&line, *words);
        if (words[1])
            buf_add_char(&line, ' ');
    }
    if (buf_error(&line) == 0)
        scan_fix(s, line.data);
}

void
scan_run(struct scan *s, const char *last_file)
{
    struct model_problem *problem = last_problem(s);
    if (problem)
        problem->last_file = scan_keep(s, last_file);
}

static bool
is_there(struct scan *s, const char *name)
{
    return files_find(s, name) != NULL;
}

/* --- tokenizer, templates, what sentence-transformers adds --- */

static bool
any_usable(struct scan *s, const char *const *names)
{
    for (; *names; names++) {
        struct file *file = files_find(s, *names);
        if (file && (text_ends(*names, ".json") ? files_check_json : files_check)(s, file))
            return true;
    }
    return false;
}

static void
read_tokenizer_config(struct scan *s)
{
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, SCRATCH_MAX);
    const struct value *root = files_read_json(s, &arena, "tokenizer_config.json");
    if (value_get(root, "chat_template"))
        s->model->has_chat_template = true;
    if (value_get(root, "auto_map"))
        s->model->has_own_code = true;
}

static void
read_tokenizer(struct scan *s)
{
    static const char *const names[] = {
        "tokenizer.json", "tokenizer.model",         "tekken.json", "tokenizer.model.v3",
        "spiece.model",   "sentencepiece.bpe.model", "vocab.txt",   "tiktoken.model",
        "qwen.tiktoken",  "tokenization_chatglm.py", "vocab.json",  NULL,
    };
    struct model *m = s->model;
    size_t told = s->problems.count;
    m->has_tokenizer = any_usable(s, names);
    if (!m->has_tokenizer && s->problems.count == told)
        scan_problem(s, MODEL_PROBLEM_NO_TOKENIZER, NULL,
                     "neither tokenizer.json nor tokenizer.model is there");
    m->has_chat_template = is_there(s, "chat_template.jinja") ||
                           is_there(s, "chat_template.json") || is_there(s, "chat_templates");
    m->has_generation_config = is_there(s, "generation_config.json");
    read_tokenizer_config(s);
}

/* modules.json turns a language model into one that embeds; the length of its input may be cut. */
static void
read_sentence_transformer(struct scan *s)
{
    struct model *m = s->model;
    uint64_t tokens;
    if (!is_there(s, "modules.json"))
        return;
    if (m->kind == MODEL_GENERATE || m->kind == MODEL_KIND_UNKNOWN)
        m->kind = MODEL_EMBEDDING;
    const struct value *v = files_read_json(s, &s->scratch, "sentence_bert_config.json");
    if (value_u64(value_get(v, "max_seq_length"), &tokens) && tokens && tokens <= UINT32_MAX)
        m->context = tokens;
}

/* Where tools of old wrote what config.json says today. */
static void
read_quant_files(struct scan *s)
{
    static const struct {
        const char *file, *member, *method;
    } files[] = {
        {"hf_quant_config.json", "quantization", "modelopt"},
        {"quantize_config.json", NULL, "gptq"},
        {"quant_config.json", NULL, "awq"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        if (s->model->quant.method != MODEL_NOT_QUANTISED)
            return;
        const struct value *v = files_read_json(s, &s->scratch, files[i].file);
        quant_read(s, files[i].file, files[i].member ? value_get(v, files[i].member) : v,
                   files[i].method);
    }
}

/* --- downloads that did not end --- */

static bool
is_partial(const char *name)
{
    static const char *const endings[] = {".incomplete", ".part", ".partial", ".crdownload",
                                          ".aria2"};
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++)
        if (text_ends(name, endings[i]))
            return true;
    return false;
}

static void
tell_partial(struct scan *s, const char *dir, const char *name)
{
    scan_problem(s, MODEL_PROBLEM_PARTIAL_DOWNLOAD, name,
                 "%s%s is a download that was begun and not ended", dir, name);
}

static void
tell_partial_in(struct scan *s, const char *path)
{
    DIR *dir = file_open_dir(s->fd, path, O_NONBLOCK);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));)
        if (is_partial(e->d_name) && s->problems.count < PROBLEMS_MAX)
            tell_partial(s, path, e->d_name);
    (void)closedir(dir);
}

/* Beside the files, in the folder of a download into a directory, and in a hub's store. */
static void
tell_partial_downloads(struct scan *s, bool in_hub)
{
    vec_foreach (&s->files, file)
        if (is_partial(file->name))
            tell_partial(s, "", file->name);
    tell_partial_in(s, ".cache/huggingface/download/");
    if (in_hub)
        tell_partial_in(s, "../../blobs/");
}

/* --- a directory --- */

static bool
is_empty(const struct scan *s)
{
    vec_foreach (&s->files, file)
        if (file->name[0] != '.')
            return false;
    return true;
}

static void
read_adapter(struct scan *s)
{
    const struct value *v = files_read_json(s, &s->scratch, "adapter_config.json");
    const char *base = value_str(value_get(v, "base_model_name_or_path"));
    scan_problem(s, MODEL_PROBLEM_ADAPTER, "adapter_config.json",
                 "a LoRA adapter%s%s, and no model of its own", base ? " for " : "",
                 base ? base : "");
}

static void
read_config(struct scan *s)
{
    struct value *root = files_read_json(s, &s->scratch, "config.json");
    if (root) {
        shape_read(s, root);
    } else if (!is_there(s, "config.json")) {
        scan_problem(s, MODEL_PROBLEM_NO_CONFIG, NULL, "config.json is missing");
    }
}

static void
read_gguf(struct scan *s)
{
    struct model *m = s->model;
    m->kind = MODEL_GENERATE;
    m->has_tokenizer = true; /* both stand in the file */
    weights_read(s);
}

static void
read_parts(struct scan *s)
{
    struct model *m = s->model;
    if (is_there(s, "adapter_config.json") && !is_there(s, "config.json")) {
        read_adapter(s);
        return;
    }
    read_config(s);
    read_quant_files(s);
    read_sentence_transformer(s);
    read_tokenizer(s);
    shape_derive(s);
    weights_read(s);
    if (m->weights.params != MODEL_UNKNOWN) {
        m->params = m->weights.params;
        m->params_computed = false;
    } else if (m->params != MODEL_UNKNOWN && m->quant.method == MODEL_NOT_QUANTISED) {
        m->weights.gpu_bytes = m->params < MODEL_UNKNOWN / 2 ? 2 * m->params : MODEL_UNKNOWN;
    }
}

static bool
holds_only_gguf(struct scan *s)
{
    bool any = false;
    vec_foreach (&s->files, file) {
        any |= text_ends(file->name, ".gguf");
        if (text_eq(file->name, "config.json") || text_ends(file->name, ".safetensors"))
            return false;
    }
    return any;
}

static int
read_directory(struct scan *s, bool in_hub, struct err *reterr)
{
    int r = files_list(s, reterr);
    if (r != 0)
        return MIN(r, 0);
    if (is_empty(s)) {
        scan_problem(s, MODEL_PROBLEM_EMPTY, NULL, "the directory is empty");
    } else if (holds_only_gguf(s)) {
        read_gguf(s);
    } else {
        read_parts(s);
    }
    tell_partial_downloads(s, in_hub);
    return 0;
}

/* --- a hub's cache: blobs/, refs/main with the name of a revision, snapshots/REVISION/ --- */

static bool
has_entry(int fd, const char *name)
{
    return faccessat(fd, name, F_OK, 0) == 0;
}

/* The revision that refs/main names, or else the only one there is. */
static bool
find_revision(int fd, char *ret_name, size_t room)
{
    char revision[128] = "";
    _cleanup_close_ int ref = openat(fd, "refs/main", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = ref < 0 ? -1 : read(ref, revision, sizeof(revision) - 1);
    if (n > 0) {
        revision[strcspn(revision, "\r\n \t/")] = '\0';
        int len = snprintf(ret_name, room, "snapshots/%s", revision);
        return revision[0] && revision[0] != '.' && len < (int)room && has_entry(fd, ret_name);
    }
    DIR *dir = file_open_dir(fd, "snapshots", 0);
    unsigned count = 0;
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.' && ++count == 1)
            (void)snprintf(ret_name, room, "snapshots/%s", e->d_name);
    if (dir)
        (void)closedir(dir);
    return count == 1;
}

/* A model that is one file. */
static int
open_file(struct scan *s)
{
    const char *slash = strrchr(s->model->dir, '/');
    const char *parent =
        slash ? arena_strndup(&s->scratch, s->model->dir, (size_t)(slash - s->model->dir) + 1)
              : ".";
    s->only = slash ? slash + 1 : s->model->dir;
    return parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

/* Opens the directory with the model's files, which in a hub's cache is a snapshot. */
static int
open_directory(struct scan *s, bool *ret_in_hub, struct err *reterr)
{
    char snapshot[300];
    struct model *m = s->model;
    _cleanup_close_ int fd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *ret_in_hub = false;
    if (fd < 0 && errno == ENOTDIR && text_ends(m->dir, ".gguf")) {
        s->fd = open_file(s);
        return s->fd < 0 ? err_set_errno(reterr, errno, "cannot open %s", m->dir) : 0;
    }
    if (fd < 0)
        return err_set_errno(reterr, errno, "cannot open the model directory %s", m->dir);
    if (!has_entry(fd, "config.json") && has_entry(fd, "snapshots") &&
        find_revision(fd, snapshot, sizeof(snapshot))) {
        s->fd = openat(fd, snapshot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->fd < 0)
            return err_set_errno(reterr, errno, "cannot open %s in %s", snapshot, m->dir);
        const char *dir = arena_printf(s->arena, "%s/%s", m->dir, snapshot);
        m->dir = dir ? dir : m->dir;
        *ret_in_hub = true;
        return 0;
    }
    s->fd = take_fd(&fd);
    return 0;
}

static void
hand_over_problems(struct scan *s)
{
    struct model *m = s->model;
    size_t bytes = s->problems.count * sizeof(*s->problems.items);
    struct model_problem *problems = arena_alloc(s->arena, bytes);
    if (problems && bytes)
        memcpy(problems, s->problems.items, bytes);
    m->problems = problems;
    m->problems_count = problems ? s->problems.count : 0;
}

static const char *
keep_last_part(struct arena *arena, const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    return arena_strndup(arena, path + start, end - start);
}

struct model
model_blank(const char *dir)
{
    return (struct model){
        .dir = dir,
        .quant.text = "none",
        .params = MODEL_UNKNOWN,
        .layers = MODEL_UNKNOWN,
        .hidden_size = MODEL_UNKNOWN,
        .heads = MODEL_UNKNOWN,
        .vocabulary = MODEL_UNKNOWN,
        .context = MODEL_UNKNOWN,
        .weights = {.declared_bytes = MODEL_UNKNOWN,
                    .gpu_bytes = MODEL_UNKNOWN,
                    .params = MODEL_UNKNOWN},
    };
}

int
model_read(struct arena *arena, const char *dir, struct model *ret, struct err *reterr)
{
    struct model m = model_blank(arena_strdup(arena, dir));
    m.name = keep_last_part(arena, dir);
    struct scan s = {.arena = arena, .model = &m, .fd = -1};
    bool in_hub = false;
    arena_init(&s.scratch, SCRATCH_MAX);
    int error = m.dir && m.name ? open_directory(&s, &in_hub, reterr) : 0;
    if (error == 0 && s.fd >= 0)
        error = read_directory(&s, in_hub, reterr);
    hand_over_problems(&s);
    if (error == 0 && arena->full)
        error = err_set(reterr, ERR_TOO_LARGE, "there is more to say about %s than fits in memory",
                        dir);
    cleanup_close(&s.fd);
    vec_finish(&s.files);
    vec_finish(&s.problems);
    arena_finish(&s.scratch);
    if (error == 0)
        *ret = m;
    return error;
}
