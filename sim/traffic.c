#include "sim/traffic.h"

#include "sim/metrics.h"
#include "sys/clock.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const double fine_bounds[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1,  1.5, 2,
                                     2.5,  3,     3.5,  4,     4.5, 5,    7.5, 10,   30, 60};
static const double coarse_bounds[] = {0.1, 0.5, 1};

static_assert(ARRAY_SIZE(fine_bounds) < ARRAY_SIZE(((struct traffic *)NULL)->buckets), "room");

void
traffic_init(struct traffic *traffic)
{
    *traffic = (struct traffic){.begun_s = (double)clock_wall_us() / 1e6};
}

static unsigned
bucket_of(const double *bounds, unsigned count, double value)
{
    unsigned i = 0;
    while (i < count && value > bounds[i])
        i++;
    return i;
}

void
traffic_count(struct traffic *traffic, const struct traffic_event *event)
{
    struct traffic_row *row = &traffic->rows[event->row];
    if (!row->path) {
        row->begun_s = (double)clock_wall_us() / 1e6;
        traffic->seen[traffic->seen_count++] = row;
    }
    row->path = event->path;
    row->method = event->method;
    row->by_class[MIN(event->status / 100, 5u)]++;
    row->request_bytes += event->request_bytes;
    row->response_bytes += event->response_bytes;
    row->seconds += event->seconds;
    row->buckets[bucket_of(coarse_bounds, ARRAY_SIZE(coarse_bounds), event->seconds)]++;
    traffic->buckets[bucket_of(fine_bounds, ARRAY_SIZE(fine_bounds), event->seconds)]++;
    traffic->seconds += event->seconds;
}

/* ---- the page ---- */

static uint64_t
total_of(const struct traffic_row *row)
{
    uint64_t total = 0;
    for (size_t i = 0; i < ARRAY_SIZE(row->by_class); i++)
        total += row->by_class[i];
    return total;
}

static void
add_value(struct buf *out, double value)
{
    metrics_add_number(out, value);
    buf_add_char(out, '\n');
}

/* The library has no such family before it has a member. */
static void
add_created_head(const struct traffic *t, struct buf *out, const char *name, const char *help)
{
    if (t->seen_count)
        metrics_add_head(out, name, "gauge", help);
}

static void
add_by_class(const struct traffic *t, struct buf *out, const char *name, bool created)
{
    for (size_t i = 0; i < t->seen_count; i++)
        for (unsigned class = 0; class < ARRAY_SIZE(t->seen[i]->by_class); class ++) {
            const struct traffic_row *row = t->seen[i];
            if (!row->by_class[class])
                continue;
            buf_printf(out, "%s{handler=\"%s\",method=\"%s\",status=\"%uxx\"} ", name, row->path,
                       row->method, class);
            add_value(out, created ? row->begun_s : (double)row->by_class[class]);
        }
}

static void
add_sizes(const struct traffic *t, struct buf *out, const char *name, const char *help,
          size_t offset)
{
    char created[64];
    (void)snprintf(created, sizeof(created), "%s_created", name);
    metrics_add_head(out, name, "summary", help);
    for (size_t i = 0; i < t->seen_count; i++) {
        const struct traffic_row *row = t->seen[i];
        buf_printf(out, "%s_count{handler=\"%s\"} ", name, row->path);
        add_value(out, (double)total_of(row));
        buf_printf(out, "%s_sum{handler=\"%s\"} ", name, row->path);
        add_value(out, (double)*(const uint64_t *)((const char *)row + offset));
    }
    add_created_head(t, out, created, help);
    for (size_t i = 0; i < t->seen_count; i++) {
        const struct traffic_row *row = t->seen[i];
        buf_printf(out, "%s{handler=\"%s\"} ", created, row->path);
        add_value(out, row->begun_s);
    }
}

/* row: whose it is, as labels; NULL: of all. The library sorts labels. */
static void
add_histogram(struct buf *out, const char *name, const struct traffic_row *row,
              const double *bounds, unsigned count, const uint64_t *buckets, double sum)
{
    uint64_t so_far = 0;
    char handler[128] = "", method[32] = "", both[192] = "";
    if (row) {
        (void)snprintf(handler, sizeof(handler), "handler=\"%s\",", row->path);
        (void)snprintf(method, sizeof(method), ",method=\"%s\"", row->method);
        (void)snprintf(both, sizeof(both), "{%s%s}", handler, method + 1);
    }
    for (unsigned i = 0; i <= count; i++) {
        so_far += buckets[i];
        buf_printf(out, "%s_bucket{%sle=\"", name, handler);
        if (i < count)
            metrics_add_number(out, bounds[i]);
        else
            buf_add_str(out, "+Inf");
        buf_printf(out, "\"%s} ", method);
        add_value(out, (double)so_far);
    }
    buf_printf(out, "%s_count%s ", name, both);
    add_value(out, (double)so_far);
    buf_printf(out, "%s_sum%s ", name, both);
    add_value(out, sum);
}

