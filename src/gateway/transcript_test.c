#include "gateway/spool.h"
#include "gateway/transcript.h"

#include "base/buf.h"
#include "base/mem.h"
#include "fmt/json.h"
#include "gateway/body.h"
#include "gateway/ledger.h"
#include "loop_rig.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct ledger_row row = {.status = 200, .model = "one", .key = 3, .key_name = "alice"};

struct keeping {
    struct loop_rig turn;
    struct transcripts *all;
    char *path;
    struct buf file;
};

static void
close_keeping(struct keeping *k)
{
    transcripts_end(k->all);
    loop_rig_close(&k->turn); /* when they have gone */
    free(k->path);
    buf_finish(&k->file);
}

#define KEEPING(k)                                    \
    _cleanup_(close_keeping) struct keeping k = {0};  \
    k.path = mem_printf("%s/prompts.log", tap_dir()); \
    k.file = (struct buf)BUF_INIT(64 * MIB);          \
    REQUIRE(loop_rig_open(&k.turn));                  \
    k.all = transcripts_new(k.turn.loop, k.path);     \
    transcripts_switch(k.all, true)

static size_t
count_lines(struct keeping *k)
{
    size_t lines = 0;
    buf_clear(&k->file);
    if (file_read_if_there(k->path, &k->file, NULL) <= 0)
        return 0;
    for (const char *p = k->file.data; (p = strchr(p, '\n')); p++)
        lines++;
    return lines;
}

static struct transcript *
begin(struct keeping *k, const char *text)
{
    struct body body;
    struct spool *spool = spool_new(k->turn.loop, SPOOL_PATIENCE_US);
    body_init(&body, spool, tap_dir(), 4 * MIB);
    CHECK_EQ(body_add(&body, text, strlen(text), NULL), 0);
    struct transcript *s = transcript_begin(k->all, &body);
    body_finish(&body);
    spool_close(spool);
    return s;
}

static void
say(struct keeping *k, const char *body, const char *answer)
{
    struct transcript *s = body ? begin(k, body) : transcript_begin(k->all, NULL);
    if (s && answer)
        transcript_hear(s, answer, strlen(answer));
    transcript_end(s, &row, "mine");
}

TEST(transcript_is_a_line_of_json_in_a_file_for_its_owner_alone)
{
    KEEPING(k);
    _cleanup_arena_ struct arena arena;
    struct value *line;
    struct stat st;
    arena_init(&arena, MIB);
    say(&k, "{\"a\":\n\"b\"}", "data: \xff\n\n");
    REQUIRE(LOOP_WAIT(&k.turn, count_lines(&k) == 1));
    CHECK(stat(k.path, &st) == 0 && (st.st_mode & 0777) == 0600);
    REQUIRE(json_parse(&arena, k.file.data, k.file.len, JSON_STRICT, &line, NULL, NULL) == 0);
    CHECK_STR(value_get(line, "id")->text, "mine");
    CHECK_STR(value_get(line, "key")->text, "alice");
    CHECK_STR(value_get(line, "body")->text, "{\"a\":\n\"b\"}");
    CHECK_STR(value_get(line, "answer")->text, "data: \xef\xbf\xbd\n\n");
    say(&k, NULL, NULL);
    REQUIRE(LOOP_WAIT(&k.turn, count_lines(&k) == 2));
    CHECK(strstr(k.file.data, "\"body\":null,\"answer\":null,\"cut\":false"));
    CHECK_EQ(transcripts_lost(k.all), 0);
}

TEST(transcript_of_a_file_that_others_may_read_takes_that_from_them)
{
    KEEPING(k);
    struct stat st;
    REQUIRE(file_write(k.path, "", 0, 0644, NULL) == 0);
    say(&k, "a", "b");
    REQUIRE(LOOP_WAIT(&k.turn, count_lines(&k) == 1));
    CHECK(stat(k.path, &st) == 0 && (st.st_mode & 0777) == 0600);
}

