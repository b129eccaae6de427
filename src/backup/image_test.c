#include "backup/image.h"

#include "backup/test_int.h"
#include "sys/files.h"

#include <errno.h>
#include <string.h>

/* What save() and restore() are done with: a file with noise between zeros. */
static char *
make_disk(struct backup_rig *rig)
{
    _cleanup_free_ uint8_t *noise = malloc(3 * MIB);
    char *path = mem_printf("%s/disk", tap_dir());
    _cleanup_close_ int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    fill_noise(noise, 3 * MIB, 3);
    CHECK(backup_rig_open(rig));
    CHECK(fd >= 0 && ftruncate(fd, 20 * MIB + 512) == 0);
    CHECK(pwrite(fd, noise, 3 * MIB, 5 * MIB) == 3 * MIB);
    return path;
}

static int
save(struct backup_rig *rig, const char *path)
{
    const struct save_wish wish = {.repository = rig->repository,
                                   .source = path,
                                   .is_image = true,
                                   .host = "gpu1",
                                   .subject = "image",
                                   .name = "disk",
                                   .type = "",
                                   .threads = rig->threads,
                                   .dry = rig->dry};
    struct save *s = NULL;
    rig->r = -EINPROGRESS;
    int r = save_new(rig->loop.loop, &wish, backup_rig_ended, rig, &s, &rig->err);
    if (r < 0)
        return r;
    loop_rig_run(&rig->loop, LOOP_PATIENCE_US);
    rig->told = *save_told(s);
    save_free(s);
    return rig->r;
}

static int
restore(struct backup_rig *rig, const char *to, bool replace, struct image_told *ret_told)
{
    struct image_wish wish = {.repository = rig->repository, .to = to, .replace = replace};
    struct image *x = NULL;
    object_digest(rig->told.snapshot, wish.snapshot);
    rig->r = -EINPROGRESS;
    int r = image_new(rig->loop.loop, &wish, backup_rig_ended, rig, &x, &rig->err);
    if (r < 0)
        return r;
    loop_rig_run(&rig->loop, LOOP_PATIENCE_US);
    *ret_told = *image_told(x);
    image_free(x);
    return rig->r;
}

static bool
is_same(const char *a, const char *b)
{
    _cleanup_buf_ struct buf x = BUF_INIT(32 * MIB), y = BUF_INIT(32 * MIB);
    return file_read(a, &x, NULL) == 0 && file_read(b, &y, NULL) == 0 && x.len == y.len &&
           memcmp(x.data, y.data, x.len) == 0;
}

TEST(an_image_of_a_file_comes_back)
{
    struct backup_rig rig;
    struct image_told told;
    struct stat st;
    _cleanup_free_ char *disk = make_disk(&rig);
    _cleanup_free_ char *to = mem_printf("%s/back", tap_dir());
    CHECK_EQ(save(&rig, disk), 0);
    CHECK_EQ(rig.told.total_bytes, 20 * MIB + 512);
    CHECK_EQ(rig.told.changed, 0);
    CHECK(rig.told.stored_bytes < 4 * MIB);
    CHECK(rig_is_whole(&rig));
    CHECK_EQ(restore(&rig, to, false, &told), 0);
    CHECK_EQ(told.bytes, 20 * MIB + 512);
    CHECK(told.zero_bytes > 10 * MIB);
    CHECK(is_same(disk, to));
    CHECK(stat(to, &st) == 0 && (uint64_t)st.st_blocks * 512 < 10 * MIB);
    CHECK_EQ(restore(&rig, to, false, &told), -EEXIST);
    CHECK_EQ(rig.err.id, ERR_RESTORE_THERE);
    CHECK_EQ(restore(&rig, to, true, &told), 0);
    CHECK(is_same(disk, to));
    CHECK_EQ(save(&rig, disk), 0);
    CHECK_EQ(rig.told.new_bytes, 0);
    backup_rig_close(&rig);
}

TEST(an_image_is_told_of_and_not_saved)
{
    struct backup_rig rig;
    _cleanup_free_ char *disk = make_disk(&rig);
    rig.dry = true;
    CHECK_EQ(save(&rig, disk), 0);
    CHECK_EQ(rig.told.new_bytes, 20 * MIB + 512);
    CHECK_STR(rig.told.snapshot, "");
    backup_rig_close(&rig);
}

TEST(what_is_neither_device_nor_file_has_no_image)
{
    struct backup_rig rig;
    _cleanup_free_ char *disk = make_disk(&rig);
    CHECK_EQ(save(&rig, tap_dir()), -EINVAL);
    CHECK_EQ(rig.err.id, ERR_USAGE);
    CHECK(strstr(rig.err.what, tap_dir()));
    CHECK_EQ(save(&rig, "/dev/null"), -EINVAL);
    backup_rig_close(&rig);
}

TEST(a_snapshot_of_no_file_is_no_image)
{
    struct backup_rig rig;
    struct image_told told;
    _cleanup_free_ char *disk = make_disk(&rig);
    _cleanup_free_ char *to = mem_printf("%s/none", tap_dir());
    REQUIRE(file_remove_tree(rig.source, NULL) == 0 && mkdir(rig.source, 0700) == 0);
    REQUIRE(rig_save(&rig) == 0);
    CHECK(restore(&rig, to, false, &told) < 0);
    CHECK_EQ(rig.err.id, ERR_SNAPSHOT_DAMAGED);
    CHECK(access(to, F_OK) < 0);
    backup_rig_close(&rig);
}
