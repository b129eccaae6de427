#include "sim/batch.h"

#include "tap.h"

#include <stdlib.h>

/* A scheduler, and a diary of what it told: "a1 b1 a2! ", a letter a sequence, what it has made, and
 * whether it has ended. */
struct bench {
    struct loop *loop;
    struct metrics metrics;
    struct batch batch;
    struct buf diary;
};

struct told {
    struct seq seq;
    struct bench *bench;
    char name;
};

static void
on_moved(struct seq *seq)
{
    const struct told *told = container_of(seq, struct told, seq);
    buf_printf(&told->bench->diary, "%c%llu%s ", told->name, (unsigned long long)seq->made_tokens,
               seq->list ? "" : "!");
}

static void
bench_init(struct bench *b, uint64_t blocks, uint64_t block_tokens)
{
    *b = (struct bench){.diary = BUF_INIT(1 * MIB)};
    int r = loop_new(&b->loop, NULL);
    assert(r == 0);
    metrics_init(&b->metrics, 8192);
    batch_init(&b->batch, b->loop, &b->metrics);
    b->batch.max_seqs = 256;
    b->batch.max_step_tokens = 2048;
    b->batch.block_tokens = block_tokens;
    b->batch.blocks = b->batch.free_blocks = blocks;
}

static void
bench_finish(struct bench *b)
{
    batch_finish(&b->batch);
    loop_free(b->loop);
    buf_finish(&b->diary);
}

static void
add(struct bench *b, struct told *told, char name, uint64_t prompt, uint64_t wanted)
{
    *told = (struct told){.bench = b, .name = name};
    told->seq.moved = on_moved;
    told->seq.prompt_tokens = prompt;
    told->seq.wanted_tokens = wanted;
    told->seq.finish = FINISH_STOP;
    batch_add(&b->batch, &told->seq);
}

static double
value_of(const struct bench *b, enum metric metric)
{
    return b->metrics.meters[metric].value;
}

static uint64_t
count_of(const struct bench *b, enum metric metric)
{
    return b->metrics.meters[metric].count;
}

TEST(a_sequence_alone_is_done_at_once)
{
    struct bench b;
    struct told a;
    bench_init(&b, 100, 16);
    add(&b, &a, 'a', 3, 5);
    CHECK_STR(b.diary.data, "a5! ");
    CHECK_EQ(a.seq.finish, FINISH_STOP);
    CHECK_EQ(b.batch.free_blocks, 100);
    bench_finish(&b);
}

/* The short way of one alone, and the long one through lists and steps, count the same. */
TEST(both_ways_through_count_the_same)
{
    static const struct {
        uint64_t prompt, cached, wanted;
    } rows[] = {{1, 0, 1}, {3, 0, 5}, {40, 32, 2}, {7, 0, 0}, {2000, 16, 300}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct bench both[2];
        tap_note("row %zu", i);
        for (int slow = 0; slow < 2; slow++) {
            struct bench *b = &both[slow];
            struct told a = {.bench = b, .name = 'a', .seq.moved = on_moved};
            bench_init(b, 1000, 16);
            a.seq.prompt_tokens = rows[i].prompt;
            a.seq.cached_tokens = rows[i].cached;
            a.seq.wanted_tokens = rows[i].wanted;
            a.seq.finish = FINISH_LENGTH;
            if (slow)
                batch_hold(&b->batch);
            batch_add(&b->batch, &a.seq);
            if (slow)
                batch_release(&b->batch);
            CHECK(!a.seq.list);
        }
        for (size_t m = 0; m < METRIC_COUNT; m++) {
            const struct meter *fast = &both[0].metrics.meters[m],
                               *slow = &both[1].metrics.meters[m];
            tap_note("row %zu, metric %zu", i, m);
            CHECK_EQ(fast->count, slow->count);
            CHECK_EQ(fast->value * 1000, slow->value * 1000);
            CHECK(memcmp(fast->buckets, slow->buckets, sizeof(fast->buckets)) == 0);
        }
        CHECK_EQ(both[0].metrics.finished[FINISH_LENGTH], 1);
        CHECK_EQ(both[1].metrics.finished[FINISH_LENGTH], 1);
        bench_finish(&both[0]);
        bench_finish(&both[1]);
    }
}

