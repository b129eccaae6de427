#include "cli/backup_job.h"

#include "sys/clock.h"

void
cli_job_begin(struct cli_job *j, struct cli_backup *b, const char *name)
{
    *j = (struct cli_job){.b = b, .name = name};
    (void)job_load(b->config->paths.state, name, &j->job);
    j->job.began_us = clock_wall_us();
    j->job.err = (struct err){0};
}

int
cli_job_end(struct cli_job *j, int r)
{
    struct job *job = &j->job;
    struct cli_backup *b = j->b;
    struct err err;
    uint64_t room;
    job->ended_us = clock_wall_us();
    if (r < 0)
        job->err = b->cli->err;
    if (job->err.id == ERR_NONE)
        job->success_us = job->ended_us;
    if (b->repository && repository_find_room(b->repository, &room, NULL) == 0 && room < UINT64_MAX)
        job_add_room(job, job->ended_us, room);
    if (job_save(b->config->paths.state, j->name, job, &err) < 0)
        cli_note(b->cli, "warning: jobs/%s.json could not be written: %s", j->name, err.what);
    return r;
}
