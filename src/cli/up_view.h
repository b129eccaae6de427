#pragma once

/* What `citadel up` shows: on a terminal a table that is updated in place, elsewhere a line for each
 * change. It never waits for a reader: a terminal that is paused, or a pipe that nobody empties, must
 * not keep the supervisor from its work. */

#include "run/relay.h"
#include "service/direct.h"

struct cli;

struct up_view {
    struct cli *cli;
    struct loop *loop;
    const struct direct *direct; /* NULL: not yet */
    struct relay out;
    bool in_place;
    unsigned lines;     /* that the table took last time */
    const char *footer; /* below it; NULL: nothing */
    struct loop_timer draw, refresh;
    struct buf *said; /* in lines: the last of each service */
    size_t said_count;
};

void up_view_open(struct up_view *view, struct cli *cli, struct loop *loop);
void up_view_show(struct up_view *view, const struct direct *direct); /* from here on, this */
void up_view_renew(struct up_view *view);                             /* there may be others now */
void up_view_close(struct up_view *view);                             /* shows the last once more */

void up_view_changed(struct up_view *view, const struct service_status *status);
/* A text of whole lines, above the table. */
void up_view_say(struct up_view *view, const char *text);
