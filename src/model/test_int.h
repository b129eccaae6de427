#pragma once

/* For the tests of this room: model directories, made of files that cost no disk. */

#include "base/buf.h"
#include "fmt/json.h"
#include "model/model.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEST_PATH 512

/* tap_dir()/NAME, made with its parents. */
static inline void
test_dir(char dir[TEST_PATH], const char *name)
{
    (void)snprintf(dir, TEST_PATH, "%s/%s", tap_dir(), name);
    for (char *slash = dir + strlen(tap_dir()) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        (void)mkdir(dir, 0755);
        *slash = '/';
    }
    CHECK(mkdir(dir, 0755) == 0);
}

static inline void
test_write(const char *dir, const char *name, const void *bytes, size_t len)
{
    char path[2 * TEST_PATH];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
}

static inline void
test_write_str(const char *dir, const char *name, const char *text)
{
    test_write(dir, name, text, strlen(text));
}

/* A safetensors file whose data is a hole; the file ends extra_bytes behind (or before) where the
 * header says. */
static inline void
test_write_safetensors(const char *dir, const char *name, const char *header, uint64_t data_bytes,
                       int64_t extra_bytes)
{
    char path[2 * TEST_PATH];
    unsigned char len[8];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    for (int i = 0; i < 8; i++)
        len[i] = (unsigned char)(strlen(header) >> (8 * i));
    CHECK(fd >= 0 && write(fd, len, 8) == 8);
    CHECK(write(fd, header, strlen(header)) == (ssize_t)strlen(header));
    CHECK(ftruncate(fd, (off_t)(8 + strlen(header) + data_bytes) + extra_bytes) == 0);
}

/* A GGUF file of TEST_GGUF_BYTES that holds nothing. */
#define TEST_GGUF_BYTES 24
static inline void
test_write_gguf(const char *dir, const char *name)
{
    static const char head[TEST_GGUF_BYTES] = "GGUF\3";
    test_write(dir, name, head, sizeof(head));
}

/* Reads; a directory that cannot be read fails the test and gives an empty model. */
static inline struct model
test_read(struct arena *arena, const char *dir)
{
    struct model m = {.name = ""};
    struct err err = {0};
    int r = model_read(arena, dir, &m, &err);
    CHECK_STR(err.what, "");
    CHECK_EQ(r, 0);
    return m;
}

/* A model of which there is only this config.json. */
static inline struct model
test_read_config(struct arena *arena, const char *config)
{
    static int number;
    char dir[TEST_PATH], name[32];
    (void)snprintf(name, sizeof(name), "config-%d", number++);
    test_dir(dir, name);
    test_write_str(dir, "config.json", config);
    return test_read(arena, dir);
}

/* Its problems, a line each: "id: sentence"; those that every bare config.json has left out. */
static inline void
test_problems(const struct model *m, struct buf *out)
{
    buf_clear(out);
    for (size_t i = 0; i < m->problems_count; i++) {
        const struct model_problem *p = &m->problems[i];
        if (p->id != MODEL_PROBLEM_NO_TOKENIZER && p->id != MODEL_PROBLEM_NO_WEIGHTS)
            buf_printf(out, "%s: %s\n", model_problem_rows[p->id].text, p->what);
    }
}

/* tests/data/models/NAME as JSON. */
static inline const struct value *
test_read_json(struct arena *arena, const char *name)
{
    static char text[1 << 20];
    char path[3 * TEST_PATH];
    struct value *root = NULL;
    (void)snprintf(path, sizeof(path), "tests/data/models/%s", name);
    FILE *f = fopen(tap_source(path), "rbe");
    size_t len = f ? fread(text, 1, sizeof(text), f) : 0;
    if (f)
        (void)fclose(f);
    CHECK(json_parse(arena, text, len, JSON_STRICT, &root, NULL, NULL) == 0);
    return root;
}