TEST(those_that_run_take_turns)
{
    struct bench b;
    struct told a, c;
    bench_init(&b, 100, 16);
    batch_hold(&b.batch);
    add(&b, &a, 'a', 2, 3);
    add(&b, &c, 'c', 2, 2);
    CHECK_STR(b.diary.data, "");
    batch_release(&b.batch);
    CHECK_STR(b.diary.data, "a1 c1 a2 c2! a3! ");
    CHECK_EQ(count_of(&b, METRIC_STEP_TOKENS), 3);
    CHECK_EQ(value_of(&b, METRIC_STEP_TOKENS), 4 + 2 + 1);
    CHECK_EQ(value_of(&b, METRIC_PROMPT_TOKENS), 4);
    CHECK_EQ(value_of(&b, METRIC_GENERATION_TOKENS), 5);
    bench_finish(&b);
}

TEST(who_finds_no_place_waits)
{
    struct bench b;
    struct told a, c;
    bench_init(&b, 100, 16);
    b.batch.max_seqs = 1;
    batch_hold(&b.batch);
    add(&b, &a, 'a', 2, 2);
    add(&b, &c, 'c', 2, 1);
    CHECK_EQ(b.batch.waiting.count, 2);
    batch_release(&b.batch);
    CHECK_STR(b.diary.data, "a1 a2! c1! ");
    bench_finish(&b);
}

/* Ten tokens of prompt in steps of four, while another makes a token in each of them. */
TEST(long_prompts_go_in_pieces)
{
    struct bench b;
    struct told a, c;
    bench_init(&b, 100, 16);
    b.batch.max_step_tokens = 4;
    batch_hold(&b.batch);
    add(&b, &a, 'a', 1, 4);
    add(&b, &c, 'c', 10, 2);
    batch_release(&b.batch);
    CHECK_STR(b.diary.data, "a1 a2 a3 a4! c1 c2! ");
    CHECK_EQ(count_of(&b, METRIC_STEP_TOKENS), 5);
    CHECK_EQ(value_of(&b, METRIC_STEP_TOKENS), 4 + 4 + 4 + 2 + 1);
    bench_finish(&b);
}

/* Blocks of two tokens, four of them: both fit with their prompts, not with what they make. */
TEST(the_last_gives_way_when_blocks_run_out)
{
    struct bench b;
    struct told a, c;
    bench_init(&b, 4, 2);
    batch_hold(&b.batch);
    add(&b, &a, 'a', 2, 4);
    add(&b, &c, 'c', 2, 4);
    batch_release(&b.batch);
    CHECK_STR(b.diary.data, "a1 c1 a2 c2 a3 a4! c3 c4! ");
    CHECK_EQ(value_of(&b, METRIC_PREEMPTIONS), 1);
    CHECK_EQ(value_of(&b, METRIC_PROMPT_TOKENS), 4); /* each once, though c's was computed twice */
    CHECK_EQ(count_of(&b, METRIC_FIRST_TOKEN), 2);
    CHECK_EQ(b.batch.free_blocks, 4);
    bench_finish(&b);
}

TEST(who_needs_a_block_itself_may_be_the_last)
{
    struct bench b;
    struct told a, c;
    bench_init(&b, 4, 2);
    batch_hold(&b.batch);
    add(&b, &a, 'a', 2, 2);
    add(&b, &c, 'c', 3, 2);
    batch_release(&b.batch);
    CHECK_STR(b.diary.data, "a1 c1 a2! c2! ");
    CHECK_EQ(value_of(&b, METRIC_PREEMPTIONS), 1);
    CHECK_EQ(b.batch.free_blocks, 4);
    bench_finish(&b);
}

TEST(a_prompt_alone_makes_nothing)
{
    struct bench b;
    struct told a, c;
    bench_init(&b, 100, 16);
    batch_hold(&b.batch);
    add(&b, &a, 'a', 5, 0);
    add(&b, &c, 'c', 5, 1);
    batch_release(&b.batch);
    CHECK_STR(b.diary.data, "a0! c1! ");
    CHECK_EQ(value_of(&b, METRIC_GENERATION_TOKENS), 1);
    CHECK_EQ(b.metrics.finished[FINISH_STOP], 2);
    bench_finish(&b);
}

