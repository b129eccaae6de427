#pragma once

/* The packets of SFTP: their length (4, of what follows), their type (1), and, of all but the
 * first of each side, the number of the request (4) that they are or answer. Numbers are big-
 * endian, a string is its length (4) and its bytes. */

#include "backup/sftp.h"

#include "base/buf.h"
#include "sys/proc.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

#define SFTP_PACKET_MAX ((size_t)(256 * KIB)) /* as OpenSSH has it, in both directions */
#define SFTP_PIECE ((size_t)(32 * KIB))       /* all servers take so much */

enum packet {
    PACKET_INIT = 1,
    PACKET_VERSION = 2,
    PACKET_OPEN = 3,
    PACKET_CLOSE = 4,
    PACKET_READ = 5,
    PACKET_WRITE = 6,
    PACKET_FSTAT = 8,
    PACKET_OPENDIR = 11,
    PACKET_READDIR = 12,
    PACKET_REMOVE = 13,
    PACKET_MKDIR = 14,
    PACKET_STAT = 17,
    PACKET_RENAME = 18,
    PACKET_STATUS = 101,
    PACKET_HANDLE = 102,
    PACKET_DATA = 103,
    PACKET_NAME = 104,
    PACKET_ATTRS = 105,
    PACKET_EXTENDED = 200,
    PACKET_EXTENDED_REPLY = 201,
};

struct sftp {
    int in, out, words;
    struct proc proc; /* of ssh; pid 0: none */
    pthread_mutex_t lock;
    bool is_lost, can_replace, can_sync, tells_room;
    int silence_ms; /* after which it is lost */
    uint32_t last;  /* number of a request */
    struct buf sent, said;
    uint8_t packet[SFTP_PACKET_MAX];
    uint8_t piece[SFTP_PIECE];
};

/* What is left of a packet; `bad` once it was too short. */
struct rest {
    const uint8_t *at;
    size_t len;
    bool bad;
};

/* ---- what was heard ---- */

static inline const uint8_t *
take(struct rest *r, size_t len)
{
    const uint8_t *at = r->at;
    r->bad = r->bad || len > r->len;
    if (r->bad)
        return NULL;
    r->at += len;
    r->len -= len;
    return at;
}

static inline uint32_t
take_u32(struct rest *r)
{
    uint32_t n = 0;
    const uint8_t *at = take(r, sizeof(n));
    if (at)
        memcpy(&n, at, sizeof(n));
    return be32toh(n);
}

static inline uint64_t
take_u64(struct rest *r)
{
    uint64_t high = take_u32(r);
    return high << 32 | take_u32(r);
}

static inline struct rest
take_string(struct rest *r)
{
    size_t len = take_u32(r);
    const uint8_t *at = take(r, len);
    return (struct rest){at, at ? len : 0, !at};
}

/* ---- what is said ---- */

void sftp_begin(struct sftp *s, enum packet type);
void sftp_add_u32(struct sftp *s, uint32_t n);
void sftp_add_u64(struct sftp *s, uint64_t n);
void sftp_add_bytes(struct sftp *s, const void *bytes, size_t len);
void sftp_add_string(struct sftp *s, const char *text);
int sftp_send(struct sftp *s, struct err *reterr) must_check;

/* The type of the next packet, and what follows it, until the next is received. */
int sftp_receive(struct sftp *s, struct rest *ret, struct err *reterr) must_check;
/* Sends, and waits for the one answer: its type, and what follows the number. */
int sftp_ask(struct sftp *s, struct rest *ret, struct err *reterr) must_check;
/* What it says is none of the protocol: nothing more is said to it. */
int sftp_strange(struct sftp *s, struct err *reterr);

/* Ends the `ssh` that was started, if one was. */
void sftp_end_program(struct proc *proc);
