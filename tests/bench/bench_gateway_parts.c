/* What the gateway's pure parts cost: one thread, everything in the cache. The best of many short runs:
 * what the machine's other work took away is not ours. */

#include "ask_rig.h"
#include "gateway/admit.h"
#include "gateway/affinity.h"
#include "gateway/multipart.h"
#include "gateway/patch.h"
#include "gateway/route.h"
#include "gateway/usage.h"
#include "sys/clock.h"

#include <stdio.h>
#include <string.h>

enum { RUNS = 20 };

/* Prints what one of `count` calls takes, and of how many bytes. */
static void
measure(const char *name, void (*call)(void), unsigned count, size_t bytes)
{
    double best_us = 1e12;
    for (int run = 0; run < RUNS; run++) {
        uint64_t start_us = clock_now_us();
        for (unsigned i = 0; i < count; i++)
            call();
        best_us = MIN(best_us, (double)(clock_now_us() - start_us));
    }
    (void)printf("%-48s %9.0f ns", name, best_us * 1000 / count);
    if (bytes)
        (void)printf(" %9.0f MB/s", (double)bytes * count / best_us);
    (void)printf("\n");
}

static void
route(void)
{
    static const char path[] = "/v1/messages/count_tokens";
    struct route_found found;
    int r = route_find(HTTP_POST, path, strlen(path), &found, NULL);
    assert(r == 0);
}

/* ---- bodies ---- */

static const char chat[] =
    "{\"model\":\"llama-3.1-8b\",\"messages\":[{\"role\":\"system\",\"content\":\"Answer in one "
    "word.\"},{\"role\":\"user\",\"content\":\"Capital of France?\"}],\"stream\":true,"
    "\"max_tokens\":100,\"temperature\":0.2}";

static void
ask_small(void)
{
    _cleanup_ask_ struct ask ask = {0};
    int r = ask_whole(&ask, chat, strlen(chat), NULL);
    assert(r == 0);
}

static void
ask_and_change(void)
{
    static const struct ask_change change = {.model = "other", .include_usage = true};
    _cleanup_arena_ struct arena arena;
    struct patch_piece pieces[PATCH_PIECES_MAX];
    struct patch_list list;
    _cleanup_ask_ struct ask ask = {0};
    arena_init(&arena, 64 * KIB);
    int r = ask_whole(&ask, chat, strlen(chat), NULL);
    if (r == 0)
        r = ask_change_json(&ask, &change, &arena, &list, NULL);
    assert(r == 0 && patch_pieces(&list, strlen(chat), pieces) > 1);
}

/* A prompt of some 100,000 tokens, with a new line now and then. */
static char large[400000];

static void
fill_large(void)
{
    static const char begin[] = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"",
                      end[] = "\"}]}";
    memset(large, 'a', sizeof(large));
    for (size_t at = 60; at < sizeof(large) - 60; at += 60)
        memcpy(large + at, "\\n", 2);
    memcpy(large, begin, strlen(begin));
    memcpy(large + sizeof(large) - strlen(end), end, strlen(end));
}

static void
ask_large(void)
{
    _cleanup_ask_ struct ask ask = {0};
    int r = ask_whole(&ask, large, sizeof(large), NULL);
    assert(r == 0);
}

static struct affinity *affinity;

/* As a request whose replica is to be chosen: hashed, looked for, and remembered. */
static void
choose_replica(void)
{
    struct affinity_marks marks;
    uint32_t seen[AFFINITY_REPLICAS_MAX];
    affinity_begin(affinity, &marks, "m");
    affinity_add_prompt(&marks, large, sizeof(large));
    affinity_find(affinity, &marks, seen);
    affinity_note(affinity, &marks, 3);
}

static struct multipart form;

static void
form_large(void)
{
    int r = multipart_read(&form, large, sizeof(large), NULL);
    assert(r == 0);
}

static void
begin_form(void)
{
    static const char type[] = "multipart/form-data; boundary=0123456789abcdef",
                      head[] = "--0123456789abcdef\r\nContent-Disposition: form-data; "
                               "name=\"file\"; filename=\"a.wav\"\r\n\r\n";
    int r = multipart_init(&form, type, strlen(type), NULL);
    if (r == 0)
        r = multipart_read(&form, head, strlen(head), NULL);
    assert(r == 0);
}

/* ---- answers ---- */

