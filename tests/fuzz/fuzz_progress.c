/* Any bytes as an engine's log: lines are bounded and safe to show, however the bytes come in
 * pieces, and any line can be matched against every row. */

#include "engine/lines.h"
#include "engine/progress.h"

#include "base/buf.h"
#include "base/hash.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct reader {
    struct engine_lines lines;
    struct engine_progress vllm, llama;
    uint64_t digest; /* of all lines */
};

static void
take(const char *line, size_t len, void *arg)
{
    struct reader *r = arg;
    assert(len > 0 && len <= ENGINE_LINE_MAX && strlen(line) == len);
    for (size_t i = 0; i < len; i++)
        assert((unsigned char)line[i] >= 0x20 && line[i] != 0x7F);
    r->digest = r->digest * 31 + hash_key(line, len);
    engine_progress_line(&r->vllm, line);
    engine_progress_line(&r->llama, line);
}

static void
read_log(struct reader *r, const char *bytes, size_t len, size_t piece)
{
    *r = (struct reader){0};
    engine_progress_init(&r->vllm, ENGINE_SAYS_VLLM);
    engine_progress_init(&r->llama, ENGINE_SAYS_LLAMA);
    for (size_t at = 0; at < len; at += piece)
        engine_lines_feed(&r->lines, bytes + at, MIN(piece, len - at), take, r);
    engine_lines_end(&r->lines, take, r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct reader whole, pieces;
    const char *bytes = (const char *)data;
    read_log(&whole, bytes, len, MAX(len, (size_t)1));
    read_log(&pieces, bytes, len, 3);
    assert(whole.digest == pieces.digest);
    assert(whole.vllm.phase == pieces.vllm.phase && whole.vllm.news == pieces.vllm.news);
    assert(whole.vllm.why.id == pieces.vllm.why.id);
    assert(strcmp(whole.vllm.why.what, pieces.vllm.why.what) == 0);
    _cleanup_buf_ struct buf out = BUF_INIT(1024);
    engine_progress_print(&whole.vllm, &out);
    return 0;
}
