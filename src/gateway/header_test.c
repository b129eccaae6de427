#include "gateway/header.h"

#include "tap.h"

TEST(header_passes_what_is_listed_and_nothing_else)
{
    static const struct {
        const char *name;
        bool to_engine, to_client;
    } rows[] = {
        {"Accept", true, false},
        {"Cache-Control", false, true},
        {"Content-Disposition", false, true},
        {"Content-Encoding", false, true},
        {"User-Agent", true, false},
        {"Content-Type", true, true},
        {"OpenAI-Beta", true, true},
        {"anthropic-version", true, true},
        {"anthropic-", false, false},
        {"anthropi", false, false},
        {"Authorization", false, false},
        {"X-Api-Key", false, false},
        {"Cookie", false, false},
        {"Set-Cookie", false, false},
        {"traceparent", false, false},
        {"Retry-After", false, false},
        {"Retry-After-", false, false},
        {"Accept-Encoding", false, false},
        {"Connection", false, false},
        {"Transfer-Encoding", false, false},
        {"X-Request-Id", false, false},
        {"Server", false, false},
        {"", false, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t len = strlen(rows[i].name);
        tap_note("%s", rows[i].name);
        CHECK_EQ(header_passes(HEADER_TO_ENGINE, rows[i].name, len), rows[i].to_engine);
        CHECK_EQ(header_passes(HEADER_TO_CLIENT, rows[i].name, len), rows[i].to_client);
    }
}
