#include "backup/copy.h"

#include "backup/block.h"
#include "backup/index.h"
#include "backup/known.h"
#include "backup/mark.h"
#include "backup/mend.h"
#include "backup/test_int.h"
#include "crash.h"

#include <dirent.h>

#define PASSWORD "correct horse"

/* From the repository of a rig into that of another, which has the same tree. */
struct pair {
    struct backup_rig from, to;
    struct copy_told told;
    bool dry, verify;
    const struct block_id *only;
    size_t only_count;
    unsigned problems, copied;
    char first_problem[600];
};

static bool
make_there(struct pair *p, const char *password, const struct seal_key_file *keys)
{
    struct seal_key_file own[2];
    struct backup_rig *to = &p->to;
    *to = (struct backup_rig){.threads = 2, .password = password};
    memcpy(to->source, p->from.source, sizeof(to->source));
    (void)snprintf(to->where, sizeof(to->where), "%s/other", tap_dir());
    if (password && !keys && !rig_make_keys(password, own))
        return false;
    const struct repository_wish wish = {.where = to->where,
                                         .make = true,
                                         .keys = keys ? keys : own,
                                         .keys_count = password ? 2 : 0};
    return loop_rig_open(&to->loop) && repository_open(&wish, &to->repository, &to->err) == 0 &&
           rig_open_repository(to);
}

static bool
pair_open(struct pair *p, const char *here, const char *there)
{
    *p = (struct pair){0};
    if (!rig_open_with(&p->from, here) || !make_there(p, there, NULL))
        return false;
    rig_settle(&p->from);
    return true;
}

static void
pair_close(struct pair *p)
{
    backup_rig_close(&p->to);
    backup_rig_close(&p->from);
}

static void
on_problem(const struct err *problem, void *arg)
{
    struct pair *p = container_of(arg, struct pair, from);
    tap_note("%s", problem->what);
    if (p->problems++ == 0)
        (void)snprintf(p->first_problem, sizeof(p->first_problem), "%s", problem->what);
}

static void
on_copied(const struct snapshot_row *row unused_arg, const char *name_there, void *arg)
{
    struct pair *p = container_of(arg, struct pair, from);
    memcpy(p->to.told.snapshot, name_there, sizeof(p->to.told.snapshot));
    p->copied++;
}

static int
copy_over(struct pair *p)
{
    struct backup_rig *rig = &p->from;
    const struct copy_wish wish = {.from = rig->repository,
                                   .to = p->to.repository,
                                   .only = p->only,
                                   .only_count = p->only_count,
                                   .parity_percent = p->to.parity_percent,
                                   .threads = 2,
                                   .dry = p->dry,
                                   .verify = p->verify,
                                   .copied = on_copied,
                                   .found = on_problem};
    struct copy *c = NULL;
    p->problems = p->copied = 0;
    rig->r = -EINPROGRESS;
    rig->err = (struct err){0};
    int r = copy_new(rig->loop.loop, &wish, backup_rig_ended, rig, &c, &rig->err);
    if (r < 0)
        return r;
    loop_rig_run(&rig->loop, LOOP_PATIENCE_US);
    p->told = *copy_told(c);
    copy_free(c);
    return rig->r;
}

static unsigned
count(const struct backup_rig *rig, enum repository_area area)
{
    struct repository_names names = {0};
    if (repository_list(rig->repository, area, &names, NULL) < 0)
        tap_fail(__FILE__, __LINE__, "cannot list");
    free(names.items);
    return (unsigned)names.count;
}

/* The snapshot that was copied last is the tree as it is now. */
static bool
comes_back(struct pair *p)
{
    static unsigned n;
    _cleanup_free_ char *to = mem_printf("%s/back%u", tap_dir(), n++);
    bool same = rig_restore(&p->to, &(struct restore_wish){.to = to}) == 0 &&
                rig_is_same_tree(p->from.source, to) && rig_is_whole(&p->to);
    tap_note("%s", p->to.err.what);
    return same;
}

static bool
has_object(const struct backup_rig *rig, enum repository_area area, const uint8_t *name)
{
    struct repository_object object = {0};
    bool is_there = repository_map(rig->repository, area, name, false, &object, NULL) == 0;
    repository_unmap(&object);
    return is_there;
}

