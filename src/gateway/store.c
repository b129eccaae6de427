#include "gateway/store.h"

#include "base/vec.h"
#include "sys/clock.h"
#include "sys/work.h"

#define RETRY_US UINT64_C(1000000)
#define PRUNE_US UINT64_C(60000000) /* between two looks for old rows, when the last found all */
#define PRUNE_ROWS 1000             /* beyond as many as are added meanwhile */
#define ROWS_AT_ONCE 8              /* of some 5 us each */

struct batch {
    struct store_put *first, **last;
    VEC(struct ledger_row) rows;
};

struct store {
    struct loop *loop;
    char *path;
    struct database *db;
    struct batch next;
    struct loop_timer delay, prune, patience;
    uint64_t keep_us;
    struct store_counts counts;
    struct err trouble;
    void (*tell)(const struct err *trouble, void *arg);
    void *tell_arg;

    /* the work's, while it runs */
    struct work work;
    bool is_running;
    struct batch batch;
    uint64_t prune_before_us; /* 0: not now */
    struct err error;

    bool is_prune_due;
    bool prune_again;
    bool is_flushing; /* no work is started but by that */
};

static void
batch_init(struct batch *b)
{
    *b = (struct batch){0};
    b->last = &b->first;
}

/* ---- on the thread ---- */

static int
put_all(struct store *s)
{
    int r = 0;
    for (struct store_put *p = s->batch.first; r == 0 && p; p = p->next)
        r = p->key ? database_put_key(s->db, p->key, &s->error)
                   : database_put_allowance(s->db, p->id, &p->saved, &s->error);
    for (size_t i = 0; r == 0 && i < s->batch.rows.count; i++) {
        r = database_add_row(s->db, &s->batch.rows.items[i], &s->error);
        if (i % ROWS_AT_ONCE == ROWS_AT_ONCE - 1)
            work_let_others();
    }
    return r;
}

static void
carry_out(struct store *s)
{
    int r = database_begin(s->db, &s->error);
    if (r == 0)
        r = put_all(s);
    if (r == 0 && s->prune_before_us)
        s->prune_again =
            database_prune(s->db, s->prune_before_us, s->batch.rows.count + PRUNE_ROWS);
    if (r == 0)
        r = database_commit(s->db, &s->error);
    if (r < 0)
        database_give_up(s->db);
}

static void
on_run(struct work *work)
{
    carry_out(container_of(work, struct store, work));
}

/* ---- on the loop ---- */

static void
keep_rows(struct store *s)
{
    vec_foreach (&s->next.rows, row)
        if (s->batch.rows.count < STORE_ROWS_MAX)
            vec_push(&s->batch.rows, *row);
        else
            s->counts.lost_rows++;
    vec_finish(&s->next.rows);
    s->next.rows.items = take_ptr(s->batch.rows.items);
    s->next.rows.count = s->batch.rows.count;
    s->next.rows.room = s->batch.rows.room;
    s->batch.rows.count = s->batch.rows.room = 0;
}

static void
count_waiting(struct store *s)
{
    s->counts.waiting_rows = s->batch.rows.count + s->next.rows.count;
}

static void
note_trouble(struct store *s, const struct err *error)
{
    bool was_sick = s->trouble.id != ERR_NONE;
    s->trouble = *error;
    if (s->tell && was_sick != (error->id != ERR_NONE))
        s->tell(store_trouble(s), s->tell_arg);
}

static void
on_late(struct loop_timer *timer)
{
    struct store *s = container_of(timer, struct store, patience);
    struct err late;
    (void)err_set(&late, ERR_KEYS_UNWRITTEN,
                  "the database of keys and usage is not written after %u s: its disk hangs",
                  (unsigned)(STORE_PATIENCE_US / 1000000));
    err_fix(&late, "see to that disk; what waits is written when it answers");
    note_trouble(s, &late);
}

static void
conclude(struct store *s)
{
    const struct err *error = s->error.id == ERR_NONE ? NULL : &s->error;
    struct store_put *put = take_ptr(s->batch.first);
    s->is_running = false;
    loop_timer_stop(&s->patience);
    note_trouble(s, &s->error);
    s->counts.batches++;
    s->counts.failed_batches += error != NULL;
    if (error)
        keep_rows(s);
    else
        s->counts.rows += s->batch.rows.count;
    vec_finish(&s->batch.rows);
    for (struct store_put *next; put; put = next) {
        next = put->next;
        put->done(put, error);
    }
    count_waiting(s);
}

static bool
has_more(const struct store *s)
{
    return s->next.first || s->next.rows.count > 0;
}

static void
take_batch(struct store *s)
{
    uint64_t wall_us = clock_wall_us();
    bool is_due = s->keep_us && (s->prune_again || s->is_prune_due);
    loop_timer_stop(&s->delay);
    s->batch = s->next;
    batch_init(&s->next);
    s->error = (struct err){0};
    s->prune_before_us = is_due && wall_us > s->keep_us ? wall_us - s->keep_us : 0;
    s->is_prune_due = s->prune_again = false;
    s->is_running = true;
}

