#include "base/map.h"
#include "base/text.h"
#include "fmt/gguf.h"
#include "model/model_int.h"
#include "model/tally.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* The weight files of a directory: which of them are the model, whether they are all there and
 * whole, and what they hold. The index says which files; without one, their names do
 * ("model-00002-of-00019.safetensors"). */

#define SHARDS_MAX 10000
#define TOLD_MAX 8          /* tensors of one file, entries of an index; the rest is counted */
#define RUN_LEAST 3         /* so many missing files in a row are one problem */
#define TENSORS_MAX 1000000 /* whose names are compared */
#define INDEX_MEMORY_MAX (128 * MIB)

static const char *const format_endings[] = {
    [MODEL_NO_WEIGHTS] = "", /* none */
    [MODEL_SAFETENSORS] = ".safetensors",
    [MODEL_PYTORCH] = ".bin",
    [MODEL_GGUF] = ".gguf",
};

struct shard {
    const char *name;
    struct file *file; /* NULL: not there */
    bool was_read;     /* its header */
    size_t lacking;    /* tensors */
    size_t twice;      /* tensors that another one has, too */
};

/* Where the index places a tensor. */
struct placed {
    const char *tensor;
    struct shard *shard;
    struct shard *holder; /* that has it; NULL: none was seen */
    bool seen;            /* where it should be */
};

struct reading {
    struct scan *s;
    enum model_format format;
    VEC(struct shard) shards;
    struct map by_name;             /* the shards, once all are known */
    const struct value *weight_map; /* of the index; NULL: none */
    struct placed *placed;          /* as many as weight_map has */
    struct map by_tensor;
    struct map
        strays; /* tensors of which no index says where they are: the shards that have them */
    struct arena arena; /* of the index, and names */
    struct tally tally;
    bool broken;
};

/* "model-00002-of-00019.safetensors" */
struct numbered {
    const char *name;
    int stem; /* "model" */
    int digits;
    unsigned number, count;
    const char *ending;
};

/* A number above SHARDS_MAX is SHARDS_MAX + 1. */
static const char *
read_number(const char *p, unsigned *ret_number)
{
    const char *start = p;
    for (*ret_number = 0; *p >= '0' && *p <= '9'; p++)
        *ret_number = MIN(*ret_number * 10 + (unsigned)(*p - '0'), SHARDS_MAX + 1U);
    return p > start ? p : NULL;
}

static bool
parse_numbered(const char *name, struct numbered *ret)
{
    const char *of = strstr(name, "-of-");
    const char *start = of;
    while (start && start > name && start[-1] >= '0' && start[-1] <= '9')
        start--;
    if (!of || start == of || start == name || start[-1] != '-')
        return false;
    *ret = (struct numbered){
        .name = name, .stem = (int)(start - 1 - name), .digits = (int)(of - start)};
    const char *end = read_number(start, &ret->number);
    ret->ending = end == of ? read_number(of + 4, &ret->count) : NULL;
    return ret->ending != NULL;
}

static bool
same_series(const struct numbered *a, const struct numbered *b)
{
    return a->stem == b->stem && memcmp(a->name, b->name, (size_t)a->stem) == 0 &&
           a->count == b->count && text_eq(a->ending, b->ending);
}

static void
tell_too_many(struct reading *r, const char *file, const char *what)
{
    r->broken = true;
    scan_problem(r->s, MODEL_PROBLEM_TOO_MANY_SHARDS, file,
                 "%s %s more than %d files, the most that are looked at", file, what, SHARDS_MAX);
}

static struct shard *
add_shard(struct reading *r, const char *name)
{
    struct shard *shard = vec_add(&r->shards);
    shard->name = name;
    shard->file = files_find(r->s, name);
    return shard;
}

/* --- the index --- */

static bool
is_plain_name(const char *name)
{
    return name && *name && !strchr(name, '/') && !text_eq(name, "..") && !text_eq(name, ".");
}

