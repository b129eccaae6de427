#pragma once

/* The few words every file uses. Nothing here has state. */

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef NDEBUG
#    error "asserts stay on in release builds"
#endif

#define must_check __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))
#define unused_arg __attribute__((unused))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* The struct that this member is in. */
#define container_of(member_ptr, type, member) \
    ((type *)((uintptr_t)(member_ptr)-offsetof(type, member)))

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* The variable is cleaned by f(&variable) when it leaves its scope, in every way out. */
#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)

/* Hands over what a variable with clean-up owns: `*ret_x = take_ptr(x)`. */
#define take_ptr(p)                         \
    ({                                      \
        __typeof__(p) *take_from_ = &(p);   \
        __typeof__(p) taken_ = *take_from_; \
        *take_from_ = NULL;                 \
        taken_;                             \
    })

/* Likewise for a descriptor; -1 stays behind. */
int take_fd(int *fd);

void cleanup_free(void *pp);
void cleanup_close(int *fd); /* leaves errno as it was */
