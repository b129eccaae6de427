#pragma once

/* Which of the gateway's paths a request asks for: the rows of route.def, and nothing else. Paths
 * are compared as they were sent. Nothing is decoded or normalised, so that no two spellings can be
 * taken for one by us and for two by an engine. */

#include "base/err.h"
#include "gateway/dialect.h"
#include "http/http1.h"

enum route_id {
#define ROUTE(name, method, path, dialect, body, answers, streams) ROUTE_##name,
#include "gateway/route.def"
#undef ROUTE
    ROUTE_COUNT
};

enum route_body { ROUTE_BODY_NONE, ROUTE_BODY_JSON, ROUTE_BODY_FORM };

enum route_answers {
    ROUTE_BY_ENGINE,
    ROUTE_BY_STORED,
    ROUTE_BY_MODELS,
    ROUTE_BY_HEALTH,
    ROUTE_BY_METRICS,
};

struct route {
    enum route_id id;
    enum http_method method;
    const char *path;
    enum dialect dialect;
    enum route_body body;
    enum route_answers answers;
    bool streams;
};

struct route_found {
    const struct route *route;
    const char *part; /* what stands for {id} or {name}, as sent; NULL: the path has none */
    size_t part_len;
};

/* NO_PATH, with the nearest path there is; NO_METHOD where the path is there for others. */
int route_find(enum http_method method, const char *path, size_t len, struct route_found *ret_found,
               struct err *reterr) must_check;

/* The methods of a path for the field Allow, "GET, HEAD"; "" where there is no such path. */
#define ROUTE_ALLOW_MAX 48
const char *route_allow(const char *path, size_t len, char text[ROUTE_ALLOW_MAX]);

/* The API that a path belongs to, also one that is not in the table: for the shape of its error. */
enum dialect route_dialect(const char *path, size_t len);

/* The {name} of a path, with each %XX decoded. -EBADMSG: an escape is none, or stands for what no
 * name has; -EMSGSIZE: it is longer than `size` - 1. */
int route_decode(const struct route_found *found, char *to, size_t size) must_check;

const struct route *route_row(enum route_id id);
bool route_generates(const struct route *route); /* text */
