#include "gpu/lease_int.h"

#include "gpu_rig.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>

#define ONE "GPU-00000001-0000-4000-8000-000000000001"
#define OTHER "GPU-00000002-0000-4000-8000-000000000002"
#define ALL (80 * GIB)

/* A lease of NAME of so much of a GPU; 0 bytes: all of it, alone. */
static struct gpu_lease
lease_of(const char *name, const char *uuid, uint64_t bytes)
{
    struct gpu_lease lease = {.part_count = 1, .fd = -1, .dir = -1};
    (void)snprintf(lease.holder.name, sizeof(lease.holder.name), "%s", name);
    (void)snprintf(lease.parts[0].uuid, sizeof(lease.parts[0].uuid), "%s", uuid);
    lease.parts[0].bytes = bytes;
    lease.parts[0].total_bytes = ALL;
    lease.parts[0].exclusive = bytes == 0;
    return lease;
}

static size_t
count_leases(void)
{
    _cleanup_gpu_leases_ struct gpu_leases leases = {0};
    struct err err = {0};
    if (gpu_leases_read(&leases, tap_dir(), &err) < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    return leases.count;
}

static const char *
path_of(const char *name)
{
    static char path[512];
    (void)snprintf(path, sizeof(path), "%s/leases/%s", tap_dir(), name);
    return path;
}

TEST(a_lease_is_seen_until_it_is_released)
{
    _cleanup_gpu_leases_ struct gpu_leases leases = {0};
    struct gpu_lease lease = lease_of("chat", ONE, 40 * GIB);
    struct stat st;
    CHECK_EQ(count_leases(), 0);
    REQUIRE(gpu_lease_take(&lease, tap_dir(), 0, NULL) == 0);
    REQUIRE(gpu_leases_read(&leases, tap_dir(), NULL) == 0);
    REQUIRE(leases.count == 1);
    CHECK_STR(leases.items[0].holder.name, "chat");
    CHECK_EQ(leases.items[0].holder.pid, getpid());
    CHECK(leases.items[0].holder.since_us > 0);
    CHECK_STR(leases.items[0].parts[0].uuid, ONE);
    CHECK_EQ(gpu_leases_sum(&leases, ONE, ALL), 40 * GIB);
    CHECK_EQ(gpu_leases_sum(&leases, OTHER, ALL), 0);
    CHECK(stat(path_of("chat.json"), &st) == 0 && (st.st_mode & 0777) == 0644);
    gpu_lease_release(&lease);
    CHECK_EQ(count_leases(), 0);
    CHECK(access(path_of("chat.json"), F_OK) < 0);
}

TEST(no_gpu_is_promised_twice)
{
    static const struct {
        const char *name, *uuid;
        uint64_t bytes; /* 0: exclusive */
        enum err_id want;
    } steps[] = {
        {"a", ONE, 40 * GIB, ERR_NONE},
        {"b", ONE, 39 * GIB, ERR_NONE},
        {"c", ONE, 1 * GIB, ERR_GPU_LEASED}, /* 1 GiB is kept free */
        {"c", ONE, 0, ERR_GPU_LEASED},
        {"a", OTHER, 1 * GIB, ERR_GPU_LEASED}, /* a runs already */
        {"c", OTHER, 80 * GIB, ERR_GPU_TOO_SMALL},
        {"c", OTHER, 0, ERR_NONE},
        {"d", OTHER, 1, ERR_GPU_LEASED},
    };
    struct gpu_lease taken[ARRAY_SIZE(steps)];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct err err = {0};
        struct gpu_lease lease = lease_of(steps[i].name, steps[i].uuid, steps[i].bytes);
        tap_note("step %zu", i);
        int r = gpu_lease_take(&lease, tap_dir(), GIB, &err);
        CHECK_EQ(err.id, steps[i].want);
        CHECK_EQ(r == 0, steps[i].want == ERR_NONE);
        if (r == 0)
            taken[count++] = lease;
    }
    struct err err = {0};
    struct gpu_lease late = lease_of("late", ONE, 2 * GIB);
    CHECK_EQ(gpu_lease_take(&late, tap_dir(), GIB, &err), -EBUSY);
    CHECK_STR(err.what, "2.00 GiB of GPU " ONE ": 79.0 GiB of 80.0 GiB are leased "
                        "(a 40.0 GiB, b 39.0 GiB)");
    gpu_lease_release(&taken[0]);
    CHECK_EQ(gpu_lease_take(&late, tap_dir(), GIB, &err), 0);
    gpu_lease_release(&late);
    for (size_t i = 1; i < count; i++)
        gpu_lease_release(&taken[i]);
}

