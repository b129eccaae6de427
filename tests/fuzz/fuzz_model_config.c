/* A model directory from anywhere: config.json, the index and a weight file are the input, cut at
 * its first two zero bytes; an empty part is a file that is not there. Whatever is told of it can be
 * printed, and no sum of it runs over. */

#include "model/demand.h"
#include "model/print.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char dir[64];

static void
remove_dir(void)
{
    static const char *const names[] = {"config.json", "model.safetensors.index.json",
                                        "model-00001-of-00002.safetensors"};
    char path[160];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(dir);
}

/* In memory where there is such a file system; gone when the program ends. */
static void
make_dir(void)
{
    (void)snprintf(dir, sizeof(dir), "%s/citadel-fuzz-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert(mkdtemp(dir));
    assert(atexit(remove_dir) == 0);
}

static void
put(const char *name, const uint8_t *data, size_t len)
{
    char path[160];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (len == 0) {
        (void)unlink(path);
        return;
    }
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert(fd >= 0 && write(fd, data, len) == (ssize_t)len);
}

/* Up to the next zero byte; the rest stays. */
static size_t
cut(const uint8_t **data, size_t *len)
{
    const uint8_t *zero = *len ? memchr(*data, 0, *len) : NULL;
    size_t part = zero ? (size_t)(zero - *data) : *len;
    size_t used = zero ? part + 1 : part;
    *data += used;
    *len -= used;
    return part;
}

/* More tokens never need less, and more GPUs never more of each. */
static void
check_demand(const struct model *m)
{
    static const enum kv_dtype dtypes[] = {KV_AUTO, KV_16BIT, KV_8BIT, KV_8BIT_DS_MLA, KV_32BIT};
    for (size_t i = 0; i < ARRAY_SIZE(dtypes); i++) {
        uint64_t before = MODEL_UNKNOWN;
        for (unsigned gpus = 1; gpus <= 64; gpus *= 2) {
            uint64_t bytes = model_kv_bytes_per_token(m, gpus, dtypes[i]);
            assert(bytes <= before || bytes == MODEL_UNKNOWN);
            before = bytes;
            (void)model_weight_bytes_on_gpu(m, gpus);
            (void)model_state_bytes_per_sequence(m, gpus);
        }
        struct model_request request = {.tensor_parallel = 2, .dtype = dtypes[i], .windows = true};
        uint64_t least = 0;
        for (uint64_t tokens = 1; tokens && tokens < UINT64_MAX / 64; tokens *= 64) {
            request.tokens = tokens;
            uint64_t bytes = model_request_bytes(m, &request);
            assert(bytes >= least);
            least = bytes;
        }
    }
}

static void
check_printed(const struct model *m)
{
    _cleanup_buf_ struct buf out = BUF_INIT(16 * MIB);
    _cleanup_table_ struct table table;
    const struct model_use use = {NULL, 2, KV_8BIT, "fp8"};
    struct json_writer w;
    table_init(&table, model_columns, MODEL_COLUMNS);
    model_add_row(&table, m, &use);
    table_print(&table, &(struct table_look){.width = 80}, &out);
    model_print_problems(m, &out);
    for (size_t i = 0; i < out.len; i++)
        assert((unsigned char)out.data[i] >= ' ' || out.data[i] == '\n');
    buf_clear(&out);
    json_init(&w, &out, true);
    model_print_json(m, &use, &w);
    assert(buf_error(&out) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_arena_ struct arena arena;
    struct model m;
    struct err err;
    if (!dir[0])
        make_dir();
    const uint8_t *config = data;
    put("config.json", config, cut(&data, &len));
    const uint8_t *index = data;
    put("model.safetensors.index.json", index, cut(&data, &len));
    put("model-00001-of-00002.safetensors", data, len);
    arena_init(&arena, MIB);
    if (model_read(&arena, dir, &m, &err) == 0) {
        check_demand(&m);
        check_printed(&m);
    }
    return 0;
}
