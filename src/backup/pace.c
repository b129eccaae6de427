#include "backup/pace.h"

#include "backup/block.h"
#include "base/mem.h"
#include "sys/clock.h"

#include <stdlib.h>

static int
read_some(struct reading *reading, struct block_reader *reader, uint8_t *bytes, uint64_t until_us,
          uint64_t *ret_bytes, struct err *reterr)
{
    struct snapshot_entry e;
    struct reading_run run;
    int r;
    while ((r = reading_next(reading, &e, reterr)) > 0)
        for (;;) {
            if (clock_now_us() >= until_us)
                return 0;
            reading_take_run(&e.blocks, &run);
            if (run.count == 0)
                break;
            r = block_read(reader, run.blocks, run.count, bytes, reterr);
            if (r < 0)
                return r;
            *ret_bytes += run.bytes;
        }
    return r;
}

int
pace_measure(struct loop *loop, const struct reading_wish *wish, uint64_t limit_us,
             uint64_t *ret_bytes_a_second, struct err *reterr)
{
    struct reading reading;
    uint64_t bytes = 0;
    *ret_bytes_a_second = 0;
    int r = reading_open(loop, wish, &reading, reterr);
    if (r == 0) {
        struct block_reader *reader = block_reader_new(wish->repository, reading.index);
        _cleanup_free_ uint8_t *to = mem_alloc(READING_RUN_BYTES);
        const uint64_t began_us = clock_now_us();
        r = read_some(&reading, reader, to, began_us + limit_us, &bytes, reterr);
        const uint64_t us = MAX(clock_now_us() - began_us, UINT64_C(1));
        *ret_bytes_a_second = (uint64_t)((double)bytes * 1e6 / (double)us);
        block_reader_free(reader);
    }
    reading_close(&reading);
    return r;
}
