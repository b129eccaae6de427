#include "sys/log.h"

#include "base/mem.h"
#include "base/text.h"
#include "tap.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char said[8192];

static void
speak(void)
{
    log_error("bad %d\nforged line\x1b[2J", 1);
    log_warning("careful");
    log_info("told");
    log_debug("detail");
}

/* Runs speak() with standard error in a file. */
static const char *
hear(bool journal)
{
    _cleanup_free_ char *path = mem_printf("%s/stderr", tap_dir());
    char stream[64];
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int old = fcntl(2, F_DUPFD_CLOEXEC, 3);
    if (fd < 0 || old < 0 || fstat(fd, &st) < 0)
        return NULL;
    (void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino + !journal);
    (void)setenv("JOURNAL_STREAM", stream, 1);
    (void)dup2(fd, 2);
    speak();
    (void)dup2(old, 2);
    ssize_t n = pread(fd, said, sizeof(said) - 1, 0);
    said[MAX(n, 0)] = '\0';
    (void)close(fd);
    (void)close(old);
    (void)unsetenv("JOURNAL_STREAM");
    return said;
}

TEST(the_journal_gets_priorities)
{
    enum log_level level;
    REQUIRE(log_level_parse("info", &level));
    log_set_level(level);
    CHECK_STR(hear(true), "<3>bad 1?forged line?[2J\n<4>careful\n<6>told\n");
    REQUIRE(log_level_parse("debug", &level));
    log_set_level(level);
    CHECK(text_ends(hear(true), "<7>detail\n"));
    REQUIRE(log_level_parse("error", &level));
    log_set_level(level);
    CHECK_STR(hear(true), "<3>bad 1?forged line?[2J\n");
    log_set_level(LOG_LEVEL_INFO);
    CHECK(!log_level_parse("loud", &level));
}

TEST(people_get_the_time)
{
    const char *text = hear(false);
    CHECK(isdigit((unsigned char)text[0]) && text[4] == '-' && text[10] == ' ');
    CHECK(strstr(text, " error: bad 1?forged line?[2J\n") != NULL);
    CHECK(strstr(text, " info: told\n") != NULL);
    CHECK(strstr(text, "detail") == NULL);
}
