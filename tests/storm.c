/* Many streams at a time, of which every byte is looked at.
 *
 *     storm PORT STREAMS SECONDS ABORTS MODEL=ENGINE...
 *     CITADEL_KEYS: whose they are, in turns: KEY[,KEY]...
 *
 * Asks whoever serves at PORT of 127.0.0.1 for streams of these models, so many at a time: one
 * that has ended is followed by another, until the time is over; then it waits for those that
 * are left. So many of a hundred are left in their middle; and some have a large body, which stops
 * for a while before it is whole. Some ask for large events, and do not read them for a while, at
 * sockets that hold few: these go to 127.0.0.2, where whoever serves at PORT has to be, too. What
 * each should say the engine itself has told at port ENGINE, before the storm: of the same question,
 * but for one word that only one stream has. Names and times that an engine makes anew are left out of that
 * comparison; that a stream keeps its name is not.
 *
 * Prints {"MODEL":{"whole":N,...},...}, of each stream what became of it:
 *
 *     whole     every byte is right, to the last one
 *     told      it broke off, was right so far, and the stream says so
 *     refused   there was an answer with an error's status instead
 *     limited   likewise: 429, by its key
 *     left      by us
 *     wrong     anything else; the first ones are told on standard error, and the exit status is 1 */

#include "base/mem.h"
#include "base/quantity.h"
#include "http/client.h"
#include "sys/clock.h"
#include "sys/loop.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    MODELS_MAX = 8,
    EVENTS_MAX = 1000,
    TOKENS = 30,
    WRONGS_SHOWN = 10,
    PAUSE_US = 100000,  /* before one that was refused is followed */
    STALL_US = 1500000, /* that a client does not go on with its body */
    STALLS = 1,         /* of 100 */
    STALL_EVENTS = 12,  /* that come meanwhile: some 600 KB */
    LOGPROBS = 700,     /* in each of these: 50 KB */
    LARGES = 2,         /* of 100 */
    KEYS_MAX = 16,
};
#define EVENT_BYTES_MAX (128 * KIB)
#define WIDE "127.0.0.1"
#define NARROW "127.0.0.2" /* INADDR_LOOPBACK + 1 */
/* What a socket that goes there holds; and the segments by which the other end keeps some 50 KB for
 * it, and not 2 MB. */
#define NARROW_BYTES 4096
#define NARROW_SEGMENT 1400
#define PAD_BYTES (1280 * KIB) /* of a large body: more than a gateway keeps in memory */
#define PATIENCE_US UINT64_C(120000000)

enum fate { WHOLE, TOLD, REFUSED, LIMITED, LEFT, WRONG, FATES };
static const char *const fate_names[FATES] = {"whole",   "told", "refused",
                                              "limited", "left", "wrong"};

/* An answer, without what is made anew. */
struct told {
    char *events[EVENTS_MAX];
    size_t count;
};

struct model {
    const char *name;
    struct told told[2]; /* the other one with large events */
    uint64_t fates[FATES];
};

struct storm {
    char pad[PAD_BYTES];
    struct loop *loop;
    struct http_client *client, *narrow;
    struct model models[MODELS_MAX];
    size_t model_count;
    char *keys[KEYS_MAX]; /* as fields have them */
    size_t key_count;
    uint64_t until_us;
    unsigned aborts; /* of 100 */
    unsigned asked;  /* so far: each has a number */
    unsigned running;
    unsigned wrongs;
};

/* A place for one stream at a time. */
struct stream {
    struct storm *storm;
    struct model *model;
    struct http_call *call;
    struct loop_timer pause; /* until the next, or within it */
    unsigned number;
    size_t leaves_at;  /* this event, when it is left */
    size_t stalls_at;  /* likewise, when it is not read for a while */
    bool is_large;     /* its events are */
    uint64_t since_us; /* the first of them */
    bool lacks_body;   /* the rest of it is to come */
    bool is_reference;

    struct buf in; /* what has no end yet */
    char id[64];
    size_t events;
    bool told, wrong;
};

static void begin(struct stream *s);

/* ---- sockets ---- */

int __real_connect(int fd, const struct sockaddr *to, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t len);

/* Before, as that is when the other end is told. */
int
__wrap_connect(int fd, const struct sockaddr *to, socklen_t len)
{
    static const int bytes = NARROW_BYTES, segment = NARROW_SEGMENT;
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)to;
    bool is_narrow = to->sa_family == AF_INET && in->sin_addr.s_addr == htonl(INADDR_LOOPBACK + 1);
    if (is_narrow && (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) < 0 ||
                      setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment)) < 0))
        return -1;
    return __real_connect(fd, to, len);
}

/* ---- one event ---- */