TEST(a_lease_of_many_gpus_is_taken_whole_or_not)
{
    struct gpu_lease one = lease_of("one", OTHER, 60 * GIB), both = lease_of("both", ONE, 30 * GIB);
    both.parts[1] = one.parts[0];
    both.parts[1].bytes = 30 * GIB;
    both.part_count = 2;
    REQUIRE(gpu_lease_take(&one, tap_dir(), 0, NULL) == 0);
    CHECK_EQ(gpu_lease_take(&both, tap_dir(), 0, NULL), -EBUSY);
    CHECK_EQ(count_leases(), 1);
    gpu_lease_release(&one);
    CHECK_EQ(gpu_lease_take(&both, tap_dir(), 0, NULL), 0);
    gpu_lease_release(&both);
    /* Of one GPU twice is of one GPU so much more. */
    (void)snprintf(both.parts[1].uuid, sizeof(both.parts[1].uuid), "%s", ONE);
    both.parts[1].bytes = 51 * GIB;
    CHECK_EQ(gpu_lease_take(&both, tap_dir(), 0, NULL), -ENOMEM);
    both.parts[1].bytes = 50 * GIB;
    CHECK_EQ(gpu_lease_take(&both, tap_dir(), 0, NULL), 0);
    gpu_lease_release(&both);
}

static void
take(void *lease)
{
    if (gpu_lease_take(lease, tap_dir(), 0, NULL) < 0)
        _exit(1);
}

TEST(a_lease_ends_with_its_holder)
{
    (void)tap_dir();
    struct gpu_lease lease = lease_of("chat", ONE, 0);
    struct rig_child child = rig_fork(take, &lease);
    char said;
    CHECK(rig_said(&child, 10000) && read(child.said, &said, 1) == 1);
    CHECK_EQ(count_leases(), 1);
    CHECK_EQ(gpu_lease_take(&lease, tap_dir(), 0, NULL), -EBUSY);
    rig_kill(&child);
    CHECK_EQ(count_leases(), 0);
    CHECK(access(path_of("chat.json"), F_OK) == 0);
    /* Who only looks cannot keep a dead one alive. */
    _cleanup_close_ int fd = open(path_of("chat.json"), O_RDONLY | O_CLOEXEC);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    REQUIRE(fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) == 0);
    CHECK_EQ(count_leases(), 0);
    struct gpu_lease next = lease_of("embed", ONE, 0);
    CHECK_EQ(gpu_lease_take(&next, tap_dir(), 0, NULL), 0);
    CHECK(access(path_of("chat.json"), F_OK) < 0);
    gpu_lease_release(&next);
}

static void
take_and_release(void *unused)
{
    struct gpu_lease lease = lease_of("chat", ONE, 0);
    (void)unused;
    take(&lease);
    gpu_lease_release(&lease);
}

static void
start_and_release(void *unused)
{
    struct gpu_start start = GPU_START_INIT;
    struct gpu_holder holder;
    (void)unused;
    if (gpu_start_try(&start, tap_dir(), "chat", &holder, NULL) != 1)
        _exit(1);
    gpu_start_release(&start);
}

/* Runs f in a child that is killed at the n-th stop before or after a system call. 1: it was; 0: it
 * came to its end before; -1: it failed, or cannot be traced here. */
static int
kill_at(void (*f)(void *), unsigned n)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
            _exit(1);
        (void)raise(SIGSTOP);
        f(NULL);
        _exit(0);
    }
    for (unsigned stops = 0; waitpid(child, &status, 0) == child; stops++) {
        if (WIFEXITED(status))
            return WEXITSTATUS(status) == 0 ? 0 : -1;
        if (WIFSIGNALED(status))
            return 1;
        if (stops == n)
            (void)kill(child, SIGKILL);
        else if (ptrace(PTRACE_SYSCALL, child, 0, 0) < 0)
            return -1;
    }
    return -1;
}

static void
kill_everywhere(void (*f)(void *))
{
    unsigned n = 1;
    int r;
    (void)tap_dir();
    for (; (r = kill_at(f, n)) == 1; n++) {
        struct gpu_lease next = lease_of("next", ONE, 0);
        struct gpu_holder holder;
        struct err err = {0};
        tap_note("killed at stop %u", n);
        REQUIRE(count_leases() == 0);
        REQUIRE(gpu_start_holder(tap_dir(), &holder, NULL) == 0);
        if (gpu_lease_take(&next, tap_dir(), 0, &err) < 0)
            tap_fail(__FILE__, __LINE__, "%s", err.what);
        CHECK(access(path_of("chat.json"), F_OK) < 0);
        CHECK(access(path_of(".chat.json.new"), F_OK) < 0);
        gpu_lease_release(&next);
        struct gpu_start start = GPU_START_INIT;
        CHECK_EQ(gpu_start_try(&start, tap_dir(), "next", &holder, NULL), 1);
        gpu_start_release(&start);
    }
    CHECK_EQ(r, 0);
    CHECK(n > 40); /* it is some thirty calls, with a stop before and after each */
}

