#include "backup/bases.h"

#include "backup/lock.h"
#include "backup/prune.h"
#include "backup/test_int.h"
#include "crash.h"

#include <dirent.h>

#define NUMBERS 1500000 /* of bf16: three blocks */
#define NUMBERS_FEW 50000
#define DATA_BYTES ((size_t)2 * NUMBERS)

static size_t numbers_count = NUMBERS;

/* Weights of `from`; those with a `change` differ from these in the lowest bits. */
static bool
write_model(struct backup_rig *rig, uint64_t from, uint64_t change)
{
    const size_t count = numbers_count, data_bytes = 2 * count;
    char header[256];
    const int header_len =
        snprintf(header, sizeof(header),
                 "{\"w\": {\"dtype\": \"BF16\", \"shape\": [%zu], \"data_offsets\": [0, %zu]}}",
                 count, data_bytes);
    const uint64_t len = (uint64_t)header_len;
    _cleanup_free_ uint8_t *bytes = malloc(8 + len + data_bytes);
    _cleanup_free_ uint8_t *noise = malloc(count);
    memcpy(bytes, &len, 8);
    memcpy(bytes + 8, header, len);
    uint8_t *numbers = bytes + 8 + len;
    fill_noise(numbers, data_bytes, from);
    fill_noise(noise, count, change);
    for (size_t i = 0; i < count; i++) {
        numbers[2 * i + 1] = (uint8_t)(0x3c | (numbers[2 * i + 1] & 0x81)); /* few exponents */
        numbers[2 * i] ^= change ? noise[i] & 3 : 0;
    }
    return rig_write(rig, "model.safetensors", bytes, 8 + len + data_bytes) == 0;
}

static bool
save_model(struct backup_rig *rig, const char *name, uint64_t from, uint64_t change)
{
    rig->name = name;
    rig->delta = true;
    return write_model(rig, from, change) && rig_save(rig) == 0;
}

/* What was saved last comes back as it is. */
static void
check_restored(struct backup_rig *rig)
{
    static unsigned count;
    _cleanup_free_ char *to = mem_printf("%s/back%u", tap_dir(), count++);
    CHECK_EQ(rig_restore(rig, &(struct restore_wish){.to = to}), 0);
    CHECK_STR(rig->err.what, "");
    CHECK(rig_is_same_tree(rig->source, to));
}

TEST(a_fine_tune_is_stored_as_what_it_differs_in)
{
    struct backup_rig rig;
    REQUIRE(backup_rig_open(&rig) && save_model(&rig, "base", 1, 0));
    CHECK_EQ(rig.told.delta_blocks, 0);
    REQUIRE(save_model(&rig, "tuned", 1, 7));
    CHECK_EQ(rig.told.new_bytes, DATA_BYTES);
    CHECK_EQ(rig.told.delta_blocks, 3);
    CHECK(rig.told.stored_bytes < DATA_BYTES / 4);
    check_restored(&rig);
    CHECK(rig_is_whole(&rig));
    backup_rig_close(&rig);
}

/* One that comes of a fine-tune has the base of that, since a base has none; and the last state of the
 * same model is a base like any. */
TEST(a_base_never_has_a_base)
{
    struct backup_rig rig;
    REQUIRE(backup_rig_open(&rig) && save_model(&rig, "base", 1, 0));
    const struct save_told base = rig.told;
    REQUIRE(save_model(&rig, "tuned", 1, 7));
    uint8_t digest[HASH_SHA256_BYTES];
    object_digest(base.snapshot, digest);
    REQUIRE(repository_remove(rig.repository, REPOSITORY_SNAPSHOTS, digest, NULL) == 0);
    REQUIRE(save_model(&rig, "tuned", 1, 8));
    CHECK_EQ(rig.told.delta_blocks, 3);
    check_restored(&rig);
    CHECK(rig_is_whole(&rig));
    backup_rig_close(&rig);
}

TEST(a_base_of_one_that_is_encrypted)
{
    struct backup_rig rig;
    REQUIRE(rig_open_with(&rig, "secret") && save_model(&rig, "base", 1, 0));
    REQUIRE(save_model(&rig, "tuned", 1, 7));
    CHECK_EQ(rig.told.delta_blocks, 3);
    check_restored(&rig);
    CHECK(rig_is_whole(&rig));
    backup_rig_close(&rig);
}

