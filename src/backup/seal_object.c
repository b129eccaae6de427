/* A sealed object; all numbers are little-endian:
 *
 *   16 bytes   "citadel seal 1\n", and a zero
 *   1          who can read it: 1 keys that read, 2 those that only add too
 *   3          zero
 *   80         32 bytes of chance, in a box that the private key opens; or these themselves and 48 zeros
 *   24         zero
 *   4          CRC-32C of the 124 bytes before
 *   pieces     65,536 bytes of the object each, the last fewer, and 16 that prove them. There is at
 *              least one.
 *
 * The object's key is made of the key to write, the head and the chance: so who has only seen
 * the repository can neither read an object nor make one. The nonce of a piece is its number
 * (8), 1 if it is the last (1), and 3 zeros: pieces cannot be exchanged, left out, or cut off at
 * the end. */

#include "backup/bytes_int.h"
#include "backup/seal_int.h"
#include "base/crc32c.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "citadel seal 1\n" /* with its zero: 16 bytes */
#define AT_WHOM 16
#define AT_BOX 20
#define AT_CRC 124
#define HEAD_BYTES 128
#define BOX_BYTES (crypto_box_SEALBYTES + SEAL_SECRET_BYTES)
#define PIECE_BYTES ((size_t)65536)
#define PROOF_BYTES ((size_t)16)
#define SEALED_BYTES (PIECE_BYTES + PROOF_BYTES)
#define NONCE_BYTES 12

static uint64_t
count_pieces(uint64_t bytes, uint64_t piece_bytes)
{
    return bytes ? (bytes - 1) / piece_bytes + 1 : 1;
}

uint64_t
seal_sealed_bytes(uint64_t bytes)
{
    return HEAD_BYTES + bytes + PROOF_BYTES * count_pieces(bytes, PIECE_BYTES);
}

static void
make_nonce(uint64_t number, bool is_last, uint8_t ret[NONCE_BYTES])
{
    memset(ret, 0, NONCE_BYTES);
    put_u64(ret, number);
    ret[8] = is_last;
}

static void
find_object_key(const struct seal_keys *k, const uint8_t head[HEAD_BYTES],
                const struct seal_secret *chance, struct seal_secret *ret)
{
    uint8_t both[AT_CRC + SEAL_SECRET_BYTES];
    memcpy(both, head, AT_CRC);
    memcpy(both + AT_CRC, chance->bytes, SEAL_SECRET_BYTES);
    seal_derive(k->sodium, &k->write, "citadel object", both, sizeof(both), ret);
    explicit_bzero(both, sizeof(both));
}

/* ---- writing ---- */

struct seal_writer {
    const struct sodium *sodium;
    const struct flow_sink *sink;
    struct seal_secret key;
    uint64_t number;
    size_t len; /* of the piece so far */
    uint8_t piece[PIECE_BYTES];
    uint8_t sealed[SEALED_BYTES];
};

static void
make_head(const struct seal_keys *k, enum seal_for whom, struct seal_secret *chance, uint8_t *head)
{
    memset(head, 0, HEAD_BYTES);
    memcpy(head, MAGIC, sizeof(MAGIC));
    head[AT_WHOM] = (uint8_t)whom;
    k->sodium->randombytes_buf(chance->bytes, sizeof(chance->bytes));
    if (whom == SEAL_FOR_ALL) {
        memcpy(head + AT_BOX, chance->bytes, sizeof(chance->bytes));
    } else {
        int r = k->sodium->crypto_box_seal(head + AT_BOX, chance->bytes, sizeof(chance->bytes),
                                           k->public);
        assert(r == 0);
    }
    put_u32(head + AT_CRC, crc32c(0, head, AT_CRC));
}

int
seal_begin(const struct seal_keys *k, enum seal_for whom, const struct flow_sink *sink,
           struct seal_writer **ret, struct err *reterr)
{
    uint8_t head[HEAD_BYTES];
    _cleanup_seal_secret_ struct seal_secret chance = {0};
    make_head(k, whom, &chance, head);
    int r = sink->write(sink->arg, head, sizeof(head), reterr);
    if (r < 0)
        return r;
    struct seal_writer *w = mem_new(struct seal_writer);
    w->sodium = k->sodium;
    w->sink = sink;
    find_object_key(k, head, &chance, &w->key);
    *ret = w;
    return 0;
}

