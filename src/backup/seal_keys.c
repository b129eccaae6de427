/* A file of keys; all numbers are little-endian:
 *
 *   16 bytes   "citadel key 1\n", and two zeros
 *   1          what it opens: 1 all; 2 what only adds
 *   1          its lock: 1 a passphrase, 2 a recovery key
 *   2          zero
 *   4          passes of Argon2id; 0 for a recovery key
 *   8          bytes of memory of Argon2id; likewise
 *   16         salt
 *   24         nonce
 *   32         label, filled with zeros
 *   80         64 bytes, encrypted: the root and 32 zeros; or the public key and that to write
 *   4          CRC-32C of the 184 bytes before
 *
 * The CRC tells damage from a wrong passphrase: where it fits and the rest does not open,
 * nothing was lost. */

#include "backup/bytes_int.h"
#include "backup/seal_int.h"
#include "base/crc32c.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "citadel key 1\n\0" /* 16 bytes */
#define AT_OPENS 16
#define AT_LOCK 17
#define AT_PASSES 20
#define AT_MEMORY 24
#define AT_SALT 32
#define AT_NONCE 48
#define AT_LABEL 72
#define AT_WRAPPED 104
#define AT_CRC (SEAL_KEY_BYTES - 4)
#define WRAPPED_BYTES (2 * SEAL_SECRET_BYTES)

enum { OPENS_ALL = 1, OPENS_ADDING = 2 };
enum { LOCK_PASSPHRASE = 1, LOCK_RECOVERY = 2 };

void
seal_secret_wipe(struct seal_secret *s)
{
    explicit_bzero(s, sizeof(*s));
}

void
seal_derive(const struct sodium *sodium, const struct seal_secret *key, const char *text,
            const void *more, size_t len, struct seal_secret *ret)
{
    uint8_t all[256];
    size_t text_len = strlen(text);
    assert(text_len + len <= sizeof(all));
    memcpy(all, text, text_len);
    if (len)
        memcpy(all + text_len, more, len);
    int r = sodium->crypto_generichash(ret->bytes, sizeof(ret->bytes), all, text_len + len,
                                       key->bytes, sizeof(key->bytes));
    assert(r == 0);
    explicit_bzero(all, sizeof(all));
}

/* ---- keys ---- */

static struct seal_keys *
keys_of_writing(const struct sodium *sodium, const uint8_t public[SEAL_SECRET_BYTES],
                const struct seal_secret *write)
{
    struct seal_keys *k = mem_new(struct seal_keys);
    k->sodium = sodium;
    memcpy(k->public, public, SEAL_SECRET_BYTES);
    k->write = *write;
    seal_derive(sodium, write, "citadel names", NULL, 0, &k->names);
    return k;
}

static struct seal_keys *
keys_of_root(const struct sodium *sodium, const struct seal_secret *root)
{
    _cleanup_seal_secret_ struct seal_secret seed, write, private;
    uint8_t public[SEAL_SECRET_BYTES];
    seal_derive(sodium, root, "citadel write", NULL, 0, &write);
    seal_derive(sodium, root, "citadel read", NULL, 0, &seed);
    int r = sodium->crypto_box_seed_keypair(public, private.bytes, seed.bytes);
    assert(r == 0);
    struct seal_keys *k = keys_of_writing(sodium, public, &write);
    k->can_read = true;
    k->root = *root;
    k->private = private;
    return k;
}

int
seal_keys_make(struct seal_keys **ret, struct err *reterr)
{
    const struct sodium *sodium = sodium_load(reterr);
    if (!sodium)
        return -ENOSYS;
    _cleanup_seal_secret_ struct seal_secret root;
    sodium->randombytes_buf(root.bytes, sizeof(root.bytes));
    *ret = keys_of_root(sodium, &root);
    return 0;
}

void
seal_keys_free(struct seal_keys *k)
{
    if (k)
        explicit_bzero(k, sizeof(*k));
    free(k);
}

void
seal_keys_freep(struct seal_keys **k)
{
    seal_keys_free(*k);
}

bool
seal_keys_can_read(const struct seal_keys *k)
{
    return k->can_read;
}

void
seal_keys_forget_reading(struct seal_keys *k)
{
    k->can_read = false;
    seal_secret_wipe(&k->root);
    seal_secret_wipe(&k->private);
}

void
seal_name(const struct seal_keys *k, const uint8_t sha256[HASH_SHA256_BYTES],
          uint8_t ret_name[HASH_SHA256_BYTES])
{
    struct seal_secret name;
    seal_derive(k->sodium, &k->names, "", sha256, HASH_SHA256_BYTES, &name);
    memcpy(ret_name, name.bytes, HASH_SHA256_BYTES);
}