static void
find_wrong(struct stream *s, const char *why, const char *bytes)
{
    if (!s->wrong && s->storm->wrongs++ < WRONGS_SHOWN)
        (void)fprintf(stderr, "stream %u of %s, event %zu: %s: %s\n", s->number, s->model->name,
                      s->events, why, bytes);
    s->wrong = true;
}

/* The value behind a member's name, which is replaced; where it was, or NULL. */
static char *
drop_value(char *text, const char *name, const char *stops, char *ret_value, size_t room)
{
    char *at = strstr(text, name);
    if (!at)
        return NULL;
    at += strlen(name);
    size_t len = strcspn(at, stops);
    if (ret_value)
        (void)snprintf(ret_value, room, "%.*s", (int)len, at);
    memmove(at, at + len, strlen(at + len) + 1);
    return at;
}

/* The stream's own word, and the bytes of it that are told of a token, become those of number 0. */
static void
strip_word(const struct stream *s, char *text)
{
    static const char none[] = "w0000000", no_bytes[] = "119,48,48,48,48,48,48,48";
    char word[16], bytes[64] = "119";
    (void)snprintf(word, sizeof(word), "w%07u", s->number);
    for (const char *digit = word + 1; *digit; digit++)
        (void)snprintf(bytes + strlen(bytes), sizeof(bytes) - strlen(bytes), ",%d", *digit);
    for (char *at = text; (at = strstr(at, word)); at++)
        memcpy(at, none, sizeof(none) - 1);
    for (char *at = text; (at = strstr(at, bytes)); at++)
        memcpy(at, no_bytes, sizeof(no_bytes) - 1);
}

/* Leaves what every stream of the model says alike. */
static void
strip(struct stream *s, char *text)
{
    char id[sizeof(s->id)] = "";
    (void)drop_value(text, "\"id\":\"", "\"", id, sizeof(id));
    (void)drop_value(text, "\"created\":", ",}", NULL, 0);
    if (s->events == 0)
        memcpy(s->id, id, sizeof(id));
    else if (id[0] && strcmp(s->id, id) != 0)
        find_wrong(s, "it is of another stream", id);
    strip_word(s, text);
}

static struct told *
told_of(const struct stream *s)
{
    return &s->model->told[s->is_large];
}

static void
take_event(struct stream *s, char *text)
{
    struct told *told = told_of(s);
    strip(s, text);
    if (s->is_reference) {
        assert(told->count < EVENTS_MAX);
        told->events[told->count++] = mem_strdup(text);
    } else if (strncmp(text, "data: {\"error\":", strlen("data: {\"error\":")) == 0 && !s->told) {
        s->told = true;
    } else if (s->events >= told->count) {
        find_wrong(s, "there is more than there should be", text);
    } else if (strcmp(text, told->events[s->events]) != 0 &&
               !(s->told && strcmp(text, told->events[told->count - 1]) == 0)) {
        find_wrong(s, "it is not what the engine says", text);
    }
    s->events++;
}

static void
take_events(struct stream *s)
{
    for (char *end; (end = memmem(s->in.data, s->in.len, "\n\n", 2));) {
        size_t len = (size_t)(end - s->in.data);
        _cleanup_free_ char *text = mem_strndup(s->in.data, len);
        buf_consume(&s->in, len + 2);
        take_event(s, text);
    }
}

/* ---- one stream ---- */

/* And nothing is left to wait for. */
static bool
is_over(struct storm *storm)
{
    bool over = clock_now_us() >= storm->until_us;
    if (over && storm->running == 0)
        loop_stop(storm->loop);
    return over;
}

static void
end(struct stream *s, enum fate fate)
{
    struct storm *storm = s->storm;
    s->call = NULL;
    loop_timer_stop(&s->pause);
    storm->running--;
    if (!s->is_reference)
        s->model->fates[fate]++;
    if (is_over(storm))
        return;
    if (fate == WHOLE || fate == LEFT)
        begin(s);
    else
        loop_timer_start(storm->loop, &s->pause, PAUSE_US, 0);
}

/* So long that its engine says much more meanwhile, however fast that is. */
static void
stall(struct stream *s)
{
    uint64_t each_us = (clock_now_us() - s->since_us) / (s->events - 1);
    s->stalls_at = 0;
    http_call_pause(s->call);
    loop_timer_start(s->storm->loop, &s->pause, each_us * STALL_EVENTS, 0);
}

static void
on_body(struct http_call *call, const char *bytes, size_t len)
{
    struct stream *s = call->user;
    if (s->since_us == 0)
        s->since_us = clock_now_us();
    buf_add(&s->in, bytes, len);
    if (buf_error(&s->in) < 0)
        find_wrong(s, "an event has no end", "");
    if (call->head.status != 200)
        return;
    take_events(s);
    if (s->leaves_at && s->events >= s->leaves_at) {
        http_call_cancel(call);
        end(s, s->wrong ? WRONG : LEFT);
    } else if (s->stalls_at && s->events >= s->stalls_at) {
        stall(s);
    }
}