static int
write_piece(struct seal_writer *w, bool is_last, struct err *reterr)
{
    uint8_t nonce[NONCE_BYTES];
    make_nonce(w->number++, is_last, nonce);
    int r = w->sodium->crypto_aead_chacha20poly1305_ietf_encrypt(
        w->sealed, NULL, w->piece, w->len, NULL, 0, NULL, nonce, w->key.bytes);
    assert(r == 0);
    size_t len = w->len + PROOF_BYTES;
    w->len = 0;
    return w->sink->write(w->sink->arg, w->sealed, len, reterr);
}

int
seal_write(struct seal_writer *w, const void *bytes, size_t len, struct err *reterr)
{
    const uint8_t *from = bytes;
    int r = 0;
    while (len && r == 0) {
        if (w->len == PIECE_BYTES) /* and something follows: it was not the last */
            r = write_piece(w, false, reterr);
        size_t n = MIN(len, PIECE_BYTES - w->len);
        memcpy(w->piece + w->len, from, n);
        w->len += n;
        from += n;
        len -= n;
    }
    return r;
}

int
seal_finish(struct seal_writer *w, struct err *reterr)
{
    return write_piece(w, true, reterr);
}

void
seal_writer_free(struct seal_writer *w)
{
    if (w)
        explicit_bzero(w, sizeof(*w));
    free(w);
}

/* ---- reading ---- */

struct seal_reader {
    const struct sodium *sodium;
    struct flow_source source;
    struct seal_secret key;
    uint64_t bytes, pieces;
    uint64_t last;   /* of the pieces; UINT64_MAX: not there */
    uint64_t number; /* of the piece that is there; UINT64_MAX: none */
    uint8_t piece[PIECE_BYTES];
    uint8_t sealed[SEALED_BYTES];
};

static void
fix_damage(struct err *reterr)
{
    err_fix(reterr, "bring it back from a copy of the repository");
}

/* 1: for readers; 2: for all. */
static int
check_head(const uint8_t head[HEAD_BYTES], uint64_t sealed_bytes, struct err *reterr)
{
    uint64_t last = (sealed_bytes - HEAD_BYTES) % SEALED_BYTES;
    bool is_only = sealed_bytes - HEAD_BYTES < SEALED_BYTES;
    if (get_u32(head + AT_CRC) != crc32c(0, head, AT_CRC) ||
        memcmp(head, MAGIC, sizeof(MAGIC)) != 0)
        return err_set(reterr, ERR_SEAL_DAMAGED,
                       "an encrypted object is not what was written: its head is damaged");
    if (head[AT_WHOM] != SEAL_FOR_READERS && head[AT_WHOM] != SEAL_FOR_ALL)
        return err_set(reterr, ERR_SEAL_DAMAGED,
                       "an encrypted object is of kind %u, which this release does not know",
                       head[AT_WHOM]);
    if (is_only ? last < PROOF_BYTES : last && last <= PROOF_BYTES)
        return err_set(reterr, ERR_SEAL_DAMAGED,
                       "an encrypted object has %llu bytes, which none can have: it was cut off",
                       (unsigned long long)sealed_bytes);
    return head[AT_WHOM];
}

static int
open_box(const struct seal_keys *k, const uint8_t head[HEAD_BYTES], struct seal_secret *ret,
         struct err *reterr)
{
    if (head[AT_WHOM] == SEAL_FOR_ALL) {
        memcpy(ret->bytes, head + AT_BOX, sizeof(ret->bytes));
        return 0;
    }
    if (!k->can_read) {
        int r = err_set(reterr, ERR_SEAL_ONLY_ADDS, "this key only adds to the repository");
        err_fix(reterr, "give a passphrase or the recovery key that reads");
        return r;
    }
    if (k->sodium->crypto_box_seal_open(ret->bytes, head + AT_BOX, BOX_BYTES, k->public,
                                        k->private.bytes) == 0)
        return 0;
    int r = err_set(reterr, ERR_SEAL_WRONG_KEY,
                    "an encrypted object is whole, and sealed for another repository");
    err_fix(reterr, "give a key of that repository");
    return r;
}

