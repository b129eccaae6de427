#pragma once

/* Control groups as the kernel's files show them: of version 2, and of the hierarchy in which systemd
 * keeps its units where version 1 is still in use. A group holds all that was started in it, whatever
 * that has done to its session, its parents, its name and its environment. */

#include "base/vec.h"
#include "sys/kin.h"

#define GROUP_PATH_MAX 512
#define GROUP_HIERARCHIES 3
#define GROUP_MEMBERS_MAX 65536

/* Where a group lies that systemd calls by this name ("citadel.slice"), in each hierarchy that has it;
 * how many. mount: NULL, or where a test has hierarchies of its own. */
size_t group_find(const char *mount, const char *name,
                  char ret_paths[GROUP_HIERARCHIES][GROUP_PATH_MAX]);

struct group_member {
    struct kin kin; /* start 0: of another PID namespace, whose number is not known here */
    char group[64]; /* the last part of its group's path: "citadel-phi3.service" */
};

struct group_members {
    VEC(struct group_member) all;
};

/* Adds who lives in a group and below it. */
void group_list(const char *dir, struct group_members *members);

/* Kills a group with all below it, but not this process. Linux before 5.14 cannot: there these
 * are killed, after the group was frozen if that is possible; who calls again until none is left
 * gets them all. */
void group_kill(const char *dir, const struct group_members *members);

/* If this process is in a group, or below it, moves it out if it may: to systemd's own. */
void group_leave(const char *dir);