/* The same names are not enough; and who does not want it has none. */
TEST(what_is_not_near_is_no_base)
{
    struct backup_rig rig;
    REQUIRE(backup_rig_open(&rig) && save_model(&rig, "base", 1, 0));
    REQUIRE(save_model(&rig, "other", 2, 0));
    CHECK_EQ(rig.told.delta_blocks, 0);
    REQUIRE(write_model(&rig, 1, 9));
    rig.name = "plain";
    rig.delta = false;
    REQUIRE(rig_save(&rig) == 0);
    CHECK_EQ(rig.told.new_blocks, 3);
    CHECK_EQ(rig.told.delta_blocks, 0);
    rig.delta = true;
    REQUIRE(save_model(&rig, "tuned", 1, 7)); /* the nearest of three */
    CHECK_EQ(rig.told.delta_blocks, 3);
    check_restored(&rig);
    backup_rig_close(&rig);
}

/* A base that cannot be read is none. */
TEST(a_damaged_base_is_passed_over)
{
    struct backup_rig rig;
    struct repository_names packs = {0};
    char name[HASH_SHA256_HEX];
    REQUIRE(backup_rig_open(&rig));
    rig.threads = 1;
    REQUIRE(save_model(&rig, "base", 1, 0));
    REQUIRE(repository_list(rig.repository, REPOSITORY_PACKS, &packs, NULL) == 0 &&
            packs.count == 1);
    hash_sha256_hex(packs.items[0], name);
    free(packs.items);
    _cleanup_close_ int fd =
        openat(rig.repository->areas[REPOSITORY_PACKS], name, O_WRONLY | O_CLOEXEC);
    struct stat st;
    REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
    for (off_t at = 1000; at < st.st_size - 5000; at += 10000)
        REQUIRE(pwrite(fd, "damage", 6, at) == 6);
    REQUIRE(save_model(&rig, "tuned", 1, 7));
    CHECK_EQ(rig.told.new_blocks, 3);
    CHECK_EQ(rig.told.delta_blocks, 0);
    backup_rig_close(&rig);
}

/* ---- what needs a base keeps it ---- */

static int
prune(struct backup_rig *rig)
{
    const struct prune_rule rule = {.subject = "models", .keep = {.last = 1}};
    const struct prune_wish wish = {
        .repository = rig->repository, .rules = &rule, .rules_count = 1};
    struct prune *p = NULL;
    rig->r = -EINPROGRESS;
    int r = prune_new(rig->loop.loop, &wish, backup_rig_ended, rig, &p, &rig->err);
    if (r < 0)
        return r;
    loop_rig_run(&rig->loop, LOOP_PATIENCE_US);
    prune_free(p);
    return rig->r;
}

static bool
forget(struct backup_rig *rig, const char *snapshot)
{
    uint8_t digest[HASH_SHA256_BYTES];
    object_digest(snapshot, digest);
    return repository_remove(rig->repository, REPOSITORY_SNAPSHOTS, digest, NULL) == 0;
}

static size_t
count_packs(struct backup_rig *rig)
{
    struct repository_names names = {0};
    if (repository_list(rig->repository, REPOSITORY_PACKS, &names, NULL) < 0)
        return SIZE_MAX;
    free(names.items);
    return names.count;
}

TEST(a_base_stays_as_long_as_it_is_needed)
{
    struct backup_rig rig;
    REQUIRE(backup_rig_open(&rig));
    rig.threads = 1;
    REQUIRE(save_model(&rig, "base", 1, 0));
    const struct save_told base = rig.told;
    REQUIRE(save_model(&rig, "tuned", 1, 7));
    const struct save_told tuned = rig.told;
    REQUIRE(forget(&rig, base.snapshot));
    CHECK_EQ(prune(&rig), 0);
    CHECK_EQ(prune(&rig), 0);
    CHECK(rig_is_whole(&rig));
    check_restored(&rig);
    REQUIRE(save_model(&rig, "other", 2, 0));
    REQUIRE(forget(&rig, tuned.snapshot));
    CHECK_EQ(prune(&rig), 0);
    CHECK_EQ(prune(&rig), 0);
    CHECK_EQ(prune(&rig), 0);
    CHECK(rig_is_whole(&rig));
    check_restored(&rig);
    CHECK_EQ(count_packs(&rig), 2); /* what other files need, and "other" */
    backup_rig_close(&rig);
}

/* ---- for those who come later ---- */

static void
hide(struct backup_rig *rig, enum repository_area area, const struct repository_names *but,
     const char *suffix)
{
    struct repository_names names = {0};
    CHECK_EQ(repository_list(rig->repository, area, &names, NULL), 0);
    for (size_t i = 0; i < names.count; i++) {
        char name[HASH_SHA256_HEX];
        bool is_but = false;
        for (size_t k = 0; k < but->count; k++)
            is_but = is_but || memcmp(names.items[i], but->items[k], HASH_SHA256_BYTES) == 0;
        if (is_but)
            continue;
        hash_sha256_hex(names.items[i], name);
        _cleanup_free_ char *hidden = mem_printf("%s%s", name, suffix);
        CHECK_EQ(renameat(rig->repository->areas[area], name, rig->repository->areas[area], hidden),
                 0);
    }
    free(names.items);
}

