/* Lines as they come, after whatever the log puts before them:
 *
 *   NVRM: Xid (PCI:0000:3b:00): 31, pid=26002, name=VLLM::Worker_TP, Ch 00000008, ...
 *   NVRM: Xid (PCI:0000:d8:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.
 *   NVRM: Xid (PCI:0009:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x4 (...)
 *   NVRM: Xid (0000:d8:00): 14, Channel 00000001
 *   nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034, Fatal, Link 48 LTSSM Fault Up
 *
 * A process chooses its name, but it stands behind the code, and only the first match of a line
 * counts. */

#include "gpu/xid.h"

#include "base/util.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const struct gpu_xid_row rows[] = {
#define XID(code, NAME, SEVERITY, SUSPECT, ACTION, THEN, help) \
    {code, #NAME, GPU_XID_##SEVERITY, GPU_XID_##SUSPECT, GPU_XID_##ACTION, GPU_XID_##THEN, help},
#define XID_UNUSED(code, NAME) \
    {code, #NAME, GPU_XID_UNUSED, GPU_XID_NOBODY, GPU_XID_NOTHING, GPU_XID_NOTHING, NULL},
#include "gpu/xid.def"
#undef XID
#undef XID_UNUSED
};

static const struct gpu_xid_action_row actions[GPU_XID_ACTIONS] = {
#define XID_ACTION(NAME, name, help) [GPU_XID_##NAME] = {name, help},
#include "gpu/xid_action.def"
#undef XID_ACTION
};

/* The codes run from 1 without a gap. */
const struct gpu_xid_row *
gpu_xid_row(unsigned code)
{
    if (code < 1 || code > ARRAY_SIZE(rows))
        return NULL;
    assert(rows[code - 1].code == code);
    return &rows[code - 1];
}

const struct gpu_xid_action_row *
gpu_xid_action_row(enum gpu_xid_action action)
{
    assert(action < GPU_XID_ACTIONS);
    return &actions[action];
}

/* What is left of a line. */
struct rest {
    const char *p, *end;
};

static bool
skip(struct rest *rest, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(rest->end - rest->p) < len || memcmp(rest->p, text, len) != 0)
        return false;
    rest->p += len;
    return true;
}

static bool
skip_past(struct rest *rest, const char *text)
{
    const char *found = memmem(rest->p, (size_t)(rest->end - rest->p), text, strlen(text));
    if (!found)
        return false;
    rest->p = found + strlen(text);
    return true;
}

/* A number of at most so many digits, and none after them. */
static bool
read_number(struct rest *rest, unsigned base, unsigned digits, unsigned *ret_n)
{
    unsigned n = 0, count = 0;
    for (; rest->p < rest->end && isxdigit((unsigned char)*rest->p); rest->p++, count++) {
        int c = tolower((unsigned char)*rest->p);
        unsigned digit = (unsigned)(isdigit(c) ? c - '0' : c - 'a' + 10);
        if (digit >= base || count == digits)
            return false;
        n = n * base + digit;
    }
    *ret_n = n;
    return count > 0;
}

/* (PCI:0000:3b:00.0): with or without PCI: and the function; ends behind "): ". */
static bool
read_place(struct rest *rest, struct gpu_xid *xid)
{
    unsigned domain, bus, device, function = 0;
    (void)skip(rest, "PCI:");
    if (!read_number(rest, 16, 8, &domain) || !skip(rest, ":") || !read_number(rest, 16, 2, &bus) ||
        !skip(rest, ":") || !read_number(rest, 16, 2, &device))
        return false;
    if (skip(rest, ".") && !read_number(rest, 16, 1, &function))
        return false;
    (void)snprintf(xid->bus_id, sizeof(xid->bus_id), "%04x:%02x:%02x.%x", domain & 0xFFFFFF, bus,
                   device, function);
    return skip(rest, "): ");
}

static void
read_process(struct rest *rest, struct gpu_xid *xid)
{
    struct rest at = *rest;
    if (skip(&at, ", pid="))
        xid->pid_known = read_number(&at, 10, 9, &xid->pid);
    if (!xid->pid_known || !skip(&at, ", name="))
        return;
    size_t len = 0;
    for (; at.p < at.end && *at.p != ',' && *at.p != '\n' && len < sizeof(xid->process) - 1; at.p++)
        xid->process[len++] = isprint((unsigned char)*at.p) ? *at.p : '?';
}

static void
read_recovery(struct rest *rest, struct gpu_xid *xid)
{
    unsigned action;
    if (skip(rest, ", GPU recovery action changed from 0x") && skip_past(rest, ") to 0x") &&
        read_number(rest, 16, 2, &action)) {
        xid->recovery_known = true;
        xid->recovery = (enum nvml_recovery)action;
    }
}

static bool
parse_gpu(struct rest rest, struct gpu_xid *xid)
{
    if (!read_place(&rest, xid) || !read_number(&rest, 10, 6, &xid->code))
        return false;
    read_process(&rest, xid);
    if (xid->code == 154)
        read_recovery(&rest, xid);
    return true;
}

static bool
parse_switch(struct rest rest, struct gpu_xid *xid)
{
    xid->is_switch = true;
    if (!read_place(&rest, xid) || !read_number(&rest, 10, 6, &xid->code))
        return false;
    xid->fatal = skip(&rest, ", Fatal,");
    return xid->fatal || skip(&rest, ", Non-fatal,");
}

bool
gpu_xid_parse(const char *line, size_t len, struct gpu_xid *ret_xid)
{
    struct rest rest = {line, line + len};
    struct gpu_xid xid = {0};
    bool is;
    if (skip_past(&rest, "NVRM: Xid ("))
        is = parse_gpu(rest, &xid);
    else
        is = skip_past(&rest, "nvidia-nvswitch") && skip_past(&rest, ": SXid (") &&
             parse_switch(rest, &xid);
    if (is)
        *ret_xid = xid;
    return is;
}
