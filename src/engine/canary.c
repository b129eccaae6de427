#include "engine/canary.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "fmt/json.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

/* A long vector of an embedding model is 8,192 numbers, a hundred bytes each in the tree. */
#define TREE_MAX (4 * MIB)

static const char *const question = "ping";

/* ---- bodies ---- */

static void
add_user_message(struct json_writer *w)
{
    json_open_list(w, "messages");
    json_open_map(w, NULL);
    json_str(w, "role", "user");
    json_str(w, "content", question);
    json_close_map(w);
    json_close_list(w);
}

static void
add_one_token(struct json_writer *w)
{
    json_u64(w, "max_tokens", 1);
    json_u64(w, "temperature", 0);
}

static void
add_chat(struct json_writer *w)
{
    add_user_message(w);
    add_one_token(w);
}

static void
add_completion(struct json_writer *w)
{
    json_str(w, "prompt", question);
    add_one_token(w);
}

static void
add_input(struct json_writer *w)
{
    json_str(w, "input", question);
}

static void
add_rerank(struct json_writer *w)
{
    json_str(w, "query", question);
    json_open_list(w, "documents");
    json_str(w, NULL, question);
    json_close_list(w);
}

static void
add_score(struct json_writer *w)
{
    json_str(w, "text_1", question);
    json_str(w, "text_2", question);
}

/* 64 x 64 grey pixels as PNG: some models refuse pictures smaller than their patch of 28. */
static const char *const picture =
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAAAAACPAi4CAAAAKUlEQVR42u3MQREAAAwCIKMb3RD77SAA"
    "6VEEAoFAIBAIBAKBQCAQfA8G320AeXC6efoAAAAASUVORK5CYII=";

static void
add_vision(struct json_writer *w)
{
    json_open_list(w, "messages");
    json_open_map(w, NULL);
    json_str(w, "role", "user");
    json_open_list(w, "content");
    json_open_map(w, NULL);
    json_str(w, "type", "image_url");
    json_open_map(w, "image_url");
    json_str(w, "url", picture);
    json_close_map(w);
    json_close_map(w);
    json_open_map(w, NULL);
    json_str(w, "type", "text");
    json_str(w, "text", question);
    json_close_map(w);
    json_close_list(w);
    json_close_map(w);
    json_close_list(w);
    add_one_token(w);
}

/* ---- audio ---- */

#define BOUNDARY "citadel-canary-7d1c"
#define SAMPLES_PER_SECOND 16000
#define SILENCE_BYTES (SAMPLES_PER_SECOND / 2 * 2) /* half a second of 16 bits */

static void
add_le32(struct buf *out, uint32_t n)
{
    n = htole32(n);
    buf_add(out, &n, sizeof(n));
}

static void
add_le16(struct buf *out, uint16_t n)
{
    n = htole16(n);
    buf_add(out, &n, sizeof(n));
}

/* RIFF(4 + fmt + data); fmt: PCM, mono, rate, bytes a second, bytes a sample, bits. */
static void
add_wav(struct buf *out)
{
    static const char silence[SILENCE_BYTES];
    buf_add(out, "RIFF", 4);
    add_le32(out, 36 + SILENCE_BYTES);
    buf_add(out, "WAVEfmt ", 8);
    add_le32(out, 16);
    add_le16(out, 1);
    add_le16(out, 1);
    add_le32(out, SAMPLES_PER_SECOND);
    add_le32(out, SAMPLES_PER_SECOND * 2);
    add_le16(out, 2);
    add_le16(out, 16);
    buf_add(out, "data", 4);
    add_le32(out, SILENCE_BYTES);
    buf_add(out, silence, sizeof(silence));
}

static void
add_part(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n",
               name, value);
}

static void
write_form(const char *model, struct buf *out)
{
    add_part(out, "model", model);
    add_part(out, "response_format", "json");
    buf_add_str(out, "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"file\"; "
                     "filename=\"silence.wav\"\r\nContent-Type: audio/wav\r\n\r\n");
    add_wav(out);
    buf_add_str(out, "\r\n--" BOUNDARY "--\r\n");
}

/* ---- requests ---- */

static const struct canary {
    const char *path;
    void (*add)(struct json_writer *w); /* NULL: a form */
    const char *proof;                  /* the member of the answer that holds the work */
} canaries[ENGINE_KIND_COUNT] = {
    [ENGINE_KIND_CHAT] = {"/v1/chat/completions", add_chat, "choices"},
    [ENGINE_KIND_COMPLETION] = {"/v1/completions", add_completion, "choices"},
    [ENGINE_KIND_EMBEDDING] = {"/v1/embeddings", add_input, "data"},
    [ENGINE_KIND_RERANK] = {"/v1/rerank", add_rerank, "results"},
    [ENGINE_KIND_SCORE] = {"/score", add_score, "data"},
    [ENGINE_KIND_CLASSIFY] = {"/classify", add_input, "data"},
    [ENGINE_KIND_TRANSCRIPTION] = {"/v1/audio/transcriptions", NULL, "text"},
    [ENGINE_KIND_VISION] = {"/v1/chat/completions", add_vision, "choices"},
};