TEST(packs_go_over_as_they_are)
{
    struct pair p;
    struct repository_names names = {0};
    REQUIRE(pair_open(&p, NULL, NULL));
    REQUIRE(rig_save(&p.from) == 0 && rig_write_noise(&p.from, "more", 300000, 7) == 0);
    REQUIRE(rig_save(&p.from) == 0);
    CHECK_EQ(copy_over(&p), 0);
    CHECK_STR(p.from.err.what, "");
    CHECK(p.told.is_alike && p.told.is_read_back);
    CHECK_EQ(p.told.copied, 2);
    CHECK_EQ(p.copied, 2);
    CHECK_EQ(p.told.blocks, 0);
    CHECK_EQ(p.told.bytes, p.told.total_bytes);
    CHECK_EQ(p.told.packs, count(&p.from, REPOSITORY_PACKS));
    CHECK_STR(p.to.told.snapshot, p.from.told.snapshot);
    REQUIRE(repository_list(p.from.repository, REPOSITORY_PACKS, &names, NULL) == 0);
    for (size_t i = 0; i < names.count; i++)
        CHECK(has_object(&p.to, REPOSITORY_PACKS, names.items[i]));
    free(names.items);
    CHECK(comes_back(&p));
    CHECK_EQ(count(&p.to, REPOSITORY_LOCKS), 0);
    CHECK_EQ(count(&p.from, REPOSITORY_LOCKS), 0);
    CHECK_EQ(copy_over(&p), 0);
    CHECK_EQ(p.told.had, 2);
    CHECK_EQ(p.told.copied + p.told.packs + p.told.total_bytes, 0);
    pair_close(&p);
}

TEST(a_dry_copy_sends_nothing)
{
    struct pair p;
    REQUIRE(pair_open(&p, NULL, NULL) && rig_save(&p.from) == 0);
    p.dry = true;
    CHECK_EQ(copy_over(&p), 0);
    CHECK_EQ(p.told.copied, 1);
    CHECK(p.told.total_bytes > 1000000);
    for (enum repository_area i = 0; i < REPOSITORY_AREAS; i++)
        CHECK_EQ(count(&p.to, i), 0);
    pair_close(&p);
}

/* Of a pack that others need, too. */
TEST(of_a_pack_of_which_little_is_needed_only_that_goes)
{
    struct pair p;
    struct block_id only;
    REQUIRE(pair_open(&p, NULL, NULL));
    p.from.threads = 1;
    REQUIRE(rig_save(&p.from) == 0);
    _cleanup_free_ char *weights = rig_path(&p.from, "model.safetensors"),
                        *rest = rig_path(&p.from, "tokenizer.bin");
    REQUIRE(unlink(weights) == 0 && unlink(rest) == 0);
    rig_settle(&p.from);
    REQUIRE(rig_save(&p.from) == 0 && p.from.told.new_blocks == 0);
    object_digest(p.from.told.snapshot, only.bytes);
    p.only = &only;
    p.only_count = 1;
    CHECK_EQ(copy_over(&p), 0);
    CHECK_EQ(p.told.snapshots, 1);
    CHECK_EQ(p.told.packs, 0);
    CHECK(p.told.blocks >= 3);
    CHECK(comes_back(&p));
    /* and the rest when it is asked for */
    p.only_count = 0;
    CHECK_EQ(copy_over(&p), 0);
    CHECK_EQ(p.told.had, 1);
    CHECK_EQ(p.told.copied, 1);
    CHECK(rig_is_whole(&p.to));
    pair_close(&p);
}

