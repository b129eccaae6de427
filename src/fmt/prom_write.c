#include "fmt/prom.h"

#include "base/buf.h"

#include <math.h>
#include <string.h>

void
prom_write_family(struct buf *out, const struct prom_family *family)
{
    static const char *const types[] = {"gauge", "counter", "histogram"};
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help, family->name,
               types[family->type]);
}

static void
write_label(struct buf *out, const char *name, const char *value)
{
    buf_add_str(out, name);
    buf_add_str(out, "=\"");
    for (;; value++) {
        size_t plain = strcspn(value, "\\\"\n");
        buf_add(out, value, plain);
        value += plain;
        if (!*value)
            break;
        buf_add_char(out, '\\');
        buf_add_char(out, *value == '\n' ? 'n' : *value);
    }
    buf_add_char(out, '"');
}

/* Most are counts: a page has thousands, and printf() takes ten times as long. */
static bool
is_count(double value)
{
    return value >= 0 && value < 0x1p53 && (double)(uint64_t)value == value;
}

/* What a double holds exactly is written exactly; the rest so that it is read back as the same. */
static void
write_value(struct buf *out, double value)
{
    if (is_count(value)) {
        buf_add_char(out, ' ');
        buf_add_u64(out, (uint64_t)value);
        buf_add_char(out, '\n');
    } else if (isnan(value)) {
        buf_add_str(out, " NaN\n");
    } else if (isinf(value)) {
        buf_add_str(out, value > 0 ? " +Inf\n" : " -Inf\n");
    } else {
        buf_printf(out, " %.17g\n", value);
    }
}

void
prom_write_sample(struct buf *out, const struct prom_family *family, double value,
                  const char *const *labels)
{
    buf_add_str(out, family->name);
    for (const char *const *label = labels; label && *label; label += 2) {
        buf_add_char(out, label == labels ? '{' : ',');
        write_label(out, label[0], label[1]);
    }
    if (labels)
        buf_add_char(out, '}');
    write_value(out, value);
}