static void
unhide(struct backup_rig *rig, enum repository_area area)
{
    _cleanup_close_ int fd = dup(rig->repository->areas[area]);
    DIR *dir = fdopendir(take_fd(&fd));
    REQUIRE(dir != NULL);
    rewinddir(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        _cleanup_free_ char *name = mem_strdup(e->d_name);
        char *dot = strchr(name, '.');
        if (!dot || dot == name || strcmp(dot, ".hidden") != 0)
            continue;
        *dot = '\0';
        CHECK_EQ(renameat(dirfd(dir), e->d_name, dirfd(dir), name), 0);
    }
    (void)closedir(dir);
}

/* Of a backup that has crashed no snapshot tells, and no index; but the next takes its blocks for
 * stored. Prunings beside others in between do not part them from their bases. */
TEST(a_base_stays_for_what_a_crash_has_left)
{
    struct backup_rig rig;
    struct repository_names fragments = {0};
    struct lock *reader = NULL, *writer = NULL;
    REQUIRE(backup_rig_open(&rig));
    rig.threads = 1;
    REQUIRE(save_model(&rig, "base", 1, 0));
    const struct save_told base = rig.told;
    REQUIRE(repository_list(rig.repository, REPOSITORY_INDEX, &fragments, NULL) == 0);
    REQUIRE(save_model(&rig, "tuned", 1, 7));
    hide(&rig, REPOSITORY_INDEX, &fragments, ".hidden");
    free(fragments.items);
    REQUIRE(forget(&rig, base.snapshot) && forget(&rig, rig.told.snapshot));
    REQUIRE(lock_take(rig.loop.loop, rig.repository, LOCK_READS, "test", &reader, NULL) == 0);
    CHECK_EQ(prune(&rig), 0);
    REQUIRE(lock_take(rig.loop.loop, rig.repository, LOCK_WRITES, "test", &writer, NULL) == 0);
    lock_release(reader);
    CHECK_EQ(prune(&rig), 0);
    REQUIRE(save_model(&rig, "tuned", 1, 7));
    lock_release(writer);
    CHECK(rig_is_whole(&rig));
    check_restored(&rig);
    CHECK_EQ(prune(&rig), 0);
    CHECK(rig_is_whole(&rig));
    backup_rig_close(&rig);
}

/* A pack that stays for one block may have others, which nobody needs for now. */
TEST(a_base_stays_for_blocks_that_nobody_needs_yet)
{
    struct backup_rig rig;
    REQUIRE(backup_rig_open(&rig));
    rig.threads = 1;
    REQUIRE(save_model(&rig, "base", 1, 0));
    const struct save_told base = rig.told;
    _cleanup_free_ char *model = rig_path(&rig, "model.safetensors");
    REQUIRE(rig_write_noise(&rig, "zmore", 8 * MIB, 3) == 0);
    REQUIRE(save_model(&rig, "tuned", 1, 7) && unlink(model) == 0 && rig_save(&rig) == 0);
    REQUIRE(forget(&rig, base.snapshot));
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(prune(&rig), 0);
    REQUIRE(save_model(&rig, "tuned", 1, 7));
    CHECK(rig_is_whole(&rig));
    check_restored(&rig);
    backup_rig_close(&rig);
}

/* Where it is stored twice, once as what it differs in from another, the base is the one that is not. */
TEST(a_base_that_is_there_twice_is_taken_where_it_has_none)
{
    struct backup_rig rig;
    struct repository_names fragments = {0}, packs = {0};
    REQUIRE(backup_rig_open(&rig));
    rig.threads = 1;
    REQUIRE(save_model(&rig, "base", 1, 0));
    const struct save_told base = rig.told;
    REQUIRE(repository_list(rig.repository, REPOSITORY_INDEX, &fragments, NULL) == 0 &&
            repository_list(rig.repository, REPOSITORY_PACKS, &packs, NULL) == 0);
    REQUIRE(save_model(&rig, "tuned", 1, 7) && rig.told.delta_blocks == 3);
    /* by two hosts at once, one of which did not see the base */
    hide(&rig, REPOSITORY_INDEX, &fragments, ".hidden");
    hide(&rig, REPOSITORY_PACKS, &packs, ".hidden");
    REQUIRE(forget(&rig, rig.told.snapshot) && forget(&rig, base.snapshot));
    REQUIRE(save_model(&rig, "tuned", 1, 7) && rig.told.delta_blocks == 0);
    REQUIRE(save_model(&rig, "again", 1, 8) && rig.told.delta_blocks == 3);
    unhide(&rig, REPOSITORY_INDEX);
    unhide(&rig, REPOSITORY_PACKS);
    CHECK(rig_is_whole(&rig));
    check_restored(&rig);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(prune(&rig), 0);
    CHECK(rig_is_whole(&rig));
    free(fragments.items);
    free(packs.items);
    backup_rig_close(&rig);
}

