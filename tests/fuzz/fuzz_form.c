/* Forms from anybody: what is read lies inside the body, and is read again from a form that is made
 * of it. The input: a value of Content-Type, a line feed, a body. */

#include "sim/form.h"

#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
require(bool true_thing)
{
    if (!true_thing)
        abort();
}

static void
write_form(const struct form *form, struct buf *out)
{
    for (size_t i = 0; i < form->count; i++) {
        const struct form_part *p = &form->parts[i];
        buf_printf(out, "--b\r\ncontent-disposition: form-data; name=\"%s\"", p->name);
        if (p->file)
            buf_printf(out, "; filename=\"%s\"", p->file);
        buf_add_str(out, "\r\n\r\n");
        buf_add(out, p->bytes, p->len);
        buf_add_str(out, "\r\n");
    }
    buf_add_str(out, "--b--");
}

static bool
same(const struct form_part *a, const struct form_part *b)
{
    return strcmp(a->name, b->name) == 0 && !a->file == !b->file &&
           (!a->file || strcmp(a->file, b->file) == 0) && a->len == b->len &&
           memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* Unless a part has what would be its end in the form that is made. */
static void
check_again(const struct form *form)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1 << 20);
    _cleanup_arena_ struct arena arena;
    struct form again;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < form->count; i++)
        if (memmem(form->parts[i].bytes, form->parts[i].len, "\r\n--b", 5))
            return;
    write_form(form, &out);
    require(form_parse(&again, &arena, out.data, out.len, "b", NULL) == 0);
    require(again.count == form->count);
    for (size_t i = 0; i < form->count; i++)
        require(same(&form->parts[i], &again.parts[i]));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *text = (const char *)data, *feed = len ? memchr(text, '\n', len) : NULL;
    char boundary[FORM_BOUNDARY_MAX + 1];
    _cleanup_arena_ struct arena arena = {0};
    struct form form;
    if (!feed || len > 65536)
        return 0;
    arena_init(&arena, 1 << 18);
    const char *body = feed + 1, *end = text + len;
    if (!form_boundary(text, (size_t)(feed - text), boundary))
        return 0;
    require(*boundary && strlen(boundary) <= FORM_BOUNDARY_MAX);
    if (form_parse(&form, &arena, body, (size_t)(end - body), boundary, NULL) < 0)
        return 0;
    require(form.count <= FORM_PARTS_MAX);
    for (size_t i = 0; i < form.count; i++)
        require(form.parts[i].bytes >= body && form.parts[i].bytes + form.parts[i].len <= end);
    check_again(&form);
    return 0;
}
