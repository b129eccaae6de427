#include "config/splice.h"

#include "base/mem.h"
#include "base/text.h"
#include "config/config.h"
#include "config/diff.h"
#include "config/problems.h"
#include "tap.h"

#include <stdio.h>

static const struct {
    const char *what, *section, *text, *want; /* want NULL: it is refused */
} rows[] = {
    {"a word", "models.a", "models:\n  a:\n    enabled: true # yes\n    path: x\n",
     "models:\n  a:\n    enabled: false # yes\n    path: x\n"},
    {"a word of another case", "models.a", "models: {a: {enabled: True}}\n",
     "models: {a: {enabled: false}}\n"},
    {"below the name", "models.a", "models:\n  a:\n    path: x\n",
     "models:\n  a:\n    enabled: false\n    path: x\n"},
    {"a comment stays with what it is about", "models.a",
     "models:\n  a:   # the first\n\n    # its files\n    path: x\n",
     "models:\n  a:   # the first\n    enabled: false\n\n    # its files\n    path: x\n"},
    {"braces", "models.a", "models: {a: {path: x}}\n", "models: {a: {enabled: false, path: x}}\n"},
    {"braces with room", "models.a", "models: {a: { path: x }}\n",
     "models: {a: { enabled: false, path: x }}\n"},
    {"empty braces", "models.a", "models:\n  a: {}\n", "models:\n  a: {enabled: false}\n"},
    {"nothing", "models.a", "models:\n  a:\n  b: {path: x}\n",
     "models:\n  a: {enabled: false}\n  b: {path: x}\n"},
    {"nothing, and a comment", "models.a", "models:\n  a: # none\n",
     "models:\n  a: {enabled: false} # none\n"},
    {"a word for nothing", "models.a", "models:\n  a: null\n", "models:\n  a: {enabled: false}\n"},
    {"a tilde", "models.a", "models: {a: ~}\n", "models: {a: {enabled: false}}\n"},
    {"a quoted name", "models.a", "\"models\":\n  'a':\n      path: x\n",
     "\"models\":\n  'a':\n      enabled: false\n      path: x\n"},
    {"ends of lines as on Windows", "models.a", "models:\r\n  a:\r\n    path: x\r\n",
     "models:\r\n  a:\r\n    enabled: false\r\n    path: x\r\n"},
    {"no end of the last line", "models.a", "models:\n  a:\n    path: x",
     "models:\n  a:\n    enabled: false\n    path: x"},
    {"a byte order mark", "models.a", "\xEF\xBB\xBFmodels: {a: {enabled: true}}\n",
     "\xEF\xBB\xBFmodels: {a: {enabled: false}}\n"},
    {"letters of two bytes before it", "models.a",
     "models: {a: {labels: {ort: \"K\xC3\xB6ln\"}, enabled: true}}\n",
     "models: {a: {labels: {ort: \"K\xC3\xB6ln\"}, enabled: false}}\n"},
    {"a name with a dot", "models.phi3.5", "models:\n  phi3.5:\n    path: x\n",
     "models:\n  phi3.5:\n    enabled: false\n    path: x\n"},
    {"a document that begins", "models.a", "---\nmodels:\n  a:\n    path: x\n",
     "---\nmodels:\n  a:\n    enabled: false\n    path: x\n"},
    {"a section that is not there", "gateway", "models: {a: {}}",
     "models: {a: {}}\ngateway: {enabled: false}\n"},
    {"nor in braces", "monitor", "{models: {a: {}}}\n",
     "{monitor: {enabled: false}, models: {a: {}}}\n"},
    {"one that is", "gateway", "gateway:\n    port: 8000\nmodels: {a: {}}\n",
     "gateway:\n    enabled: false\n    port: 8000\nmodels: {a: {}}\n"},
    {"an anchor that nobody uses", "models.a", "models:\n  a: &x\n    path: x\n",
     "models:\n  a: &x\n    enabled: false\n    path: x\n"},
    {"a word in quotes is none", "models.a", "models: {a: {enabled: \"true\"}}\n", NULL},
    {"an alias", "models.b", "models: {a: &x {path: x}, b: *x}\n", NULL},
    {"what an alias names", "models.a", "models:\n  a: &x\n    path: x\n  b: *x\n", NULL},
    {"a switch that is an alias", "models.b",
     "models: {a: {enabled: &on true}, b: {enabled: *on}}\n", NULL},
    {"a switch that an alias names", "models.a",
     "models: {a: {enabled: &on true}, b: {enabled: *on}}\n", NULL},
    {"a tag", "models.a", "models: {a: {enabled: !!bool true}}\n", NULL},
    {"a key that is asked for", "models.a", "models:\n  ? a\n  : path: x\n", NULL},
    {"an anchor below the name", "models.a", "models:\n  a:\n    &x\n    path: x\n", NULL},
    {"a document that ends", "gateway", "models: {a: {}}\n...\n", NULL},
};

TEST(a_switch_is_put_where_a_person_would_or_refused)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(1 * MIB);
        struct err err = {0};
        tap_note("%s", rows[i].what);
        int r = config_splice_enabled(rows[i].text, strlen(rows[i].text), rows[i].section, false,
                                      &out, &err);
        CHECK_STR(r == 0 ? out.data : NULL, rows[i].want);
        if (r == 0)
            continue;
        CHECK_EQ(err.id, ERR_CONFIG_SPLICE);
        CHECK(strstr(err.what, "as line ") != NULL && strstr(err.fix, "enabled: false") != NULL);
        CHECK_EQ(out.len, 0);
    }
}

