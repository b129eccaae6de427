#include "gateway/keyring.h"

#include "base/mem.h"
#include "fmt/json.h"
#include "gateway/sqlite.h"
#include "loop_rig.h"
#include "sys/work.h"
#include "tap.h"

#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

static struct loop_rig rig;
static struct keyring *ring;
static char path[512];

static bool
open_ring(void)
{
    struct err err;
    (void)snprintf(path, sizeof(path), "%s/keys.db", tap_dir());
    if (!loop_rig_open(&rig) || keyring_open(rig.loop, path, &ring, &err) < 0)
        return false;
    return true;
}

static void
close_ring(void)
{
    CHECK(keyring_flush(ring, 600 * UINT64_C(1000000)));
    keyring_close(ring);
    loop_rig_close(&rig);
}

/* ---- wishes ---- */

struct asked {
    struct keyring_wish wish;
    bool is_done;
    struct holder *holder;
    key_token token;
    struct err err;
};

static void
on_done(struct keyring_wish *wish, struct holder *holder, const char *token,
        const struct err *error)
{
    struct asked *a = container_of(wish, struct asked, wish);
    a->is_done = true;
    a->holder = holder;
    if (token)
        (void)snprintf(a->token, sizeof(a->token), "%s", token);
    if (error)
        a->err = *error;
}

/* members: JSON. Whether it came to a key. */
static bool
ask(struct asked *a, enum keyring_deed deed, const char *name, const char *members)
{
    _cleanup_arena_ struct arena arena;
    struct value *v = NULL;
    arena_init(&arena, MIB);
    *a = (struct asked){.wish = {.deed = deed, .name = name, .done = on_done}};
    if (members)
        CHECK_EQ(json_parse(&arena, members, strlen(members), JSON_STRICT, &v, NULL, NULL), 0);
    a->wish.members = v;
    if (keyring_do(ring, &a->wish, &a->err) < 0)
        return false;
    return LOOP_WAIT(&rig, a->is_done) && a->holder;
}

static struct holder *
find(const char *token)
{
    struct holder *holder = NULL;
    struct err err;
    int r = keyring_find(ring, token, strlen(token), &holder, &err);
    CHECK(r == 0 || err.id == ERR_NO_KEY);
    return holder;
}

TEST(a_key_is_good_until_it_is_replaced_or_revoked)
{
    struct asked first, second, third;
    REQUIRE(open_ring());
    CHECK(!keyring_is_needed(ring));
    REQUIRE(ask(&first, KEYRING_CREATE, "alice", NULL));
    CHECK(keyring_is_needed(ring));
    CHECK(find(first.token) != NULL);
    CHECK(!ask(&second, KEYRING_CREATE, "alice", NULL));
    CHECK_EQ(second.err.id, ERR_KEY_THERE);
    REQUIRE(ask(&second, KEYRING_ROTATE, "alice", NULL));
    CHECK(!find(first.token));
    CHECK(find(second.token) != NULL);
    REQUIRE(ask(&third, KEYRING_REVOKE, "alice", NULL));
    CHECK(!third.token[0]);
    CHECK(!find(second.token));
    close_ring();
    REQUIRE(open_ring());
    CHECK(keyring_is_needed(ring));
    CHECK(!find(second.token));
    REQUIRE(ask(&third, KEYRING_ROTATE, "alice", NULL));
    CHECK(find(third.token) != NULL);
    close_ring();
}

TEST(who_shows_no_key_that_is_good_is_told_why)
{
    struct asked first, second;
    struct holder *holder;
    struct err err;
    REQUIRE(open_ring());
    REQUIRE(ask(&first, KEYRING_CREATE, "alice", NULL));
    REQUIRE(ask(&second, KEYRING_ROTATE, "alice", NULL));
    CHECK(keyring_find(ring, first.token, KEY_TOKEN_LEN, &holder, &err) < 0);
    CHECK(strstr(err.what, "was replaced"));
    CHECK(keyring_find(ring, second.token, KEY_TOKEN_LEN - 1, &holder, &err) < 0);
    CHECK(strstr(err.what, "not whole"));
    char *last = &second.token[KEY_TOKEN_LEN - 1];
    *last = *last == '0' ? '1' : '0';
    CHECK(keyring_find(ring, second.token, KEY_TOKEN_LEN, &holder, &err) < 0);
    CHECK(strstr(err.what, "typed wrong"));
    CHECK(keyring_find(ring, "sk-of-another", 13, &holder, &err) < 0);
    CHECK(strstr(err.what, "none of this gateway's"));
    close_ring();
}

