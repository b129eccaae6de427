#include "base/buf.h"
#include "fmt/prom.h"
#include "tap.h"

#include <math.h>

static const struct prom_family family = {"citadel_x", PROM_GAUGE, "what it is"};

TEST(what_is_written_is_read_back)
{
    static const double values[] = {
        0, 1, -1, 0.1, 1e15, 1e300, 12345.5, 9007199254740991, 0x1p53, 0x1p64, 1.0 / 3, INFINITY};
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        _cleanup_buf_ struct buf page = BUF_INIT(4096);
        struct prom_reader reader;
        struct prom_sample sample;
        prom_write_family(&page, &family);
        prom_write_sample(&page, &family, values[i], PROM_LABELS("name", "phi3", "state", "ready"));
        prom_init(&reader, page.data, page.len);
        REQUIRE(prom_next(&reader, &sample, NULL) == 1);
        CHECK(sample.value == values[i]);
        CHECK(prom_label_is(&sample, "name", "phi3") && prom_label_is(&sample, "state", "ready"));
        CHECK_EQ(prom_next(&reader, &sample, NULL), 0);
    }
}

TEST(a_page_is_as_prometheus_wants_it)
{
    _cleanup_buf_ struct buf page = BUF_INIT(4096);
    prom_write_family(&page, &family);
    prom_write_sample(&page, &family, 1, NULL);
    prom_write_sample(&page, &family, NAN, PROM_LABELS("why", "a \"quoted\"\\\nline"));
    CHECK_STR(page.data, "# HELP citadel_x what it is\n# TYPE citadel_x gauge\n"
                         "citadel_x 1\n"
                         "citadel_x{why=\"a \\\"quoted\\\"\\\\\\nline\"} NaN\n");
}
