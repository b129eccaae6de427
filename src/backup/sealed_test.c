/* A repository that is encrypted: all that is done with one that is not, and what it must not tell. */

#include "backup/test_int.h"
#include "crash.h"

#define PASSWORD "correct horse"

static int
reopen(struct backup_rig *rig, const char *with)
{
    const char *password = rig->password;
    rig->password = NULL;
    bool is_open = rig_open_repository(rig);
    rig->password = password;
    return is_open ? rig_unlock(rig, with) : -EIO;
}

TEST(what_is_encrypted_comes_back_as_it_was)
{
    struct backup_rig rig;
    char first[HASH_SHA256_HEX];
    _cleanup_free_ char *to = mem_printf("%s/back", tap_dir());
    REQUIRE(rig_open_with(&rig, PASSWORD));
    rig_settle(&rig);
    CHECK_EQ(rig_save(&rig), 0);
    CHECK_STR(rig.err.what, "");
    memcpy(first, rig.told.snapshot, sizeof(first));
    CHECK(rig.told.new_blocks > 5);
    CHECK(rig_is_whole(&rig));
    CHECK_EQ(rig_restore(&rig, &(struct restore_wish){.to = to}), 0);
    CHECK_STR(rig.err.what, "");
    CHECK(rig_is_same_tree(rig.source, to));
    REQUIRE(rig_open_repository(&rig)); /* the keys are those of the file, not of the process */
    CHECK_EQ(rig_save(&rig), 0);
    CHECK_EQ(rig.told.unchanged_files, 6);
    CHECK_EQ(rig.told.new_blocks, 0);
    backup_rig_close(&rig);
}

/* Neither content nor names, wherever one looks. */
TEST(what_is_encrypted_tells_nothing)
{
    static const char *const words[] = {"Phi3ForCausalLM", "model.safetensors", "gpu1", "phi3",
                                        PASSWORD};
    struct backup_rig rig;
    REQUIRE(rig_open_with(&rig, PASSWORD) && rig_save(&rig) == 0);
    unsigned looked = 0;
    for (enum repository_area area = 0; area < REPOSITORY_AREAS; area++) {
        struct repository_names names = {0};
        REQUIRE(repository_list(rig.repository, area, &names, NULL) == 0);
        for (size_t i = 0; i < names.count; i++, looked++) {
            char name[HASH_SHA256_HEX];
            struct repository_object object = {0};
            hash_sha256_hex(names.items[i], name);
            _cleanup_close_ int fd =
                openat(rig.repository->areas[area], name, O_RDONLY | O_CLOEXEC);
            REQUIRE(fd >= 0 && repository_map_fd(fd, &object) == 0);
            for (size_t w = 0; w < ARRAY_SIZE(words); w++)
                CHECK(!memmem(object.bytes, object.len, words[w], strlen(words[w])));
            repository_unmap(&object);
        }
        free(names.items);
    }
    CHECK(looked >= 7);
    backup_rig_close(&rig);
}

TEST(a_key_that_only_adds_adds_and_reads_nothing)
{
    struct backup_rig rig;
    _cleanup_free_ char *to = mem_printf("%s/back", tap_dir());
    REQUIRE(rig_open_with(&rig, PASSWORD));
    rig_settle(&rig);
    REQUIRE(rig_save(&rig) == 0 && rig.told.new_blocks > 5);
    REQUIRE(reopen(&rig, "only adds") == 0);
    CHECK_EQ(rig_save(&rig), 0);
    CHECK_STR(rig.err.what, "");
    CHECK_EQ(rig.told.unchanged_files, 0); /* it cannot know */
    CHECK_EQ(rig.told.new_blocks, 0);      /* but the index it can ask */
    CHECK_EQ(rig_restore(&rig, &(struct restore_wish){.to = to}), -EPERM);
    CHECK_EQ(rig.err.id, ERR_SEAL_ONLY_ADDS);
    REQUIRE(reopen(&rig, PASSWORD) == 0);
    CHECK(rig_is_whole(&rig));
    CHECK_EQ(rig_restore(&rig, &(struct restore_wish){.to = to}), 0);
    CHECK(rig_is_same_tree(rig.source, to));
    backup_rig_close(&rig);
}

TEST(another_passphrase_opens_nothing)
{
    struct backup_rig rig;
    REQUIRE(rig_open_with(&rig, PASSWORD));
    CHECK_EQ(reopen(&rig, "correct horses"), -EACCES);
    CHECK_EQ(rig.err.id, ERR_SEAL_WRONG_KEY);
    CHECK(!strstr(rig.err.what, "horses"));
    CHECK_EQ(reopen(&rig, "citadel-123"), -EINVAL);
    CHECK_EQ(rig.err.id, ERR_SEAL_MISTYPED);
    backup_rig_close(&rig);
}

