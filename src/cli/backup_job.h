#pragma once

/* What a verb leaves of its job (backup/job.h), around what it does. */

#include "backup/job.h"
#include "cli/backup.h"

struct cli_job {
    struct cli_backup *b;
    const char *name;
    struct job job; /* as the last run has left it, and then as this one does */
};

/* As soon as there is a configuration: also of a repository that is not there somebody wants to know. */
void cli_job_begin(struct cli_job *j, struct cli_backup *b, const char *name);
/* r: what the verb returns, and then this does. An error is cli->err, or of the job already. */
int cli_job_end(struct cli_job *j, int r);
