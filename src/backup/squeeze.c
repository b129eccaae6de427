#include "backup/squeeze.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#define LEVEL 3 /* zstd's own; weights gain nothing from more */
#define OUT_BYTES ((size_t)(1 * MIB))

struct squeeze {
    struct flow_sink to;
    ZSTD_CCtx *zstd;
    uint8_t *out;
};

int
squeeze_new(const struct flow_sink *to, unsigned threads, struct squeeze **ret, struct err *reterr)
{
    struct squeeze *s = mem_new(struct squeeze);
    s->to = *to;
    s->out = mem_alloc(OUT_BYTES);
    s->zstd = ZSTD_createCCtx();
    if (!s->zstd) {
        squeeze_free(s);
        return err_set_errno(reterr, ENOMEM, "cannot compress");
    }
    (void)ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_compressionLevel, LEVEL);
    (void)ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_checksumFlag, 1);
    /* A libzstd that was built without threads refuses, and does it by itself. */
    (void)ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_nbWorkers, (int)threads);
    *ret = s;
    return 0;
}

void
squeeze_free(struct squeeze *s)
{
    if (!s)
        return;
    (void)ZSTD_freeCCtx(s->zstd);
    free(s->out);
    free(s);
}

/* Until all is taken; or, at the end, until all is out. */
static int
push(struct squeeze *s, ZSTD_inBuffer *in, ZSTD_EndDirective how, struct err *reterr)
{
    size_t left;
    do {
        ZSTD_outBuffer out = {.dst = s->out, .size = OUT_BYTES};
        left = ZSTD_compressStream2(s->zstd, &out, in, how);
        if (ZSTD_isError(left))
            return err_set_errno(reterr, EIO, "cannot compress: %s", ZSTD_getErrorName(left));
        int r = out.pos > 0 ? s->to.write(s->to.arg, s->out, out.pos, reterr) : 0;
        if (r < 0)
            return r;
    } while (how == ZSTD_e_end ? left > 0 : in->pos < in->size);
    return 0;
}

static int
squeeze(void *arg, const void *bytes, size_t len, struct err *reterr)
{
    ZSTD_inBuffer in = {.src = bytes, .size = len};
    return push(arg, &in, ZSTD_e_continue, reterr);
}

struct flow_sink
squeeze_sink(struct squeeze *s)
{
    return (struct flow_sink){squeeze, s};
}

int
squeeze_end(struct squeeze *s, struct err *reterr)
{
    ZSTD_inBuffer in = {0};
    return push(s, &in, ZSTD_e_end, reterr);
}