static void
add_durations(const struct traffic *t, struct buf *out)
{
    static const char fine[] = "http_request_duration_highr_seconds",
                      coarse[] = "http_request_duration_seconds";
    static const char fine_help[] =
        "Latency with many buckets but no API specific labels. Made for "
        "more accurate percentile calculations. ";
    static const char coarse_help[] = "Latency with only few buckets by handler. Made to be only "
                                      "used if aggregation by handler is important. ";
    metrics_add_head(out, fine, "histogram", fine_help);
    add_histogram(out, fine, NULL, fine_bounds, ARRAY_SIZE(fine_bounds), t->buckets, t->seconds);
    metrics_add_head(out, "http_request_duration_highr_seconds_created", "gauge", fine_help);
    buf_printf(out, "%s_created ", fine);
    add_value(out, t->begun_s);
    metrics_add_head(out, coarse, "histogram", coarse_help);
    for (size_t i = 0; i < t->seen_count; i++) {
        const struct traffic_row *row = t->seen[i];
        add_histogram(out, coarse, row, coarse_bounds, ARRAY_SIZE(coarse_bounds), row->buckets,
                      row->seconds);
    }
    add_created_head(t, out, "http_request_duration_seconds_created", coarse_help);
    for (size_t i = 0; i < t->seen_count; i++) {
        const struct traffic_row *row = t->seen[i];
        buf_printf(out, "%s_created{handler=\"%s\",method=\"%s\"} ", coarse, row->path,
                   row->method);
        add_value(out, row->begun_s);
    }
}

void
traffic_print(const struct traffic *t, struct buf *out)
{
    static const char help[] = "Total number of requests by method, status and handler.";
    static const char size_help[] = "Content length of incoming requests by handler. Only value of "
                                    "header is respected. Otherwise ignored. No percentile "
                                    "calculated. ";
    static const char answer_help[] = "Content length of outgoing responses by handler. Only value "
                                      "of header is respected. Otherwise ignored. No percentile "
                                      "calculated. ";
    metrics_add_head(out, "http_requests", "counter", help);
    add_by_class(t, out, "http_requests_total", false);
    add_created_head(t, out, "http_requests_created", help);
    add_by_class(t, out, "http_requests_created", true);
    add_sizes(t, out, "http_request_size_bytes", size_help,
              offsetof(struct traffic_row, request_bytes));
    add_sizes(t, out, "http_response_size_bytes", answer_help,
              offsetof(struct traffic_row, response_bytes));
    add_durations(t, out);
}

/* ---- the process ---- */

/* The collector of a process in C has collected nothing. */
static void
add_collector(struct buf *out, const char *name, const char *help)
{
    metrics_add_head(out, name, "counter", help);
    for (int generation = 0; generation < 3; generation++)
        buf_printf(out, "%s_total{generation=\"%d\"} 0.0\n", name, generation);
}

static void
add_gauge(struct buf *out, const char *name, const char *type, const char *help, double value)
{
    metrics_add_head(out, name, type, help);
    buf_printf(out, "%s%s ", name, *type == 'c' ? "_total" : "");
    add_value(out, value);
}

static uint64_t
read_pages(unsigned field)
{
    char text[128] = "";
    FILE *f = fopen("/proc/self/statm", "re");
    if (f) {
        (void)!fgets(text, sizeof(text), f);
        (void)fclose(f);
    }
    const char *at = text;
    for (; field > 0; field--) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    return strtoull(at, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static unsigned
count_files(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return 0;
    for (const struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    (void)closedir(dir);
    return count - 1; /* but for the directory itself */
}

void
traffic_print_process(const struct traffic *t, struct buf *out)
{
    struct rusage usage = {0};
    struct rlimit files = {0};
    (void)getrusage(RUSAGE_SELF, &usage);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    double cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    add_collector(out, "python_gc_objects_collected", "Objects collected during gc");
    add_collector(out, "python_gc_objects_uncollectable", "Uncollectable objects found during GC");
    add_collector(out, "python_gc_collections", "Number of times this generation was collected");
    metrics_add_head(out, "python_info", "gauge", "Python platform information");
    buf_add_str(out, "python_info{implementation=\"CPython\",major=\"3\",minor=\"12\","
                     "patchlevel=\"11\",version=\"3.12.11\"} 1.0\n");
    add_gauge(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.",
              (double)read_pages(0));
    add_gauge(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
              (double)read_pages(1));
    add_gauge(out, "process_start_time_seconds", "gauge",
              "Start time of the process since unix epoch in seconds.", t->begun_s);
    add_gauge(out, "process_cpu_seconds", "counter",
              "Total user and system CPU time spent in seconds.", cpu_s);
    add_gauge(out, "process_open_fds", "gauge", "Number of open file descriptors.",
              (double)count_files());
    add_gauge(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.",
              (double)files.rlim_cur);
}