/* As much as the head tells; pieces and bytes are for the caller to find. */
static int
open_reader(const struct seal_keys *k, const struct flow_source *source, bool is_draft,
            struct seal_reader **ret, struct err *reterr)
{
    uint8_t head[HEAD_BYTES];
    _cleanup_seal_secret_ struct seal_secret chance = {0};
    if (source->bytes < HEAD_BYTES + PROOF_BYTES) {
        int r = err_set(reterr, ERR_SEAL_DAMAGED,
                        "an encrypted object has %llu bytes, too few for any: it was cut off",
                        (unsigned long long)source->bytes);
        fix_damage(reterr);
        return r;
    }
    int r = source->read(source->arg, 0, head, sizeof(head));
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot read an encrypted object");
    r = check_head(head, is_draft ? HEAD_BYTES + SEALED_BYTES : source->bytes, reterr);
    if (r < 0)
        fix_damage(reterr);
    else
        r = open_box(k, head, &chance, reterr);
    if (r < 0)
        return r;
    struct seal_reader *reader = mem_new(struct seal_reader);
    reader->sodium = k->sodium;
    reader->source = *source;
    reader->number = UINT64_MAX;
    find_object_key(k, head, &chance, &reader->key);
    *ret = reader;
    return 0;
}

int
seal_open(const struct seal_keys *k, const struct flow_source *source, struct seal_reader **ret,
          struct err *reterr)
{
    int r = open_reader(k, source, false, ret, reterr);
    if (r < 0)
        return r;
    struct seal_reader *reader = *ret;
    reader->pieces = count_pieces(source->bytes - HEAD_BYTES, SEALED_BYTES);
    reader->last = reader->pieces - 1;
    reader->bytes = source->bytes - HEAD_BYTES - PROOF_BYTES * reader->pieces;
    return 0;
}

int
seal_open_draft(const struct seal_keys *k, const struct flow_source *source,
                struct seal_reader **ret, struct err *reterr)
{
    int r = open_reader(k, source, true, ret, reterr);
    if (r < 0)
        return r;
    (*ret)->pieces = (source->bytes - HEAD_BYTES) / SEALED_BYTES;
    (*ret)->last = UINT64_MAX;
    (*ret)->bytes = PIECE_BYTES * (*ret)->pieces;
    return 0;
}

uint64_t
seal_bytes(const struct seal_reader *r)
{
    return r->bytes;
}

static int
fetch_piece(struct seal_reader *r, uint64_t number, struct err *reterr)
{
    uint8_t nonce[NONCE_BYTES];
    uint64_t at = HEAD_BYTES + number * SEALED_BYTES;
    size_t len = (size_t)MIN(SEALED_BYTES, r->source.bytes - at);
    if (number == r->number)
        return 0;
    r->number = UINT64_MAX;
    int k = r->source.read(r->source.arg, at, r->sealed, len);
    if (k < 0)
        return err_set_errno(reterr, -k, "cannot read an encrypted object at byte %llu",
                             (unsigned long long)at);
    make_nonce(number, number == r->last, nonce);
    if (r->sodium->crypto_aead_chacha20poly1305_ietf_decrypt(r->piece, NULL, NULL, r->sealed, len,
                                                             NULL, 0, nonce, r->key.bytes) != 0) {
        k = err_set(reterr, ERR_SEAL_DAMAGED,
                    "an encrypted object is not what was written, at bytes %llu to %llu",
                    (unsigned long long)at, (unsigned long long)(at + len - 1));
        fix_damage(reterr);
        return k;
    }
    r->number = number;
    return 0;
}

int
seal_read(struct seal_reader *r, uint64_t at, void *ret_bytes, size_t len, struct err *reterr)
{
    uint8_t *to = ret_bytes;
    if (at > r->bytes || len > r->bytes - at)
        return err_set(reterr, ERR_SEAL_DAMAGED,
                       "an encrypted object has %llu bytes, and those from %llu on are asked for",
                       (unsigned long long)r->bytes, (unsigned long long)at);
    /* An empty object is proved as well: nothing is asked of it, and its one piece is looked at. */
    int k = len || r->bytes || !r->pieces ? 0 : fetch_piece(r, 0, reterr);
    while (len && k == 0) {
        size_t in_piece = (size_t)(at % PIECE_BYTES), n = MIN(len, PIECE_BYTES - in_piece);
        k = fetch_piece(r, at / PIECE_BYTES, reterr);
        if (k < 0)
            break;
        memcpy(to, r->piece + in_piece, n);
        to += n;
        at += n;
        len -= n;
    }
    return k;
}

void
seal_reader_free(struct seal_reader *r)
{
    if (r)
        explicit_bzero(r, sizeof(*r));
    free(r);
}
