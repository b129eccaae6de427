#include "base/secret.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void
secret_set(struct secret *s, const char *value)
{
    char *copy = value ? mem_strdup(value) : NULL;
    secret_finish(s);
    s->value = copy;
}

void
secret_finish(struct secret *s)
{
    if (s->value)
        explicit_bzero(s->value, strlen(s->value));
    free(s->value);
    s->value = NULL;
}

bool
secret_is_set(const struct secret *s)
{
    return s->value != NULL;
}

const char *
secret_reveal(const struct secret *s)
{
    return s->value;
}

const char *
secret_print(const struct secret *s)
{
    return s->value ? "***" : "";
}
