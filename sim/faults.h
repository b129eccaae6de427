#pragma once

/* What goes wrong, and when; faults.def has the rows. This room knows whether a fault holds now;
 * those whom it concerns ask. Faults that happen once are done by whoever is told (struct faults). */

#include "base/err.h"
#include "sys/loop.h"

struct buf;
struct json_writer;

enum fault {
#define FAULT(name, ...) FAULT_##name,
#include "sim/faults.def"
#undef FAULT
    FAULT_COUNT
};

/* PHASE(NAME, "as it is written") */
#define FAULT_PHASES(PHASE)     \
    PHASE(STARTING, "starting") \
    PHASE(LOADING, "loading")   \
    PHASE(READY, "ready")       \
    PHASE(SLEEPING, "sleeping") \
    PHASE(DRAINING, "draining")

enum fault_phase {
#define PHASE(name, text) PHASE_##name,
    FAULT_PHASES(PHASE)
#undef PHASE
        PHASE_COUNT
};

#define FAULTS_MAX 32

struct fault_wish {
    enum fault fault;
    enum { AT_PHASE, AT_REQUEST, AT_TIME } moment;
    enum fault_phase phase;
    uint64_t request;  /* the n-th, from 1 */
    uint64_t after_us; /* from READY */
    uint64_t times;    /* 0: no end */
};

struct faults {
    struct loop *loop;
    void (*strike)(struct faults *faults, enum fault fault); /* ONCE; a STATE, when it begins */
    uint64_t holding;                                        /* bits by enum fault */
    uint64_t left[FAULT_COUNT];                              /* of TIMES, 0: no end */
    struct fault_wish wishes[FAULTS_MAX];                    /* whose moment is to come */
    size_t wish_count;
    uint64_t requests;
    enum fault_phase phase;
    struct loop_timer timer;
    uint64_t ready_us; /* 0: not yet */
};

void faults_init(struct faults *f);
void faults_finish(struct faults *f);

/* NAME[@WHEN][*TIMES]; WHEN: a phase, request:N, or after:TIME. */
int fault_parse(const char *text, struct fault_wish *ret, struct err *reterr) must_check;
/* Strikes when its moment comes, or with the next faults_look() when it is over; refused when too
 * many are to come already. */
int faults_add(struct faults *f, const struct fault_wish *wish, struct err *reterr) must_check;
void faults_clear(struct faults *f);

void faults_look(struct faults *f);
void faults_enter(struct faults *f, struct loop *loop, enum fault_phase phase);
void faults_count_request(struct faults *f);

static inline bool
faults_hold(const struct faults *f, enum fault fault)
{
    return f->holding >> fault & 1;
}

/* Whether it strikes this request; counts it. */
bool faults_take(struct faults *f, enum fault fault);

void faults_print(const struct faults *f, struct json_writer *w);
void faults_help(struct buf *out);
