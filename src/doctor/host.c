/* The host: kernel, distribution, systemd, address. */

#include "doctor/doctor_int.h"

#include "base/buf.h"
#include "base/quantity.h"
#include "base/text.h"
#include "sys/files.h"
#include "sys/root.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define KERNEL_MAJOR 5 /* 5.9: close_range(), beside pidfds that can be waited for */
#define KERNEL_MINOR 9
#define SYSTEMD_LEAST 252 /* no line of a unit is of a newer one (unit/unit.h) */

void
doctor_check_kernel(struct doctor *d)
{
    struct utsname name;
    char *end = name.release;
    unsigned long major = uname(&name) == 0 ? strtoul(name.release, &end, 10) : 0;
    unsigned long minor = major && *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
    if (major == 0)
        doctor_add(d, "", DOCTOR_UNKNOWN, "uname -r", "its release cannot be told");
    else if (major > KERNEL_MAJOR || (major == KERNEL_MAJOR && minor >= KERNEL_MINOR))
        doctor_add(d, "", DOCTOR_HOLDS, "", "%s", name.release);
    else
        doctor_add(d, "", DOCTOR_FAILS, "install the distribution's newest kernel",
                   "%s; %d.%d is the oldest that works", name.release, KERNEL_MAJOR, KERNEL_MINOR);
}

bool
doctor_read_release(const char *text, const char *key, char *value, size_t room)
{
    size_t len = strlen(key);
    for (const char *line = text; *line; line += line[0] == '\n') {
        size_t end = strcspn(line, "\n");
        if (strncmp(line, key, len) == 0 && line[len] == '=') {
            const char *from = line + len + 1;
            size_t n = end - len - 1;
            bool quoted = n >= 2 && (from[0] == '"' || from[0] == '\'') && from[n - 1] == from[0];
            (void)snprintf(value, room, "%.*s", (int)(quoted ? n - 2 : n), from + quoted);
            return true;
        }
        line += end;
    }
    return false;
}

void
doctor_check_distribution(struct doctor *d)
{
    static const char *const tested[] = {"debian 12", "debian 13", "ubuntu 24.04"};
    _cleanup_buf_ struct buf text = BUF_INIT(16 * KIB);
    char id[64] = "", version[64] = "", pretty[128] = "", both[140];
    if (file_read("/etc/os-release", &text, NULL) < 0 ||
        !doctor_read_release(text.data, "ID", id, sizeof(id))) {
        doctor_add(d, "", DOCTOR_UNKNOWN, "", "/etc/os-release does not tell");
        return;
    }
    (void)doctor_read_release(text.data, "VERSION_ID", version, sizeof(version));
    if (!doctor_read_release(text.data, "PRETTY_NAME", pretty, sizeof(pretty)))
        (void)snprintf(pretty, sizeof(pretty), "%s %s", id, version);
    (void)snprintf(both, sizeof(both), "%s %s", id, version);
    for (size_t i = 0; i < ARRAY_SIZE(tested); i++)
        if (text_eq(both, tested[i])) {
            doctor_add(d, "", DOCTOR_HOLDS, "", "%s", pretty);
            return;
        }
    doctor_add(d, "", DOCTOR_UNKNOWN, "", "%s, on which Citadel is not tested", pretty);
}

unsigned
doctor_read_systemd(const char *text)
{
    static const char before[] = "systemd ";
    return text_starts(text, before) ? (unsigned)strtoul(text + sizeof(before) - 1, NULL, 10) : 0;
}

void
doctor_check_systemd(struct doctor *d)
{
    static const char *const argv[] = {"systemctl", "--version", NULL};
    char answer[DOCTOR_ANSWER_MAX];
    if (access("/run/systemd/system", F_OK) != 0) {
        doctor_add(d, "", DOCTOR_FAILS, "citadel up",
                   "systemd does not run this machine; `citadel up` does without it");
        return;
    }
    unsigned version = doctor_read_systemd(doctor_ask(argv, answer));
    if (version == 0)
        doctor_add(d, "", DOCTOR_UNKNOWN, "systemctl --version", "its version cannot be told");
    else if (version < SYSTEMD_LEAST)
        doctor_add(d, "", DOCTOR_FAILS, "upgrade the distribution",
                   "systemd %u; %d is the oldest that works", version, SYSTEMD_LEAST);
    else
        doctor_add(d, "", DOCTOR_HOLDS, "", "systemd %u", version);
}

/* ---- address ---- */

static bool
is_ours(const struct sockaddr *a, int family, const void *ip)
{
    if (!a || a->sa_family != family)
        return false;
    if (family == AF_INET)
        return memcmp(&((const struct sockaddr_in *)(const void *)a)->sin_addr, ip, 4) == 0;
    return memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, ip, 16) == 0;
}

void
doctor_check_address(struct doctor *d)
{
    const char *wanted = d->config->network.address;
    struct ifaddrs *all = NULL;
    uint8_t ip[16];
    int family = AF_UNSPEC;
    if (!wanted) {
        doctor_add(d, "", DOCTOR_NOT_NEEDED, "", "network.address is auto");
        return;
    }
    if (inet_pton(AF_INET, wanted, ip) == 1)
        family = AF_INET;
    else if (inet_pton(AF_INET6, wanted, ip) == 1)
        family = AF_INET6;
    if (family == AF_UNSPEC || getifaddrs(&all) < 0) {
        doctor_add(d, wanted, DOCTOR_UNKNOWN, doctor_text(d, "getent hosts %s", wanted),
                   "a name, which is looked up by others");
        return;
    }
    const char *interface = NULL;
    for (const struct ifaddrs *a = all; a && !interface; a = a->ifa_next)
        if (is_ours(a->ifa_addr, family, ip))
            interface = a->ifa_name;
    if (interface)
        doctor_add(d, wanted, DOCTOR_HOLDS, "", "on %s", interface);
    else
        doctor_add(d, wanted, DOCTOR_FAILS, "ip address; then network.address in the configuration",
                   "no interface of this host has it");
    freeifaddrs(all);
}