TEST(a_key_that_is_not_there_is_told_with_the_nearest)
{
    struct asked a;
    REQUIRE(open_ring());
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", NULL));
    CHECK(!ask(&a, KEYRING_REVOKE, "alise", NULL));
    CHECK_EQ(a.err.id, ERR_KEY_NONE);
    CHECK(strstr(a.err.fix, "alice") != NULL);
    CHECK(!ask(&a, KEYRING_CREATE, "Alice B.", NULL));
    CHECK_EQ(a.err.id, ERR_VALUE);
    CHECK(!ask(&a, KEYRING_CREATE, "bob", "{\"concurrent\": 0}"));
    CHECK_EQ(a.err.id, ERR_VALUE);
    close_ring();
}

TEST(changes_wait_for_one_another_up_to_a_number)
{
    static struct asked asked[KEYRING_WISHES_MAX];
    static char names[KEYRING_WISHES_MAX][16];
    struct asked twice = {.wish = {.name = "key-1", .done = on_done}}, other;
    REQUIRE(open_ring());
    for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
        (void)snprintf(names[i], sizeof(names[i]), "key-%zu", i);
        asked[i] = (struct asked){.wish = {.name = names[i], .done = on_done}};
        REQUIRE(keyring_do(ring, &asked[i].wish, NULL) == 0);
    }
    REQUIRE(keyring_do(ring, &twice.wish, NULL) == 0);
    CHECK(!ask(&other, KEYRING_CREATE, "other", NULL));
    CHECK_EQ(other.err.id, ERR_KEYS_BUSY);
    CHECK(LOOP_WAIT(&rig, twice.is_done));
    CHECK_EQ(twice.err.id, ERR_KEY_THERE);
    for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
        CHECK(asked[i].holder && find(asked[i].token) == asked[i].holder);
    CHECK(ask(&other, KEYRING_CREATE, "other", NULL));
    close_ring();
}

/* Which is in force at once, and durable though nobody asks for it once more. */
TEST(a_revocation_that_had_no_place_in_line_is_tried_again)
{
    static struct asked asked[KEYRING_WISHES_MAX + 1];
    static char names[ARRAY_SIZE(asked)][16];
    struct asked alice, revoked;
    REQUIRE(open_ring());
    const struct store_counts *counts = store_counts(keyring_store(ring));
    REQUIRE(ask(&alice, KEYRING_CREATE, "alice", NULL));
    for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
        (void)snprintf(names[i], sizeof(names[i]), "key-%zu", i);
        asked[i] = (struct asked){.wish = {.name = names[i], .done = on_done}};
        REQUIRE(keyring_do(ring, &asked[i].wish, NULL) == 0);
    }
    CHECK(!ask(&revoked, KEYRING_REVOKE, "alice", NULL));
    CHECK_EQ(revoked.err.id, ERR_KEYS_BUSY);
    CHECK(!find(alice.token));
    REQUIRE(LOOP_WAIT(&rig, asked[KEYRING_WISHES_MAX].is_done));
    const uint64_t batches = counts->batches;
    CHECK(LOOP_WAIT(&rig, counts->batches == batches + 1));
    CHECK_EQ(counts->failed_batches, 0);
    CHECK(!find(alice.token));
    close_ring();
}

TEST(who_has_expired_gets_no_other_token)
{
    struct asked a;
    REQUIRE(open_ring());
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", "{\"expires_us\": 1}"));
    CHECK(!ask(&a, KEYRING_ROTATE, "alice", NULL));
    CHECK_EQ(a.err.id, ERR_VALUE);
    CHECK(strstr(a.err.fix, "--expires-in"));
    REQUIRE(ask(&a, KEYRING_CHANGE, "alice", "{\"expires_us\": null}"));
    REQUIRE(ask(&a, KEYRING_ROTATE, "alice", NULL));
    CHECK(find(a.token) != NULL);
    close_ring();
}

