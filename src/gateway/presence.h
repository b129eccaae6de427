#pragma once

/* Whether a model is there, as who watches over it says: beside what requests find out
 * (backend.h), and before they do. */

#include "base/util.h"

/* PRESENCE(NAME, "as GET /v1/models has it") */
#define PRESENCES(PRESENCE)                                   \
    PRESENCE(UNKNOWN, "unknown") /* nobody says */            \
    PRESENCE(THERE, "ready")                                  \
    PRESENCE(COMING, "starting") /* requests wait for it */   \
    PRESENCE(COLD, "stopped")    /* it may come when asked */ \
    PRESENCE(AWAY, "unavailable")

enum presence_state {
#define PRESENCE(name, word) PRESENCE_##name,
    PRESENCES(PRESENCE)
#undef PRESENCE
        PRESENCE_COUNT
};
const char *presence_word(enum presence_state state);

struct presence {
    enum presence_state state;
    char why[512];  /* it is not there; "": nobody says */
    unsigned slots; /* requests that its engine works on at a time; 0: nobody says */
};

/* Who can be asked to bring a model; tells the end by backend_was_asked(), never from inside. */
struct presence_asker {
    void (*ask)(void *arg, const char *name);
    void *arg;
};