TEST(transcript_is_none_while_it_is_off)
{
    KEEPING(k);
    struct transcript *s = begin(&k, "a");
    say(&k, "waits", "to be written");
    transcripts_switch(k.all, false);
    transcript_hear(s, "b", 1);
    transcript_end(s, &row, "mine");
    CHECK(!begin(&k, "a"));
    CHECK(!transcript_begin(NULL, NULL));
    transcripts_switch(k.all, true);
    say(&k, "now", "again");
    REQUIRE(LOOP_WAIT(&k.turn, count_lines(&k) > 0));
    CHECK_EQ(count_lines(&k), 1);
    CHECK(strstr(k.file.data, "again"));
    CHECK_EQ(transcripts_lost(k.all), 0);
}

TEST(transcripts_that_wait_are_written_at_the_end)
{
    KEEPING(k);
    for (int i = 0; i < 3; i++)
        say(&k, "a", "b");
    transcripts_end(take_ptr(k.all));
    CHECK(loop_drain(k.turn.loop, LOOP_PATIENCE_US));
    CHECK_EQ(count_lines(&k), 3);
}

TEST(transcript_ends_where_a_text_is_too_long)
{
    KEEPING(k);
    _cleanup_free_ char *text = mem_alloc(TRANSCRIPT_TEXT_MAX + 2);
    memset(text, 1, TRANSCRIPT_TEXT_MAX + 1); /* the longest there is in JSON */
    say(&k, text, text);
    REQUIRE(LOOP_WAIT(&k.turn, count_lines(&k) == 1));
    CHECK(k.file.len > 2 * 6 * TRANSCRIPT_TEXT_MAX && k.file.len < 13 * TRANSCRIPT_TEXT_MAX);
    CHECK(strstr(k.file.data, "\"cut\":true}\n"));
}

TEST(transcript_of_a_body_that_is_a_file_has_its_beginning)
{
    KEEPING(k);
    _cleanup_free_ char *text = mem_alloc(2 * BODY_MEMORY_MAX + 1);
    memset(text, 'a', 2 * BODY_MEMORY_MAX);
    say(&k, text, "b");
    REQUIRE(LOOP_WAIT(&k.turn, count_lines(&k) == 1));
    CHECK(k.file.len > TRANSCRIPT_TEXT_MAX && k.file.len < TRANSCRIPT_TEXT_MAX + 4 * KIB);
    CHECK(strstr(k.file.data, "aaa\",\"answer\":\"b\",\"cut\":true}\n"));
}

TEST(transcripts_have_a_ceiling_together)
{
    KEEPING(k);
    enum { FIT = TRANSCRIPT_HELD_MAX / TRANSCRIPT_TEXT_MAX };
    static struct transcript *held[FIT + 2];
    _cleanup_free_ char *text = mem_alloc(TRANSCRIPT_TEXT_MAX + 1);
    memset(text, 'a', TRANSCRIPT_TEXT_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(held); i++)
        held[i] = begin(&k, text);
    for (size_t i = ARRAY_SIZE(held); i-- > 0;)
        transcript_end(held[i], &row, "mine");
    CHECK_EQ(transcripts_lost(k.all), 2);
    transcripts_switch(k.all, false); /* the rest need not be written here */
}

TEST(transcripts_that_cannot_be_written_are_counted)
{
    KEEPING(k);
    REQUIRE(mkdir(k.path, 0700) == 0);
    say(&k, "a", "b");
    REQUIRE(LOOP_WAIT(&k.turn, transcripts_lost(k.all) == 1));
    CHECK_EQ(transcripts_error(k.all), EISDIR);
    REQUIRE(rmdir(k.path) == 0);
    say(&k, "a", "b");
    REQUIRE(LOOP_WAIT(&k.turn, count_lines(&k) == 1));
    CHECK_EQ(transcripts_error(k.all), 0);
}