/* With a step under way that is never due. */
TEST(who_leaves_is_counted_as_aborted_and_not_told)
{
    struct bench b;
    struct told a, c;
    bench_init(&b, 3, 16);
    b.batch.token_us = 1e12;
    b.batch.max_seqs = 1;
    add(&b, &a, 'a', 20, 4);
    add(&b, &c, 'c', 2, 4);
    CHECK_EQ(b.batch.running.count, 1);
    CHECK_EQ(b.batch.waiting.count, 1);
    CHECK_EQ(batch_usage(&b.batch) * 3, 2);
    batch_remove(&b.batch, &c.seq);
    batch_remove(&b.batch, &a.seq);
    batch_remove(&b.batch, &a.seq); /* again: nothing */
    CHECK_STR(b.diary.data, "");
    CHECK_EQ(b.metrics.finished[FINISH_ABORT], 2);
    CHECK_EQ(b.batch.free_blocks, 3);
    CHECK_EQ(b.batch.running.count + b.batch.waiting.count, 0);
    bench_finish(&b);
}

TEST(all_are_told_when_the_engine_dies)
{
    struct bench b;
    struct told a, c;
    bench_init(&b, 100, 16);
    b.batch.token_us = 1e12;
    b.batch.max_seqs = 1;
    add(&b, &a, 'a', 2, 2);
    add(&b, &c, 'c', 2, 2);
    batch_clear(&b.batch, FINISH_ERROR);
    CHECK_STR(b.diary.data, "a0! c0! ");
    CHECK_EQ(a.seq.finish, FINISH_ERROR);
    CHECK_EQ(b.metrics.finished[FINISH_ERROR], 2);
    CHECK_EQ(b.batch.free_blocks, 100);
    bench_finish(&b);
}

TEST(nothing_moves_while_anybody_holds)
{
    struct bench b;
    struct told a;
    bench_init(&b, 100, 16);
    batch_hold(&b.batch);
    batch_hold(&b.batch);
    add(&b, &a, 'a', 2, 1);
    batch_release(&b.batch);
    CHECK_STR(b.diary.data, "");
    batch_release(&b.batch);
    CHECK_STR(b.diary.data, "a1! ");
    bench_finish(&b);
}

/* Five tokens at a thousand a second, and ten of prompt at as many: 10 + 5 ms. The end of the last
 * step is due then, however late the loop is. */
TEST(tokens_take_their_time)
{
    struct bench b;
    struct told a;
    bench_init(&b, 100, 16);
    b.batch.token_us = b.batch.prefill_us = 1000;
    add(&b, &a, 'a', 10, 5);
    CHECK_STR(b.diary.data, "");
    loop_run(b.loop);
    CHECK_STR(b.diary.data, "a1 a2 a3 a4 a5! ");
    CHECK_EQ(a.seq.first_us - a.seq.scheduled_us, 11000);
    CHECK_EQ(a.seq.last_us - a.seq.first_us, 4000);
    CHECK_EQ(value_of(&b, METRIC_INFERENCE_TIME) * 1e6 + 0.5, 15000);
    CHECK_EQ(count_of(&b, METRIC_BETWEEN_TOKENS), 4);
    bench_finish(&b);
}

/* Any load that fits runs to its end, and leaves nothing behind. */
TEST(every_load_comes_to_its_end)
{
    uint32_t state = 1;
    for (unsigned round = 0; round < 300; round++) {
        struct bench b;
        struct told told[24];
        uint64_t wanted = 0, prompts = 0;
        bench_init(&b, 6 + round % 20, 1 + round % 7);
        b.batch.max_seqs = 1 + round % 5;
        b.batch.max_step_tokens = 1 + round % 11;
        uint64_t room = b.batch.blocks * b.batch.block_tokens;
        batch_hold(&b.batch);
        for (size_t i = 0; i < ARRAY_SIZE(told); i++) {
            state = state * 1103515245 + 12345;
            uint64_t prompt = 1 + (state >> 16) % MIN(room - 1, (uint64_t)20);
            uint64_t want = (state >> 8) % MIN(room - prompt + 1, (uint64_t)9);
            add(&b, &told[i], 'a', prompt, want);
            prompts += prompt;
            wanted += want;
        }
        batch_release(&b.batch);
        tap_note("round %u", round);
        for (size_t i = 0; i < ARRAY_SIZE(told); i++)
            CHECK(!told[i].seq.list && told[i].seq.made_tokens == told[i].seq.wanted_tokens);
        CHECK_EQ(b.batch.free_blocks, b.batch.blocks);
        CHECK_EQ(value_of(&b, METRIC_GENERATION_TOKENS), wanted);
        CHECK_EQ(value_of(&b, METRIC_PROMPT_TOKENS), prompts);
        CHECK_EQ(b.metrics.finished[FINISH_STOP], ARRAY_SIZE(told));
        bench_finish(&b);
    }
}