/* The shards of the index, each once; false when it cannot be used. */
static bool
add_indexed(struct reading *r, const char *index)
{
    _cleanup_map_ struct map names = {0};
    static char seen;
    size_t wrong = 0;
    for (const struct value *v = r->weight_map->first; v; v = v->next) {
        const char *name = value_str(v);
        if (!is_plain_name(name)) {
            if (++wrong <= TOLD_MAX)
                scan_problem(r->s, MODEL_PROBLEM_VALUE, index,
                             "%s:%u:%u: tensor %s is placed in %s, which is no file name", index,
                             v->at.line, v->at.column, v->name,
                             name ? name : value_type_name(v->type));
        } else if (!map_get(&names, name)) {
            if (r->shards.count == SHARDS_MAX) {
                tell_too_many(r, index, "names");
                return false;
            }
            (void)map_add(&names, name, &seen);
            (void)add_shard(r, name);
        }
    }
    if (wrong > TOLD_MAX)
        scan_problem(r->s, MODEL_PROBLEM_VALUE, index,
                     "%s places %zu more tensors in what is no file name", index, wrong - TOLD_MAX);
    return wrong == 0;
}

static void
place_tensors(struct reading *r)
{
    size_t i = 0;
    r->placed = mem_alloc(r->weight_map->count * sizeof(*r->placed));
    for (const struct value *v = r->weight_map->first; v; v = v->next, i++) {
        r->placed[i] = (struct placed){v->name, map_get(&r->by_name, v->text), NULL, false};
        (void)map_add(&r->by_tensor, v->name, &r->placed[i]);
    }
}

static bool
read_index(struct reading *r, const char *index)
{
    if (!files_find(r->s, index))
        return false;
    const struct value *root = files_read_json(r->s, &r->arena, index);
    const struct value *map = value_get(root, "weight_map");
    uint64_t total;
    if (!root || !map || map->type != VALUE_MAP || map->count == 0) {
        if (root)
            scan_problem(r->s, MODEL_PROBLEM_VALUE, index, "%s has no weight_map", index);
        r->broken = true;
        return false;
    }
    if (value_u64(value_get(value_get(root, "metadata"), "total_size"), &total))
        r->s->model->weights.declared_bytes = total;
    r->weight_map = map;
    if (add_indexed(r, index))
        return true;
    r->broken = true;
    r->weight_map = NULL;
    r->shards.count = 0;
    return false;
}

/* --- choosing files by name --- */

/* Files that are no part of a model although their endings say so. */
static bool
is_other(const char *name)
{
    static const char *const starts[] = {"adapter_",  "training_args", "optimizer",
                                         "scheduler", "rng_state",     "mmproj"};
    for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
        if (text_starts(name, starts[i]))
            return true;
    return false;
}

static bool
has_format(const char *name, enum model_format format)
{
    if (format == MODEL_PYTORCH && (text_ends(name, ".pth") || text_ends(name, ".pt")))
        return !is_other(name);
    return text_ends(name, format_endings[format]) && !is_other(name);
}

/* The same weights once more, in the layout of the model's authors. */
static bool
is_consolidated(const char *name)
{
    return text_starts(name, "consolidated");
}

static bool
any_file(struct scan *s, enum model_format format, bool consolidated)
{
    vec_foreach (&s->files, file)
        if (has_format(file->name, format) && is_consolidated(file->name) == consolidated)
            return true;
    return false;
}

/* Files that are alike: the whole model in one, a series, or whatever there is. */
static void
add_by_name(struct reading *r)
{
    static const char *const whole[] = {[MODEL_SAFETENSORS] = "model.safetensors",
                                        [MODEL_PYTORCH] = "pytorch_model.bin",
                                        [MODEL_GGUF] = "model.gguf"};
    bool consolidated = !any_file(r->s, r->format, false);
    struct numbered first = {0}, other;
    if (files_find(r->s, whole[r->format])) {
        (void)add_shard(r, whole[r->format]);
        return;
    }
    vec_foreach (&r->s->files, file) {
        if (!has_format(file->name, r->format) || is_consolidated(file->name) != consolidated)
            continue;
        bool numbered = parse_numbered(file->name, &other);
        bool fits = !first.name || (numbered && same_series(&first, &other));
        if (numbered && !first.name) {
            first = other;
            r->shards.count = 0; /* a series is the model, and what stands before it is not */
        }
        if (fits)
            (void)add_shard(r, file->name);
    }
}

/* Several GGUF files that are no series are one model in several precisions. */
static void
keep_one_gguf(struct reading *r)
{
    struct numbered n;
    if (r->format != MODEL_GGUF || r->shards.count < 2 ||
        parse_numbered(r->shards.items[0].name, &n))
        return;
    scan_problem(r->s, MODEL_PROBLEM_SEVERAL_GGUF, NULL,
                 "%zu GGUF models in one directory: told is %s", r->shards.count,
                 r->shards.items[0].name);
    r->shards.count = 1;
}

