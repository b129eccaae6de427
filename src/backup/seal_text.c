/* Recovery keys as people write them: 52 letters of five bits each for 32 bytes, the last four
 * bits zero, and four letters of the first 20 bits of the bytes' CRC-32C, in groups of four.
 * Letters that look like others mean these. */

#include "backup/seal_int.h"
#include "base/crc32c.h"
#include "base/text.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define PREFIX "citadel-"
#define KEY_LETTERS 52
#define LETTERS 56
#define GROUP 4

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static unsigned
check_letter(const struct seal_secret *key, unsigned i)
{
    return crc32c(0, key->bytes, sizeof(key->bytes)) >> (27 - 5 * i) & 31;
}

/* Five bits from the n-th fifth on; behind the end are zeros. */
static unsigned
key_letter(const struct seal_secret *key, unsigned n)
{
    unsigned at = 5 * n / 8, next = at + 1 < SEAL_SECRET_BYTES ? key->bytes[at + 1] : 0;
    return (((unsigned)key->bytes[at] << 8 | next) >> (11 - 5 * n % 8)) & 31;
}

void
seal_recovery_print(const struct seal_secret *key, struct secret *ret)
{
    char text[sizeof(PREFIX) + LETTERS + LETTERS / GROUP] = PREFIX;
    char *to = text + strlen(PREFIX);
    for (unsigned i = 0; i < LETTERS; i++) {
        if (i && i % GROUP == 0)
            *to++ = '-';
        *to++ = alphabet[i < KEY_LETTERS ? key_letter(key, i) : check_letter(key, i - KEY_LETTERS)];
    }
    secret_set(ret, text);
    explicit_bzero(text, sizeof(text));
}

static int
value_of(char c)
{
    c = (char)toupper((unsigned char)c);
    c = c == 'O' ? '0' : c == 'I' || c == 'L' ? '1' : c;
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

static void
put_letter(struct seal_secret *key, unsigned n, unsigned value)
{
    unsigned at = 5 * n / 8, bits = value << (11 - 5 * n % 8);
    key->bytes[at] |= (uint8_t)(bits >> 8);
    if (at + 1 < SEAL_SECRET_BYTES)
        key->bytes[at + 1] |= (uint8_t)bits;
}

/* The letters, as values; how many there are, or the place of one that is none as -1 - place. */
static int
read_letters(const char *text, uint8_t ret[LETTERS])
{
    int count = 0;
    for (const char *c = text; *c; c++) {
        int value = value_of(*c);
        if (*c == '-' || isspace((unsigned char)*c))
            continue;
        if (value < 0)
            return -1 - count;
        if (count < LETTERS)
            ret[count] = (uint8_t)value;
        count++;
    }
    return count;
}

static bool
is_right(const struct seal_secret *key, const uint8_t letters[LETTERS])
{
    for (unsigned i = 0; i < LETTERS; i++)
        if (letters[i] !=
            (i < KEY_LETTERS ? key_letter(key, i) : check_letter(key, i - KEY_LETTERS)))
            return false;
    return true;
}

int
seal_recovery_parse(const struct secret *text, struct seal_secret *ret, struct err *reterr)
{
    const char *shown = secret_reveal(text);
    uint8_t letters[LETTERS] = {0};
    int r = 1;
    while (isspace((unsigned char)*shown))
        shown++;
    if (strncasecmp(shown, PREFIX, strlen(PREFIX)) != 0)
        return 0;
    int count = read_letters(shown + strlen(PREFIX), letters);
    memset(ret, 0, sizeof(*ret));
    for (unsigned i = 0; i < KEY_LETTERS; i++)
        put_letter(ret, i, letters[i]);
    if (count < 0)
        r = err_set(reterr, ERR_SEAL_MISTYPED,
                    "letter %d of the recovery key is none that it can have", -count);
    else if (count != LETTERS)
        r = err_set(reterr, ERR_SEAL_MISTYPED, "the recovery key has %d letters instead of %d",
                    count, LETTERS);
    else if (!is_right(ret, letters))
        r = err_set(reterr, ERR_SEAL_MISTYPED,
                    "the recovery key is mistyped: its last four letters do not fit the others");
    if (r < 0)
        err_fix(reterr, "compare it with what was written down, group by group");
    explicit_bzero(letters, sizeof(letters));
    return r;
}
