#include "cli/verb.h"

#include "base/err.h"
#include "base/text.h"

#include "tap.h"

#include <stdio.h>

/* The tables are complete: what a row leaves out would be missing in help, manual and shells. */

static bool
is_phrase(const char *text)
{
    return text && text[0] && strlen(text) <= 100 && !text_ends(text, ".") && !strchr(text, '\n');
}

/* Lower-case words with dashes between. */
static bool
is_dashed(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool letter = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9');
        if (!letter && (name[i] != '-' || i == 0 || i + 1 == len))
            return false;
    }
    return len > 0;
}

static void
check_options(const struct verb_option *options)
{
    for (const struct verb_option *o = options; o->name; o++) {
        tap_note("--%s", o->name);
        CHECK(is_dashed(o->name, strlen(o->name)));
        CHECK(is_phrase(o->help));
        CHECK((o->kind == ARG_NONE || o->kind == ARG_SAME) == (o->label == NULL));
        CHECK(o->kind != ARG_ENUM || (o->label && strchr(o->label, '|')));
        for (const struct verb_option *p = options; p < o; p++) {
            CHECK(!text_eq(p->name, o->name));
            CHECK(!o->letter || p->letter != o->letter);
        }
        for (const struct verb_option *p = verb_common; options != verb_common && p->name; p++) {
            CHECK(!text_eq(p->name, o->name));
            CHECK(!o->letter || p->letter != o->letter);
        }
    }
}

TEST(every_option_is_told)
{
    check_options(verb_common);
    for (const struct verb *v = verb_rows; v->words; v++)
        check_options(v->options);
}

TEST(every_verb_is_told)
{
    for (const struct verb *v = verb_rows; v->words; v++) {
        tap_note("%s", v->words);
        CHECK(v->run);
        CHECK(v->group < GROUP_COUNT);
        CHECK(is_phrase(v->summary));
        CHECK(v->help->text[0] && strchr(".)", v->help->text[strlen(v->help->text) - 1]));
        CHECK(v->min <= v->max && v->max <= VERB_MANY);
        CHECK((v->max == 0) == (v->arguments[0] == '\0'));
        CHECK((v->max == 0) == (v->kind == ARG_NONE));
        CHECK((v->max > 0 && v->min == 0) == (v->arguments[0] == '['));
        CHECK(verb_find(verb_rows, v->words) == v);
    }
}

TEST(y_is_yes_and_nothing_else)
{
    for (const struct verb *v = verb_rows; v->words; v++)
        for (const struct verb_option *o = v->options; o->name; o++) {
            tap_note("%s --%s", v->words, o->name);
            CHECK_EQ(o->letter == 'y', text_eq(o->name, "yes"));
            if (o->kind != ARG_SAME)
                continue;
            REQUIRE(o > v->options);
            CHECK_STR(o->name, "force");
            CHECK_STR(o[-1].name, "yes");
        }
}

TEST(every_verb_has_an_example_of_itself)
{
    for (const struct verb *v = verb_rows; v->words; v++) {
        bool shown = false;
        char command[96];
        (void)snprintf(command, sizeof(command), "citadel %s", v->words);
        tap_note("%s", v->words);
        for (const struct verb_example *e = v->help->examples; e->command; e++) {
            CHECK(is_phrase(e->command));
            CHECK(is_phrase(e->what));
            shown = shown || strstr(e->command, command);
        }
        CHECK(shown);
    }
}

TEST(choices_are_the_words_of_a_label)
{
    struct verb_choices choices;
    verb_choices("[1|5]", &choices);
    CHECK_STR(choices.words[0], "1");
    CHECK_STR(choices.words[1], "5");
    CHECK(!choices.words[2]);
    CHECK(verb_is_choice(&choices, "5"));
    CHECK(!verb_is_choice(&choices, "1|5"));
    CHECK(!verb_is_choice(&choices, ""));
}

TEST(every_error_is_told)
{
    for (enum err_id id = ERR_NONE + 1; id < ERR_COUNT; id++) {
        const struct err_row *row = err_row(id);
        tap_note("%s", row->name);
        const char *dot = strchr(row->name, '.');
        REQUIRE(dot);
        CHECK(is_dashed(row->name, (size_t)(dot - row->name)));
        CHECK(is_dashed(dot + 1, strlen(dot + 1)));
        CHECK(row->err > 0);
        CHECK(row->exit != EXIT_CODE_OK);
        CHECK(row->http_status >= 400 && row->http_status <= 599);
        CHECK(is_phrase(row->help));
        for (enum err_id other = ERR_NONE + 1; other < id; other++)
            CHECK(!text_eq(err_row(other)->name, row->name));
    }
}

TEST(every_exit_code_is_told)
{
    for (const struct exit_row *row = exit_rows; row->name; row++) {
        tap_note("%s", row->name);
        CHECK(is_phrase(row->help));
        for (const struct exit_row *other = exit_rows; other < row; other++)
            CHECK(other->code != row->code);
    }
}
