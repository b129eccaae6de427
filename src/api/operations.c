#include "api/operations.h"

#include "base/buf.h"

#include <string.h>

const struct operation operations[OPERATION_COUNT] = {
#define OPERATION(owner, name, method, path, argument, role, summary)   \
    [OPERATION_##name] = {OPERATION_OF_##owner, HTTP_##method,    path, \
                          (argument)[0] == 'N', OPERATION_##role, summary},
#include "api/operations.def"
#undef OPERATION
};

static int
refuse(const struct http1_head *head, enum operation_owner owner, struct err *reterr)
{
    _cleanup_buf_ struct buf all = BUF_INIT(KIB);
    for (size_t i = 0; i < OPERATION_COUNT; i++)
        if (operations[i].owner == owner)
            buf_printf(&all, "%s%s /%s%s", all.len ? ", " : "",
                       http_method_name(operations[i].method), operations[i].path,
                       operations[i].named ? "/NAME" : "");
    return err_set(reterr, ERR_NOT_FOUND, "there is no %.*s '%.*s'; there is %s",
                   (int)MIN(head->method_name.len, 20u), head->bytes + head->method_name.at,
                   (int)MIN(head->path.len, 80u), head->bytes + head->path.at, all.data);
}

int
operation_find(const struct http1_head *head, enum operation_owner owner, enum operation_id *ret_id,
               char ret_name[TEXT_NAME_MAX + 1], struct err *reterr)
{
    const char *at = head->bytes + head->path.at, *end = at + head->path.len;
    if (at == end || *at++ != '/')
        return refuse(head, owner, reterr);
    const char *slash = memchr(at, '/', (size_t)(end - at));
    size_t len = (size_t)((slash ? slash : end) - at);
    size_t name_len = slash ? (size_t)(end - slash - 1) : 0;
    if (name_len > TEXT_NAME_MAX)
        return refuse(head, owner, reterr);
    memcpy(ret_name, slash ? slash + 1 : "", name_len);
    ret_name[name_len] = '\0';
    for (unsigned i = 0; i < OPERATION_COUNT; i++) {
        const struct operation *o = &operations[i];
        bool named = slash && text_is_name(ret_name);
        if (o->owner == owner && o->method == head->method && strlen(o->path) == len &&
            memcmp(o->path, at, len) == 0 && o->named == named && named == (slash != NULL)) {
            *ret_id = (enum operation_id)i;
            return 0;
        }
    }
    return refuse(head, owner, reterr);
}
