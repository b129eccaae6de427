#pragma once

/* What a verb is given, and how it speaks.
 *
 * A verb is `int verb_x(struct cli *cli)`, in a file of its own, with a row in verbs.def. Its
 * arguments have been checked against that row. It returns an exit code, or a negative errno with
 * cli->err filled: the frame then speaks the error, and exits as the error's row says.
 *
 * Results go to stdout: for people through cli_print() and cli_table(), for machines through
 * cli->json; a verb that prints does both. They are buffered and written when the verb returns (or
 * by cli_flush()); that they could not be written is noticed by the frame. Messages go to stderr. */

#include "base/buf.h"
#include "cli/verb.h"
#include "fmt/json.h"
#include "fmt/table.h"

struct cli {
    const struct verb *verb;
    const char *const *args; /* the positional ones, NULL behind the last */
    size_t args_count;
    struct err err;
    struct json_writer *json; /* writes the results with --json, else NULL */
    const char *config_file;  /* of -c, else NULL */
    const char *log_level;    /* of --log-level, else NULL */
    bool quiet;
    struct table_look look; /* of stdout */
    struct cli_frame *frame;
};

/* The verb's own options. The name must be one of its row. */
bool cli_flag(const struct cli *cli, const char *name);
const char *cli_option(const struct cli *cli, const char *name); /* NULL: not given */
uint64_t cli_duration_us(const struct cli *cli, const char *name, uint64_t otherwise_us);

void cli_print(struct cli *cli, const char *fmt, ...) printf_like(2, 3);
void cli_print_bytes(struct cli *cli, const char *bytes, size_t len);
/* A word of comma-separated values (RFC 4180). */
void cli_print_csv(struct cli *cli, const char *word);
void cli_table(struct cli *cli, const struct table *table);
int cli_flush(struct cli *cli) must_check; /* writes what was printed now: for verbs that go on */

/* A message about the work, a line on stderr. Nothing under --quiet, nor with --json: what programs read
 * on stderr are errors alone, and what they need to know is in the result. */
void cli_note(struct cli *cli, const char *fmt, ...) printf_like(2, 3);

/* Likewise lines as they are: of what has its own form, "FILE:LINE:COLUMN: ...". --quiet does not keep
 * them back: they belong to an error. */
void cli_complain(struct cli *cli, const char *lines);

/* Speaks an error at once, for a verb that has several; the last one it returns is spoken by the
 * frame. On stderr: "citadel: what" and "  try: fix", with --json an object on a line. */
void cli_error(struct cli *cli, const struct err *err);
/* Of one that ends with another code than its error's own. */
void cli_error_as(struct cli *cli, const struct err *err, int exit_code);
