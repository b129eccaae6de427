#include "base/err.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct err_row rows[ERR_COUNT] = {
#define ERR(name, id, err, exit, http, help) [ERR_##name] = {id, err, EXIT_CODE_##exit, http, help},
#include "base/err.def"
#undef ERR
};

const struct err_row *
err_row(enum err_id id)
{
    assert(id >= ERR_NONE && id < ERR_COUNT);
    return &rows[id];
}

static void format_safe(char *text, size_t room, const char *fmt, va_list args) printf_like(3, 0);

static void
format_safe(char *text, size_t room, const char *fmt, va_list args)
{
    int wanted = vsnprintf(text, room, fmt, args);
    assert(wanted >= 0);
    text_make_safe(text, room, wanted);
}

enum err_id
err_find(const char *name)
{
    for (enum err_id id = ERR_NONE + 1; name && id < ERR_COUNT; id++)
        if (text_eq(err_row(id)->name, name))
            return id;
    return ERR_NONE;
}

int
err_set(struct err *reterr, enum err_id id, const char *fmt, ...)
{
    assert(id != ERR_NONE);
    if (reterr) {
        va_list args;
        va_start(args, fmt);
        reterr->id = id;
        reterr->fix[0] = '\0';
        format_safe(reterr->what, sizeof(reterr->what), fmt, args);
        va_end(args);
    }
    return -err_row(id)->err;
}

static enum err_id
id_of_errno(int errno_value)
{
    switch (errno_value) {
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_NOT_PERMITTED;
    case EADDRINUSE:
        return ERR_ADDRESS_IN_USE;
    case EFBIG:
    case E2BIG:
    case EOVERFLOW:
        return ERR_TOO_LARGE;
    default:
        return ERR_SYSTEM;
    }
}

int
err_set_errno(struct err *reterr, int errno_value, const char *fmt, ...)
{
    assert(errno_value > 0);
    if (reterr) {
        char told[sizeof(reterr->what)];
        va_list args;
        va_start(args, fmt);
        format_safe(told, sizeof(told), fmt, args);
        va_end(args);
        (void)err_set(reterr, id_of_errno(errno_value), "%s: %s", told, strerror(errno_value));
    }
    return -errno_value;
}

void
err_fix(struct err *reterr, const char *fmt, ...)
{
    if (!reterr)
        return;
    va_list args;
    va_start(args, fmt);
    format_safe(reterr->fix, sizeof(reterr->fix), fmt, args);
    va_end(args);
}

void
err_fix_nearest(struct err *reterr, const char *word,
                const char *(*candidate)(size_t i, const void *arg), const void *arg,
                const char *otherwise)
{
    const char *nearest = reterr ? text_nearest(word, candidate, arg) : NULL;
    if (nearest)
        err_fix(reterr, "did you mean %s?", nearest);
    else if (otherwise)
        err_fix(reterr, "%s", otherwise);
}

void
err_prefix(struct err *reterr, const char *fmt, ...)
{
    if (!reterr)
        return;
    char before[sizeof(reterr->what)];
    char after[sizeof(reterr->what)];
    va_list args;
    va_start(args, fmt);
    format_safe(before, sizeof(before), fmt, args);
    va_end(args);
    memcpy(after, reterr->what, sizeof(after));
    int wanted = snprintf(reterr->what, sizeof(reterr->what), "%s: %s", before, after);
    text_make_safe(reterr->what, sizeof(reterr->what), wanted);
}

enum exit_code
err_exit(const struct err *err)
{
    return err->id == ERR_NONE ? EXIT_CODE_FAILED : err_row(err->id)->exit;
}