/* A byte of each object: found, and named; where it cannot be read at all, likewise. */
TEST(what_is_damaged_in_what_is_encrypted_is_found)
{
    static const enum repository_area areas[] = {REPOSITORY_PACKS, REPOSITORY_INDEX,
                                                 REPOSITORY_SNAPSHOTS};
    struct backup_rig rig;
    REQUIRE(rig_open_with(&rig, PASSWORD));
    rig.threads = 1;
    (void)snprintf(rig.source, sizeof(rig.source), "%s/small", tap_dir());
    REQUIRE(mkdir(rig.source, 0755) == 0 && rig_write(&rig, "a", "first", 5) == 0 &&
            rig_save(&rig) == 0);
    for (size_t a = 0; a < ARRAY_SIZE(areas); a++) {
        struct repository_names names = {0};
        char name[HASH_SHA256_HEX];
        struct stat st;
        REQUIRE(repository_list(rig.repository, areas[a], &names, NULL) == 0 && names.count == 1);
        hash_sha256_hex(names.items[0], name);
        free(names.items);
        _cleanup_close_ int fd = openat(rig.repository->areas[areas[a]], name, O_RDWR | O_CLOEXEC);
        REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
        for (off_t at = 0; at < st.st_size; at += 7) {
            uint8_t byte, flipped;
            REQUIRE(pread(fd, &byte, 1, at) == 1);
            flipped = (uint8_t)(byte ^ 1 << at % 8);
            REQUIRE(pwrite(fd, &flipped, 1, at) == 1);
            tap_note("area %zu, byte %lld", a, (long long)at);
            CHECK(rig_count_problems(&rig) != 0);
            REQUIRE(pwrite(fd, &byte, 1, at) == 1);
        }
    }
    CHECK(rig_is_whole(&rig));
    backup_rig_close(&rig);
}

/* A draft that is sealed is gone on from as one that is not. */
TEST(an_encrypted_backup_goes_on_where_it_was_stopped)
{
    struct backup_rig rig;
    struct save *s = NULL;
    REQUIRE(rig_open_with(&rig, PASSWORD));
    REQUIRE(rig_write_noise(&rig, "config.d", 200 * MIB, 9) == 0);
    for (unsigned i = 0; i < 1200; i++) { /* so that its entries are more than a piece of a seal */
        char name[32];
        (void)snprintf(name, sizeof(name), "a%04u", i);
        REQUIRE(rig_write(&rig, name, name, 5) == 0);
    }
    rig_settle(&rig);
    const struct save_wish wish = {.repository = rig.repository,
                                   .source = rig.source,
                                   .host = "gpu1",
                                   .subject = "models",
                                   .name = "phi3",
                                   .type = "",
                                   .threads = 1};
    REQUIRE(save_new(rig.loop.loop, &wish, backup_rig_ended, &rig, &s, &rig.err) == 0);
    while (save_told(s)->bytes < 100 * MIB)
        loop_rig_run(&rig.loop, 1000);
    save_stop(s);
    loop_rig_run(&rig.loop, LOOP_PATIENCE_US);
    CHECK_EQ(rig.r, -ECANCELED);
    save_free(s);
    REQUIRE(rig_open_repository(&rig) && rig_save(&rig) == 0);
    CHECK(rig.told.unchanged_files > 400);
    CHECK(rig.told.new_bytes < 130 * MIB);
    backup_rig_close(&rig);
}

static void
make_one(void *arg)
{
    struct backup_rig *rig = arg;
    struct seal_key_file keys[2];
    const struct repository_wish wish = {
        .where = rig->where, .make = true, .keys = keys, .keys_count = 2};
    if (rig_make_keys(PASSWORD, keys))
        (void)!repository_open(&wish, &rig->repository, NULL);
}

/* No repository is there whose keys are not; and what a making that broke off has left opens nothing. */
TEST(an_encrypted_repository_is_whole_or_can_be_made_again)
{
    for (unsigned n = 1;; n++) {
        struct backup_rig rig = {.password = PASSWORD};
        (void)snprintf(rig.where, sizeof(rig.where), "%s/r%u", tap_dir(), n);
        bool crashed = crash_at(n, false, make_one, &rig);
        tap_note("call %u", n);
        if (!rig_open_repository(&rig)) {
            CHECK(!rig.repository); /* it is none yet */
            make_one(&rig);
            CHECK(rig_open_repository(&rig));
        }
        struct repository_key *keys = NULL;
        size_t count = 0;
        CHECK_EQ(repository_list_keys(rig.repository, &keys, &count, NULL), 0);
        CHECK_EQ(count, 2);
        CHECK(count == 2 && strcmp(keys[0].lock.label, "host") == 0 && keys[0].lock.only_adds);
        free(keys);
        repository_free(rig.repository);
        if (!crashed)
            break;
    }
}