static void
on_finished(struct http_call *call, const struct err *error)
{
    struct stream *s = call->user;
    bool answers = call->head.status == 200;
    if (error)
        find_wrong(s, "it was cut", error->what);
    else if (answers && s->in.len > 0)
        find_wrong(s, "its last event has no end", s->in.data);
    else if (answers && !s->told && !s->is_reference && s->events != told_of(s)->count)
        find_wrong(s, "it ended too early", "");
    else if (!answers && (call->head.status < 429 || !strstr(s->in.data, "\"error\"")))
        find_wrong(s, "it is no refusal", s->in.data);
    enum fate refused = call->head.status == 429 ? LIMITED : REFUSED;
    end(s, s->wrong ? WRONG : !answers ? refused : s->told ? TOLD : WHOLE);
}

static const char pad_end[] = "\"}";

/* What no engine looks at makes a body large; its first half goes at once. */
static void
send_body(struct stream *s, const struct buf *body, bool is_large)
{
    static const char pad_begin[] = ",\"pad\":\"";
    if (!is_large) {
        http_call_whole(s->call, body->data, body->len);
        return;
    }
    http_call_length(s->call, body->len - 1 + strlen(pad_begin) + PAD_BYTES + strlen(pad_end));
    (void)http_call_write(s->call, body->data, body->len - 1);
    (void)http_call_write(s->call, pad_begin, strlen(pad_begin));
    (void)http_call_write(s->call, s->storm->pad, PAD_BYTES / 2);
    s->lacks_body = true;
    loop_timer_start(s->storm->loop, &s->pause, STALL_US, 0);
}

static void
send_rest(struct stream *s)
{
    s->lacks_body = false;
    (void)http_call_write(s->call, s->storm->pad, PAD_BYTES - PAD_BYTES / 2);
    (void)http_call_write(s->call, pad_end, strlen(pad_end));
    http_call_end(s->call);
}

static void
ask(struct stream *s, struct http_client *client, bool is_large)
{
    const struct storm *storm = s->storm;
    static const struct http_call_ops ops = {.body = on_body, .finished = on_finished};
    _cleanup_buf_ struct buf body = BUF_INIT(4 * KIB);
    buf_printf(
        &body,
        "{\"model\":\"%s\",\"stream\":true,\"max_tokens\":%d,\"ignore_eos\":true,\"messages\":"
        "[{\"role\":\"user\",\"content\":\"w%07u good morning to all of you out there\"}]",
        s->model->name, TOKENS, s->number);
    if (s->is_large)
        buf_printf(&body, ",\"logprobs\":true,\"top_logprobs\":%d", LOGPROBS);
    buf_add_char(&body, '}');
    s->call = http_call_new(client, "POST", "/v1/chat/completions", &ops, s);
    http_call_field(s->call, "Content-Type", "application/json");
    if (storm->key_count && !s->is_reference)
        http_call_field(s->call, "Authorization", storm->keys[s->number % storm->key_count]);
    send_body(s, &body, is_large);
}

static void
begin(struct stream *s)
{
    struct storm *storm = s->storm;
    buf_clear(&s->in);
    s->events = 0;
    s->told = s->wrong = false;
    s->number = ++storm->asked;
    /* Spread evenly, and the same in every run; who stalls does not leave. */
    bool leaves = s->number * 61 % 100 < storm->aborts,
         stalls = (s->number + 50) * 43 % 100 < STALLS;
    s->is_large = stalls;
    s->since_us = 0;
    size_t count = told_of(s)->count;
    s->leaves_at = leaves ? 1 + s->number * 17 % (count - 1) : 0;
    s->stalls_at = stalls ? 3 + s->number * 13 % (count - STALL_EVENTS - 3) : 0;
    s->lacks_body = false;
    storm->running++;
    ask(s, stalls ? storm->narrow : storm->client, s->number * 37 % 100 < LARGES);
}

static void
on_pause(struct loop_timer *timer)
{
    struct stream *s = container_of(timer, struct stream, pause);
    if (s->lacks_body && s->leaves_at) {
        http_call_cancel(s->call);
        end(s, LEFT);
    } else if (s->lacks_body) {
        send_rest(s);
    } else if (s->call) {
        http_call_resume(s->call);
    } else if (!is_over(s->storm)) {
        begin(s);
    }
}

/* ---- the storm ---- */

