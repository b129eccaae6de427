#include "sim/words.h"

#include "tap.h"

#include <stdio.h>

TEST(a_word_is_a_token_with_the_blanks_before_it)
{
    static const struct {
        const char *text;
        size_t len;
        uint64_t count;
    } rows[] = {
        {"", 0, 0},
        {" ", 0, 0},
        {"one", 3, 1},
        {"one two", 3, 2},
        {" one ", 4, 1},
        {"\n\t a\r", 4, 1},
        {"  two  words  ", 5, 2},
        {"a\xc3\xa4\xff", 4, 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("'%s'", rows[i].text);
        CHECK_EQ(word_len(rows[i].text, rows[i].text + strlen(rows[i].text)), rows[i].len);
        CHECK_EQ(word_count(rows[i].text, strlen(rows[i].text)), rows[i].count);
    }
}

TEST(each_word_has_its_number)
{
    struct words words;
    words_init(&words);
    CHECK_EQ(words_id(&words, "one", 3), 0);
    CHECK_EQ(words_id(&words, " one", 4), 1);
    CHECK_EQ(words_id(&words, "one two", 3), 0);
    for (unsigned i = 0; i < 1000; i++) {
        char text[16];
        int len = snprintf(text, sizeof(text), "%u", i);
        CHECK_EQ(words_id(&words, text, (size_t)len), 2 + i);
    }
    CHECK_STR(words_text(&words, 1), " one");
    CHECK_STR(words_text(&words, 1001), "999");
    CHECK(!words_text(&words, 1002));
    CHECK(!words_text(&words, UINT64_MAX));
    words_finish(&words);
}

TEST(from_a_number_of_words_on_new_ones_share_one)
{
    struct words words;
    words_init(&words);
    for (unsigned i = 0; i < WORDS_MAX + 10; i++) {
        char text[16];
        int len = snprintf(text, sizeof(text), "%u", i);
        unsigned id = words_id(&words, text, (size_t)len);
        if (id != (i < WORDS_MAX ? i : 0))
            tap_fail(__FILE__, __LINE__, "%u has the number %u", i, id);
    }
    CHECK_EQ(words.count, WORDS_MAX);
    words_finish(&words);
}