/* To another key, into the clear and out of it: every block is named anew. */
TEST(between_keys_blocks_are_read_and_named_anew)
{
    static const char *const keys[][2] = {{NULL, PASSWORD}, {PASSWORD, NULL}, {PASSWORD, "other"}};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        struct pair p;
        _cleanup_free_ char *old = mem_printf("%s/gone%zu", tap_dir(), i), *from = NULL,
                            *to = mem_printf("%s/other", tap_dir()),
                            *source = mem_printf("%s/source", tap_dir());
        tap_note("keys %zu", i);
        REQUIRE(pair_open(&p, keys[i][0], keys[i][1]));
        from = mem_strdup(p.from.where);
        REQUIRE(rig_save(&p.from) == 0);
        CHECK_EQ(copy_over(&p), 0);
        CHECK_STR(p.from.err.what, "");
        CHECK(!p.told.is_alike);
        CHECK_EQ(p.told.packs, 0);
        CHECK_EQ(p.told.blocks, p.from.told.new_blocks);
        CHECK(strcmp(p.to.told.snapshot, p.from.told.snapshot) != 0);
        CHECK(comes_back(&p));
        /* What it has is neither sent nor read again. */
        CHECK_EQ(copy_over(&p), 0);
        CHECK_EQ(p.told.had, 1);
        REQUIRE(rig_write_noise(&p.from, "more", 300000, 8) == 0 && rig_save(&p.from) == 0);
        CHECK_EQ(copy_over(&p), 0);
        CHECK_EQ(p.told.copied, 1);
        CHECK_EQ(p.told.blocks, p.from.told.new_blocks);
        CHECK(p.told.total_bytes < 350000);
        CHECK(comes_back(&p));
        pair_close(&p);
        (void)mkdir(old, 0700);
        _cleanup_free_ char *a = mem_printf("%s/a", old), *b = mem_printf("%s/b", old),
                            *c = mem_printf("%s/c", old);
        REQUIRE(rename(from, a) == 0 && rename(to, b) == 0 && rename(source, c) == 0);
    }
}

TEST(with_the_same_keys_sealed_packs_go_as_they_are)
{
    struct pair p;
    struct seal_key_file files[2];
    struct seal_lock locks[2] = {{.label = "a", .cost = {1, 8 * KIB}},
                                 {.label = "b", .cost = {1, 8 * KIB}}};
    _cleanup_secret_ struct secret secret = {0};
    p = (struct pair){0};
    REQUIRE(rig_open_with(&p.from, PASSWORD));
    rig_settle(&p.from);
    secret_set(&secret, "another");
    for (size_t i = 0; i < 2; i++)
        REQUIRE(seal_keys_lock(p.from.repository->keys, &locks[i], &secret, files[i].bytes, NULL) ==
                0);
    REQUIRE(make_there(&p, "another", files) && rig_save(&p.from) == 0);
    CHECK_EQ(copy_over(&p), 0);
    CHECK(p.told.is_alike);
    CHECK_EQ(p.told.blocks, 0);
    CHECK_STR(p.to.told.snapshot, p.from.told.snapshot);
    CHECK(comes_back(&p));
    pair_close(&p);
}

TEST(a_key_that_only_adds_copies_nothing)
{
    struct pair p;
    REQUIRE(pair_open(&p, PASSWORD, NULL) && rig_save(&p.from) == 0);
    p.from.password = NULL;
    REQUIRE(rig_open_repository(&p.from) && rig_unlock(&p.from, "only adds") == 0);
    CHECK_EQ(copy_over(&p), -EPERM);
    CHECK_EQ(p.from.err.id, ERR_SEAL_ONLY_ADDS);
    CHECK_EQ(count(&p.to, REPOSITORY_LOCKS), 0);
    pair_close(&p);
}

TEST(a_repository_is_not_copied_into_itself)
{
    struct pair p;
    REQUIRE(pair_open(&p, NULL, NULL));
    memcpy(p.to.where, p.from.where, sizeof(p.to.where));
    REQUIRE(rig_open_repository(&p.to));
    CHECK_EQ(copy_over(&p), -EINVAL);
    CHECK_EQ(p.from.err.id, ERR_COPY_SAME);
    pair_close(&p);
}

/* What somebody has deleted is not brought elsewhere, and pins are not, either. */
TEST(what_was_said_here_is_not_said_there)
{
    struct pair p;
    struct block_id first, second;
    REQUIRE(pair_open(&p, NULL, NULL) && rig_save(&p.from) == 0);
    object_digest(p.from.told.snapshot, first.bytes);
    REQUIRE(rig_save(&p.from) == 0);
    object_digest(p.from.told.snapshot, second.bytes);
    const struct mark_wish deleted = {.kind = MARK_DELETED, .names = &first, .count = 1},
                           pinned = {.kind = MARK_PINNED, .names = &second, .count = 1};
    REQUIRE(mark_write(p.from.repository, &deleted, NULL) == 0 &&
            mark_write(p.from.repository, &pinned, NULL) == 0);
    CHECK_EQ(copy_over(&p), 0);
    CHECK_EQ(p.told.snapshots, 1);
    CHECK_EQ(count(&p.to, REPOSITORY_SNAPSHOTS), 1);
    CHECK_EQ(count(&p.to, REPOSITORY_MARKS), 0);
    p.only = &first; /* unless it is named */
    p.only_count = 1;
    CHECK_EQ(copy_over(&p), 0);
    CHECK_EQ(p.told.copied, 1);
    pair_close(&p);
}