/* ---- locks ---- */

int
seal_recovery_make(struct secret *ret, struct err *reterr)
{
    const struct sodium *sodium = sodium_load(reterr);
    if (!sodium)
        return -ENOSYS;
    _cleanup_seal_secret_ struct seal_secret key;
    sodium->randombytes_buf(key.bytes, sizeof(key.bytes));
    seal_recovery_print(&key, ret);
    return 0;
}

static int
stretch(const struct sodium *sodium, const uint8_t *file, const struct secret *passphrase,
        struct seal_secret *ret, struct err *reterr)
{
    const char *text = secret_reveal(passphrase);
    uint64_t bytes = get_u64(file + AT_MEMORY);
    if (sodium->crypto_pwhash(ret->bytes, sizeof(ret->bytes), text, strlen(text), file + AT_SALT,
                              get_u32(file + AT_PASSES), (size_t)bytes,
                              crypto_pwhash_ALG_ARGON2ID13) == 0)
        return 0;
    return err_set_errno(reterr, ENOMEM, "a passphrase takes %llu bytes of memory to be tried",
                         (unsigned long long)bytes);
}

/* The key that a lock comes to. SEAL_WRONG_KEY where one of the other kind was given. */
static int
find_lock_key(const struct sodium *sodium, const uint8_t *file, const struct secret *with,
              struct seal_secret *ret, struct err *reterr)
{
    _cleanup_seal_secret_ struct seal_secret recovery;
    int is_recovery = seal_recovery_parse(with, &recovery, reterr);
    if (is_recovery < 0)
        return is_recovery;
    if (is_recovery != (file[AT_LOCK] == LOCK_RECOVERY))
        return err_set(reterr, ERR_SEAL_WRONG_KEY, "key '%.*s' is locked with %s, not with %s",
                       SEAL_LABEL_MAX, (const char *)file + AT_LABEL,
                       is_recovery ? "a passphrase" : "a recovery key",
                       is_recovery ? "a recovery key" : "a passphrase");
    if (!is_recovery)
        return stretch(sodium, file, with, ret, reterr);
    seal_derive(sodium, &recovery, "citadel lock", file + AT_SALT, AT_NONCE - AT_SALT, ret);
    return 0;
}

static void
print_head(const struct sodium *sodium, const struct seal_lock *lock, uint8_t *file)
{
    memset(file, 0, SEAL_KEY_BYTES);
    memcpy(file, MAGIC, AT_OPENS);
    file[AT_OPENS] = lock->only_adds ? OPENS_ADDING : OPENS_ALL;
    file[AT_LOCK] = lock->is_passphrase ? LOCK_PASSPHRASE : LOCK_RECOVERY;
    put_u32(file + AT_PASSES, lock->is_passphrase ? lock->cost.passes : 0);
    put_u64(file + AT_MEMORY, lock->is_passphrase ? lock->cost.bytes : 0);
    sodium->randombytes_buf(file + AT_SALT, AT_LABEL - AT_SALT);
    memcpy(file + AT_LABEL, lock->label, strnlen(lock->label, SEAL_LABEL_MAX - 1));
}

static void
wrap(const struct seal_keys *k, bool only_adds, const struct seal_secret *key, uint8_t *file)
{
    uint8_t both[WRAPPED_BYTES] = {0};
    memcpy(both, only_adds ? k->public : k->root.bytes, SEAL_SECRET_BYTES);
    if (only_adds)
        memcpy(both + SEAL_SECRET_BYTES, k->write.bytes, SEAL_SECRET_BYTES);
    int r = k->sodium->crypto_aead_xchacha20poly1305_ietf_encrypt(
        file + AT_WRAPPED, NULL, both, sizeof(both), file, AT_WRAPPED, NULL, file + AT_NONCE,
        key->bytes);
    assert(r == 0);
    explicit_bzero(both, sizeof(both));
    put_u32(file + AT_CRC, crc32c(0, file, AT_CRC));
}

static bool
is_bearable(const struct seal_cost *cost)
{
    return cost->passes >= crypto_pwhash_argon2id_OPSLIMIT_MIN &&
           cost->passes <= SEAL_COST_MAX.passes &&
           cost->bytes >= crypto_pwhash_argon2id_MEMLIMIT_MIN && cost->bytes <= SEAL_COST_MAX.bytes;
}

