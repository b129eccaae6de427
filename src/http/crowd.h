#pragma once

/* Who gives way when there is no room for one more: of the address that has most who may, the
 * newcomer's own not excepted. So one address, however many it sends, takes no place from the
 * others. Of one address, and where none has many, those go first who have their answer, and of
 * these who has waited longest; then who has been about to ask longest. */

#include "base/heap.h"
#include "sys/sock.h"

/* An address with no more who may give way is like any other: nobody's crowd. */
#define CROWD_FEW 8
#define CROWD_BUCKETS 1024

enum crowd_turn {
    CROWD_FIRST, /* has his answer */
    CROWD_LATER, /* is about to ask */
    CROWD_TURNS,
    CROWD_STAYS = CROWD_TURNS, /* is worked for */
};

struct crowd_member {
    struct crowd_host *host;
    struct crowd_member *next, *previous; /* of the host, with the same turn */
    uint64_t since_us;
    enum crowd_turn turn;
};

struct crowd {
    struct crowd_host *buckets[CROWD_BUCKETS];
    struct heap by_count; /* hosts of which any may give way; most first */
};

void crowd_finish(struct crowd *c); /* there are no members */

/* An address as a number: all of an IPv6 network of 64 bits are one, and so are all at sockets that
 * are files. */
uint64_t crowd_address(const struct sock_addr *peer);

void crowd_come(struct crowd *c, struct crowd_member *m, uint64_t address); /* stays, at first */
void crowd_leave(struct crowd *c, struct crowd_member *m);
uint64_t crowd_member_address(const struct crowd_member *m);

/* From now on; behind all others of his host with that turn. */
void crowd_stand(struct crowd *c, struct crowd_member *m, enum crowd_turn turn, uint64_t now_us);

bool crowd_any(const struct crowd *c); /* who may give way */
/* For one more of an address; NULL: nobody may. */
struct crowd_member *crowd_choose(const struct crowd *c, uint64_t address);
