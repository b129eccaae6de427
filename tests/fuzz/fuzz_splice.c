/* `citadel enable` and `disable`: whatever the file, the switch is set and nothing else has changed, or
 * the file is refused and stays. */

#include "base/mem.h"
#include "config/config.h"
#include "config/diff.h"
#include "config/problems.h"
#include "config/splice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct config *
parse(const char *text, size_t len)
{
    _cleanup_config_problems_ struct config_problems problems;
    struct config *config = NULL;
    config_problems_init(&problems);
    return config_parse(text, len, "a", &config, &problems, NULL) < 0 ? NULL : config;
}

static void
check(const struct config *before, const struct buf *out, const char *section, bool enabled)
{
    _cleanup_config_ struct config *after = parse(out->data, out->len);
    struct config_diff diff;
    char path[128];
    if (!after)
        abort(); /* what was right must be so still */
    const struct config_model *model =
        strncmp(section, "models.", 7) == 0 ? config_find_model(after, section + 7) : NULL;
    if ((model ? model->enabled : after->gateway.enabled) != enabled)
        abort();
    if (config_diff(before, after, &diff, NULL) < 0)
        return;
    (void)snprintf(path, sizeof(path), "%s.enabled", section);
    if (diff.count > 1 || (diff.count == 1 && strcmp(diff.items[0].path, path) != 0))
        abort();
    config_diff_finish(&diff);
}

/* The first byte has what is wished. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_buf_ struct buf out = BUF_INIT(4 * MIB);
    if (size < 1)
        return 0;
    const char *text = (const char *)data + 1;
    const char *section = data[0] & 2 ? "models.a" : "gateway";
    bool enabled = data[0] & 1;
    if (config_splice_enabled(text, size - 1, section, enabled, &out, NULL) < 0) {
        if (out.len)
            abort();
        return 0;
    }
    _cleanup_config_ struct config *before = parse(text, size - 1);
    if (before)
        check(before, &out, section, enabled);
    return 0;
}
