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

TEST(whose_a_process_is)
{
    static const struct {
        const char *service, *groups, *mark;
        bool is;
    } rows[] = {
        {"phi3", "0::/citadel.slice/citadel-models.slice/citadel-phi3.service\n", "", true},
        {"phi3", "1:name=systemd:/citadel-phi3.service/sub\n0::/\n", "", true},
        {"phi", "0::/citadel.slice/citadel-phi3.service\n", "", false}, /* of another of ours */
        {"phi3", "0::/system.slice/nginx.service\n", "", false},
        {"phi3", "0::/\n", "CITADEL_SERVICE=/run/citadel/services/phi3", true},
        {"phi3", "0::/\n", "CITADEL_SERVICE=/run/citadel/models/phi3/engine", true},
        {"phi", "0::/\n", "CITADEL_SERVICE=/run/citadel/services/phi3", false},
        {"phi3", "0::/\n", "OTHER=/run/citadel/services/phi3", false},
        {"phi3", "", "", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf environment = BUF_INIT(4096);
        tap_note("%s: %s %s", rows[i].service, rows[i].groups, rows[i].mark);
        buf_add(&environment, "HOME=/", sizeof("HOME=/"));
        buf_add(&environment, rows[i].mark, strlen(rows[i].mark) + 1);
        buf_add(&environment, "PATH=/bin", sizeof("PATH=/bin"));
        CHECK_EQ(doctor_is_of_service(rows[i].service, rows[i].groups, &environment), rows[i].is);
    }
}

TEST(persistence_mode_is_as_it_is_wanted)
{
    static const struct {
        enum config_switch wanted;
        struct gpu_value is;
        enum doctor_verdict want;
    } rows[] = {
        {CONFIG_SWITCH_ON, {1, true}, DOCTOR_HOLDS},
        {CONFIG_SWITCH_ON, {0, true}, DOCTOR_FAILS},
        {CONFIG_SWITCH_ON, {0, false}, DOCTOR_UNKNOWN},
        {CONFIG_SWITCH_OFF, {0, true}, DOCTOR_HOLDS},
        {CONFIG_SWITCH_OFF, {1, true}, DOCTOR_FAILS},
        {CONFIG_SWITCH_OFF, {0, false}, DOCTOR_UNKNOWN},
        {CONFIG_SWITCH_AUTO, {0, true}, DOCTOR_NOT_NEEDED},
        {CONFIG_SWITCH_AUTO, {1, true}, DOCTOR_NOT_NEEDED},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("row %zu", i);
        CHECK_EQ(doctor_judge_persistence(rows[i].wanted, rows[i].is), rows[i].want);
    }
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