static const char event[] =
    "data: {\"id\":\"chatcmpl-0000000000000000000000000000aa01\",\"object\":"
    "\"chat.completion.chunk\",\"created\":1730000000,\"model\":\"meta-llama/Llama-3.1-8B-"
    "Instruct\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" capital\"},\"logprobs\":null,"
    "\"finish_reason\":null}],\"usage\":null}\n\n";

static struct usage_reader stream;

static void
read_answer(struct usage_reader *r, const char *bytes, size_t len)
{
    struct usage_piece piece;
    size_t used;
    usage_read(r, bytes, len, &used, &piece);
    assert(used == len);
}

static void
one_event(void)
{
    read_answer(&stream, event, strlen(event));
}

static void
event_in_two(void)
{
    read_answer(&stream, event, 100);
    read_answer(&stream, event + 100, strlen(event) - 100);
}

/* Numbers, as in an embedding. */
static char numbers[400000];

static void
fill_numbers(void)
{
    static const char begin[] = "{\"data\":[", number[] = "-0.0123456,",
                      end[] = "0],\"usage\":{\"prompt_tokens\":3}}";
    size_t stop = sizeof(numbers) - strlen(end), at = strlen(begin);
    memset(numbers, ' ', sizeof(numbers));
    memcpy(numbers, begin, strlen(begin));
    for (; at + strlen(number) <= stop; at += strlen(number))
        memcpy(numbers + at, number, strlen(number));
    memcpy(numbers + stop, end, strlen(end));
}

static void
answer_in_json(void)
{
    struct usage_reader r;
    usage_init(&r, DIALECT_OPENAI, USAGE_JSON, false);
    read_answer(&r, numbers, sizeof(numbers));
    assert(r.complete && r.usage.in == 3);
    usage_finish(&r);
}

/* ---- admission ---- */

enum { SLOTS = 64, QUEUE = 4096, KEYS = 500 };

static struct admit *admit;
static struct admit_ask asks[SLOTS + QUEUE];

static void
set(struct admit_ask *ask, uint64_t key)
{
    *ask = (struct admit_ask){.key = key, .tokens = 100 + key % 77, .wait_us = 60000000};
}

static void
pass_alone(void)
{
    set(&asks[0], 1);
    admit_arrive(admit, &asks[0], 0);
    struct admit_ask *ask = admit_take_order(admit);
    assert(ask == &asks[0]);
    admit_done(admit, ask, 100, 1);
}

static void
fill_queue(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++) {
        set(&asks[i], i % KEYS);
        admit_arrive(admit, &asks[i], 0);
    }
}

/* One is done, the next one starts, and another arrives. */
static void
pass_among_many(void)
{
    struct admit_ask *ask = admit_take_order(admit);
    assert(ask && ask->order == ADMIT_GO);
    uint64_t key = ask->key;
    admit_done(admit, ask, 50 + key % 100, 1);
    set(ask, key);
    admit_arrive(admit, ask, 1);
}

static void
leave_all(void)
{
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_SIZE(asks); i++)
            admit_leave(admit, &asks[i], 2);
        while (admit_take_order(admit))
            ;
    }
}

int
main(void)
{
    measure("a path among the routes", route, 20000, 0);
    measure("what a chat of 200 bytes asks for", ask_small, 20000, 0);
    measure("and its changes", ask_and_change, 20000, 0);
    fill_large();
    measure("what a chat of 400 kB asks for", ask_large, 50, sizeof(large));
    affinity = affinity_new(UINT64_C(1) << 18);
    measure("a replica for its prompt of 400 kB", choose_replica, 50, sizeof(large));
    affinity_free(affinity);
    begin_form();
    measure("400 kB of a file in a form", form_large, 200, sizeof(large));
    usage_init(&stream, DIALECT_OPENAI, USAGE_EVENTS, true);
    measure("an event of a stream, 260 bytes", one_event, 20000, 0);
    measure("the same in two pieces", event_in_two, 20000, 0);
    usage_finish(&stream);
    fill_numbers();
    measure("an answer of 400 kB in JSON", answer_in_json, 50, sizeof(numbers));
    admit = admit_new(&(struct admit_limits){.slots = SLOTS, .queue = QUEUE});
    measure("through admission, alone", pass_alone, 20000, 0);
    fill_queue();
    measure("among 4096 that wait, of 500 keys", pass_among_many, 20000, 0);
    leave_all();
    admit_free(admit);
    return 0;
}