/* Whatever the disk does: it holds at once, and is written when it can be. */
TEST(a_revoked_key_is_not_good_while_the_disk_takes_nothing)
{
    struct asked a, revoked;
    sqlite3 *other = NULL;
    REQUIRE(open_ring());
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", NULL));
    REQUIRE(sqlite.open_v2(path, &other, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK);
    REQUIRE(sqlite.exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK);
    revoked = (struct asked){.wish = {.deed = KEYRING_REVOKE, .name = "alice", .done = on_done}};
    REQUIRE(keyring_do(ring, &revoked.wish, NULL) == 0);
    CHECK(!find(a.token));
    REQUIRE(LOOP_WAIT(&rig, revoked.is_done)); /* SQLite has waited for the lock in vain */
    CHECK_EQ(revoked.err.id, ERR_KEYS_UNWRITTEN);
    CHECK(revoked.holder != NULL);
    CHECK(!find(a.token));
    CHECK(sqlite.exec(other, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK);
    (void)sqlite.close(other);
    close_ring(); /* which tries once more */
    REQUIRE(open_ring());
    CHECK(!find(a.token));
    close_ring();
}

/* ---- claims ---- */

struct request {
    struct claim claim;
    uint64_t tokens;
    bool has_begun, is_granted, is_refused, is_paid;
    uint64_t retry_after_s;
    struct err err;
};

static void
on_granted(struct claim *claim)
{
    struct request *r = container_of(claim, struct request, claim);
    r->is_granted = r->has_begun;
    r->has_begun = true;
    if (!r->is_granted)
        claim_tokens(claim, r->tokens);
}

static void
on_refused(struct claim *claim, const struct err *error, uint64_t retry_after_s)
{
    struct request *r = container_of(claim, struct request, claim);
    r->is_refused = true;
    r->err = *error;
    r->retry_after_s = retry_after_s;
    claim_end(claim);
}

static void
on_paid(struct claim *claim)
{
    container_of(claim, struct request, claim)->is_paid = true;
}

static const struct claim_ops ops = {.granted = on_granted, .refused = on_refused, .paid = on_paid};

static void
claim(struct request *r, struct holder *holder, uint64_t tokens)
{
    *r = (struct request){.claim.ops = &ops, .tokens = tokens};
    claim_begin(&r->claim, holder, true);
}

static bool
is_granted(struct request *r)
{
    return LOOP_WAIT(&rig, r->is_granted || r->is_refused) && r->is_granted;
}

static uint64_t
left(struct holder *holder, enum allowance_limit limit)
{
    struct allowance_level level = {0};
    CHECK(holder_level(holder, limit, &level));
    return level.left;
}

TEST(what_a_key_has_used_lasts)
{
    struct request first, second, third;
    struct asked a;
    REQUIRE(open_ring());
    REQUIRE(
        ask(&a, KEYRING_CREATE, "alice", "{\"tokens_per_day\": 1000, \"requests_per_minute\": 3}"));
    struct holder *alice = find(a.token);
    claim(&first, alice, 600);
    claim(&second, alice, 600);
    CHECK(!first.is_granted); /* before it is durable */
    CHECK(is_granted(&first));
    CHECK(!is_granted(&second));
    CHECK_EQ(second.err.id, ERR_KEY_LIMIT);
    CHECK_EQ(second.retry_after_s, 1);
    claim_settle(&first.claim, 400);
    claim(&third, alice, 600);
    CHECK(is_granted(&third));
    claim_end(&third.claim);
    CHECK_EQ(left(alice, ALLOWANCE_TOKENS_DAY), 600);
    close_ring();
    REQUIRE(open_ring());
    alice = find(a.token);
    CHECK_EQ(left(alice, ALLOWANCE_TOKENS_DAY), 600);
    CHECK_EQ(left(alice, ALLOWANCE_REQUESTS_MINUTE), 2);
    close_ring();
}

/* Before it has passed on: so a crash would not forget it. */
TEST(what_is_taken_beyond_a_claim_waits_for_its_debit)
{
    struct request first, second;
    struct asked a;
    REQUIRE(open_ring());
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", "{\"tokens_per_day\": 10000}"));
    struct holder *alice = find(a.token);
    claim(&first, alice, 100);
    claim(&second, alice, 100);
    REQUIRE(is_granted(&first) && is_granted(&second));
    CHECK(claim_grow(&first.claim, 100));
    CHECK(!claim_grow(&first.claim, 5000));
    CHECK(!claim_grow(&second.claim, 2000));
    CHECK(!first.is_paid);
    claim_settle(&second.claim, 2000); /* it has left */
    CHECK(LOOP_WAIT(&rig, first.is_paid));
    CHECK(!second.is_paid);
    CHECK(claim_grow(&first.claim, 5000));
    claim_settle(&first.claim, 5000);
    CHECK_EQ(left(alice, ALLOWANCE_TOKENS_DAY), 3000);
    close_ring();
}

static struct {
    struct request first, last;
    unsigned paid;
    uint64_t batches;
} told;

static void
on_paid_ends_another(struct claim *claim)
{
    uint64_t batches = store_counts(keyring_store(ring))->batches;
    if (told.paid++ == 0) {
        claim_end(&told.last.claim);
        CHECK(!claim_grow(claim, 50000));
    } else {
        CHECK(batches > told.batches);
    }
    told.batches = batches;
}

/* Though the one that was ended was the last that had owed. */
TEST(who_owes_again_when_it_is_paid_waits_for_another_debit)
{
    static const struct claim_ops ends_another = {
        .granted = on_granted, .refused = on_refused, .paid = on_paid_ends_another};
    struct asked a;
    REQUIRE(open_ring());
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", "{\"tokens_per_day\": 100000}"));
    claim(&told.first, find(a.token), 100);
    claim(&told.last, find(a.token), 100);
    REQUIRE(is_granted(&told.first) && is_granted(&told.last));
    told.first.claim.ops = &ends_another;
    CHECK(!claim_grow(&told.first.claim, 5000));
    CHECK(!claim_grow(&told.last.claim, 200)); /* the debit that is under way is enough for both */
    CHECK(LOOP_WAIT(&rig, told.paid == 2));
    CHECK(!told.last.is_paid);
    claim_settle(&told.first.claim, 50000);
    CHECK_EQ(left(find(a.token), ALLOWANCE_TOKENS_DAY), 50000);
    close_ring();
}