/* Adds the shards of a series that nothing names but the others' numbers. gpt-oss counts from 0. */
static void
complete_series(struct reading *r)
{
    struct numbered first, n;
    if (r->shards.count == 0 || !parse_numbered(r->shards.items[0].name, &first))
        return;
    if (first.count > SHARDS_MAX) {
        tell_too_many(r, first.name, "is one of");
        return;
    }
    bool *there = mem_alloc(first.count + 1);
    vec_foreach (&r->shards, shard)
        if (parse_numbered(shard->name, &n) && same_series(&first, &n) && n.number <= first.count)
            there[n.number] = true;
    unsigned last = there[0] ? first.count - (first.count > 0) : first.count;
    for (unsigned i = there[0] ? 0 : 1; i <= last; i++) {
        const char *name =
            there[i] ? NULL
                     : arena_printf(&r->arena, "%.*s-%0*u-of-%0*u%s", first.stem, first.name,
                                    first.digits, i, first.digits, first.count, first.ending);
        if (name)
            (void)add_shard(r, name);
    }
    free(there);
}

/* --- what is missing --- */

/* How many of the files that follow each other from here on are missing. */
static size_t
missing_run(const struct reading *r, size_t first)
{
    const struct shard *shards = r->shards.items;
    struct numbered from, n;
    size_t end = first + 1;
    if (!parse_numbered(shards[first].name, &from))
        return 1;
    while (end < r->shards.count && !shards[end].file && parse_numbered(shards[end].name, &n) &&
           same_series(&from, &n) && n.number == from.number + (end - first))
        end++;
    return end - first;
}

static void
tell_missing(struct reading *r, const char *name, const char *why)
{
    scan_problem(r->s, MODEL_PROBLEM_SHARD_MISSING, name, "%s is missing%s", name, why);
    if (name[0] != '-') /* which would be taken for an option */
        SCAN_COMMAND(r->s, "hf", "download", "REPOSITORY", name, "--local-dir", r->s->model->dir);
}

/* Without a name, all is fetched that is not there. */
static void
tell_missing_run(struct reading *r, const struct shard *run, size_t count, const char *why)
{
    const char *first = run[0].name, *last = run[count - 1].name;
    scan_problem(r->s, MODEL_PROBLEM_SHARD_MISSING, first, "%.*s to %s are missing%s: %zu files",
                 (int)(strstr(first, "-of-") - first), first, last, why, count);
    scan_run(r->s, last);
    SCAN_COMMAND(r->s, "hf", "download", "REPOSITORY", "--local-dir", r->s->model->dir);
}

/* The number of shards that have been told. */
static size_t
tell_missing_from(struct reading *r, size_t first)
{
    const char *why = r->weight_map ? "" : ", as the numbers of the others show";
    const struct shard *shard = &r->shards.items[first];
    size_t count = missing_run(r, first);
    r->broken = true;
    if (count >= RUN_LEAST) {
        tell_missing_run(r, shard, count, why);
        return count;
    }
    tell_missing(r, shard->name, why);
    return 1;
}

/* --- reading --- */

/* The shard that is known to hold a tensor of this name: this one, unless another was before it;
 * NULL when there are too many to know. */
static struct shard *
find_holder(struct reading *r, struct shard *shard, struct placed *placed, const char *name)
{
    if (placed) {
        placed->seen |= placed->shard == shard;
        placed->holder = placed->holder ? placed->holder : shard;
        return placed->holder;
    }
    if (r->shards.count == 1)
        return shard; /* no map has a name twice */
    struct shard *holder = map_get(&r->strays, name);
    if (holder)
        return holder;
    const char *kept = r->strays.count < TENSORS_MAX ? arena_strdup(&r->arena, name) : NULL;
    return kept ? map_add(&r->strays, kept, shard) : NULL;
}

static bool
read_tensor(struct reading *r, struct shard *shard, const struct safetensors_tensor *tensor)
{
    struct placed *placed = map_get(&r->by_tensor, tensor->name);
    struct shard *holder = find_holder(r, shard, placed, tensor->name);
    if (!holder || holder == shard)
        return holder && tally_tensor(&r->tally, &r->s->shape, &r->s->model->quant, tensor);
    r->broken = true;
    if (++shard->twice <= TOLD_MAX)
        scan_problem(r->s, MODEL_PROBLEM_TENSOR_TWICE, shard->name,
                     "%s holds the tensor %s, which %s holds, too", shard->name, tensor->name,
                     holder->name);
    return true;
}

