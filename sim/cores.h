#pragma once

/* The processes behind the API server, as vLLM has them: VLLM::EngineCore, its child, and with
 * several GPUs a VLLM::Worker_TPn for each, children of the core. They hold GPU memory of the fake
 * NVML, do what the server tells them over a socket, and end when it does, or when the core does. */

#include "base/err.h"
#include "sys/proc.h"

#define CORES_RANKS_MAX 16

enum order {
    ORDER_HELLO,   /* who are you? */
    ORDER_MEMORY,  /* how much has your GPU? */
    ORDER_TAKE,    /* take so many bytes of it */
    ORDER_GIVE,    /* give back all but what was taken first */
    ORDER_STAY,    /* do not notice when others end; this and what follows has no answer */
    ORDER_KEEP,    /* your GPU's memory stays taken when its processes end */
    ORDER_NO_TERM, /* SIGTERM does nothing */
    ORDER_CRASH,   /* end of SIGSEGV */
    ORDER_KILL,    /* end of SIGKILL */
};

struct cores_answer {
    int r; /* 0, or -errno: -ENOMEM */
    pid_t pid;
    uint64_t total_bytes, free_bytes, own_bytes; /* of the GPU; of the process */
};

struct cores {
    struct loop *loop;
    void (*told)(struct cores *c);                /* all workers have answered */
    void (*died)(struct cores *c, int rank);      /* a worker; -1: the core */
    uint64_t gpu_bytes;                           /* where no fake NVML says it */
    unsigned ranks;                               /* 1: the core is its own worker */
    struct cores_answer answers[CORES_RANKS_MAX]; /* to the last order */
    struct proc_end end;                          /* of the core */

    /* its own */
    struct proc core;
    struct proc_watch watch;
    unsigned waiting; /* for so many answers */
    unsigned member_count;
    struct member {
        struct cores *cores;
        int fd, rank, gpu; /* rank -1: the core of several workers; gpu -1: none */
        struct loop_fd watch;
    } members[CORES_RANKS_MAX + 1];
};

/* The words of the command line become the titles of the processes. */
void cores_init(struct cores *c, int argc, char *argv[]);
/* gpus: of each rank, -1 for none. */
int cores_start(struct cores *c, struct loop *loop, const int *gpus, struct err *reterr) must_check;
void cores_finish(struct cores *c); /* ends those that still run */

/* To all workers; one at a time: told() comes before the next. */
void cores_tell(struct cores *c, enum order order, uint64_t bytes);
/* To one, without an answer; -1: the core. */
void cores_tell_one(struct cores *c, int rank, enum order order);
bool cores_run(const struct cores *c);
