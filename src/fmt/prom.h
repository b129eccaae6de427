#pragma once

/* The Prometheus text exposition (0.0.4), read one sample at a time without allocation: what is
 * returned points into the text. Comments, HELP and TYPE lines are passed over; so is what
 * OpenMetrics puts behind a value (time, exemplar). */

#include "base/err.h"

struct buf;

struct prom_sample {
    const char *name;
    size_t name_len;
    const char *labels; /* between the braces, already checked */
    size_t labels_len;
    double value;
};

struct prom_reader {
    const char *at, *end;
    uint32_t line; /* of the sample last returned */
};

void prom_init(struct prom_reader *reader, const char *text, size_t len);

/* 1: a sample; 0: the end; negative: not a metrics page, and *reterr says in which line. */
int prom_next(struct prom_reader *reader, struct prom_sample *ret_sample, struct err *reterr)
    must_check;

/* The value of a label as it stands between its quotes: escapes (\\ \" \n) are left in. False when
 * the sample has no such label. */
bool prom_label(const struct prom_sample *sample, const char *name, const char **ret_value,
                size_t *ret_len);
bool prom_label_is(const struct prom_sample *sample, const char *name, const char *value);

/* A number as expositions have them: "1.5", "+Inf", "NaN", "1e+06"; nothing may follow. */
bool prom_number(const char *text, size_t len, double *ret_value);

/* Writing it: each family once, with all its samples behind it. */
enum prom_type { PROM_GAUGE, PROM_COUNTER, PROM_HISTOGRAM };
struct prom_family {
    const char *name;
    enum prom_type type;
    const char *help; /* a line */
};
void prom_write_family(struct buf *out, const struct prom_family *family);
/* Labels are pairs of texts, the name and the value, which is escaped; NULL: none. */
#define PROM_LABELS(...)  \
    (const char *const[]) \
    {                     \
        __VA_ARGS__, NULL \
    }
void prom_write_sample(struct buf *out, const struct prom_family *family, double value,
                       const char *const *labels);
