#include "gateway/patch.h"

#include <string.h>

void
patch_add(struct patch_list *list, size_t at, size_t cut, const char *put)
{
    size_t i = list->count;
    assert(list->count < PATCH_MAX);
    for (; i > 0 && list->items[i - 1].at > at; i--)
        list->items[i] = list->items[i - 1];
    assert(i == 0 || list->items[i - 1].at + list->items[i - 1].cut <= at);
    assert(i == list->count || at + cut <= list->items[i + 1].at);
    list->items[i] = (struct patch){at, cut, put, strlen(put)};
    list->count++;
}

size_t
patch_length(const struct patch_list *list, size_t body_len)
{
    for (size_t i = 0; i < list->count; i++)
        body_len = body_len - list->items[i].cut + list->items[i].put_len;
    return body_len;
}

size_t
patch_pieces(const struct patch_list *list, size_t body_len,
             struct patch_piece pieces[PATCH_PIECES_MAX])
{
    size_t at = 0, count = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct patch *p = &list->items[i];
        assert(p->at + p->cut <= body_len);
        if (p->at > at)
            pieces[count++] = (struct patch_piece){NULL, at, p->at - at};
        if (p->put_len)
            pieces[count++] = (struct patch_piece){p->put, 0, p->put_len};
        at = p->at + p->cut;
    }
    if (body_len > at)
        pieces[count++] = (struct patch_piece){NULL, at, body_len - at};
    return count;
}