/* ---- crashes ---- */

static void
prune_in_child(void *arg)
{
    struct backup_rig *rig = arg;
    if (!loop_rig_open(&rig->loop) || !rig_open_repository(rig))
        _exit(1);
    (void)!prune(rig);
}

static void
save_in_child(void *arg)
{
    struct backup_rig *rig = arg;
    if (!loop_rig_open(&rig->loop) || !rig_open_repository(rig))
        _exit(1);
    (void)!rig_save(rig);
}

/* Wherever a backup ends, and wherever the pruning after it: no block is without its base. */
TEST(a_crash_parts_no_block_from_its_base)
{
    struct backup_rig rig;
    unsigned calls = 0;
    REQUIRE(backup_rig_open(&rig));
    rig.threads = 1;
    numbers_count = NUMBERS_FEW;
    (void)snprintf(rig.source, sizeof(rig.source), "%s/small", tap_dir());
    REQUIRE(mkdir(rig.source, 0755) == 0);
    for (unsigned n = 1; n < 200; n++) {
        tap_note("call %u", n);
        REQUIRE(save_model(&rig, "base", n, 0));
        const struct save_told base = rig.told;
        REQUIRE(write_model(&rig, n, 7));
        rig.name = "tuned";
        struct backup_rig child = rig;
        child.repository = NULL;
        bool crashed = crash_at(n, n % 2, save_in_child, &child);
        child.repository = NULL;
        crashed |= crash_at(n, false, prune_in_child, &child);
        calls += crashed;
        REQUIRE(rig_open_repository(&rig) && forget(&rig, base.snapshot));
        child = rig;
        child.repository = NULL;
        crashed |= crash_at(n, false, prune_in_child, &child);
        REQUIRE(rig_open_repository(&rig));
        CHECK_EQ(rig_save(&rig), 0);
        CHECK_EQ(rig_count_problems(&rig), 0);
        CHECK_EQ(prune(&rig), 0);
        CHECK_EQ(rig_count_problems(&rig), 0);
        if (n % 8 == 0)
            check_restored(&rig);
        if (!crashed)
            break;
    }
    CHECK(calls > 20);
    backup_rig_close(&rig);
}

/* Of the pack that has come since. */
static void
damage_end(struct backup_rig *rig, const struct repository_names *before)
{
    struct repository_names names = {0};
    CHECK_EQ(repository_list(rig->repository, REPOSITORY_PACKS, &names, NULL), 0);
    for (size_t i = 0; i < names.count; i++) {
        char name[HASH_SHA256_HEX];
        struct stat st = {0};
        if (memcmp(names.items[i], before->items[0], HASH_SHA256_BYTES) == 0)
            continue;
        hash_sha256_hex(names.items[i], name);
        _cleanup_close_ int fd =
            openat(rig->repository->areas[REPOSITORY_PACKS], name, O_WRONLY | O_CLOEXEC);
        CHECK(fstat(fd, &st) == 0 && pwrite(fd, "damage", 6, st.st_size - 30) == 6);
    }
    free(names.items);
}

TEST(nothing_goes_while_a_pack_cannot_be_read)
{
    struct backup_rig rig;
    struct repository_names packs = {0};
    REQUIRE(backup_rig_open(&rig));
    rig.threads = 1;
    (void)snprintf(rig.source, sizeof(rig.source), "%s/small", tap_dir());
    REQUIRE(mkdir(rig.source, 0755) == 0 && save_model(&rig, "base", 1, 0));
    const struct save_told base = rig.told;
    REQUIRE(repository_list(rig.repository, REPOSITORY_PACKS, &packs, NULL) == 0);
    REQUIRE(save_model(&rig, "tuned", 1, 7));
    damage_end(&rig, &packs);
    REQUIRE(forget(&rig, base.snapshot));
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(prune(&rig), 0);
    CHECK_EQ(count_packs(&rig), 2);
    check_restored(&rig); /* the index still tells where blocks are */
    free(packs.items);
    backup_rig_close(&rig);
}