TEST(who_leaves_while_it_waits_takes_nothing)
{
    struct request all[4];
    struct asked a;
    REQUIRE(open_ring());
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", "{\"tokens_per_month\": 1000}"));
    struct holder *alice = find(a.token);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        claim(&all[i], alice, 100);
    claim_end(&all[0].claim);
    claim_end(&all[2].claim);
    claim_end(&all[3].claim);
    CHECK(is_granted(&all[1]));
    CHECK(!all[0].is_granted && !all[2].is_granted && !all[3].is_granted);
    CHECK_EQ(left(alice, ALLOWANCE_TOKENS_MONTH), 900);
    claim_settle(&all[1].claim, 100);
    close_ring();
}

TEST(a_new_limit_holds_at_once)
{
    struct request first, second;
    struct asked a, b;
    REQUIRE(open_ring());
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", NULL));
    struct holder *alice = find(a.token);
    claim(&first, alice, 1);
    CHECK(first.is_granted);
    REQUIRE(ask(&b, KEYRING_CHANGE, "alice", "{\"concurrent\": 1}"));
    claim(&second, alice, 1);
    CHECK(second.is_refused);
    CHECK_EQ(second.retry_after_s, 1);
    claim_settle(&first.claim, 1);
    close_ring();
}

/* ---- a disk that fails ---- */