TEST(what_is_written_already_stays)
{
    static const char text[] = "models: {a: {enabled: false}}\n";
    _cleanup_buf_ struct buf out = BUF_INIT(1 * MIB);
    CHECK_EQ(config_splice_enabled(text, strlen(text), "models.a", false, &out, NULL), 0);
    CHECK_STR(out.data, text);
}

/* ---- many spellings: the configuration that comes of it is the one wished for ---- */

#define SPELLINGS 3000
static uint32_t seed;

static unsigned
draw(unsigned below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static const char *
pick(const char *const *words, unsigned count)
{
    return words[draw(count)];
}

static void
spell_comment(struct buf *out, const char *eol)
{
    static const char *const comments[] = {"", " # enabled: true", "  #", "\t# {"};
    buf_printf(out, "%s%s", pick(comments, 3), eol);
}

static void
spell_model(struct buf *out, const char *name, unsigned indent, const char *eol, bool flow)
{
    static const char *const quotes[] = {"", "'", "\""};
    static const char *const switches[] = {"", "true", "false", "True"};
    const char *q = pick(quotes, 3), *word = pick(switches, 4);
    unsigned deeper = indent + 1 + draw(4);
    bool has_port = draw(2);
    if (flow || draw(3) == 0) {
        buf_printf(out, "%*s%s%s%s: {%s%s%s%s%s}", flow ? 0 : (int)indent, "", q, name, q,
                   draw(2) ? " " : "", *word ? "enabled: " : "", word,
                   *word && has_port ? ", " : "", has_port ? "labels: {k: '}'} " : "");
        return;
    }
    buf_printf(out, "%*s%s%s%s:", (int)indent, "", q, name, q);
    spell_comment(out, eol);
    if (draw(4) == 0)
        buf_printf(out, "%*s# about it%s", (int)draw(9), "", eol);
    if (has_port)
        buf_printf(out, "%*slabels: {k: \"a: b\"}%s", (int)deeper, "", eol);
    if (*word)
        buf_printf(out, "%*s\"enabled\": %s%s", (int)deeper, "", word, draw(2) ? " # on" : "");
    else
        buf_printf(out, "%*spriority: 7", (int)deeper, "");
}

static void
spell(struct buf *out)
{
    static const char *const eols[] = {"\n", "\r\n"};
    const char *eol = pick(eols, 2);
    bool flow = draw(4) == 0, begun = false;
    unsigned indent = 1 + draw(4);
    if (draw(3) == 0)
        buf_printf(out, "# models:%s%s", eol, draw(2) ? "" : eol);
    if (draw(3) == 0)
        buf_printf(out, "---%s", eol);
    if (draw(2))
        buf_printf(out, "gateway: {enabled: false}%s", eol);
    buf_printf(out, "models:%s%s", flow ? " {" : "", flow ? "" : eol);
    for (unsigned i = 0; i < 3; i++) {
        const char name[] = {(char)('a' + i), '\0'};
        buf_add_str(out, begun ? flow ? ", " : eol : "");
        spell_model(out, name, indent, eol, flow);
        begun = true;
    }
    buf_printf(out, "%s%s", flow ? "}" : "", draw(3) ? eol : "");
}

static struct config *
parse(const char *text, size_t len)
{
    _cleanup_config_problems_ struct config_problems problems;
    struct config *config = NULL;
    config_problems_init(&problems);
    return config_parse(text, len, "a", &config, &problems, NULL) < 0 ? NULL : config;
}

static bool
is_only(const struct config_diff *diff, const char *path)
{
    return diff->count == 0 || (diff->count == 1 && text_eq(diff->items[0].path, path));
}

static bool
check_spelling(const struct buf *text, const char *name, bool enabled)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1 * MIB);
    _cleanup_config_ struct config *before = parse(text->data, text->len);
    struct config_diff diff;
    char section[16], path[32];
    (void)snprintf(section, sizeof(section), "models.%s", name);
    (void)snprintf(path, sizeof(path), "%s.enabled", section);
    if (!before || config_splice_enabled(text->data, text->len, section, enabled, &out, NULL) < 0)
        return false;
    _cleanup_config_ struct config *after = parse(out.data, out.len);
    if (!after || config_diff(before, after, &diff, NULL) < 0)
        return false;
    bool is_right = is_only(&diff, path) && config_find_model(after, name)->enabled == enabled;
    config_diff_finish(&diff);
    return is_right;
}

TEST(however_it_is_spelt_nothing_else_changes)
{
    for (seed = 1; seed < 3 * SPELLINGS; seed += 3) {
        _cleanup_buf_ struct buf text = BUF_INIT(1 * MIB);
        uint32_t was = seed;
        spell(&text);
        const char name[] = {(char)('a' + draw(3)), '\0'};
        bool enabled = draw(2), is_right = check_spelling(&text, name, enabled);
        seed = was;
        tap_note("%s %s in:\n%s", enabled ? "enable" : "disable", name, text.data);
        REQUIRE(is_right);
    }
}