/* Who removes packs that are going does not look whether they have come back. */
TEST(a_pack_that_is_going_there_does_not_come_back_by_its_name)
{
    struct pair p;
    struct repository_names names = {0}, index = {0};
    REQUIRE(pair_open(&p, NULL, NULL) && rig_save(&p.from) == 0);
    REQUIRE(copy_over(&p) == 0);
    REQUIRE(repository_list(p.to.repository, REPOSITORY_PACKS, &names, NULL) == 0 &&
            repository_list(p.to.repository, REPOSITORY_INDEX, &index, NULL) == 0);
    const struct mark_wish going = {
        .kind = MARK_GOING, .names = (const void *)names.items, .count = names.count};
    REQUIRE(mark_write(p.to.repository, &going, NULL) == 0);
    REQUIRE(rig_write_noise(&p.from, "more", 1000, 9) == 0 && rig_save(&p.from) == 0);
    CHECK_EQ(copy_over(&p), 0);
    CHECK_EQ(p.told.copied, 1);
    CHECK(p.told.blocks > 5);
    for (size_t i = 0; i < names.count; i++)
        CHECK_EQ(repository_remove(p.to.repository, REPOSITORY_PACKS, names.items[i], NULL), 0);
    for (size_t i = 0; i < index.count; i++)
        CHECK_EQ(repository_remove(p.to.repository, REPOSITORY_INDEX, index.items[i], NULL), 0);
    _cleanup_free_ char *to = mem_printf("%s/back", tap_dir());
    CHECK_EQ(rig_restore(&p.to, &(struct restore_wish){.to = to}), 0);
    CHECK(rig_is_same_tree(p.from.source, to));
    free(names.items);
    free(index.items);
    pair_close(&p);
}

static void
flip(const struct backup_rig *rig, const char *name, off_t at)
{
    uint8_t byte = 0;
    _cleanup_close_ int fd =
        openat(rig->repository->areas[REPOSITORY_PACKS], name, O_RDWR | O_CLOEXEC);
    if (fd < 0 || pread(fd, &byte, 1, at) != 1)
        tap_fail(__FILE__, __LINE__, "cannot read packs/%s", name);
    byte ^= 1;
    if (pwrite(fd, &byte, 1, at) != 1)
        tap_fail(__FILE__, __LINE__, "cannot write packs/%s", name);
}

/* Other snapshots are copied, and what is damaged is nowhere there. */
TEST(what_is_damaged_here_is_named_and_not_copied)
{
    struct pair p;
    struct repository_names names = {0};
    char pack[HASH_SHA256_HEX];
    REQUIRE(pair_open(&p, NULL, NULL));
    p.from.threads = 1;
    REQUIRE(rig_save(&p.from) == 0);
    REQUIRE(repository_list(p.from.repository, REPOSITORY_PACKS, &names, NULL) == 0);
    hash_sha256_hex(names.items[0], pack);
    free(names.items);
    _cleanup_free_ char *weights = rig_path(&p.from, "model.safetensors");
    REQUIRE(unlink(weights) == 0);
    rig_settle(&p.from);
    REQUIRE(rig_save(&p.from) == 0 && p.from.told.new_blocks == 0);
    flip(&p.from, pack, 1000000); /* within the weights, or the noise */
    CHECK_EQ(copy_over(&p), 0);
    CHECK(p.told.failed >= 1);
    CHECK_EQ(p.problems, p.told.failed);
    CHECK(strstr(p.first_problem, pack) && strstr(p.first_problem, "phi3"));
    CHECK_EQ(count(&p.to, REPOSITORY_SNAPSHOTS), p.told.copied);
    CHECK(rig_is_whole(&p.to));
    flip(&p.from, pack, 1000000); /* mended */
    CHECK_EQ(copy_over(&p), 0);
    CHECK_EQ(p.told.failed, 0);
    CHECK_EQ(count(&p.to, REPOSITORY_SNAPSHOTS), 2);
    CHECK(rig_is_whole(&p.to));
    pair_close(&p);
}