TEST(killed_at_any_call_no_lease_is_left)
{
    kill_everywhere(take_and_release);
}

TEST(killed_at_any_call_no_start_lock_is_left)
{
    kill_everywhere(start_and_release);
}

struct racer {
    char name[8];
    int go, ready;      /* go hangs up when the last has closed ready */
    volatile int *wins; /* shared */
};

static void
race(void *arg)
{
    struct racer *racer = arg;
    struct gpu_lease lease = lease_of(racer->name, ONE, 32 * GIB);
    struct pollfd p = {.fd = racer->go};
    (void)close(racer->ready);
    (void)poll(&p, 1, 20000);
    int r = gpu_lease_take(&lease, tap_dir(), 0, NULL);
    if (r == 0)
        (void)__atomic_add_fetch(racer->wins, 1, __ATOMIC_SEQ_CST);
    else if (r != -EBUSY)
        _exit(1);
}

TEST(of_many_that_race_only_as_many_win_as_fit)
{
    volatile int *wins =
        mmap(NULL, sizeof(*wins), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct rig_child children[8];
    (void)tap_dir();
    for (int round = 0; round < 10; round++) {
        int ends[2];
        REQUIRE(pipe(ends) == 0);
        *wins = 0;
        for (unsigned i = 0; i < ARRAY_SIZE(children); i++) {
            struct racer racer = {.go = ends[0], .ready = ends[1], .wins = wins};
            (void)snprintf(racer.name, sizeof(racer.name), "m%u", i);
            children[i] = rig_fork(race, &racer);
        }
        (void)close(ends[1]);
        for (unsigned i = 0; i < ARRAY_SIZE(children); i++) {
            char said;
            CHECK(rig_said(&children[i], 20000) && read(children[i].said, &said, 1) == 1);
        }
        CHECK_EQ(*wins, 2); /* of 80 GiB, two times 32 */
        CHECK_EQ(count_leases(), 2);
        for (unsigned i = 0; i < ARRAY_SIZE(children); i++)
            rig_kill(&children[i]);
        (void)close(ends[0]);
    }
    (void)munmap((void *)(uintptr_t)wins, sizeof(*wins));
}

TEST(what_is_no_lease_stops_nobody_or_is_named)
{
    struct gpu_lease lease = lease_of("chat", ONE, 0);
    struct err err = {0};
    REQUIRE(gpu_lease_take(&lease, tap_dir(), 0, NULL) == 0);
    gpu_lease_release(&lease);
    /* Not held: forgotten. */
    _cleanup_close_ int fd = open(path_of("bad.json"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    REQUIRE(fd >= 0 && write(fd, "{}", 2) == 2);
    CHECK_EQ(gpu_lease_take(&lease, tap_dir(), 0, &err), 0);
    gpu_lease_release(&lease);
    CHECK(access(path_of("bad.json"), F_OK) < 0);
    /* Held: it may be anything. */
    _cleanup_close_ int held = open(path_of("bad.json"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    REQUIRE(held >= 0 && write(held, "{}", 2) == 2 && fcntl(held, F_OFD_SETLK, &lock) == 0);
    CHECK_EQ(gpu_lease_take(&lease, tap_dir(), 0, &err), -EBADMSG);
    CHECK_EQ(err.id, ERR_GPU_LEASE_FILE);
    CHECK(strstr(err.what, "bad.json"));
    REQUIRE(unlink(path_of("bad.json")) == 0);
    /* Nothing that a reader could hang on, or be led away by. */
    REQUIRE(mkfifo(path_of("pipe.json"), 0644) == 0);
    CHECK_EQ(gpu_lease_take(&lease, tap_dir(), 0, &err), -EBADMSG);
    REQUIRE(unlink(path_of("pipe.json")) == 0 && symlink("/etc/passwd", path_of("l.json")) == 0);
    CHECK_EQ(gpu_lease_take(&lease, tap_dir(), 0, &err), -EBADMSG);
}

TEST(a_directory_open_to_others_is_refused)
{
    struct gpu_lease lease = lease_of("chat", ONE, 0);
    struct err err = {0};
    REQUIRE(mkdir(path_of(""), 0755) == 0 && chmod(path_of(""), 0775) == 0);
    CHECK_EQ(gpu_lease_take(&lease, tap_dir(), 0, &err), -EBADMSG);
    CHECK_EQ(err.id, ERR_GPU_LEASE_FILE);
    CHECK(strstr(err.fix, "chmod 755"));
}

TEST(what_root_makes_belongs_to_the_service)
{
    struct gpu_lease lease = lease_of("chat", ONE, 0);
    struct stat st;
    static const char *const names[] = {"", "gate", "chat.json"};
    if (geteuid() != 0) {
        tap_skip("needs root");
        return;
    }
    REQUIRE(chown(tap_dir(), 4242, 4243) == 0);
    mode_t mask = umask(077);
    REQUIRE(gpu_lease_take(&lease, tap_dir(), 0, NULL) == 0);
    (void)umask(mask);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        tap_note("%s", names[i]);
        REQUIRE(stat(path_of(names[i]), &st) == 0);
        CHECK(st.st_uid == 4242 && st.st_gid == 4243);
    }
    CHECK(stat(path_of(""), &st) == 0 && (st.st_mode & 0777) == 0755);
    gpu_lease_release(&lease);
}

TEST(leases_read_back_as_they_were_written)
{
    struct gpu_lease lease = {.holder = {.pid = INT32_MAX, .since_us = UINT64_MAX}};
    memset(lease.holder.name, 'n', TEXT_NAME_MAX);
    for (size_t i = 0; i < GPU_LEASE_PARTS_MAX; i++) {
        struct gpu_lease_part *part = &lease.parts[lease.part_count++];
        memset(part->uuid, 'u', GPU_UUID_MAX);
        part->bytes = UINT64_MAX - i;
        part->total_bytes = UINT64_MAX;
        part->exclusive = i % 2;
    }
    for (; lease.part_count > 0; lease.part_count--) {
        _cleanup_buf_ struct buf text = BUF_INIT(LEASE_FILE_MAX);
        struct gpu_lease back;
        lease_print(&lease, &text);
        REQUIRE(buf_error(&text) == 0);
        REQUIRE(lease_parse(text.data, text.len, &back, NULL) == 0);
        CHECK_STR(back.holder.name, lease.holder.name);
        CHECK_EQ(back.holder.since_us, lease.holder.since_us);
        REQUIRE(back.part_count == lease.part_count);
        for (size_t i = 0; i < lease.part_count; i++) {
            CHECK_STR(back.parts[i].uuid, lease.parts[i].uuid);
            CHECK(back.parts[i].bytes == lease.parts[i].bytes);
            CHECK_EQ(back.parts[i].exclusive, lease.parts[i].exclusive);
        }
    }
}

TEST(bad_leases_are_refused)
{
#define PART(text) "{\"holder\":\"a\",\"pid\":1,\"since\":1,\"gpus\":[{" text "}]}"
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"holder\":\"A b\",\"pid\":1,\"since\":1,\"gpus\":[]}",
        "{\"holder\":\"../a\",\"pid\":1,\"since\":1,\"gpus\":[]}",
        "{\"holder\":\"a\",\"pid\":-1,\"since\":1,\"gpus\":[]}",
        "{\"holder\":\"a\",\"pid\":4294967296,\"since\":1,\"gpus\":[]}",
        "{\"holder\":\"a\",\"pid\":1,\"since\":1,\"gpus\":{}}",
        PART("\"uuid\":\"GPU\",\"bytes\":2,\"total\":1,\"exclusive\":false"),
        PART("\"uuid\":\"G/U\",\"bytes\":1,\"total\":1,\"exclusive\":false"),
        PART("\"uuid\":\"\",\"bytes\":1,\"total\":1,\"exclusive\":false"),
        PART("\"uuid\":\"GPU\",\"bytes\":1,\"total\":1"),
        PART("\"uuid\":\"GPU\",\"bytes\":1,\"total\":1,\"exclusive\":0"),
    };
    struct gpu_lease lease;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        tap_note("%s", bad[i]);
        CHECK(lease_parse(bad[i], strlen(bad[i]), &lease, NULL) < 0);
    }
    static const char good[] = PART("\"uuid\":\"GPU\",\"bytes\":1,\"total\":1,\"exclusive\":true,"
                                    "\"later\":{}");
    CHECK_EQ(lease_parse(good, sizeof(good) - 1, &lease, NULL), 0);
}
