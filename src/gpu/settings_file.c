#include "gpu/settings_int.h"

#include "base/text.h"
#include "fmt/json.h"
#include "sys/clock.h"
#include "sys/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX (64 * KIB) /* GPU_INVENTORY_MAX of them, some 300 bytes each */

const struct gpu_setting_row gpu_setting_rows[GPU_SETTINGS] = {
#define GPU_SETTING(name, option, unit, help) {#name, option, unit, help},
#include "gpu/setting.def"
#undef GPU_SETTING
};

char *
settings_path(const char *state)
{
    return mem_printf("%s/gpu/settings.json", state);
}

static void
print_settings(struct json_writer *w, const struct gpu_settings *settings)
{
    json_open_map(w, "found");
    for (size_t i = 0; i < GPU_SETTINGS; i++)
        if (settings->of[i].known)
            json_u64(w, gpu_setting_rows[i].name, settings->of[i].n);
    json_close_map(w);
}

void
gpu_memory_print(const struct gpu_memory_file *memory, struct buf *out)
{
    struct json_writer w;
    json_init(&w, out, true);
    json_open_map(&w, NULL);
    json_str(&w, "boot", memory->boot);
    json_open_list(&w, "gpus");
    for (size_t i = 0; i < memory->count; i++) {
        json_open_map(&w, NULL);
        json_str(&w, "uuid", memory->gpus[i].uuid);
        print_settings(&w, &memory->gpus[i].found);
        json_close_map(&w);
    }
    json_close_list(&w);
    json_close_map(&w);
    buf_add_char(out, '\n');
}

/* Settings of another release are passed over: this one cannot put them back. */
static bool
read_entry(const struct value *v, struct gpu_memory_entry *entry)
{
    const struct value *found = value_get(v, "found");
    value_copy_str(value_get(v, "uuid"), entry->uuid, sizeof(entry->uuid));
    if (!entry->uuid[0] || !found || found->type != VALUE_MAP)
        return false;
    for (size_t i = 0; i < GPU_SETTINGS; i++) {
        const struct value *of = value_get(found, gpu_setting_rows[i].name);
        entry->found.of[i].known = of != NULL;
        if (of && (!value_u64(of, &entry->found.of[i].n) || entry->found.of[i].n > UINT32_MAX))
            return false;
    }
    return true;
}

int
gpu_memory_parse(const char *text, size_t len, struct gpu_memory_file *ret_memory,
                 struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct gpu_memory_file memory = {0};
    struct value *root;
    arena_init(&arena, 32 * FILE_MAX);
    int r = json_parse(&arena, text, len, JSON_STRICT, &root, NULL, reterr);
    if (r < 0)
        return r;
    const struct value *gpus = value_get(root, "gpus");
    value_copy_str(value_get(root, "boot"), memory.boot, sizeof(memory.boot));
    bool whole = gpus && gpus->type == VALUE_LIST && gpus->count <= GPU_INVENTORY_MAX;
    for (const struct value *v = whole ? gpus->first : NULL; v && whole; v = v->next)
        whole = read_entry(v, &memory.gpus[memory.count++]);
    if (!whole)
        return err_set(reterr, ERR_SYNTAX, "it is not what was remembered of GPUs");
    *ret_memory = memory;
    return 0;
}

int
gpu_memory_load(const char *state, struct gpu_memory_file *ret_memory, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_MAX);
    _cleanup_free_ char *path = settings_path(state);
    char boot[CLOCK_BOOT_ID_LEN + 1] = "";
    struct err why;
    int r = clock_boot_id(boot);
    if (r < 0)
        return err_set_errno(reterr, -r, "asking the kernel which boot this is");
    r = file_read(path, &text, &why);
    if (r == 0)
        r = gpu_memory_parse(text.data, text.len, ret_memory, &why);
    if (r < 0 && r != -ENOENT) {
        r = err_set(reterr, ERR_GPU_SETTINGS_FILE, "%s cannot be read: %s", path, why.what);
        err_fix(reterr, "look at it; once it is removed, settings stay as they are now");
        return r;
    }
    if (r == -ENOENT || !text_eq(ret_memory->boot, boot))
        *ret_memory = (struct gpu_memory_file){0};
    (void)snprintf(ret_memory->boot, sizeof(ret_memory->boot), "%s", boot);
    return 0;
}

int
settings_save(const char *state, const struct gpu_memory_file *memory, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(FILE_MAX);
    _cleanup_free_ char *path = settings_path(state);
    gpu_memory_print(memory, &text);
    assert(buf_error(&text) == 0); /* as many GPUs as there may be, each as long as it may be */
    return file_write(path, text.data, text.len, 0644, reterr);
}

static struct gpu_memory_entry *
find(struct gpu_memory_file *memory, const char *uuid)
{
    for (size_t i = 0; i < memory->count; i++)
        if (text_eq(memory->gpus[i].uuid, uuid))
            return &memory->gpus[i];
    return NULL;
}

const struct gpu_settings *
gpu_memory_find(const struct gpu_memory_file *memory, const char *uuid)
{
    for (size_t i = 0; i < memory->count; i++)
        if (text_eq(memory->gpus[i].uuid, uuid))
            return &memory->gpus[i].found;
    return NULL;
}

struct gpu_settings *
settings_entry(struct gpu_memory_file *memory, const char *uuid)
{
    struct gpu_memory_entry *entry = find(memory, uuid);
    if (!entry && memory->count == GPU_INVENTORY_MAX)
        return NULL;
    if (!entry) {
        entry = &memory->gpus[memory->count++];
        *entry = (struct gpu_memory_entry){0};
        (void)snprintf(entry->uuid, sizeof(entry->uuid), "%s", uuid);
    }
    return &entry->found;
}

void
settings_drop_empty(struct gpu_memory_file *memory)
{
    size_t kept = 0;
    for (size_t i = 0; i < memory->count; i++) {
        bool used = false;
        for (size_t k = 0; k < GPU_SETTINGS; k++)
            used = used || memory->gpus[i].found.of[k].known;
        if (used)
            memory->gpus[kept++] = memory->gpus[i];
    }
    memory->count = kept;
}
