/* A configuration from anybody: it is refused with at least one sentence, or it is shown as a text
 * that means the same. */

#include "config/config.h"
#include "config/diff.h"
#include "config/problems.h"
#include "config/show.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
require(bool true_thing)
{
    if (!true_thing)
        abort();
}

static struct config *
parse(const char *text, size_t len)
{
    _cleanup_config_problems_ struct config_problems problems;
    _cleanup_buf_ struct buf lines = BUF_INIT(1 * MIB);
    struct config *config = NULL;
    struct err err = {0};
    config_problems_init(&problems);
    if (config_parse(text, len, "f", &config, &problems, &err) < 0) {
        require(err.id == ERR_TOO_LARGE || (err.id == ERR_CONFIG_INVALID && problems.errors > 0));
        require(!config);
    }
    config_problems_print(&problems, &lines);
    require(buf_error(&lines) == 0);
    return config;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_buf_ struct buf shown = BUF_INIT(64 * MIB);
    _cleanup_config_ struct config *config = parse((const char *)data, len), *same = NULL;
    struct config_diff diff;
    if (!config)
        return 0;
    require(config_print(config, NULL, &shown, NULL) == 0 && buf_error(&shown) == 0);
    /* A small file with many models and long defaults may be shown as one that is too large. */
    if (shown.len > 256 * KIB)
        return 0;
    same = parse(shown.data, shown.len);
    require(same);
    require(config_diff(config, same, &diff, NULL) == 0 && diff.count == 0);
    config_diff_finish(&diff);
    return 0;
}