int
seal_keys_lock(const struct seal_keys *k, struct seal_lock *lock, const struct secret *with,
               uint8_t ret_file[SEAL_KEY_BYTES], struct err *reterr)
{
    _cleanup_seal_secret_ struct seal_secret key;
    int is_recovery = seal_recovery_parse(with, &key, reterr);
    if (is_recovery < 0)
        return is_recovery;
    lock->is_passphrase = !is_recovery;
    assert(is_recovery || is_bearable(&lock->cost));
    if (!lock->only_adds && !k->can_read) {
        int r =
            err_set(reterr, ERR_SEAL_ONLY_ADDS,
                    "key '%s' would read, and the key that is to make it only adds", lock->label);
        err_fix(reterr, "give a passphrase or the recovery key that reads");
        return r;
    }
    print_head(k->sodium, lock, ret_file);
    int r = find_lock_key(k->sodium, ret_file, with, &key, reterr);
    if (r == 0)
        wrap(k, lock->only_adds, &key, ret_file);
    return r;
}

/* ---- unlocking ---- */

static bool
is_lock(const uint8_t *file, const struct seal_cost *cost)
{
    return memcmp(file, MAGIC, AT_OPENS) == 0 &&
           (file[AT_OPENS] == OPENS_ALL || file[AT_OPENS] == OPENS_ADDING) &&
           (file[AT_LOCK] == LOCK_RECOVERY || file[AT_LOCK] == LOCK_PASSPHRASE) &&
           file[AT_WRAPPED - 1] == '\0' && (file[AT_LOCK] == LOCK_RECOVERY || is_bearable(cost));
}

static int
read_lock(const uint8_t *file, size_t len, struct seal_lock *ret, struct err *reterr)
{
    if (len != SEAL_KEY_BYTES)
        return err_set(reterr, ERR_SEAL_DAMAGED, "a key has %zu bytes instead of %d", len,
                       SEAL_KEY_BYTES);
    if (get_u32(file + AT_CRC) != crc32c(0, file, AT_CRC))
        return err_set(reterr, ERR_SEAL_DAMAGED, "a key is not what was written: its CRC differs");
    struct seal_cost cost = {get_u32(file + AT_PASSES), get_u64(file + AT_MEMORY)};
    if (!is_lock(file, &cost))
        return err_set(
            reterr, ERR_SEAL_DAMAGED,
            "a key is of a kind that this release does not know, or asks for too much: %u "
            "passes over %llu bytes, where %u over %llu are the most",
            cost.passes, (unsigned long long)cost.bytes, SEAL_COST_MAX.passes,
            (unsigned long long)SEAL_COST_MAX.bytes);
    *ret = (struct seal_lock){.is_passphrase = file[AT_LOCK] == LOCK_PASSPHRASE,
                              .only_adds = file[AT_OPENS] == OPENS_ADDING,
                              .cost = cost};
    memcpy(ret->label, file + AT_LABEL, SEAL_LABEL_MAX);
    return 0;
}

int
seal_lock_read(const uint8_t *file, size_t len, struct seal_lock *ret, struct err *reterr)
{
    int r = read_lock(file, len, ret, reterr);
    if (r < 0)
        err_fix(reterr, "use another key of the repository, or bring it back from a copy");
    return r;
}

static struct seal_keys *
unwrap(const struct sodium *sodium, const uint8_t *file, const struct seal_secret *key)
{
    struct seal_secret both[2];
    struct seal_keys *k = NULL;
    _Static_assert(sizeof(both) == WRAPPED_BYTES, "two secrets are wrapped");
    if (sodium->crypto_aead_xchacha20poly1305_ietf_decrypt(
            both[0].bytes, NULL, NULL, file + AT_WRAPPED, AT_CRC - AT_WRAPPED, file, AT_WRAPPED,
            file + AT_NONCE, key->bytes) == 0)
        k = file[AT_OPENS] == OPENS_ALL ? keys_of_root(sodium, &both[0])
                                        : keys_of_writing(sodium, both[0].bytes, &both[1]);
    explicit_bzero(both, sizeof(both));
    return k;
}

int
seal_keys_unlock(const uint8_t *file, size_t len, const struct secret *with, struct seal_keys **ret,
                 struct err *reterr)
{
    struct seal_lock lock;
    _cleanup_seal_secret_ struct seal_secret key;
    const struct sodium *sodium = sodium_load(reterr);
    int r = sodium ? seal_lock_read(file, len, &lock, reterr) : -ENOSYS;
    if (r == 0)
        r = find_lock_key(sodium, file, with, &key, reterr);
    if (r < 0)
        return r;
    *ret = unwrap(sodium, file, &key);
    if (*ret)
        return 0;
    r = err_set(reterr, ERR_SEAL_WRONG_KEY, "this %s does not open key '%s', which is whole",
                lock.is_passphrase ? "passphrase" : "recovery key", lock.label);
    err_fix(reterr, "give the one that it was made with, or the repository's recovery key");
    return r;
}
