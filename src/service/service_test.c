#include "service/service.h"

#include "fmt/json.h"
#include "tap.h"

#include <errno.h>

TEST(what_is_not_now_is_tried_less_and_less_often)
{
    static const unsigned seconds[] = {30, 60, 120, 240, 300, 300};
    for (unsigned i = 0; i < ARRAY_SIZE(seconds); i++)
        CHECK_EQ(service_not_now_delay(i), seconds[i] * UINT64_C(1000000));
    CHECK_EQ(service_not_now_delay(UINT32_MAX), 300 * UINT64_C(1000000));
}

TEST(a_status_reads_back_as_it_was_written)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB), again = BUF_INIT(64 * KIB);
    struct service_status s = {.name = "phi3",
                               .kind = "model",
                               .address = "127.0.0.1:11403",
                               .state = SERVICE_BACKING_OFF,
                               .since_us = 5,
                               .next_us = 9,
                               .status = "loading",
                               .reason = "it \"crashed\"",
                               .pid = 4711,
                               .restarts = 2,
                               .failures = 1,
                               .last_exit = 137,
                               .log_path = "/var/log/citadel/models/phi3.log",
                               .log_lost_lines = 12,
                               .log_lost_bytes = 930,
                               .log_errno = ENOSPC};
    struct service_status back;
    struct json_writer w;
    struct value *root;
    arena_init(&arena, 64 * KIB);
    json_init(&w, &text, false);
    json_open_map(&w, NULL);
    service_status_print(&s, &w);
    json_close_map(&w);
    REQUIRE(json_parse(&arena, text.data, text.len, JSON_STRICT, &root, NULL, NULL) == 0);
    REQUIRE(service_status_read(root, &back));
    json_init(&w, &again, false);
    json_open_map(&w, NULL);
    service_status_print(&back, &w);
    json_close_map(&w);
    CHECK_STR(again.data, text.data);
    CHECK(strstr(text.data, "\"error\":\"No space left on device\""));
}
