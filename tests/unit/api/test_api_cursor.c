/* Cursors: what goes in comes out, and nothing else is taken for one. */
#include "api_cursor.h"
#include "api_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FILTER UINT64_C(0x1234567890abcdef)

static struct api_cursor sample(void) {
    return (struct api_cursor){.kind = CURSOR_WORLD, .primary = -62135596800000000, .recorded_at_us = 1717236000000001,
                               .known_by_us = 1717236000000002, .text = {"rim:entity:finance:EURUSD\0rim.fast-path", 39}};
}

static void test_cursor__what_goes_in_comes_out(void **state) {
    (void)state;
    char text[CURSOR_ENCODED_MAX];
    uint8_t buffer[CURSOR_ENCODED_MAX];
    struct api_cursor in = sample(), out;
    for (size_t len = 0; len <= in.text.len; len++) {
        struct api_cursor c = in;
        c.text.len = len;
        size_t n = api_cursor_encode(&c, FILTER, text);
        assert_int_equal(n, strlen(text));
        assert_int_equal(text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")], 0);
        assert_true(api_cursor_decode(text, CURSOR_WORLD, FILTER, &out, buffer));
        assert_int_equal(out.primary, in.primary);
        assert_int_equal(out.recorded_at_us, in.recorded_at_us);
        assert_int_equal(out.known_by_us, in.known_by_us);
        assert_int_equal(out.text.len, len);
        assert_memory_equal(out.text.data, in.text.data, len);
    }
}

static void test_cursor__any_altered_character_is_found(void **state) {
    (void)state;
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ %.";
    char text[CURSOR_ENCODED_MAX];
    uint8_t buffer[CURSOR_ENCODED_MAX];
    struct api_cursor c = sample(), out;
    for (size_t len = 0; len < 3; len++) { /* all three endings of base64 */
        c.text.len = len;
        size_t n = api_cursor_encode(&c, FILTER, text);
        for (size_t i = 0; i < n; i++) {
            char right = text[i];
            for (const char *a = alphabet; *a; a++) {
                if (*a != right) {
                    text[i] = *a;
                    assert_false(api_cursor_decode(text, CURSOR_WORLD, FILTER, &out, buffer));
                }
            }
            text[i] = right;
        }
        for (size_t i = 0; i < n; i++) {
            char cut[CURSOR_ENCODED_MAX];
            memcpy(cut, text, i);
            cut[i] = '\0';
            assert_false(api_cursor_decode(cut, CURSOR_WORLD, FILTER, &out, buffer));
        }
    }
}

static void test_cursor__of_another_kind_or_filter_is_refused(void **state) {
    (void)state;
    char text[CURSOR_ENCODED_MAX], longer[4000];
    uint8_t buffer[CURSOR_ENCODED_MAX];
    struct api_cursor c = sample(), out;
    api_cursor_encode(&c, FILTER, text);
    assert_false(api_cursor_decode(text, CURSOR_EVENTS, FILTER, &out, buffer));
    assert_false(api_cursor_decode(text, CURSOR_WORLD, FILTER + 1, &out, buffer));
    memset(longer, 'A', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_false(api_cursor_decode(longer, CURSOR_WORLD, FILTER, &out, buffer));
}

/* Appendix A of the paper: key 00 … 0f, message 00 … 0e. */
static void test_siphash__is_that_of_the_paper(void **state) {
    (void)state;
    uint8_t key[CURSOR_KEY_BYTES], message[15];
    for (uint8_t i = 0; i < 16; i++) {
        key[i] = i;
        message[i < 15 ? i : 0] = i < 15 ? i : 0;
    }
    assert_true(api_siphash(key, message, sizeof(message)) == UINT64_C(0xa129ca6149be45e5));
}

static void test_seal__depends_on_the_archives_key(void **state) {
    (void)state;
    struct capsule one = {.cursor_key = {1}}, same = {.cursor_key = {1}}, other = {.cursor_key = {2}};
    struct api_call a = {.capsule = &one}, b = {.capsule = &same}, c = {.capsule = &other};
    assert_true(api_seal(&a, FILTER) == api_seal(&b, FILTER));
    assert_true(api_seal(&a, FILTER) != api_seal(&c, FILTER));
    assert_true(api_seal(&a, FILTER) != api_seal(&a, FILTER + 1));
}

static void test_filter__every_condition_changes_the_hash_and_known_by_does_not(void **state) {
    (void)state;
    struct event_query base, q;
    uint64_t seen[20];
    size_t n = 0;
    event_query_init(&base);
    seen[n++] = api_filter_hash(CURSOR_EVENTS, &base);
#define VARIANT(...) q = base, __VA_ARGS__, seen[n++] = api_filter_hash(CURSOR_EVENTS, &q)
    VARIANT(q.topics[0] = bf_slice_str("a.b"), q.topic_count = 1);
    VARIANT(q.domain = bf_slice_str("a"));
    VARIANT(q.node = bf_slice_str("a"));
    VARIANT(q.node_prefix = bf_slice_str("a"));
    VARIANT(q.trace = bf_slice_str("a"));
    VARIANT(q.from_us = 1);
    VARIANT(q.to_us = 1);
    VARIANT(q.recorded_from_us = 1);
    VARIANT(q.recorded_to_us = 1);
    VARIANT(q.has_cause = true);
    VARIANT(q.by_partition = true);
    VARIANT(q.partition = 1);
    VARIANT(q.offset_from = 1);
    VARIANT(q.offset_to = 7);
    VARIANT(q.order = ORDER_RECORDED);
    VARIANT(q.descending = true);
#undef VARIANT
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_true(seen[i] != seen[k]);
        }
    }
    q = base;
    q.known_by_us = 5;
    assert_true(api_filter_hash(CURSOR_EVENTS, &q) == seen[0]);
    assert_true(api_filter_hash(CURSOR_HISTORY, &base) != seen[0]);
}

static void test_topics__are_sorted_and_named_once(void **state) {
    (void)state;
    struct event_query q;
    event_query_init(&q);
    static const char *const names[] = {"b.x", "a.x", "b.x", "a.xy", "a.x"};
    for (size_t i = 0; i < 5; i++) {
        q.topics[q.topic_count++] = bf_slice_str(names[i]);
    }
    api_sort_topics(&q);
    assert_int_equal(q.topic_count, 3);
    assert_true(bf_slice_eq(q.topics[0], bf_slice_str("a.x")));
    assert_true(bf_slice_eq(q.topics[1], bf_slice_str("a.xy")));
    assert_true(bf_slice_eq(q.topics[2], bf_slice_str("b.x")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cursor__what_goes_in_comes_out),
        cmocka_unit_test(test_cursor__any_altered_character_is_found),
        cmocka_unit_test(test_cursor__of_another_kind_or_filter_is_refused),
        cmocka_unit_test(test_siphash__is_that_of_the_paper),
        cmocka_unit_test(test_seal__depends_on_the_archives_key),
        cmocka_unit_test(test_filter__every_condition_changes_the_hash_and_known_by_does_not),
        cmocka_unit_test(test_topics__are_sorted_and_named_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
