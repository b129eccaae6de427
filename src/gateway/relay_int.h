#pragma once

/* What the parts of a request share. relay_take.c has it while it comes, relay_seek.c until
 * somebody is asked, relay_answer.c from there to its end; relay_progress.c tells who waits
 * of that. relay_account.c knows what it takes, relay_stored.c responses that are there;
 * relay.c has what all share. */

#include "base/mem.h"
#include "gateway/affinity.h"
#include "gateway/ask.h"
#include "gateway/backend.h"
#include "gateway/body.h"
#include "gateway/keyring.h"
#include "gateway/ledger.h"
#include "gateway/patch.h"
#include "gateway/relay.h"
#include "gateway/reply.h"
#include "gateway/route.h"
#include "gateway/routing.h"
#include "gateway/share.h"
#include "gateway/spool.h"
#include "gateway/stored.h"
#include "gateway/tally.h"
#include "gateway/target.h"
#include "gateway/trace.h"
#include "gateway/transcript.h"
#include "gateway/usage.h"
#include "http/server.h"

struct relay {
    struct loop *loop;
    struct routing *routing; /* of what comes now */
    struct relay_counts counts;
    struct tallies tallies;
    uint64_t connections_max; /* that there can be, whatever the limits are */
    unsigned most;            /* requests at a time, since memory was given back */
    struct loop_timer trim;   /* to give it back */
    bool is_disk_sick;        /* that of bodies, and that was told */
    uint64_t turn;
    struct affinity *affinity;
    struct shares *shares;
    struct spool *spool;             /* where large bodies lie */
    struct stored *stored;           /* NULL: there is no response yet */
    struct backgrounds backgrounds;  /* of these */
    struct transcripts *transcripts; /* NULL: none are kept */
    struct exporter *exporter;       /* NULL: there is none */
    void (*over)(const struct ledger_row *row, const struct reply *reply, void *arg);
    void *over_arg;
};

/* A field that goes to the engine. */
struct carried {
    struct carried *next;
    const char *name, *value;
};

/* A body with its changes, on its way to the engine. */
struct sending {
    struct patch_list list;
    struct patch_piece pieces[PATCH_PIECES_MAX];
    size_t count, length;
    size_t piece, at; /* what is before it was sent */
    bool is_ended;    /* all was, and the call knows it */
};

/* What is asked; it goes when nobody can be asked it any more: an answer has
 * begun, or there is none. */
struct question {
    struct arena arena; /* of fields and changes */
    struct carried *carried;
    const char *path;    /* with its query */
    const char *session; /* as its head has it, or NULL */
    bool is_let_in;      /* by its key */
    bool is_whole;       /* nothing of it is to come */
    uint64_t room_bytes; /* that its body has */
    struct body body;
    struct multipart *form; /* NULL: the body is JSON */
    struct ask ask;
    bool adds_usage; /* to what the client asks for */

    bool *tried;                  /* back ends of the target */
    struct affinity_marks *marks; /* NULL: there are not two of them */
    size_t fallbacks;             /* so many were gone on to */
    unsigned losses;              /* servers that were lost while they had it */
    struct err why;               /* the last one could not answer */
    struct sending *sending;      /* to who is asked; NULL: there is no body */
};

/* Of a request of which somebody is told, span by span. */
struct traced {
    struct trace trace;
    char model[ASK_MODEL_MAX + 1]; /* as the client has it; "": he names none */
    uint64_t max_tokens;           /* that he asks for; 0: he does not say */
    uint64_t call_us;              /* since its head: when an engine was asked last, */
    uint64_t answer_end_us;        /* and when its answer had ended; 0: it has not */
};

/* What it may take and has taken, and what is told of it. */
struct account {
    struct claim claim;
    uint64_t claimed; /* tokens: enough for whoever was asked so far */
    /* That it may take of the target that is tried: estimates, of the prompt and of all. */
    uint64_t prompt_tokens, tokens;
    struct ledger_row row; /* as far as it is known */
    struct tally *tally;   /* NULL: it has no key */
    uint64_t since_us;     /* by the loop's clock: its head came */
    uint64_t works_us;     /* by the clock: since then we are at it; 0: it waits */
    uint64_t own_us;       /* that we were */
};

/* In their order: from REFUSED on an engine's answer has begun, and nothing else may be asked. */
enum passage_state {
    PASSAGE_COLLECTS, /* what comes from the client */
    PASSAGE_SEEKS,    /* who answers */
    PASSAGE_TOLD,     /* likewise; and its client hears of it: the head of a stream was sent */
    PASSAGE_FAILED,   /* over: nobody has answered, and so its client was told */
    PASSAGE_REFUSED,  /* by an engine, to who was told: what it says is collected */
    PASSAGE_PASSES,   /* bytes come, and go through */
    PASSAGE_OWES,     /* all has come: its end goes when that is paid for */
    PASSAGE_OVER,
};

struct passage {
    struct relay *relay;
    struct routing *routing; /* under which it came */
    struct http_request *request;
    const struct route *route;
    enum passage_state state;
    bool is_from_peer;
    struct reply reply;
    uint64_t key;        /* whose it is */
    struct share *share; /* of that caller */

