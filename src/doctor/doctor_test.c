#include "doctor/doctor_int.h"

#include "base/text.h"
#include "tap.h"

TEST(what_a_distribution_calls_itself)
{
    static const char text[] = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"
                               "NAME='Debian'\nVERSION_ID=\"12\"\nID=debian\nEMPTY=\nODD=\"\n";
    static const struct {
        const char *key, *want; /* NULL: it does not tell */
    } rows[] = {
        {"ID", "debian"},   {"VERSION_ID", "12"}, {"PRETTY_NAME", "Debian GNU/Linux 12 (bookworm)"},
        {"NAME", "Debian"}, {"EMPTY", ""},        {"ODD", "\""},
        {"VERSION", NULL},  {"D", NULL},
    };
    char value[64];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s", rows[i].key);
        bool told = doctor_read_release(text, rows[i].key, value, sizeof(value));
        CHECK_EQ(told, rows[i].want != NULL);
        if (told)
            CHECK_STR(value, rows[i].want);
    }
    CHECK(!doctor_read_release("", "ID", value, sizeof(value)));
}

TEST(which_systemd_it_is)
{
    CHECK_EQ(doctor_read_systemd("systemd 252 (252.39-1~deb12u2)\n+PAM"), 252);
    CHECK_EQ(doctor_read_systemd("systemd 257~rc1"), 257);
    CHECK_EQ(doctor_read_systemd(""), 0);
    CHECK_EQ(doctor_read_systemd("Running in chroot"), 0);
}

TEST(who_listens_at_a_port)
{
    static const char head[] = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when "
                               "retrnsmt   uid  timeout inode";
    static const char four[] = "   0: 0100007F:2C88 00000000:0000 0A 00000000:00000000 00:00000000 "
                               "00000000  1000        0 60353 1 0000000000000000 100 0 0 10 0";
    static const char six[] =
        "  12: 00000000000000000000000000000000:1F40 00000000000000000000000000000000:0000 0A "
        "00000000:00000000 00:00000000 00000000     0        0 777 1 0 100 0 0 10 0";
    static const char talks[] =
        "   1: 0100007F:2C88 0100007F:D431 01 00000000:00000000 00:00000000 "
        "00000000  1000        0 60354 1 0000000000000000 20 4 30 10 -1";
    CHECK_EQ(doctor_read_listener(four, 11400), 60353);
    CHECK_EQ(doctor_read_listener(four, 11401), 0);
    CHECK_EQ(doctor_read_listener(six, 8000), 777);
    CHECK_EQ(doctor_read_listener(talks, 11400), 0); /* a connection, not a listener */
    CHECK_EQ(doctor_read_listener(head, 11400), 0);
    CHECK_EQ(doctor_read_listener("", 11400), 0);
}

TEST(addresses_that_can_be_tried)
{
    static const struct {
        const char *text, *host; /* NULL: cannot */
        unsigned port;
        const char *path;
    } rows[] = {
        {"http://h:9090/api/v1/write", "h", 9090, "/api/v1/write"},
        {"http://h", "h", 80, "/"},
        {"http://[::1]:3000/x?y", "::1", 3000, "/x?y"},
        {"http://[::1]/x", "::1", 80, "/x"},
        {"http://10.0.0.2:1", "10.0.0.2", 1, "/"},
        {"https://h/x", NULL, 0, NULL},
        {"http://", NULL, 0, NULL},
        {"http://h:0/", NULL, 0, NULL},
        {"http://h:70000/", NULL, 0, NULL},
        {"http://h:/", NULL, 0, NULL},
        {"http://h:x/", NULL, 0, NULL},
        {"h:9090", NULL, 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct doctor_url url = {0};
        tap_note("%s", rows[i].text);
        bool read = doctor_read_url(rows[i].text, &url);
        CHECK_EQ(read, rows[i].host != NULL);
        if (!read || !rows[i].host)
            continue;
        CHECK_STR(url.host, rows[i].host);
        CHECK_EQ(url.port, rows[i].port);
        CHECK_STR(url.path, rows[i].path);
    }
}

/* What is not known is not what is needed. */
TEST(what_counts_as_wrong)
{
    struct doctor_finding items[] = {
        {.required = true, .verdict = DOCTOR_HOLDS},
        {.required = true, .verdict = DOCTOR_NOT_NEEDED},
        {.required = true, .verdict = DOCTOR_FAILS},
        {.required = true, .verdict = DOCTOR_UNKNOWN},
        {.required = false, .verdict = DOCTOR_UNKNOWN},
    };
    struct doctor_report report = {.items = items, .count = ARRAY_SIZE(items)};
    CHECK_EQ(doctor_count_wrong(&report, true), 2);
    CHECK_EQ(doctor_count_wrong(&report, false), 1);
    report.untold = 3;
    CHECK_EQ(doctor_count_wrong(&report, true), 5);
}