static void
limit_files(rlim_t bytes)
{
    struct rlimit limit;
    (void)getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

TEST(nothing_is_granted_that_cannot_be_written_down)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    struct ledger_row row = {.time_us = 1, .key = 1};
    struct request first, second, third;
    struct asked a, b;
    (void)sigaction(SIGXFSZ, &ignore, &before);
    REQUIRE(open_ring());
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", "{\"tokens_per_day\": 1000}"));
    struct store *store = keyring_store(ring);
    claim(&third, find(a.token), 1);
    REQUIRE(is_granted(&third));
    limit_files(0);
    CHECK(!claim_grow(&third.claim, 500)); /* it runs, and runs on */
    CHECK(LOOP_WAIT(&rig, third.is_paid));
    claim_settle(&third.claim, 500);
    CHECK(store_add_row(store, &row));
    claim(&first, find(a.token), 100);
    CHECK(!is_granted(&first));
    CHECK_EQ(first.err.id, ERR_KEYS_UNWRITTEN);
    CHECK(!ask(&b, KEYRING_CHANGE, "alice", "{\"concurrent\": 5}"));
    CHECK_EQ(b.err.id, ERR_KEYS_UNWRITTEN);
    CHECK_EQ(holder_key(a.holder)->limits.of[ALLOWANCE_CONCURRENT], 0);
    CHECK(store_trouble(store) != NULL);
    limit_files(RLIM_INFINITY);
    claim(&second, find(a.token), 100);
    CHECK(is_granted(&second));
    claim_settle(&second.claim, 100);
    CHECK(!store_trouble(store));
    CHECK_EQ(store_counts(store)->rows, 1); /* it was kept meanwhile */
    CHECK_EQ(store_counts(store)->lost_rows, 0);
    close_ring();
    (void)sigaction(SIGXFSZ, &before, NULL);
}

struct stubborn {
    struct request request;
    unsigned refusals;
};

static void
on_refused_again(struct claim *claim, const struct err *error unused_arg,
                 uint64_t retry_after_s unused_arg)
{
    struct stubborn *s = container_of(claim, struct stubborn, request.claim);
    limit_files(RLIM_INFINITY);
    if (s->refusals++ == 0)
        claim_tokens(claim, claim->tokens);
}

/* Not for the one that has failed. */
TEST(who_claims_anew_when_he_is_refused_waits_for_the_next_debit)
{
    static const struct claim_ops again = {
        .granted = on_granted, .refused = on_refused_again, .paid = on_paid};
    struct stubborn s = {.request = {.claim.ops = &again, .tokens = 100}};
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    struct asked a;
    (void)sigaction(SIGXFSZ, &ignore, &before);
    REQUIRE(open_ring());
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", "{\"tokens_per_day\": 1000}"));
    limit_files(0);
    claim_begin(&s.request.claim, find(a.token), true);
    CHECK(LOOP_WAIT(&rig, s.request.is_granted || s.refusals > 1));
    CHECK(s.request.is_granted);
    CHECK_EQ(s.refusals, 1);
    claim_end(&s.request.claim);
    close_ring();
    (void)sigaction(SIGXFSZ, &before, NULL);
}

TEST(that_a_key_is_revoked_is_written_once_the_disk_takes_it)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    struct asked a, b;
    (void)sigaction(SIGXFSZ, &ignore, &before);
    REQUIRE(open_ring());
    struct store *store = keyring_store(ring);
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", NULL));
    limit_files(0);
    CHECK(ask(&b, KEYRING_REVOKE, "alice", NULL));
    CHECK_EQ(b.err.id, ERR_KEYS_UNWRITTEN);
    CHECK(!find(a.token));
    limit_files(RLIM_INFINITY);
    const uint64_t batches = store_counts(store)->batches;
    REQUIRE(LOOP_WAIT(&rig, store_counts(store)->batches > batches));
    CHECK(!store_trouble(store));
    CHECK(!find(a.token));
    /* One that is given another token meanwhile is not revoked behind that. */
    REQUIRE(ask(&b, KEYRING_ROTATE, "alice", NULL));
    CHECK(find(b.token) != NULL);
    close_ring();
    REQUIRE(open_ring());
    CHECK(find(b.token) != NULL);
    close_ring();
    (void)sigaction(SIGXFSZ, &before, NULL);
}