static struct http_client *
client_of(struct loop *loop, const char *host, const char *port, unsigned connections)
{
    struct http_client_config config = http_client_config_default;
    _cleanup_free_ char *address = mem_printf("%s:%s", host, port);
    struct http_client *client;
    struct err error;
    config.connections_max = connections;
    config.request_bytes_max = 4 * MIB;
    config.first_byte_us = config.between_us = config.total_us = PATIENCE_US;
    if (http_client_new(loop, address, NULL, &config, &client, &error) < 0) {
        (void)fprintf(stderr, "storm: %s\n", error.what);
        exit(2);
    }
    return client;
}

static void
stream_init(struct stream *s, struct storm *storm, struct model *model)
{
    *s = (struct stream){.storm = storm, .model = model, .pause.expired = on_pause};
    buf_init(&s->in, EVENT_BYTES_MAX);
}

/* What the engine says itself, asked with the number 0. */
static void
read_model(struct storm *storm, struct model *m, char *word)
{
    struct stream s;
    char *engine = strchr(word, '=');
    if (!engine) {
        (void)fprintf(stderr, "storm: '%s' is not MODEL=ENGINE\n", word);
        exit(2);
    }
    *engine++ = '\0';
    m->name = word;
    struct http_client *client = client_of(storm->loop, WIDE, engine, 1);
    for (int is_large = 0; is_large < 2; is_large++) {
        stream_init(&s, storm, m);
        s.is_reference = true;
        s.is_large = is_large;
        storm->running = 1;
        ask(&s, client, false);
        loop_run(storm->loop);
        buf_finish(&s.in);
        if (s.wrong || told_of(&s)->count < STALL_EVENTS + 4)
            exit(2);
    }
    http_client_free(client);
}

static void
rage(struct storm *storm, size_t count)
{
    struct stream *streams = mem_alloc(count * sizeof(*streams));
    for (size_t i = 0; i < count; i++) {
        stream_init(&streams[i], storm, &storm->models[i % storm->model_count]);
        begin(&streams[i]);
    }
    loop_run(storm->loop);
    for (size_t i = 0; i < count; i++) {
        loop_timer_stop(&streams[i].pause);
        buf_finish(&streams[i].in);
    }
    free(streams);
}

static void
show(const struct storm *storm)
{
    for (size_t m = 0; m < storm->model_count; m++) {
        const struct model *model = &storm->models[m];
        (void)printf("%s\"%s\":{", m ? "," : "{", model->name);
        for (int i = 0; i < FATES; i++)
            (void)printf("%s\"%s\":%" PRIu64, i ? "," : "", fate_names[i], model->fates[i]);
        (void)printf("}");
    }
    (void)printf("}\n");
}

static unsigned
number(const char *text)
{
    uint64_t n = 0;
    if (quantity_parse_u64(text, &n, NULL) < 0 || n > 1000000) {
        (void)fprintf(stderr, "storm: '%s' is no such number\n", text);
        exit(2);
    }
    return (unsigned)n;
}

static void
read_keys(struct storm *storm)
{
    const char *listed = getenv("CITADEL_KEYS");
    _cleanup_free_ char *words = mem_strdup(listed ? listed : "");
    char *rest = words;
    for (char *key; *words && (key = strsep(&rest, ","));) {
        if (storm->key_count == KEYS_MAX) {
            (void)fprintf(stderr, "storm: more than %d keys\n", KEYS_MAX);
            exit(2);
        }
        storm->keys[storm->key_count++] = mem_printf("Bearer %s", key);
    }
}

int
main(int argc, char **argv)
{
    static struct storm storm;
    struct err error;
    if (argc < 6 || argc > 5 + MODELS_MAX || loop_new(&storm.loop, &error) < 0) {
        (void)fprintf(stderr, "usage: storm PORT STREAMS SECONDS ABORTS MODEL=ENGINE...\n");
        return 2;
    }
    memset(storm.pad, 'x', sizeof(storm.pad));
    read_keys(&storm);
    unsigned streams = number(argv[2]);
    for (int i = 5; i < argc; i++)
        read_model(&storm, &storm.models[storm.model_count++], argv[i]);
    storm.client = client_of(storm.loop, WIDE, argv[1], streams + 16);
    storm.narrow = client_of(storm.loop, NARROW, argv[1], streams + 16);
    storm.aborts = number(argv[4]);
    storm.until_us = clock_now_us() + number(argv[3]) * UINT64_C(1000000);
    rage(&storm, streams);
    http_client_free(storm.client);
    http_client_free(storm.narrow);
    loop_free(storm.loop);
    show(&storm);
    for (size_t i = 0; i < storm.model_count; i++)
        for (size_t k = 0; k < 2 * EVENTS_MAX; k++)
            free(storm.models[i].told[k / EVENTS_MAX].events[k % EVENTS_MAX]);
    for (size_t i = 0; i < storm.key_count; i++)
        free(storm.keys[i]);
    return storm.wrongs > 0;
}
