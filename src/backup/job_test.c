#include "backup/job.h"

#include "base/mem.h"
#include "sys/files.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

#define HOUR_US UINT64_C(3600000000)

TEST(a_job_comes_back_as_it_was_written)
{
    struct job job = {.began_us = 5, .ended_us = 9, .success_us = 7, .files = 3, .bytes = 400};
    struct job back;
    job.new_bytes = 100;
    job.stored_bytes = 50;
    job.took_us = 1000000;
    job.has_verified = true;
    job.verified = 0.25;
    memset(job.snapshot, 'a', sizeof(job.snapshot) - 1);
    (void)snprintf(job.memory, sizeof(job.memory), "cursor \"s=1\"");
    (void)err_set(&job.err, ERR_REPOSITORY_NONE, "nothing is at '/x'");
    err_fix(&job.err, "citadel backup init");
    job_add_room(&job, HOUR_US, 1000);
    REQUIRE(job_save(tap_dir(), "configs", &job, NULL) == 0);
    CHECK_EQ(job_load(tap_dir(), "configs", &back), 1);
    CHECK(memcmp(&job, &back, sizeof(job)) == 0);
    CHECK_EQ(job_load(tap_dir(), "logs", &back), 0);
    CHECK_EQ(back.ended_us, 0);
}

TEST(a_job_file_that_is_spoilt_counts_as_none)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "{\"began_us\": 1}",
                                        "{\"began_us\": -1, \"ended_us\": 2}",
                                        "{\"began_us\": 1, \"ended_us\": \"2\"}"};
    struct job job;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        CHECK(!job_parse(texts[i], strlen(texts[i]), &job));
}

TEST(what_of_a_job_is_of_another_type_is_left_out)
{
    static const char text[] = "{\"began_us\": 1, \"ended_us\": 2, \"snapshot\": \"abc\","
                               " \"bytes\": \"many\", \"rooms\": [{\"at_us\": 1}, 7, null],"
                               " \"error\": {\"id\": \"of.tomorrow\", \"what\": \"\\u001b[31m\"}}";
    struct job job;
    REQUIRE(job_parse(text, sizeof(text) - 1, &job));
    CHECK_STR(job.snapshot, "");
    CHECK_EQ(job.bytes, 0);
    CHECK_EQ(job.rooms_count, 0);
    CHECK(job.err.id != ERR_NONE);
    CHECK(!strchr(job.err.what, '\033'));
}

TEST(a_storage_that_fills_is_full_at_a_time_that_is_told)
{
    struct job job = {0};
    CHECK_EQ(job_full_us(&job), 0);
    for (uint64_t i = 0; i <= 10; i++)
        job_add_room(&job, (100 + i) * HOUR_US, 2000 - 100 * i);
    CHECK_EQ(job.rooms_count, 11);
    uint64_t full_us = job_full_us(&job); /* 1000 are left, and 100 go in an hour */
    CHECK(full_us > 120 * HOUR_US - 1000 && full_us < 120 * HOUR_US + 1000);
}

TEST(a_storage_that_does_not_fill_has_no_end)
{
    struct job job = {0};
    for (uint64_t i = 0; i <= 10; i++)
        job_add_room(&job, (100 + i) * HOUR_US, 1000 + 10 * i);
    CHECK_EQ(job_full_us(&job), 0);
    job = (struct job){0};
    job_add_room(&job, HOUR_US, 1000);
    job_add_room(&job, HOUR_US + 1000, 900); /* too short a time to tell from */
    CHECK_EQ(job_full_us(&job), 0);
}

TEST(a_job_that_runs_often_remembers_as_long_as_one_that_does_not)
{
    struct job job = {0};
    for (uint64_t i = 0; i < 10000; i++)
        job_add_room(&job, i * HOUR_US / 4, 1000000 - i);
    CHECK_EQ(job.rooms_count, JOB_ROOMS_MAX);
    CHECK_EQ(job.rooms[JOB_ROOMS_MAX - 1].free_bytes, 1000000 - 9999);
    CHECK(job.rooms[JOB_ROOMS_MAX - 1].at_us - job.rooms[0].at_us > 55 * HOUR_US);
}

TEST(the_largest_job_fits_its_file)
{
    static struct job job;
    _cleanup_buf_ struct buf text = BUF_INIT(JOB_BYTES_MAX);
    for (uint64_t i = 0; i < JOB_ROOMS_MAX; i++)
        job_add_room(&job, UINT64_MAX / 2 + i * HOUR_US, UINT64_MAX);
    job.err.id = ERR_REPOSITORY_NONE;
    memset(job.err.what, '"', sizeof(job.err.what) - 1);
    memset(job.memory, '\\', sizeof(job.memory) - 1);
    job_print("configs", &job, &text);
    CHECK(buf_error(&text) == 0);
}

TEST(all_jobs_are_found_by_name)
{
    const struct job job = {.began_us = 1, .ended_us = 2};
    struct jobs all;
    _cleanup_free_ char *state = mem_printf("%s/several", tap_dir());
    _cleanup_free_ char *stray = mem_printf("%s/jobs/Not a name.json", state);
    _cleanup_free_ char *spoilt = mem_printf("%s/jobs/spoilt.json", state);
    jobs_load(state, &all);
    CHECK_EQ(all.count, 0);
    jobs_finish(&all);
    REQUIRE(job_save(state, "system", &job, NULL) == 0 && job_save(state, "logs", &job, NULL) == 0);
    REQUIRE(file_write(stray, "{}", 2, 0644, NULL) == 0);
    REQUIRE(file_write(spoilt, "{}", 2, 0644, NULL) == 0);
    jobs_load(state, &all);
    REQUIRE(all.count == 2);
    CHECK_STR(all.items[0].name, "logs");
    CHECK_STR(all.items[1].name, "system");
    jobs_finish(&all);
}