/* Somebody who does not let go of the file, as a disk that hangs. */
TEST(a_claim_waits_for_no_disk_that_hangs)
{
    struct request first, second, third;
    sqlite3 *other = NULL;
    struct asked a;
    REQUIRE(open_ring());
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", "{\"tokens_per_day\": 1000}"));
    const uint64_t batches = store_counts(keyring_store(ring))->batches;
    REQUIRE(sqlite.open_v2(path, &other, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK);
    REQUIRE(sqlite.exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK);
    claim(&first, find(a.token), 100);
    CHECK(!is_granted(&first));
    CHECK_EQ(first.err.id, ERR_KEYS_UNWRITTEN);
    CHECK(strstr(first.err.what, "after 3 s"));
    CHECK_EQ(first.retry_after_s, 0); /* nobody can say */
    claim(&second, find(a.token), 100);
    CHECK(second.is_refused); /* at once: nobody waits a second time for the same debit */
    CHECK(sqlite.exec(other, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK);
    (void)sqlite.close(other);
    REQUIRE(LOOP_WAIT(&rig, store_counts(keyring_store(ring))->batches > batches));
    claim(&third, find(a.token), 100);
    CHECK(is_granted(&third));
    claim_settle(&third.claim, 100);
    CHECK_EQ(left(find(a.token), ALLOWANCE_TOKENS_DAY), 900);
    close_ring();
}

/* ---- changes, and a disk that hangs ---- */

static sqlite3 *other;

static bool
hang_disk(void)
{
    return sqlite.open_v2(path, &other, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
           sqlite.exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
}

static void
heal_disk(void)
{
    CHECK(sqlite.exec(other, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK);
    (void)sqlite.close(take_ptr(other));
}

static bool
add_rows(struct store *store, unsigned count)
{
    const struct ledger_row row = {.time_us = 1, .key = 1};
    for (unsigned i = 0; i < count; i++)
        if (!store_add_row(store, &row))
            return false;
    return true;
}

TEST(rows_wait_also_while_the_write_that_has_them_hangs)
{
    struct asked a;
    REQUIRE(open_ring());
    struct store *store = keyring_store(ring);
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", NULL) && hang_disk());
    CHECK(add_rows(store, 3));
    CHECK_EQ(store_counts(store)->waiting_rows, 3);
    REQUIRE(LOOP_WAIT(&rig, store_trouble(store)));
    CHECK(add_rows(store, 2));
    CHECK_EQ(store_counts(store)->waiting_rows, 5);
    heal_disk();
    REQUIRE(LOOP_WAIT(&rig, store_counts(store)->waiting_rows == 0));
    CHECK_EQ(store_counts(store)->rows, 5);
    close_ring();
}

static void
wish(struct asked *a, enum keyring_deed deed, const char *name)
{
    *a = (struct asked){.wish = {.deed = deed, .name = name, .done = on_done}};
    CHECK_EQ(keyring_do(ring, &a->wish, NULL), 0);
}

static unsigned unheard;

static void
on_unheard(struct holder *holder, void *arg)
{
    CHECK(text_eq(holder_key(holder)->name, arg));
    unheard++;
}

/* The one key that there is. */
static bool
is_revoked(void)
{
    _cleanup_buf_ struct buf list = BUF_INIT(64 * KIB);
    struct json_writer w;
    json_init(&w, &list, false);
    keyring_print(ring, &w);
    buf_add_char(&list, '\0');
    return strstr(list.data, "\"state\":\"revoked\"") != NULL;
}

TEST(a_key_is_not_made_for_who_has_left)
{
    struct asked alice, first, left, last;
    REQUIRE(open_ring());
    REQUIRE(ask(&alice, KEYRING_CREATE, "alice", NULL));
    REQUIRE(hang_disk());
    struct ledger_row row = {.time_us = 1};
    CHECK(store_add_row(keyring_store(ring), &row));
    loop_rig_run(&rig, 2 * STORE_DELAY_US); /* a batch is under way, and others wait for it */
    wish(&first, KEYRING_CREATE, "first");
    wish(&left, KEYRING_CREATE, "left");
    wish(&last, KEYRING_CREATE, "last");
    keyring_forget(&left.wish);
    keyring_forget(&first.wish);
    heal_disk();
    CHECK(LOOP_WAIT(&rig, last.is_done));
    CHECK(find(last.token) != NULL);
    CHECK(!first.is_done && !left.is_done);
    CHECK(ask(&first, KEYRING_CREATE, "first", NULL)); /* their names are free */
    CHECK(ask(&left, KEYRING_CREATE, "left", NULL));
    close_ring();
}

TEST(a_key_that_nobody_was_told_is_revoked)
{
    struct asked a;
    unheard = 0;
    REQUIRE(open_ring());
    keyring_tell_of_unheard(ring, on_unheard, (char[]){"alice"});
    REQUIRE(hang_disk());
    wish(&a, KEYRING_CREATE, "alice");
    loop_rig_run(&rig, 100000); /* it has begun */
    keyring_forget(&a.wish);
    heal_disk();
    CHECK(LOOP_WAIT(&rig, unheard == 1 && store_counts(keyring_store(ring))->batches == 2));
    CHECK(!a.is_done && is_revoked());
    close_ring();
    REQUIRE(open_ring());
    CHECK(keyring_is_needed(ring) && is_revoked());
    CHECK(ask(&a, KEYRING_ROTATE, "alice", NULL));
    CHECK(find(a.token) != NULL);
    close_ring();
}

/* Before the ten seconds of who asks at the control socket. */
TEST(a_change_waits_for_no_disk_that_hangs)
{
    struct asked alice, bob, limits;
    REQUIRE(open_ring());
    REQUIRE(ask(&alice, KEYRING_CREATE, "alice", NULL));
    const uint64_t batches = store_counts(keyring_store(ring))->batches;
    REQUIRE(hang_disk());
    wish(&bob, KEYRING_CREATE, "bob");
    wish(&limits, KEYRING_CHANGE, "alice");
    REQUIRE(LOOP_WAIT(&rig, bob.is_done && limits.is_done));
    CHECK_EQ(bob.err.id, ERR_KEYS_UNWRITTEN);
    CHECK(strstr(bob.err.what, "after 4 s") && strstr(bob.err.what, "the key is revoked"));
    CHECK(strstr(limits.err.what, "its disk hangs"));
    heal_disk();
    CHECK(LOOP_WAIT(&rig, store_counts(keyring_store(ring))->batches > batches));
    CHECK(ask(&limits, KEYRING_CHANGE, "alice", NULL));
    close_ring();
}

TEST(that_a_key_is_revoked_outlasts_a_change_that_had_begun)
{
    struct asked a, change, revoked;
    REQUIRE(open_ring());
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", NULL));
    REQUIRE(hang_disk());
    wish(&change, KEYRING_CHANGE, "alice");
    loop_rig_run(&rig, 100000);
    wish(&revoked, KEYRING_REVOKE, "alice");
    keyring_forget(&revoked.wish);
    heal_disk();
    REQUIRE(LOOP_WAIT(&rig, change.is_done));
    CHECK(!find(a.token));
    close_ring();
    REQUIRE(open_ring());
    CHECK(!find(a.token));
    close_ring();
}

TEST(who_is_given_another_token_is_not_revoked_behind_that)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    struct asked a, revoked, rotated;
    (void)sigaction(SIGXFSZ, &ignore, &before);
    REQUIRE(open_ring());
    struct store *store = keyring_store(ring);
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", NULL));
    limit_files(0);
    CHECK(ask(&revoked, KEYRING_REVOKE, "alice", NULL)); /* which is tried again in five seconds */
    limit_files(RLIM_INFINITY);
    (void)sigaction(SIGXFSZ, &before, NULL);
    loop_rig_run(&rig, 4000000);
    REQUIRE(hang_disk());
    wish(&rotated, KEYRING_ROTATE, "alice");
    loop_rig_run(&rig, 2000000); /* that is, behind this */
    heal_disk();
    const uint64_t batches = store_counts(store)->batches;
    REQUIRE(LOOP_WAIT(&rig, store_counts(store)->batches == batches + 2));
    CHECK(find(rotated.token) != NULL);
    close_ring();
}

static struct {
    unsigned begins, ends;
} trouble;

static void
on_trouble(const struct err *error, void *arg unused_arg)
{
    trouble.begins += error != NULL;
    trouble.ends += error == NULL;
}

TEST(a_disk_that_hangs_is_told_once_and_when_it_is_over)
{
    struct ledger_row row = {.time_us = 1};
    REQUIRE(open_ring());
    trouble.begins = trouble.ends = 0;
    struct store *store = keyring_store(ring);
    store_tell_of_trouble(store, on_trouble, NULL);
    REQUIRE(hang_disk());
    CHECK(store_add_row(store, &row));
    REQUIRE(LOOP_WAIT(&rig, trouble.begins));
    CHECK(strstr(store_trouble(store)->what, "hangs"));
    CHECK_EQ(store_counts(store)->batches, 0); /* while it does */
    CHECK(store_add_row(store, &row));
    loop_rig_run(&rig, 2 * STORE_DELAY_US);
    heal_disk();
    REQUIRE(LOOP_WAIT(&rig, trouble.ends));
    CHECK_EQ(trouble.begins, 1);
    CHECK_EQ(trouble.ends, 1);
    CHECK(!store_trouble(store));
    CHECK(LOOP_WAIT(&rig, store_counts(store)->rows == 2));
    close_ring();
}

/* ---- and a resolver that does ---- */

static sem_t gate;

static void
hang(struct work *work unused_arg)
{
    while (sem_wait(&gate) < 0)
        ;
}

static void
on_hung(struct work *work unused_arg, bool cancelled unused_arg)
{
}

TEST(a_debit_waits_for_no_work_that_hangs)
{
    struct work works[8];
    struct request first;
    struct asked a;
    REQUIRE(open_ring() && sem_init(&gate, 0, 0) == 0);
    REQUIRE(ask(&a, KEYRING_CREATE, "alice", "{\"tokens_per_day\": 1000}"));
    for (size_t i = 0; i < ARRAY_SIZE(works); i++) {
        works[i] = (struct work){.run = hang, .done = on_hung};
        work_start(rig.loop, &works[i]);
    }
    claim(&first, find(a.token), 100);
    CHECK(is_granted(&first));
    claim_settle(&first.claim, 100);
    for (size_t i = 0; i < ARRAY_SIZE(works); i++)
        (void)sem_post(&gate);
    close_ring();
    (void)sem_destroy(&gate);
}

TEST(rows_are_written_without_being_asked_for_and_have_a_ceiling)
{
    struct ledger_row row = {.time_us = 1};
    REQUIRE(open_ring());
    struct store *store = keyring_store(ring);
    for (unsigned i = 0; i < STORE_ROWS_MAX; i++)
        CHECK(store_add_row(store, &row));
    CHECK(!store_add_row(store, &row));
    CHECK_EQ(store_counts(store)->lost_rows, 1);
    CHECK(LOOP_WAIT(&rig, store_counts(store)->rows == STORE_ROWS_MAX));
    CHECK_EQ(store_counts(store)->waiting_rows, 0);
    close_ring();
}

static void
on_spent(const struct spent_sum *sum, void *arg)
{
    *(uint64_t *)arg += sum->requests;
}

/* Also where nobody asks for anything any more. */
TEST(rows_that_are_too_old_go_by_themselves)
{
    struct ledger_row row = {.time_us = 1};
    uint64_t kept;
    REQUIRE(open_ring());
    struct store *store = keyring_store(ring);
    for (unsigned i = 0; i < 3000; i++)
        CHECK(store_add_row(store, &row));
    REQUIRE(LOOP_WAIT(&rig, store_counts(store)->rows == 3000));
    store_set_keep(store, 1000000);
    do {
        const uint64_t batches = store_counts(store)->batches;
        REQUIRE(LOOP_WAIT(&rig, store_counts(store)->batches > batches));
        kept = 0;
        CHECK_EQ(spent_read(path, SPENT_BY_DAY, 0, on_spent, &kept, NULL), 0);
    } while (kept > 0);
    close_ring();
}