/* A disk that has written something else, and says nothing of it. */
static struct backup_rig *lying;
static int lies_left;

static int
lie_before(const char *call, size_t *bytes unused_arg)
{
    _cleanup_free_ char *path = mem_printf("%s/packs", lying->where);
    DIR *dir = strcmp(call, "rename") == 0 && lies_left > 0 ? opendir(path) : NULL;
    for (const struct dirent *e; dir && lies_left > 0 && (e = readdir(dir));)
        if (strncmp(e->d_name, OBJECT_DRAFT, strlen(OBJECT_DRAFT)) == 0) {
            flip(lying, e->d_name, 2000);
            lies_left--;
        }
    if (dir)
        (void)closedir(dir);
    return 0;
}

TEST(what_does_not_arrive_as_it_was_sent_is_found)
{
    struct pair p;
    REQUIRE(pair_open(&p, NULL, NULL));
    p.from.threads = 1;
    REQUIRE(rig_save(&p.from) == 0);
    lying = &p.to;
    lies_left = 1;
    fault_before = lie_before;
    int r = copy_over(&p);
    fault_before = NULL;
    CHECK_EQ(lies_left, 0);
    CHECK_EQ(r, -EIO);
    CHECK_EQ(p.from.err.id, ERR_COPY_DIFFERS);
    CHECK(strstr(p.from.err.what, "packs/") && strstr(p.from.err.what, p.to.where));
    CHECK_EQ(count(&p.to, REPOSITORY_SNAPSHOTS), 0);
    CHECK_EQ(copy_over(&p), -EIO); /* it is not relied on later, either */
    CHECK_EQ(p.from.err.id, ERR_COPY_DIFFERS);
    pair_close(&p);
}

TEST(parity_goes_with_its_pack)
{
    struct pair p;
    struct repository_names names = {0};
    REQUIRE(pair_open(&p, NULL, NULL));
    p.from.parity_percent = 5;
    REQUIRE(rig_save(&p.from) == 0 && copy_over(&p) == 0);
    REQUIRE(repository_list(p.to.repository, REPOSITORY_PACKS, &names, NULL) == 0);
    CHECK(names.count > 0);
    for (size_t i = 0; i < names.count; i++) {
        struct parity_told told;
        char name[HASH_SHA256_HEX];
        hash_sha256_hex(names.items[i], name);
        flip(&p.to, name, 100);
        CHECK_EQ(mend_pack(p.to.repository, names.items[i], &told, NULL), 0);
    }
    free(names.items);
    CHECK(comes_back(&p));
    pair_close(&p);
}

/* ---- blocks that are made with others ---- */

static int
add_record(struct repository *r, const uint8_t *bytes, size_t len, const struct block_id *base,
           const uint8_t *base_bytes, struct block_id *ret_id, struct snapshot_block *ret)
{
    const struct object_place place = repository_place(r, REPOSITORY_PACKS);
    struct codec *codec = codec_new(CODEC_FAST);
    struct pack_writer *w = NULL;
    struct pack_entries entries;
    struct hash_sha256 hash;
    uint8_t digest[HASH_SHA256_BYTES];
    char name[HASH_SHA256_HEX];
    _cleanup_free_ uint8_t *stored = malloc(CODEC_STORED_MAX);
    size_t stored_len = 0;
    const struct codec_block block = {
        .form = CODEC_PLAIN, .bytes = bytes, .len = len, .base = base_bytes};
    hash_sha256_init(&hash);
    hash_sha256_update(&hash, bytes, len);
    hash_sha256_final(&hash, digest);
    block_name(r->keys, digest, ret_id);
    *ret = (struct snapshot_block){*ret_id, (uint32_t)len};
    int k = codec_encode(codec, &block, stored, &stored_len, NULL);
    const struct pack_record record = {.id = *ret_id,
                                       .base = base,
                                       .form = CODEC_PLAIN,
                                       .block_bytes = (uint32_t)len,
                                       .stored = stored,
                                       .stored_bytes = (uint32_t)stored_len};
    if (k == 0)
        k = pack_begin(&place, &w, NULL);
    if (k == 0)
        k = pack_add(w, &record, NULL);
    if (k == 0)
        k = pack_finish(w, name, &entries, NULL);
    pack_writer_free(w);
    codec_free(codec);
    return k;
}

