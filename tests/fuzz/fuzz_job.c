/* Any text as what a job has left: one that is accepted is bounded, and comes back as it was understood. */

#include "backup/job.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct job job, back;
    _cleanup_buf_ struct buf text = BUF_INIT(JOB_BYTES_MAX);
    if (!job_parse((const char *)data, len, &job))
        return 0;
    assert(job.rooms_count <= JOB_ROOMS_MAX);
    (void)job_full_us(&job);
    job_print("configs", &job, &text);
    assert(buf_error(&text) == 0 && job_parse(text.data, text.len, &back));
    assert(back.began_us == job.began_us && back.rooms_count == job.rooms_count);
    assert(strcmp(back.snapshot, job.snapshot) == 0 && back.err.id == job.err.id);
    return 0;
}