static void
read_tensors(struct reading *r, struct shard *shard, const struct safetensors *st)
{
    bool countable = true;
    for (size_t i = 0; i < st->count; i++)
        countable &= read_tensor(r, shard, &st->tensors[i]);
    if (shard->twice > TOLD_MAX)
        scan_problem(r->s, MODEL_PROBLEM_TENSOR_TWICE, shard->name,
                     "%s holds %zu more tensors that others hold, too", shard->name,
                     shard->twice - TOLD_MAX);
    if (!countable) {
        r->broken = true;
        scan_problem(r->s, MODEL_PROBLEM_SHARD_HEADER, shard->name,
                     "%s: with its tensors the model has more than 2^64 bytes, or %d tensors",
                     shard->name, TENSORS_MAX);
    }
}

static void
check_length(struct reading *r, const struct shard *shard, const struct safetensors *st)
{
    uint64_t needs = st->data_at + st->data_bytes, has = shard->file->bytes;
    if (has == needs)
        return;
    r->broken = true;
    scan_problem(r->s, has < needs ? MODEL_PROBLEM_SHARD_CUT : MODEL_PROBLEM_SHARD_LONG,
                 shard->name, "%s is too %s: it has %" PRIu64 " bytes and needs %" PRIu64,
                 shard->name, has < needs ? "short" : "long", has, needs);
    if (shard->name[0] != '-')
        SCAN_COMMAND(r->s, "hf", "download", "REPOSITORY", shard->name, "--force-download",
                     "--local-dir", r->s->model->dir);
}

static void
tell_errors(struct reading *r, const struct shard *shard, enum model_problem_id id,
            const struct safetensors_errors *errors)
{
    r->broken = true;
    for (size_t i = 0; i < MIN(errors->count, (size_t)SAFETENSORS_TOLD_MAX); i++)
        scan_problem(r->s, id, shard->name, "%s: %s", shard->name, errors->told[i].what);
    if (errors->count > SAFETENSORS_TOLD_MAX)
        scan_problem(r->s, id, shard->name, "%s: %zu more of its tensors are wrong", shard->name,
                     errors->count - SAFETENSORS_TOLD_MAX);
}

static void
read_header(struct reading *r, struct shard *shard, int fd)
{
    _cleanup_arena_ struct arena arena;
    struct safetensors_errors errors;
    struct safetensors st;
    arena_init(&arena, SAFETENSORS_ARENA_MAX);
    int error = safetensors_read(&arena, fd, shard->file->bytes, &st, &errors);
    if (error < 0) {
        tell_errors(r, shard,
                    error == -ENODATA ? MODEL_PROBLEM_SHARD_CUT : MODEL_PROBLEM_SHARD_HEADER,
                    &errors);
        return;
    }
    shard->was_read = true;
    check_length(r, shard, &st);
    read_tensors(r, shard, &st);
}

static void
read_gguf_head(struct reading *r, const struct shard *shard, int fd)
{
    struct gguf g;
    struct err err;
    if (gguf_read(fd, shard->file->bytes, &g, &err) < 0) {
        r->broken = true;
        scan_problem(r->s, MODEL_PROBLEM_SHARD_HEADER, shard->name, "%s: %s", shard->name,
                     err.what);
    }
}

static void
read_shard(struct reading *r, struct shard *shard)
{
    _cleanup_close_ int fd = files_open(r->s, shard->file);
    if (fd < 0) {
        r->broken = true;
        return;
    }
    r->s->model->weights.files++;
    if (r->format == MODEL_SAFETENSORS) {
        read_header(r, shard, fd);
        return;
    }
    if (__builtin_add_overflow(r->tally.bytes, shard->file->bytes, &r->tally.bytes))
        r->broken = true;
    if (r->format == MODEL_GGUF)
        read_gguf_head(r, shard, fd);
}

static void
read_shards(struct reading *r)
{
    for (size_t i = 0; i < r->shards.count;) {
        struct shard *shard = &r->shards.items[i];
        if (shard->file)
            read_shard(r, shard);
        i += shard->file ? 1 : tell_missing_from(r, i);
    }
    if (r->format == MODEL_SAFETENSORS && r->tally.tensors == 0 && !r->broken) {
        r->broken = true;
        scan_problem(r->s, MODEL_PROBLEM_NO_WEIGHTS, NULL, "the weight files hold no tensors");
    }
}