/* A snapshot of one file of one block, whose base no snapshot names. */
static int
add_with_base(struct backup_rig *rig)
{
    static uint8_t base[100000], bytes[100000];
    const struct object_place sums = repository_place(rig->repository, REPOSITORY_SUMS),
                              place = repository_place(rig->repository, REPOSITORY_SNAPSHOTS);
    const struct snapshot_head head = {.begun_ns = 1,
                                       .host = "h",
                                       .subject = "models",
                                       .name = "fine",
                                       .type = "",
                                       .source = "/x"};
    struct snapshot_entry top = {.kind = SNAPSHOT_DIRECTORY,
                                 .mode = 0755,
                                 .path = "",
                                 .target = "",
                                 .owner = "",
                                 .group = ""},
                          file = top;
    struct snapshot_end end = {0};
    struct snapshot_writer *w = NULL;
    struct object_writer o;
    struct block_id base_id, id;
    struct snapshot_block block;
    struct known *known = NULL;
    char name[HASH_SHA256_HEX];
    fill_noise(base, sizeof(base), 1);
    memcpy(bytes, base, sizeof(bytes));
    bytes[777] ^= 1;
    int r = add_record(rig->repository, base, sizeof(base), NULL, NULL, &base_id, &block);
    if (r == 0)
        r = add_record(rig->repository, bytes, sizeof(bytes), &base_id, base, &id, &block);
    if (r == 0)
        r = known_open(rig->repository, &known, NULL); /* which indexes them */
    known_free(known);
    if (r == 0)
        r = object_begin(&o, &sums, NULL);
    if (r == 0) {
        r = object_finish(&o, name, NULL);
        object_end(&o);
        object_digest(name, end.sums);
    }
    if (r < 0 || snapshot_begin(&place, &head, &w, NULL) < 0)
        return -EIO;
    struct hash_sha256 hash;
    hash_sha256_init(&hash);
    hash_sha256_update(&hash, bytes, sizeof(bytes));
    file.kind = SNAPSHOT_FILE;
    file.path = "fine";
    file.size = sizeof(bytes);
    hash_sha256_final(&hash, file.digest);
    r = snapshot_add(w, &top, NULL);
    if (r == 0)
        r = snapshot_add(w, &file, NULL);
    if (r == 0)
        r = snapshot_add_blocks(w, &block, 1, NULL);
    if (r == 0)
        r = snapshot_commit(w, &end, rig->told.snapshot, NULL);
    snapshot_writer_free(w);
    return r;
}

TEST(a_base_goes_with_what_is_made_with_it)
{
    static const char *const keys[] = {NULL, PASSWORD};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        struct pair p;
        _cleanup_free_ char *to = mem_printf("%s/fine%zu", tap_dir(), i),
                            *file = mem_printf("%s/fine", to),
                            *there = mem_printf("%s/there%zu", tap_dir(), i),
                            *old = mem_printf("%s/old%zu", tap_dir(), i), *where = NULL;
        REQUIRE(i == 0 ? pair_open(&p, NULL, NULL) : make_there(&p, keys[i], NULL));
        where = mem_strdup(p.to.where);
        if (i == 0)
            REQUIRE(add_with_base(&p.from) == 0);
        CHECK_EQ(copy_over(&p), 0);
        CHECK_EQ(p.problems, 0);
        CHECK_EQ(p.told.packs + p.told.blocks, 2);
        CHECK(rig_is_whole(&p.to));
        CHECK_EQ(rig_restore(&p.to, &(struct restore_wish){.to = to}), 0);
        CHECK_STR(p.to.err.what, "");
        CHECK(access(file, R_OK) == 0);
        backup_rig_close(&p.to);
        REQUIRE(rename(where, old) == 0);
        if (i + 1 == ARRAY_SIZE(keys))
            backup_rig_close(&p.from);
    }
}

/* ---- one that breaks off ---- */

