#pragma once

/* What was asked and answered, word by word: for as long as gateway.log_prompts wants it,
 * and nowhere else. A line of JSON for each request whose body came whole, in a file that
 * the gateway alone may read:
 *
 *     {"id", "body", "answer", "cut", and what the ledger has of it}
 *
 * body and answer are texts, as the client sent and got them; null where they are none (sound,
 * pictures) or there was none. cut: one of them is longer than TRANSCRIPT_TEXT_MAX, and ends there.
 *
 * Nobody waits for it. Texts are kept in memory, so many bytes of all requests
 * together, and written by a thread (sys/line_file.h); what finds no room there or on
 * the disk is lost, and counted. */

#include "base/err.h"

struct body;
struct ledger_row;
struct loop;
struct transcript;
struct transcripts;

#define TRANSCRIPT_TEXT_MAX (256 * KIB)
#define TRANSCRIPT_HELD_MAX (64 * MIB)
#define TRANSCRIPT_FILE_BYTES (256 * MIB)

/* Switched off at first. */
struct transcripts *transcripts_new(struct loop *loop, const char *path) must_check;
/* Off: what is under way, or not written yet, is forgotten. */
void transcripts_switch(struct transcripts *t, bool on);
bool transcripts_is_on(const struct transcripts *t);
/* Each transcript has ended. What waits is written yet, by a work; with its end they go. */
void transcripts_end(struct transcripts *t);

const char *transcripts_path(const struct transcripts *t);
uint64_t transcripts_lost(const struct transcripts *t);
int transcripts_error(const struct transcripts *t); /* errno of the last line; 0: it was written */

/* Of a request; body: it is whole; NULL: it is no text. Returns NULL where it is not wanted. */
struct transcript *transcript_begin(struct transcripts *t, const struct body *body) must_check;
void transcript_hear(struct transcript *s, const char *bytes, size_t len); /* more of its answer */
/* The request is over; so is the transcript. NULL is none. */
void transcript_end(struct transcript *s, const struct ledger_row *row, const char *id);