    struct question *question;           /* NULL: it has gone */
    const struct target *asked, *target; /* as the client has it; that is tried */
    const struct target_back *back;      /* of that: the last one */
    uint64_t retry_after_s;
    const char *stored_id; /* of the response that it is about; NULL: it is about none */
    struct arena arena;    /* of that, and of who has it */

    struct account account;
    bool asks_background; /* for an answer before there is one */

    struct loop_timer progress; /* to be told of */
    struct buf refusal;
    struct transcript *transcript; /* NULL: what is said is kept nowhere */
    bool hears;                    /* the answer is a text */
    struct traced *traced;         /* NULL: nobody is told */

    struct visit visit;
    bool is_stream; /* of events */
    bool reads;     /* usage is begun */
    struct usage_reader usage;
    uint64_t unread_bytes; /* of an answer that is not read */
    bool is_held;          /* it has waited for its reader */
    bool reads_id;
    struct stored_reader id_reader; /* of a response that is made */
    bool has_id;                    /* it is told, and stored */
    char last;                      /* byte of an answer that is no stream: it comes with the end */
    bool has_last;
};

/* Each live stream has one, and some 8 KiB of connections and buffers: it may cost 16. */
static_assert(sizeof(struct passage) <= 2560, "what only a question needs is in it");

static inline bool
passage_has_begun(const struct passage *p) /* the engine's answer */
{
    return p->state >= PASSAGE_REFUSED;
}

/* relay.c */
void relay_enter(struct relay *relay); /* one request more */
void relay_leave(struct relay *relay);

/* relay_take.c */
void passage_fail(struct passage *p, const struct err *error); /* nothing was answered so far */
enum ledger_end passage_blames(const struct passage *p, const struct err *error); /* for that */
void passage_drop_question(struct passage *p);

/* relay_room.c: what it has of what all have together. share.h says how much that may be. */
int passage_enter(struct passage *p, struct err *reterr) must_check;
/* Room for so much of a body, or to come. */
int passage_reserve(struct passage *p, uint64_t bytes, struct err *reterr) must_check;
void passage_drop_room(struct passage *p);
/* Whether it may ask that one without a slot. */
int passage_step_aside(struct passage *p, const struct backend *b, struct err *reterr) must_check;
void passage_leave(struct passage *p);

/* relay_seek.c */
void passage_seek(struct passage *p); /* what it may take is claimed */
void passage_try(struct passage *p);  /* the next back end that there is, or say why none could */
void passage_fall_back(struct passage *p); /* likewise, but of no target so far */
bool passage_has_other(struct passage *p); /* that could be tried yet */

/* relay_stored.c */
/* The response that it is about is asked for where it was made; or that it goes on from:
 * by who has it, and by no other (NULL: nobody is known to, or it goes on from none). Who
 * has a key has his own only. */
int passage_find_stored(struct passage *p, struct err *reterr) must_check;
int passage_check_previous(struct passage *p, struct err *reterr) must_check;
const struct target_back *passage_previous(struct passage *p);
void passage_store(struct passage *p);  /* the response has told its id */
void passage_forget(struct passage *p); /* it was deleted */
/* It is made when its request is over, which was settled by so much just now. */
void passage_leave_behind(struct passage *p, uint64_t took);
struct background *
passage_left_behind(struct passage *p); /* of the response it is about, or NULL */

/* relay_account.c: what a request may take, and what it has taken */
void passage_account_begin(struct passage *p);
/* Whenever something has come that lets it go on, until its answer has begun;
 * and when it waits again. */
void passage_works(struct passage *p);
void passage_waits(struct passage *p);
uint64_t passage_took(struct passage *p);    /* tokens, as far as anybody knows */
void passage_begin_claim(struct passage *p); /* of a request, by its head; or it fails */
void passage_claim(struct passage *p);       /* all has come; then passage_seek(), or it fails */
void passage_kept(struct passage *p);        /* the disk has caught up with its body */
void passage_estimate(struct passage *p);    /* of the target that is tried from here on */
/* That one may take no more than was claimed; else all is claimed anew before it is asked: then
 * passage_try(), or passage_fall_back() where the key has not so many left. */
bool passage_has_claimed(const struct passage *p);
void passage_claim_anew(struct passage *p);
/* Whether it could be, for that target. */
bool passage_could_claim(const struct passage *p, const struct target *target);
void passage_goes(struct passage *p);        /* a back end is asked */
void passage_bound_usage(struct passage *p); /* to what can be: of an answer that begins */
/* For what it took so far; false: it will, and then goes on. */
bool passage_pays(struct passage *p);
void passage_account_end(struct passage *p, bool answered);

/* relay_answer.c */
extern const struct visit_ops passage_visit_ops;
void passage_send(struct passage *p); /* as much as there is of the request */
/* Whatever it is at, there will be no answer, or no more of one. */
void passage_break_off(struct passage *p, const struct err *error);
void passage_go_on(struct passage *p); /* the client has caught up, or it has paid */

/* relay_progress.c: who waits for a stream is told why */
void passage_progress_begin(struct passage *p);
void passage_progress_stop(struct passage *p);
/* To who was told: that nobody answers; and an answer, whose end is told
 * here if it is no stream. */
void passage_told_fail(struct passage *p, const struct err *error);
void passage_told_head(struct passage *p, const struct http1_head *head);
void passage_told_end(struct passage *p, const struct err *error);
