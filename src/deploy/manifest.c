#include "deploy/manifest_int.h"

#include "base/text.h"
#include "fmt/json.h"

#include <limits.h>
#include <string.h>

bool
manifest_takes_name(const char *name)
{
    const char *slash = strchr(name, '/');
    const char *last = slash ? slash + 1 : name;
    size_t len = strlen(name);
    if (!*last || *name == '.' || *last == '.' || *name == '/' || strchr(last, '/') ||
        strlen(last) > NAME_MAX - sizeof(".new") || len > 2 * NAME_MAX)
        return false;
    if (text_eq(name, MANIFEST_NAME) || !text_is_utf8(name, len))
        return false;
    for (const char *at = name; at < name + len;)
        if (text_is_dangerous(text_next_char(&at, name + len)))
            return false;
    return true;
}

void
manifest_digest(const void *bytes, size_t len, char ret_digest[HASH_SHA256_HEX])
{
    hash_sha256_text(bytes, len, ret_digest);
}

void
manifest_print(const struct manifest *m, struct buf *out)
{
    struct json_writer w;
    json_init(&w, out, true);
    json_open_map(&w, NULL);
    json_u64(&w, "made_us", m->made_us);
    json_str(&w, "by", m->by);
    json_str(&w, "why", m->why);
    json_u64(&w, "after", m->after);
    json_open_map(&w, "files");
    for (size_t i = 0; i < m->count; i++)
        json_str(&w, m->files[i].name, m->files[i].digest);
    json_close_map(&w);
    json_close_map(&w);
    buf_add_char(out, '\n');
}

static bool
is_digest(const char *text)
{
    return text && strlen(text) == HASH_SHA256_HEX - 1 &&
           strspn(text, "0123456789abcdef") == HASH_SHA256_HEX - 1;
}

static bool
read_files(const struct value *files, struct arena *arena, struct manifest *m)
{
    if (!files || files->type != VALUE_MAP || files->count > GENERATION_FILES_MAX)
        return false;
    m->files = arena_alloc(arena, (files->count + 1) * sizeof(*m->files));
    for (const struct value *v = files->first; v && m->files; v = v->next) {
        const char *digest = value_str(v);
        if (!manifest_takes_name(v->name) || !is_digest(digest))
            return false;
        struct manifest_file *file = &m->files[m->count++];
        file->name = v->name;
        memcpy(file->digest, digest, sizeof(file->digest));
    }
    return m->files != NULL;
}

/* A line that is safe to show: somebody may have changed it. */
static const char *
take_line(struct arena *arena, const struct value *v)
{
    const char *text = value_str(v);
    char *line = text ? arena_strndup(arena, text, strnlen(text, MANIFEST_LINE_MAX)) : NULL;
    if (line)
        text_disarm(line);
    return line;
}

int
manifest_parse(const char *text, size_t len, struct arena *arena, struct manifest *ret_manifest,
               struct err *reterr)
{
    struct manifest m = {0};
    struct value *root;
    uint64_t after;
    int r = json_parse(arena, text, len, JSON_STRICT, &root, NULL, reterr);
    if (r < 0)
        return r;
    m.by = take_line(arena, value_get(root, "by"));
    m.why = take_line(arena, value_get(root, "why"));
    if (!m.by || !m.why || !value_u64(value_get(root, "made_us"), &m.made_us) ||
        !value_u64(value_get(root, "after"), &after) || after > UINT_MAX ||
        !read_files(value_get(root, "files"), arena, &m))
        return err_set(reterr, ERR_SYNTAX, "it is not the manifest of a generation");
    m.after = (unsigned)after;
    *ret_manifest = m;
    return 0;
}
