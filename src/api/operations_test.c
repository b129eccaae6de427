#include "api/operations.h"

#include "tap.h"

#include <stdio.h>

static const struct {
    const char *line;
    enum operation_id want; /* OPERATION_COUNT: there is none */
    const char *name;
    enum operation_owner owner;
} rows[] = {
    {"GET /state", OPERATION_STATE, ""},
    {"GET /services", OPERATION_SERVICES, ""},
    {"GET /events?lines=3", OPERATION_EVENTS, ""},
    {"POST /ensure/phi3", OPERATION_ENSURE, "phi3"},
    {"POST /hold/phi3?why=x", OPERATION_HOLD, "phi3"},
    {"POST /release/a.b-c_1", OPERATION_RELEASE, "a.b-c_1"},
    {"GET /ensure/phi3", OPERATION_COUNT, ""},
    {"POST /state", OPERATION_COUNT, ""},
    {"GET /state/", OPERATION_COUNT, ""},
    {"GET /state/phi3", OPERATION_COUNT, ""},
    {"POST /ensure", OPERATION_COUNT, ""},
    {"POST /ensure/", OPERATION_COUNT, ""},
    {"POST /ensure/../x", OPERATION_COUNT, ""},
    {"POST /ensure/PHI", OPERATION_COUNT, ""},
    {"GET /", OPERATION_COUNT, ""},
    {"OPTIONS *", OPERATION_COUNT, ""},
    {"DELETE /state", OPERATION_COUNT, ""},
    {"POST /reload", OPERATION_RELOAD, ""},
    {"POST /reload", OPERATION_GATEWAY_RELOAD, "", OPERATION_OF_GATEWAY},
    {"GET /state", OPERATION_GATEWAY_STATE, "", OPERATION_OF_GATEWAY},
    {"POST /ensure/phi3", OPERATION_COUNT, "", OPERATION_OF_GATEWAY},
};

TEST(each_path_is_one_operation_or_none)
{
    static const struct http1_limits limits = {.target_bytes = 400, .head_bytes = 600, .fields = 8};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        static struct http1_head head;
        enum operation_id id = OPERATION_COUNT;
        char text[600], name[TEXT_NAME_MAX + 1] = "";
        struct err err = {0};
        int len = snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: x\r\n\r\n", rows[i].line);
        tap_note("%s", rows[i].line);
        http1_request_init(&head, &limits);
        REQUIRE(http1_head_read(&head, text, (size_t)len) == HTTP1_DONE);
        int r = operation_find(&head, rows[i].owner, &id, name, &err);
        CHECK_EQ(r == 0, rows[i].want != OPERATION_COUNT);
        CHECK_EQ(id, rows[i].want);
        if (r == 0)
            CHECK_STR(name, rows[i].name);
        else
            CHECK_EQ(strstr(err.what, "GET /state, GET /services") != NULL,
                     rows[i].owner == OPERATION_OF_MONITOR);
    }
}

TEST(a_name_that_is_too_long_is_none)
{
    static const struct http1_limits limits = {.target_bytes = 400, .head_bytes = 600, .fields = 8};
    static struct http1_head head;
    enum operation_id id;
    char text[600], name[TEXT_NAME_MAX + 1], x[65];
    for (int extra = 0; extra < 2; extra++) {
        memset(x, 'x', sizeof(x));
        x[TEXT_NAME_MAX + extra] = '\0';
        int len = snprintf(text, sizeof(text), "POST /hold/%s HTTP/1.1\r\nHost: x\r\n\r\n", x);
        http1_request_init(&head, &limits);
        REQUIRE(http1_head_read(&head, text, (size_t)len) == HTTP1_DONE);
        CHECK_EQ(operation_find(&head, OPERATION_OF_MONITOR, &id, name, NULL) == 0, extra == 0);
    }
}
