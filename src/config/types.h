#pragma once

/* What one option is in C. A new type is a line in each of the two lists below, an enum constant
 * and a row in types.c. */

#include "base/util.h"

/* Types of single options; lists and maps in the order of the file. */

struct config_list {
    const char **items;
    size_t count;
};

struct config_pairs {
    struct config_pair {
        const char *name;
        const char *value;
    } * items;
    size_t count;
};

struct config_chains {
    struct config_chain {
        const char *name;
        struct config_list to;
    } * items;
    size_t count;
};

/* Where a secret is; the secret itself never is in a configuration. */
struct config_secret {
    enum config_secret_kind {
        CONFIG_SECRET_NONE,
        CONFIG_SECRET_FILE,
        CONFIG_SECRET_ENV,
        CONFIG_SECRET_CREDENTIAL
    } kind;
    const char *where; /* path, variable, or name in the store */
};

struct config_schedule {
    enum config_schedule_kind {
        CONFIG_SCHEDULE_NEVER,
        CONFIG_SCHEDULE_EVERY, /* minutes: divides an hour, or is hours that divide a day */
        CONFIG_SCHEDULE_DAILY,
        CONFIG_SCHEDULE_WEEKLY,
        CONFIG_SCHEDULE_MONTHLY,
    } kind;
    unsigned day;     /* of the week, 0 is Sunday; or of the month, 1 to 28 */
    unsigned minutes; /* after midnight, or between two runs */
};

struct config_schedules {
    struct config_schedule *items;
    size_t count;
};

/* The enums of words.def: enum config_engine { CONFIG_ENGINE_VLLM, ... }. */
#define WORDS(name)    \
    enum config_##name \
    {
#define WORD(name, constant, word, help) CONFIG_##constant,
#define WORDS_END(name) \
    }                   \
    ;
#include "config/words.def"

/* Their words: config_engine_word(CONFIG_ENGINE_VLLM) is "vllm". */
#define WORDS(name) const char *config_##name##_word(enum config_##name value);
#include "config/words.def"

/* What the TYPE of a row is in C, and how the unit joins the name: `start_max` is start_max_us. */
#define CONFIG_C_BOOL bool
#define CONFIG_C_SWITCH enum config_switch
#define CONFIG_C_COUNT uint32_t
#define CONFIG_C_PORT uint16_t
#define CONFIG_C_REAL double
#define CONFIG_C_PERCENT double
#define CONFIG_C_BYTES uint64_t
#define CONFIG_C_DURATION uint64_t
#define CONFIG_C_TEXT const char *
#define CONFIG_C_USER const char *
#define CONFIG_C_HOST const char *
#define CONFIG_C_URL const char *
#define CONFIG_C_PATH const char *
#define CONFIG_C_PLACE const char *
#define CONFIG_C_REPOSITORY const char *
#define CONFIG_C_TEXTS struct config_list
#define CONFIG_C_HOSTS struct config_list
#define CONFIG_C_ADDRESSES struct config_list
#define CONFIG_C_NETWORKS struct config_list
#define CONFIG_C_LISTENS struct config_list
#define CONFIG_C_PATHS struct config_list
#define CONFIG_C_DEVICES struct config_list
#define CONFIG_C_PAIRS struct config_pairs
#define CONFIG_C_PLACES struct config_pairs
#define CONFIG_C_CHAINS struct config_chains
#define CONFIG_C_SECRET struct config_secret
#define CONFIG_C_SCHEDULE struct config_schedule
#define CONFIG_C_SCHEDULES struct config_schedules

#define CONFIG_NAME_BOOL(name) name
#define CONFIG_NAME_SWITCH(name) name
#define CONFIG_NAME_COUNT(name) name
#define CONFIG_NAME_PORT(name) name
#define CONFIG_NAME_REAL(name) name
#define CONFIG_NAME_PERCENT(name) name##_percent
#define CONFIG_NAME_BYTES(name) name##_bytes
#define CONFIG_NAME_DURATION(name) name##_us
#define CONFIG_NAME_TEXT(name) name
#define CONFIG_NAME_USER(name) name
#define CONFIG_NAME_HOST(name) name
#define CONFIG_NAME_URL(name) name
#define CONFIG_NAME_PATH(name) name
#define CONFIG_NAME_PLACE(name) name
#define CONFIG_NAME_REPOSITORY(name) name
#define CONFIG_NAME_TEXTS(name) name
#define CONFIG_NAME_HOSTS(name) name
#define CONFIG_NAME_ADDRESSES(name) name
#define CONFIG_NAME_NETWORKS(name) name
#define CONFIG_NAME_LISTENS(name) name
#define CONFIG_NAME_PATHS(name) name
#define CONFIG_NAME_DEVICES(name) name
#define CONFIG_NAME_PAIRS(name) name
#define CONFIG_NAME_PLACES(name) name
#define CONFIG_NAME_CHAINS(name) name
#define CONFIG_NAME_SECRET(name) name
#define CONFIG_NAME_SCHEDULE(name) name
#define CONFIG_NAME_SCHEDULES(name) name
