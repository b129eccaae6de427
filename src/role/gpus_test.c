#include "role/gpus.h"

#include "base/mem.h"
#include "sys/files.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* What stands for `citadel probe`: a script. */
struct bench {
    struct loop *loop;
    struct gpus gpus;
    unsigned told, wanted;
};

static void
on_told(struct gpus *g)
{
    struct bench *b = container_of(g, struct bench, gpus);
    if (++b->told == b->wanted)
        loop_stop(b->loop);
    else
        gpus_read(g);
}

static char *
write_script(const char *body)
{
    char *path = mem_printf("%s/probe", tap_dir());
    _cleanup_free_ char *text = mem_printf("#!/bin/sh\n%s\n", body);
    CHECK_EQ(file_write(path, text, strlen(text), 0755, NULL), 0);
    return path;
}

/* One GPU, as a probe tells it. */
static void
write_answer(void)
{
    struct gpu gpu = {.index = 3, .name = "made up"};
    struct gpu_inventory inventory = {.count = 1, .gpus = &gpu};
    _cleanup_buf_ struct buf bytes = BUF_INIT(MIB), told = BUF_INIT(MIB);
    _cleanup_free_ char *path = mem_printf("%s/answer", tap_dir());
    gpu_transfer_print(&inventory, &(struct err){0}, &told);
    uint64_t len = told.len;
    buf_add(&bytes, &len, sizeof(len));
    buf_add(&bytes, told.data, told.len);
    CHECK_EQ(file_write(path, bytes.data, bytes.len, 0644, NULL), 0);
}

static void
read_times(struct bench *b, const char *body, unsigned times, uint64_t limit_us)
{
    _cleanup_free_ char *script = write_script(body);
    *b = (struct bench){.wanted = times};
    CHECK_EQ(loop_new(&b->loop, NULL), 0);
    gpus_open(&b->gpus, b->loop, script, limit_us, on_told);
    gpus_read(&b->gpus);
    gpus_read(&b->gpus); /* is the one that is under way */
    loop_run(b->loop);
    CHECK_EQ(b->told, times);
}

static void
finish(struct bench *b)
{
    gpus_close(&b->gpus);
    loop_free(b->loop);
}

#define UNHURRIED_US UINT64_C(30000000)

TEST(one_probe_answers_again_and_again)
{
    struct bench b;
    char script[600];
    write_answer();
    (void)snprintf(script, sizeof(script),
                   "echo >> %s/starts\nwhile head -c 1 | grep -q .; do cat %s/answer; done",
                   tap_dir(), tap_dir());
    read_times(&b, script, 3, UNHURRIED_US);
    CHECK(b.gpus.known && !b.gpus.hung);
    CHECK_EQ(b.gpus.err.id, ERR_NONE);
    CHECK_EQ(b.gpus.inventory.count, 1);
    CHECK_EQ(b.gpus.inventory.gpus[0].index, 3);
    finish(&b);
    struct stat st;
    _cleanup_free_ char *starts = mem_printf("%s/starts", tap_dir());
    CHECK(stat(starts, &st) == 0 && st.st_size == 1);
}

TEST(one_that_hangs_is_told_and_another_is_made)
{
    struct bench b;
    read_times(&b, "exec cat > /dev/null", 2, 50000);
    CHECK(b.gpus.hung && !b.gpus.known);
    CHECK_EQ(b.gpus.err.id, ERR_GPU_SICK);
    finish(&b);
}

TEST(what_was_known_is_kept_while_one_hangs)
{
    struct bench b;
    char script[600];
    write_answer();
    (void)snprintf(script, sizeof(script),
                   "head -c 1 > /dev/null; cat %s/answer; exec cat >/dev/null", tap_dir());
    read_times(&b, script, 2, 500000);
    CHECK(b.gpus.hung && b.gpus.known);
    CHECK_EQ(b.gpus.inventory.count, 1);
    finish(&b);
}

TEST(one_that_ends_or_tells_nonsense_is_an_error_and_no_more)
{
    static const struct {
        const char *script;
        uint64_t limit_us;
        enum err_id want;
    } rows[] = {
        {"exit 3", UNHURRIED_US, ERR_GPU_CALL},
        {"while head -c 1 | grep -q .; do printf '\\1\\0\\0\\0\\0\\0\\0\\0x'; done", UNHURRIED_US,
         ERR_GPU_CALL},
        {"exec yes", 500000, ERR_GPU_SICK}, /* which is no answer, however long one waits */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct bench b;
        tap_note("%s", rows[i].script);
        read_times(&b, rows[i].script, 2, rows[i].limit_us);
        CHECK(!b.gpus.known);
        CHECK_EQ(b.gpus.err.id, rows[i].want);
        CHECK_EQ(b.gpus.hung, rows[i].want == ERR_GPU_SICK);
        finish(&b);
    }
}

TEST(a_program_that_is_not_there_is_an_error)
{
    struct bench b = {.wanted = 1};
    CHECK_EQ(loop_new(&b.loop, NULL), 0);
    gpus_open(&b.gpus, b.loop, "/nowhere/at/all", UNHURRIED_US, on_told);
    gpus_read(&b.gpus);
    loop_run(b.loop);
    CHECK(b.gpus.err.id != ERR_NONE);
    finish(&b);
}
