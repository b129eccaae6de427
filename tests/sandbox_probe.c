/* Runs as the engine of a model, inside its sandbox: tries what engines do and what they must not, and
 * writes what came of it into our cache, a line of each: "may write its cache: done".
 *
 *     sandbox_probe OURS ANOTHER
 *
 * are names of models; of the second the shim runs. */

#include "base/util.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

#define CACHE "/mnt/citadel-models/cache"
#define STATE "/var/lib/citadel"
#define RUN "/run/citadel"

static const char *ours, *another;

/* Each returns 0, or -1 with errno set. */

static int
end(int fd)
{
    return fd < 0 ? -1 : close(fd);
}

static int
write_in(const char *dir, const char *whose, const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s/%s", dir, whose, name);
    return end(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int
write_cache(void)
{
    return write_in(CACHE, ours, "probe");
}

static int
write_others_cache(void)
{
    return write_in(CACHE, another, "probe");
}

static int
write_models(void)
{
    return write_in(CACHE, "..", "probe");
}

static int
write_record(void)
{
    return write_in(STATE "/models", ours, "record.json");
}

static int
write_others_record(void)
{
    return write_in(STATE "/models", another, "record.json");
}

/* Whoever can open it can keep it. */
static int
open_others_lock(void)
{
    char path[512];
    (void)snprintf(path, sizeof(path), STATE "/models/%s/lock", another);
    return end(open(path, O_RDWR | O_CLOEXEC));
}

static int
write_beside_records(void)
{
    return write_in(STATE, "models", "probe");
}

static int
write_history(void)
{
    return write_in(STATE, "monitor", "probe");
}

static int
write_run(void)
{
    return write_in(RUN "/models", ours, "probe");
}

static int
write_others_run(void)
{
    return write_in(RUN "/models", another, "probe");
}

static int
connect_to(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    (void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = connect(fd, (struct sockaddr *)&to, sizeof(to));
    int why = errno;
    (void)close(fd);
    errno = why;
    return r;
}

static int
ask_own_shim(void)
{
    char path[128];
    (void)snprintf(path, sizeof(path), RUN "/models/%s/control.sock", ours);
    return connect_to(path);
}

static int
ask_others_shim(void)
{
    char path[128];
    (void)snprintf(path, sizeof(path), RUN "/models/%s/control.sock", another);
    return connect_to(path);
}

/* Even where nobody listens just now. */
static int
see_monitors_socket(void)
{
    return end(open(RUN "/monitor", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int
set_emergency(void)
{
    return write_in(RUN, ".", "emergency");
}

static int
lock_emergency(void)
{
    return write_in(RUN, ".", ".emergency.new");
}

/* Another process of our account sees its own files, as if they were ours. */
static int
enter_anothers_root(void)
{
    char path[64], mine[64] = "", its[64];
    DIR *d = opendir("/proc");
    int r = -1;
    (void)!readlink("/proc/self/ns/mnt", mine, sizeof(mine) - 1);
    for (struct dirent *e; d && r < 0 && (e = readdir(d));) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        (void)snprintf(path, sizeof(path), "/proc/%.16s/ns/mnt", e->d_name);
        ssize_t n = readlink(path, its, sizeof(its) - 1);
        its[MAX(n, 0)] = '\0';
        if (n > 0 && strcmp(its, mine) == 0)
            continue; /* of our unit */
        (void)snprintf(path, sizeof(path), "/proc/%.16s/root/", e->d_name);
        r = end(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    int why = errno;
    if (d)
        (void)closedir(d);
    errno = why;
    return r;
}

static int
write_temporary(void)
{
    return write_in("/", "tmp", "probe");
}

static int
write_etc(void)
{
    return write_in("/", "etc", "probe");
}

static int
write_configuration(void)
{
    return end(open("/etc/citadel/current/config.yaml", O_WRONLY | O_CLOEXEC));
}

static int
read_meminfo(void)
{
    return end(open("/proc/meminfo", O_RDONLY | O_CLOEXEC));
}

static int
read_sys(void)
{
    return end(open("/sys/devices/system/cpu/online", O_RDONLY | O_CLOEXEC));
}

static int
write_sys(void)
{
    return end(open("/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY | O_CLOEXEC));
}

static int
read_homes(void)
{
    return end(open("/root", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int
make_control_group(void)
{
    return mkdir("/sys/fs/cgroup/probe", 0755);
}

/* What a compiler of kernels does: writes code, and jumps into it. */
static int
compile_and_run(void)
{
    static const unsigned char code[] = {0xb8, 0x2a, 0, 0, 0, 0xc3}; /* return 42 */
    int (*made)(void);
    void *p =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return -1;
    memcpy(p, code, sizeof(code));
    memcpy(&made, &p, sizeof(made));
    return made() == 42 ? 0 : -1;
}

static int
share_memory(void)
{
    int fd = shm_open("/citadel-probe", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || shm_unlink("/citadel-probe") < 0)
        return -1;
    int r = posix_fallocate(fd, 0, 256 * (off_t)MIB); /* more than the 64 MB of a bare container */
    errno = r;
    return close(fd) < 0 || r ? -1 : 0;
}

static pid_t
start_sleeper(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            (void)pause();
    }
    return pid;
}

static int
take_siblings_descriptor(void)
{
    pid_t pid = start_sleeper();
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    int r = fd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, fd, 0, 0);
    int why = errno;
    (void)end(fd);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    errno = why;
    return end(r);
}

static int
look_at_memory(void)
{
    unsigned char seen;
    void *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? -1 : mincore(p, PAGE, &seen);
}

static int
talk_over_loopback(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(to);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return server >= 0 && client >= 0 && bind(server, (struct sockaddr *)&to, len) == 0 &&
                   listen(server, 1) == 0 &&
                   getsockname(server, (struct sockaddr *)&to, &len) == 0 &&
                   connect(client, (struct sockaddr *)&to, len) == 0
               ? 0
               : -1;
}

static int
open_netlink(void)
{
    return end(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int
open_packets(void)
{
    return end(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int
list_interfaces(void)
{
    struct if_nameindex *list = if_nameindex();
    if (list)
        if_freenameindex(list);
    return list ? 0 : -1;
}

static int
reach_bus(void)
{
    return connect_to("/run/dbus/system_bus_socket");
}

static int
start_program(void)
{
    char name[] = "/bin/true";
    char *argv[] = {name, NULL};
    int status;
    pid_t pid;
    errno = posix_spawn(&pid, name, NULL, NULL, argv, NULL);
    return errno || waitpid(pid, &status, 0) < 0 || status ? -1 : 0;
}

static int
bind_to_processor(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) < 0 ? -1
                                                       : sched_setaffinity(0, sizeof(set), &set);
}

static int
make_session(void)
{
    pid_t pid = fork();
    int status;
    if (pid == 0)
        _exit(setsid() < 0 ? 1 : 0);
    return waitpid(pid, &status, 0) < 0 || status ? -1 : 0;
}

static int
make_namespace(void)
{
    return unshare(CLONE_NEWUSER);
}

static int
make_device(void)
{
    return mknod("/dev/shm/probe", S_IFBLK | 0600, makedev(7, 0));
}

static int
set_clock(void)
{
    struct timeval now;
    return gettimeofday(&now, NULL) < 0 ? -1 : settimeofday(&now, NULL);
}

static int
run_as_realtime(void)
{
    return sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
}

static const struct {
    const char *group, *what;
    int (*trial)(void);
} trials[] = {
    {"may", "write its cache", write_cache},
    {"may", "write a temporary file", write_temporary},
    {"may", "write its record", write_record},
    {"may", "write its run directory", write_run},
    {"may", "ask its own shim", ask_own_shim},
    {"may", "compile as it runs", compile_and_run},
    {"may", "share memory", share_memory},
    {"may", "talk over loopback", talk_over_loopback},
    {"may", "list interfaces", list_interfaces},
    {"may", "open netlink", open_netlink},
    {"may", "start a program", start_program},
    {"may", "make a session", make_session},
    {"may", "bind to a processor", bind_to_processor},
    {"may", "read /proc/meminfo", read_meminfo},
    {"may", "read /sys", read_sys},
    {"workers-may", "take a sibling's descriptor", take_siblings_descriptor},
    {"workers-may", "look at memory", look_at_memory},
    {"must-not", "write another's cache", write_others_cache},
    {"must-not", "write models", write_models},
    {"must-not", "write another's record", write_others_record},
    {"must-not", "open another's lock", open_others_lock},
    {"must-not", "write beside the records", write_beside_records},
    {"must-not", "write the history", write_history},
    {"must-not", "write another's run directory", write_others_run},
    {"must-not", "ask another's shim", ask_others_shim},
    {"must-not", "see the monitor's socket", see_monitors_socket},
    {"must-not", "set an emergency", set_emergency},
    {"must-not", "lock an emergency", lock_emergency},
    {"must-not", "enter another's root", enter_anothers_root},
    {"must-not", "write /etc", write_etc},
    {"must-not", "write the configuration", write_configuration},
    {"must-not", "read homes", read_homes},
    {"must-not", "write /sys", write_sys},
    {"must-not", "make a control group", make_control_group},
    {"must-not", "reach the bus", reach_bus},
    {"must-not", "open packets", open_packets},
    {"must-not", "make a namespace", make_namespace},
    {"must-not", "make a device", make_device},
    {"must-not", "set the clock", set_clock},
    {"must-not", "run as real time", run_as_realtime},
};

int
main(int argc, char *argv[])
{
    char path[512];
    if (argc != 3)
        return 64;
    ours = argv[1];
    another = argv[2];
    (void)snprintf(path, sizeof(path), CACHE "/%s/told", ours);
    FILE *out = fopen(path, "we");
    for (size_t i = 0; out && i < ARRAY_SIZE(trials); i++) {
        int r = trials[i].trial();
        (void)fprintf(out, "%s %s: %s\n", trials[i].group, trials[i].what,
                      r == 0 ? "done" : strerror(errno));
    }
    return out && fclose(out) == 0 ? 1 : 2;
}