static void
carry_out_alone(struct store *s)
{
    take_batch(s);
    loop_timer_start(s->loop, &s->patience, STORE_PATIENCE_US, 0);
    work_start_alone(s->loop, &s->work);
}

static void
start(struct store *s)
{
    if (!s->is_running && !s->is_flushing)
        carry_out_alone(s);
}

static void
on_done(struct work *work, bool cancelled unused_arg)
{
    struct store *s = container_of(work, struct store, work);
    conclude(s);
    if (s->is_flushing)
        loop_stop(s->loop);
    else if (s->next.first)
        start(s);
    else if ((has_more(s) || s->prune_again) && !s->is_running)
        loop_timer_start(s->loop, &s->delay, s->trouble.id == ERR_NONE ? STORE_DELAY_US : RETRY_US,
                         0);
}

static void
on_delay(struct loop_timer *timer)
{
    start(container_of(timer, struct store, delay));
}

static void
on_prune(struct loop_timer *timer)
{
    struct store *s = container_of(timer, struct store, prune);
    s->is_prune_due = true;
    start(s);
}

void
store_put(struct store *s, struct store_put *put)
{
    put->next = NULL;
    *s->next.last = put;
    s->next.last = &put->next;
    start(s);
}

bool
store_forget(struct store *s, const struct store_put *put)
{
    struct store_put **at = &s->next.first;
    while (*at && *at != put)
        at = &(*at)->next;
    if (!*at)
        return false;
    *at = put->next;
    if (!*at)
        s->next.last = at;
    return true;
}

bool
store_add_row(struct store *s, const struct ledger_row *row)
{
    if (s->next.rows.count == STORE_ROWS_MAX) {
        s->counts.lost_rows++;
        return false;
    }
    vec_push(&s->next.rows, *row);
    count_waiting(s);
    if (!s->is_running && !loop_timer_is_set(&s->delay))
        loop_timer_start(s->loop, &s->delay, STORE_DELAY_US, 0);
    return true;
}

void
store_set_keep(struct store *s, uint64_t us)
{
    s->keep_us = us;
    loop_timer_stop(&s->prune);
    if (us)
        loop_timer_start(s->loop, &s->prune, 0, PRUNE_US);
}

const struct store_counts *
store_counts(const struct store *s)
{
    return &s->counts;
}

const struct err *
store_trouble(const struct store *s)
{
    return s->trouble.id == ERR_NONE ? NULL : &s->trouble;
}

void
store_tell_of_trouble(struct store *s, void (*tell)(const struct err *trouble, void *arg),
                      void *arg)
{
    s->tell = tell;
    s->tell_arg = arg;
}

/* ---- a life ---- */

int
store_open(struct loop *loop, const char *path, struct store **ret_store, struct err *reterr)
{
    struct database *db;
    int r = database_open(path, &db, reterr);
    if (r < 0)
        return r;
    struct store *s = mem_new(struct store);
    s->loop = loop;
    s->path = mem_strdup(path);
    s->db = db;
    s->delay.expired = on_delay;
    s->prune.expired = on_prune;
    s->patience.expired = on_late;
    s->work.run = on_run;
    s->work.done = on_done;
    s->work.writes = s->path;
    batch_init(&s->next);
    batch_init(&s->batch);
    *ret_store = s;
    return 0;
}

struct database *
store_database(struct store *s)
{
    return s->db;
}

struct limit {
    struct loop_timer timer;
    struct loop *loop;
    bool is_over;
};

static void
on_limit(struct loop_timer *timer)
{
    struct limit *l = container_of(timer, struct limit, timer);
    l->is_over = true;
    loop_stop(l->loop);
}

/* What a put that is told of leads to is written, too. It is the thread's,
 * even now: the disk may hang. */
bool
store_flush(struct store *s, uint64_t limit_us)
{
    struct limit limit = {.timer.expired = on_limit, .loop = s->loop};
    bool failed = false;
    s->is_flushing = true;
    loop_timer_stop(&s->delay);
    loop_timer_stop(&s->prune);
    loop_timer_start(s->loop, &limit.timer, limit_us, 0);
    while (s->is_running || s->next.first || (!failed && has_more(s))) {
        if (!s->is_running)
            carry_out_alone(s);
        while (s->is_running && !limit.is_over)
            loop_run(s->loop);
        if (s->is_running)
            break;
        failed = s->error.id != ERR_NONE;
    }
    loop_timer_stop(&limit.timer);
    s->is_flushing = s->is_running;
    return !s->is_running;
}

/* Its file is put in order, and another removed: of a disk that may hang. */
static void
on_close(struct work *work)
{
    database_close(container_of(work, struct store, work)->db);
}

static void
on_closed(struct work *work, bool cancelled unused_arg)
{
    struct store *s = container_of(work, struct store, work);
    free(s->path);
    free(s);
}

void
store_close(struct store *s)
{
    assert(!s->is_running && !s->next.first);
    loop_timer_stop(&s->delay);
    loop_timer_stop(&s->prune);
    vec_finish(&s->next.rows);
    s->work.run = on_close;
    s->work.done = on_closed;
    work_start_alone(s->loop, &s->work);
}
