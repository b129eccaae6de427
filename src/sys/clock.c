#include "sys/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

static uint64_t
read_clock_us(clockid_t id)
{
    struct timespec t;
    int r = clock_gettime(id, &t);
    assert(r == 0);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t
clock_now_us(void)
{
    return read_clock_us(CLOCK_MONOTONIC);
}

uint64_t
clock_wall_us(void)
{
    return read_clock_us(CLOCK_REALTIME);
}

int
clock_boot_id(char ret_id[CLOCK_BOOT_ID_LEN + 1])
{
    char id[CLOCK_BOOT_ID_LEN];
    _cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t got = read(fd, id, sizeof(id));
    if (got != sizeof(id))
        return got < 0 ? -errno : -EIO;
    for (size_t i = 0; i < sizeof(id); i++)
        ret_id[i] = id[i];
    ret_id[sizeof(id)] = '\0';
    return 0;
}

const char *
clock_print_local(uint64_t wall_us, char text[CLOCK_LOCAL_MAX])
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    text[0] = '\0';
    if (localtime_r(&seconds, &tm))
        (void)strftime(text, CLOCK_LOCAL_MAX, "%Y-%m-%d %H:%M:%S", &tm);
    return text;
}
