#include "backup/verify.h"

#include "backup/test_int.h"

struct found {
    struct backup_rig *rig;
    unsigned problems;
    char all[8 * KIB];
};

static struct found found;

static void
on_found(const struct err *problem, void *arg unused_arg)
{
    size_t len = strlen(found.all);
    found.problems++;
    (void)snprintf(found.all + len, sizeof(found.all) - len, "%s\n", problem->what);
}

static int
look(struct backup_rig *rig, const uint8_t *snapshot, struct verify_told *ret)
{
    const struct verify_wish wish = {.repository = rig->repository,
                                     .snapshot = snapshot,
                                     .sample_percent = 100,
                                     .threads = 2,
                                     .found = on_found};
    struct verify *v = NULL;
    found = (struct found){0};
    rig->r = -EINPROGRESS;
    int r = verify_new(rig->loop.loop, &wish, backup_rig_ended, rig, &v, &rig->err);
    if (r < 0)
        return r;
    loop_rig_run(&rig->loop, LOOP_PATIENCE_US);
    *ret = *verify_told(v);
    verify_free(v);
    return rig->r;
}

TEST(what_is_whole_is_found_to_be)
{
    struct backup_rig rig;
    struct verify_told told;
    uint8_t snapshot[HASH_SHA256_BYTES];
    REQUIRE(backup_rig_open(&rig) && rig_save(&rig) == 0);
    REQUIRE(look(&rig, NULL, &told) == 0);
    CHECK_STR(found.all, "");
    CHECK_EQ(told.packs, told.total_packs);
    CHECK_EQ(told.blocks, rig.told.new_blocks);
    CHECK_EQ(told.snapshots, 1);
    CHECK_EQ(told.files, 6);
    object_digest(rig.told.snapshot, snapshot);
    REQUIRE(look(&rig, snapshot, &told) == 0);
    CHECK_EQ(told.problems, 0);
    CHECK_EQ(told.files, 6);
    backup_rig_close(&rig);
}

/* Of every file of a small repository, each bit: found, and named. */
TEST(every_flipped_bit_of_a_repository_is_found_and_named)
{
    static const enum repository_area areas[] = {REPOSITORY_PACKS, REPOSITORY_INDEX,
                                                 REPOSITORY_SNAPSHOTS};
    struct backup_rig rig;
    struct verify_told told;
    unsigned bits = 0;
    REQUIRE(backup_rig_open(&rig));
    rig.threads = 1; /* one pack */
    (void)snprintf(rig.source, sizeof(rig.source), "%s/small", tap_dir());
    REQUIRE(mkdir(rig.source, 0755) == 0 && rig_write(&rig, "a", "first", 5) == 0 &&
            rig_write(&rig, "b", "second", 6) == 0 && rig_save(&rig) == 0);
    for (size_t a = 0; a < ARRAY_SIZE(areas); a++) {
        struct repository_names names = {0};
        char name[HASH_SHA256_HEX];
        struct stat st;
        REQUIRE(repository_list(rig.repository, areas[a], &names, NULL) == 0 && names.count == 1);
        hash_sha256_hex(names.items[0], name);
        free(names.items);
        _cleanup_close_ int fd = openat(rig.repository->areas[areas[a]], name, O_RDWR | O_CLOEXEC);
        REQUIRE(fd >= 0 && fstat(fd, &st) == 0 && st.st_size < 2000);
        /* each byte, and of each another bit: the tests of the formats have all of them */
        for (off_t at = 0; at < st.st_size; at++, bits++) {
            uint8_t byte, flipped;
            REQUIRE(pread(fd, &byte, 1, at) == 1);
            flipped = (uint8_t)(byte ^ 1 << at % 8);
            REQUIRE(pwrite(fd, &flipped, 1, at) == 1);
            tap_note("area %zu, byte %lld", a, (long long)at);
            int r = look(&rig, NULL, &told);
            CHECK(r < 0 || told.problems > 0);
            CHECK(strstr(r < 0 ? rig.err.what : found.all,
                         areas[a] == REPOSITORY_SNAPSHOTS ? "snapshot" : name) != NULL);
            REQUIRE(pwrite(fd, &byte, 1, at) == 1);
        }
    }
    CHECK(bits > 700);
    CHECK_EQ(look(&rig, NULL, &told), 0);
    CHECK_EQ(told.problems, 0);
    backup_rig_close(&rig);
}

TEST(a_pack_that_is_gone_is_named_with_its_files)
{
    struct backup_rig rig;
    struct verify_told told;
    struct repository_names names = {0};
    char name[HASH_SHA256_HEX];
    REQUIRE(backup_rig_open(&rig) && rig_save(&rig) == 0);
    REQUIRE(repository_list(rig.repository, REPOSITORY_PACKS, &names, NULL) == 0);
    for (size_t i = 0; i < names.count; i++) {
        hash_sha256_hex(names.items[i], name);
        REQUIRE(unlinkat(rig.repository->areas[REPOSITORY_PACKS], name, 0) == 0);
    }
    free(names.items);
    REQUIRE(look(&rig, NULL, &told) == 0);
    CHECK(strstr(found.all, name) != NULL);
    CHECK(strstr(found.all, "'model.safetensors' cannot be restored") != NULL);
    CHECK_EQ(told.damaged_files, 5); /* the empty one needs nothing */
    backup_rig_close(&rig);
}
