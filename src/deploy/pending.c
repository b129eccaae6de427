#include "deploy/pending_int.h"

#include "base/text.h"
#include "fmt/json.h"
#include "sys/fault.h"
#include "sys/files.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#define PENDING_MAX (4 * KIB)
#define ARENA_MAX (64 * KIB)

static char *
path_of(const char *state_dir)
{
    return mem_printf("%s/deploy/pending.json", state_dir);
}

void
pending_add_from(struct pending *p, unsigned number)
{
    for (size_t i = 0; i < p->from_count; i++)
        if (p->from[i] == number)
            return;
    if (p->from_count < PENDING_FROM_MAX)
        p->from[p->from_count++] = number;
    else
        p->unknown = true;
}

static bool
is_true(const struct value *v)
{
    bool is = false;
    return value_bool(v, &is) && is;
}

static bool
take(const struct value *root, struct pending *p)
{
    const struct value *from = value_get(root, "from");
    value_copy_str(value_get(root, "boot"), p->boot, sizeof(p->boot));
    value_copy_str(value_get(root, "by"), p->by, sizeof(p->by));
    uint64_t to;
    if (!from || from->type != VALUE_LIST || !value_u64(value_get(root, "to"), &to) ||
        to > UINT_MAX)
        return false;
    for (const struct value *v = from->first; v; v = v->next)
        pending_add_from(p, value_u32(v));
    p->unknown |= is_true(value_get(root, "unknown"));
    p->failed = is_true(value_get(root, "failed"));
    p->under_way = true;
    p->to = (unsigned)to;
    return true;
}

int
pending_load(const char *state_dir, struct pending *ret, struct err *reterr)
{
    _cleanup_free_ char *path = path_of(state_dir);
    _cleanup_buf_ struct buf text = BUF_INIT(PENDING_MAX);
    _cleanup_arena_ struct arena arena;
    struct value *root;
    *ret = (struct pending){0};
    arena_init(&arena, ARENA_MAX);
    int r = file_read_if_there(path, &text, reterr);
    if (r == 0)
        return 0;
    if (r > 0)
        r = json_parse(&arena, text.data, text.len, JSON_STRICT, &root, NULL, reterr);
    if (r == 0 && !take(root, ret))
        r = err_set(reterr, ERR_SYNTAX, "it tells of no deployment");
    if (r < 0) {
        err_prefix(reterr, "%s", path);
        err_fix(reterr, "remove it; then restart what may run as an older generation says");
    }
    return r;
}

int
pending_save(const char *state_dir, const struct pending *p, struct err *reterr)
{
    _cleanup_free_ char *path = path_of(state_dir);
    _cleanup_buf_ struct buf text = BUF_INIT(PENDING_MAX);
    struct json_writer w;
    json_init(&w, &text, false);
    json_open_map(&w, NULL);
    json_str(&w, "boot", p->boot);
    json_str(&w, "by", p->by);
    json_bool(&w, "failed", p->failed);
    json_open_list(&w, "from");
    for (size_t i = 0; i < p->from_count; i++)
        json_u64(&w, NULL, p->from[i]);
    json_close_list(&w);
    json_u64(&w, "to", p->to);
    if (p->unknown)
        json_bool(&w, "unknown", true);
    json_close_map(&w);
    buf_add_char(&text, '\n');
    assert(buf_error(&text) == 0);
    return file_write(path, text.data, text.len, 0644, reterr);
}

int
pending_remove(const char *state_dir, struct err *reterr)
{
    _cleanup_free_ char *path = path_of(state_dir);
    return file_remove_tree(path, reterr);
}
