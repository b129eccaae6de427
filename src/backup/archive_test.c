#include "backup/archive.h"

#include "backup/test_int.h"

#include <fcntl.h>

#define NAME "phi3-2026-11-22-0123456789ab.tar.zst"

static void
put(const char *name, const char *text)
{
    _cleanup_free_ char *path = mem_printf("%s/%s", tap_dir(), name);
    _cleanup_close_ int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        tap_fail(__FILE__, __LINE__, "cannot write %s", path);
}

static bool
has(const char *name, const char *text)
{
    char found[2000] = "";
    _cleanup_free_ char *path = mem_printf("%s/%s", tap_dir(), name);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, found, sizeof(found) - 1) >= 0 && strstr(found, text);
}

TEST(an_archive_is_named_after_what_it_has)
{
    struct snapshot_row row = {
        .name = "0123456789abcdef",
        .head = {.begun_ns = INT64_C(1795305599) * 1000000000, .name = "phi3"}};
    char name[ARCHIVE_NAME_MAX];
    CHECK_STR(archive_name(&row, name), "phi3-2026-11-21-0123456789ab.tar.zst");
    row.head.name = "../etc";
    CHECK_STR(archive_name(&row, name), "snapshot-2026-11-21-0123456789ab.tar.zst");
}

TEST(an_archive_is_whole_when_it_was_read_back)
{
    char sha256[HASH_SHA256_HEX];
    hash_sha256_text("archive", 7, sha256);
    put("SHA256SUMS", "00  other\n");
    CHECK_EQ(archive_is_whole(tap_dir(), NAME, NULL), 0);
    put(NAME, "archive");
    CHECK_EQ(archive_is_whole(tap_dir(), NAME, NULL), 0); /* nobody has seen that */
    CHECK_EQ(archive_confirm(tap_dir(), NAME, sha256, NULL), 0);
    CHECK_EQ(archive_is_whole(tap_dir(), NAME, NULL), 1);
    CHECK(has("SHA256SUMS", "00  other\n") && has("SHA256SUMS", sha256) &&
          has("README", "tar --zstd"));
    put(NAME, "archivE");
    CHECK_EQ(archive_is_whole(tap_dir(), NAME, NULL), 0);
}

TEST(an_archive_that_is_not_what_was_written_has_no_line)
{
    char sha256[HASH_SHA256_HEX];
    struct err err;
    hash_sha256_text("archive", 7, sha256);
    put(NAME, "archivE");
    CHECK_EQ(archive_confirm(tap_dir(), NAME, sha256, &err), -EIO);
    CHECK_EQ(err.id, ERR_BACKUP_UNSOUND);
    CHECK(strstr(err.what, NAME) != NULL);
    CHECK_EQ(archive_is_whole(tap_dir(), NAME, NULL), 0);
    CHECK(!has("SHA256SUMS", sha256));
}

/* The second replaces its line, and no other. */
TEST(an_archive_has_one_line)
{
    char first[HASH_SHA256_HEX], second[HASH_SHA256_HEX];
    hash_sha256_text("1", 1, first);
    hash_sha256_text("2", 1, second);
    put(NAME, "1");
    REQUIRE(archive_confirm(tap_dir(), NAME, first, NULL) == 0);
    put(NAME, "2");
    REQUIRE(archive_confirm(tap_dir(), NAME, second, NULL) == 0);
    CHECK(has("SHA256SUMS", second) && !has("SHA256SUMS", first));
    CHECK_EQ(archive_is_whole(tap_dir(), NAME, NULL), 1);
}