enum engine_kind
engine_canary_attempt(enum engine_kind kind, size_t attempt)
{
    if (kind != ENGINE_KIND_AUTO)
        return attempt == 0 ? kind : ENGINE_KIND_COUNT;
    /* A model that sees answers plain chat as well, so vision is never needed to find it. */
    size_t next = ENGINE_KIND_AUTO + 1 + attempt;
    return next < ENGINE_KIND_VISION ? (enum engine_kind)next : ENGINE_KIND_COUNT;
}

int
engine_canary_make(enum engine_kind kind, const char *model, struct buf *body,
                   struct engine_request *ret_request)
{
    const struct canary *canary = &canaries[kind];
    struct json_writer w;
    assert(canary->path);
    buf_clear(body);
    if (canary->add) {
        json_init(&w, body, false);
        json_open_map(&w, NULL);
        json_str(&w, "model", model);
        canary->add(&w);
        json_close_map(&w);
    } else {
        write_form(model, body);
    }
    *ret_request = (struct engine_request){
        .method = "POST",
        .path = canary->path,
        .content_type =
            canary->add ? "application/json" : "multipart/form-data; boundary=" BOUNDARY,
        .body = body->data,
        .body_len = body->len,
    };
    return buf_error(body);
}

/* ---- answers ---- */

/* What an error body says. The forms: {"error":{"message":M}}, {"error":M}, {"message":M},
 * {"detail":M}, and plain text. */
static const char *
find_message(const struct value *answer)
{
    static const char *const names[] = {"message", "error", "detail"};
    const struct value *error = value_get(answer, "error");
    const char *message = value_str(value_get(error, "message"));
    for (size_t i = 0; !message && i < ARRAY_SIZE(names); i++)
        message = value_str(value_get(answer, names[i]));
    return message;
}

static bool
says(const char *message, const char *part)
{
    return message && strcasestr(message, part);
}

static enum engine_answer
name_error(int status, const char *message)
{
    if (status == 401 || status == 403)
        return ENGINE_KEY_REFUSED;
    if (status == 408 || status == 429 || status == 503)
        return ENGINE_BUSY;
    if (says(message, "does not exist") || says(message, "not found or vLLM engine is sleeping"))
        return ENGINE_NO_MODEL;
    if (status == 404 || status == 405 || status == 501 || says(message, "not support") ||
        says(message, "chat template"))
        return ENGINE_OTHER_KIND;
    return ENGINE_BROKEN;
}

static enum engine_answer
tell(enum engine_answer answer, enum engine_kind kind, const char *model, int status,
     const char *message, struct err *reterr)
{
    const char *what = engine_kind_what(kind);
    message = message ? message : "it does not say why";
    switch (answer) {
    case ENGINE_ALIVE:
        break;
    case ENGINE_OTHER_KIND:
        (void)err_set(reterr, ERR_ENGINE_CONFIG, "'%s' does not answer %s: %s", model, what,
                      message);
        err_fix(reterr, "set its kind to what it answers");
        break;
    case ENGINE_NO_MODEL:
        (void)err_set(reterr, ERR_ENGINE_CONFIG, "the engine does not know '%s': %s", model,
                      message);
        err_fix(reterr, "set served_names to the name that the engine's command gives the model");
        break;
    case ENGINE_BUSY:
        (void)err_set(reterr, ERR_ENGINE_NOT_NOW, "'%s' is busy (%d): %s", model, status, message);
        break;
    case ENGINE_KEY_REFUSED:
        (void)err_set(reterr, ERR_ENGINE_CONFIG, "the engine of '%s' refused the key (%d): %s",
                      model, status, message);
        err_fix(reterr, "take the key out of its command, extra_args and extra_env");
        break;
    case ENGINE_BROKEN:
        (void)err_set(reterr, ERR_ENGINE_CRASHED, "'%s' answered %s with %d: %s", model, what,
                      status, message);
        break;
    }
    return answer;
}

/* Whether the work is there: a list with something in it, or a text, were it empty (of silence). */
static bool
is_proof(const struct value *v)
{
    return v && (v->type == VALUE_STRING || (v->type == VALUE_LIST && v->count > 0));
}

enum engine_answer
engine_canary_judge(enum engine_kind kind, const char *model, int status, const char *body,
                    size_t len, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct value *answer = NULL;
    char plain[120];
    arena_init(&arena, TREE_MAX);
    (void)snprintf(plain, sizeof(plain), "%.*s", (int)MIN(len, sizeof(plain) - 1), body);
    int r = json_parse(&arena, body, len, JSON_PYTHON, &answer, NULL, NULL);
    const char *message = r == 0 ? find_message(answer) : *plain ? plain : NULL;
    if (status == 200 && r == 0 && is_proof(value_get(answer, canaries[kind].proof)))
        return ENGINE_ALIVE;
    if (status == 200)
        return tell(ENGINE_BROKEN, kind, model, status,
                    message ? message : "there is nothing in the answer", reterr);
    return tell(name_error(status, message), kind, model, status, message, reterr);
}