/* Tensors of the index that were not in the file it names, although that could be read. */
static void
tell_missing_tensors(struct reading *r)
{
    for (size_t i = 0; r->weight_map && i < r->weight_map->count; i++) {
        const struct placed *placed = &r->placed[i];
        if (placed->seen || !placed->shard->was_read)
            continue;
        r->broken = true;
        if (++placed->shard->lacking <= TOLD_MAX)
            scan_problem(r->s, MODEL_PROBLEM_TENSOR_MISSING, placed->shard->name,
                         "%s lacks the tensor %s, which the index places in it",
                         placed->shard->name, placed->tensor);
    }
    vec_foreach (&r->shards, shard)
        if (shard->lacking > TOLD_MAX)
            scan_problem(r->s, MODEL_PROBLEM_TENSOR_MISSING, shard->name,
                         "%s lacks %zu more tensors that the index places in it", shard->name,
                         shard->lacking - TOLD_MAX);
}

static enum model_format
find_format(struct scan *s)
{
    for (enum model_format f = MODEL_SAFETENSORS; f <= MODEL_GGUF; f++)
        if (any_file(s, f, false))
            return f;
    if (files_find(s, "model.safetensors.index.json"))
        return MODEL_SAFETENSORS;
    if (files_find(s, "pytorch_model.bin.index.json"))
        return MODEL_PYTORCH;
    for (enum model_format f = MODEL_SAFETENSORS; f <= MODEL_GGUF; f++)
        if (any_file(s, f, true))
            return f;
    return MODEL_NO_WEIGHTS;
}

static int
by_shard_name(const void *a, const void *b)
{
    const struct shard *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static void
choose_shards(struct reading *r)
{
    static const char *const indexes[] = {[MODEL_SAFETENSORS] = "model.safetensors.index.json",
                                          [MODEL_PYTORCH] = "pytorch_model.bin.index.json"};
    bool indexed = r->format != MODEL_GGUF && read_index(r, indexes[r->format]);
    if (!indexed)
        add_by_name(r);
    keep_one_gguf(r);
    complete_series(r);
    if (r->shards.count)
        qsort(r->shards.items, r->shards.count, sizeof(*r->shards.items), by_shard_name);
    vec_foreach (&r->shards, shard)
        (void)map_add(&r->by_name, shard->name, shard);
    if (indexed)
        place_tensors(r);
}

static void
count_left_out(struct reading *r)
{
    struct model_weights *w = &r->s->model->weights;
    vec_foreach (&r->s->files, file) {
        bool weights = has_format(file->name, MODEL_SAFETENSORS) ||
                       has_format(file->name, MODEL_PYTORCH) || has_format(file->name, MODEL_GGUF);
        if (weights && file->nature == FILE_REGULAR && !map_get(&r->by_name, file->name))
            w->left_out_bytes += MIN(file->bytes, INT64_MAX - w->left_out_bytes);
    }
}

void
weights_read(struct scan *s)
{
    struct model_weights *w = &s->model->weights;
    struct reading r = {.s = s, .format = find_format(s)};
    *w = (struct model_weights){.format = r.format,
                                .declared_bytes = MODEL_UNKNOWN,
                                .gpu_bytes = MODEL_UNKNOWN,
                                .params = MODEL_UNKNOWN};
    if (r.format == MODEL_NO_WEIGHTS) {
        scan_problem(s, MODEL_PROBLEM_NO_WEIGHTS, NULL, "no file *.safetensors is there");
        return;
    }
    arena_init(&r.arena, INDEX_MEMORY_MAX);
    choose_shards(&r);
    read_shards(&r);
    tell_missing_tensors(&r);
    count_left_out(&r);
    w->files_wanted = r.shards.count;
    w->tensors = r.tally.tensors;
    w->bytes = r.tally.bytes;
    w->whole = !r.broken;
    if (w->whole && r.format == MODEL_SAFETENSORS) {
        w->gpu_bytes = r.tally.gpu_bytes;
        w->params = r.tally.params;
    } else if (w->whole && r.format == MODEL_GGUF) {
        w->gpu_bytes = r.tally.bytes;
    }
    if (r.format == MODEL_GGUF && r.shards.count)
        quant_read_gguf_name(s, r.shards.items[0].name);
    if (r.format == MODEL_PYTORCH)
        scan_problem(s, MODEL_PROBLEM_PYTORCH_ONLY, NULL,
                     "the weights are pickles only: %zu files, %" PRIu64 " bytes", w->files,
                     w->bytes);
    map_finish(&r.by_name);
    map_finish(&r.by_tensor);
    map_finish(&r.strays);
    free(r.placed);
    vec_finish(&r.shards);
    arena_finish(&r.arena);
}