static void
copy_in_child(void *arg)
{
    struct pair *p = arg;
    if (!loop_rig_open(&p->from.loop) || !loop_rig_open(&p->to.loop) ||
        !rig_open_repository(&p->from) || !rig_open_repository(&p->to))
        _exit(1);
    (void)!copy_over(p);
}

static void
crash_everywhere(struct pair *p, bool torn)
{
    unsigned calls = 0, kept = 0;
    REQUIRE(rig_save(&p->from) == 0);
    for (unsigned n = 1;; n += torn ? 3 : 1) {
        unsigned before = count(&p->to, REPOSITORY_SNAPSHOTS);
        tap_note("call %u", n);
        REQUIRE(rig_write_noise(&p->from, "more", 30000, 1000 * n) == 0 && rig_save(&p->from) == 0);
        struct pair child = *p;
        child.from.repository = child.to.repository = NULL;
        bool crashed = crash_at(n, torn, copy_in_child, &child);
        unsigned after = count(&p->to, REPOSITORY_SNAPSHOTS);
        calls += crashed;
        kept += crashed && after > before;
        if (after > before)
            CHECK(rig_is_whole(&p->to));
        if (!crashed)
            CHECK_EQ(count(&p->from, REPOSITORY_SNAPSHOTS), after);
        CHECK_EQ(copy_over(p), 0);
        CHECK_STR(p->from.err.what, "");
        CHECK_EQ(count(&p->to, REPOSITORY_SNAPSHOTS), count(&p->from, REPOSITORY_SNAPSHOTS));
        if (!crashed)
            break;
    }
    CHECK(calls > 10);
    CHECK(torn || kept >= 1); /* behind the snapshot */
    CHECK(rig_is_whole(&p->from));
    REQUIRE(rig_save(&p->from) == 0 && copy_over(p) == 0);
    CHECK(comes_back(p));
}

TEST(a_crash_of_a_copy_leaves_both_whole)
{
    struct pair p;
    REQUIRE(pair_open(&p, NULL, NULL));
    crash_everywhere(&p, false);
    pair_close(&p);
}

TEST(a_write_of_a_copy_that_is_torn_leaves_both_whole)
{
    struct pair p;
    REQUIRE(pair_open(&p, NULL, NULL));
    crash_everywhere(&p, true);
    pair_close(&p);
}

TEST(a_crash_of_a_copy_to_another_key_leaves_both_whole)
{
    struct pair p;
    REQUIRE(pair_open(&p, PASSWORD, NULL));
    crash_everywhere(&p, false);
    pair_close(&p);
}

static void
copy_here(void *arg)
{
    struct pair *p = arg;
    p->from.r = copy_over(p);
}

TEST(a_failure_on_either_side_is_an_error)
{
    struct pair p;
    unsigned failed = 0;
    REQUIRE(pair_open(&p, NULL, NULL));
    for (unsigned n = 1;; n++) {
        REQUIRE(rig_write_noise(&p.from, "more", 300000, 2000 + n) == 0 && rig_save(&p.from) == 0);
        tap_note("call %u", n);
        fail_at(n, false, copy_here, &p);
        if (fail_left > 0)
            break;
        failed += p.from.r < 0;
        CHECK(p.from.r == 0 || p.from.err.what[0]);
        CHECK(rig_is_whole(&p.to));
    }
    CHECK(failed > 10);
    CHECK_EQ(copy_over(&p), 0);
    CHECK(comes_back(&p));
    pair_close(&p);
}

/* What had arrived before does not go again. */
TEST(a_copy_goes_on_where_it_was_stopped)
{
    struct pair p;
    REQUIRE(pair_open(&p, NULL, NULL) && rig_save(&p.from) == 0);
    struct pair child = p;
    child.from.repository = child.to.repository = NULL;
    const unsigned packs = count(&p.from, REPOSITORY_PACKS);
    unsigned n = 1;
    while (count(&p.to, REPOSITORY_PACKS) < packs && crash_at(n, false, copy_in_child, &child))
        n++;
    REQUIRE(count(&p.to, REPOSITORY_PACKS) == packs && count(&p.to, REPOSITORY_SNAPSHOTS) == 0);
    CHECK_EQ(copy_over(&p), 0);
    CHECK_EQ(p.told.copied, 1);
    CHECK_EQ(p.told.packs + p.told.blocks, 0);
    CHECK(comes_back(&p));
    pair_close(&p);
}
