/* Event ids. The derived ones are a format: the vectors were made with Python's hashlib and uuid from the words of the header. */
#include "../base/check.h"

#include "bf_event_id.h"
#include "bf_time.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES(literal) ((struct bf_slice){literal, sizeof(literal) - 1})
#define NODE "rim:entity:finance:EURUSD"

static void expect_uuid(struct bf_uuid id, const char *text) {
    char got[BF_UUID_TEXT_LEN + 1];
    bf_uuid_format(got, &id);
    assert_string_equal(got, text);
    assert_int_equal(id.b[6] >> 4, 8);
    assert_int_equal(id.b[8] >> 6, 2);
}

static void test_event_id__of_a_text_that_is_no_uuid(void **state) {
    (void)state;
    bool is_source = false;
    expect_uuid(bf_event_id_from_text(BYTES("order-17"), &is_source), "2a61e8f2-6d33-8653-9c6f-048aab965cb3");
    assert_true(is_source);
    expect_uuid(bf_event_id_from_text(BYTES(""), NULL), "61e2d022-9192-85c1-b62d-84e247da84c2");
    expect_uuid(bf_event_id_from_text(BF_SLICE_NONE, NULL), "61e2d022-9192-85c1-b62d-84e247da84c2");
    expect_uuid(bf_event_id_from_text(BYTES("a\0b"), NULL), "7dc35f2c-c0b2-880c-9bf4-8275753092bd");
    expect_uuid(bf_event_id_from_text(BYTES("\xc3\xa9"), NULL), "873eeb49-85d7-86aa-a0c9-1ae0f10c013e");
    expect_uuid(bf_event_id_from_text(BYTES("0190a0b0-c0d0-7000-8000-00000000000"), NULL), "5a48e13e-071e-850d-985b-d5c3dbe8ef04"); /* one short */
}

static void test_event_id__of_a_uuid_is_itself(void **state) {
    (void)state;
    bool is_source = true;
    struct bf_uuid id = bf_event_id_from_text(BYTES("0190A0B0-c0d0-7000-8000-0000000000fF"), &is_source);
    char text[BF_UUID_TEXT_LEN + 1];
    bf_uuid_format(text, &id);
    assert_string_equal(text, "0190a0b0-c0d0-7000-8000-0000000000ff");
    assert_false(is_source);
}

static void test_event_id__derived_from_the_message(void **state) {
    (void)state;
    struct bf_slice topic = BYTES("rim.fast-path"), key = BYTES(NODE), value = BYTES("\0\0\0\0\1xyz");
    expect_uuid(bf_event_id_derive(topic, key, 1717236000000000, value), "2a491895-f9bd-815a-ac39-3e9b194920cf");
    expect_uuid(bf_event_id_derive(topic, BF_SLICE_NONE, 1717236000000000, value), "9586f327-17de-89d6-b115-82bd76ff12a2");
    expect_uuid(bf_event_id_derive(topic, BYTES(""), 1717236000000000, value), "8dd51f49-3e3e-8a4b-9cb0-5526abb5722e");
    expect_uuid(bf_event_id_derive(topic, key, -1, BYTES("")), "368d3242-a81b-848e-b929-9dafc5c72c4c");
    expect_uuid(bf_event_id_derive(topic, key, -1, BF_SLICE_NONE), "3e247f02-005f-870c-a1d2-072c3de022df"); /* a tombstone */
    expect_uuid(bf_event_id_derive(BYTES("a.b"), key, INT64_MIN, BYTES("x")), "658553e1-5646-81b7-8337-b758d4f5761b");
    expect_uuid(bf_event_id_derive(BYTES("a.b"), key, INT64_MAX, BYTES("x")), "d89eadaa-7a19-82ff-b7b6-8262e1e3f205");
}

static void test_event_id__parts_do_not_run_into_each_other(void **state) {
    (void)state;
    struct bf_uuid a = bf_event_id_derive(BYTES("ab"), BYTES("c"), 0, BYTES("d")), b = bf_event_id_derive(BYTES("a"), BYTES("bc"), 0, BYTES("d"));
    assert_memory_not_equal(&a, &b, sizeof a);
}

static void test_event_id__caused_by_another(void **state) {
    (void)state;
    struct bf_uuid cause;
    assert_true(bf_uuid_parse(BYTES("0190a0b0-c0d0-7000-8000-000000000001"), &cause));
    expect_uuid(bf_event_id_caused(&cause, "stress-high", NULL), "9bb3b38a-8b47-8320-a1f6-59d7a9d5d37b");
    expect_uuid(bf_event_id_caused(&cause, "stress-high", ""), "3e44a01c-5e0b-8b10-8191-164fb137dd6e");
    expect_uuid(bf_event_id_caused(&cause, "stress-high", "3"), "a3e15deb-90d9-85f6-a3fb-bf9d53d0f2f5");
    expect_uuid(bf_event_id_caused(&cause, "", "x"), "e5ec8203-2baf-845f-8c08-a98c70d07ee9");
}

static void test_uuid__parse_takes_one_form_only(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "0190a0b0-c0d0-7000-8000-00000000000",
                                      "0190a0b0-c0d0-7000-8000-0000000000011",
                                      "0190a0b0c0d070008000000000000001",
                                      "{190a0b0-c0d0-7000-8000-00000000000}",
                                      "0190a0b0-c0d0-7000-8000-00000000000g",
                                      "0190a0b0-c0d0-7000-8000-00000000000 ",
                                      "0190a0b0-c0d07-000-8000-000000000001",
                                      "0190a0b0_c0d0_7000_8000_000000000001",
                                      "-190a0b0-c0d0-7000-8000-000000000001"};
    struct bf_uuid id = {{7}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(bf_uuid_parse(bf_slice_str(bad[i]), &id));
    }
    assert_false(bf_uuid_parse(BF_SLICE_NONE, &id));
    assert_false(bf_uuid_parse((struct bf_slice){"0190a0b0-c0d0-7000-8000-0000000000\0\0", 36}, &id));
    assert_int_equal(id.b[0], 7);
    assert_true(bf_uuid_parse(BYTES("00000000-0000-0000-0000-000000000000"), &id)); /* of any version */
    assert_int_equal(id.b[0], 0);
}

static void test_uuid_v7__has_its_clock_version_and_variant(void **state) {
    (void)state;
    int64_t before_ms = bf_time_now_us() / 1000;
    struct bf_uuid id = bf_uuid_v7();
    int64_t ms = (int64_t)(bf_get_be64(id.b) >> 16);
    assert_true(ms >= before_ms);
    assert_int_equal(id.b[6] >> 4, 7);
    assert_int_equal(id.b[8] >> 6, 2);
}

static void test_uuid_v7__rises_within_a_millisecond(void **state) {
    (void)state;
    struct bf_uuid last = bf_uuid_v7();
    for (int i = 0; i < 50000; i++) { /* more than the counter has room for in one millisecond */
        struct bf_uuid id = bf_uuid_v7();
        assert_true(memcmp(&last, &id, 8) < 0);
        last = id;
    }
}

enum { THREADS = 4, IDS_EACH = 5000 };

static void *make_ids(void *out) {
    struct bf_uuid *ids = out;
    for (int i = 0; i < IDS_EACH; i++) {
        ids[i] = bf_uuid_v7();
    }
    return NULL;
}

static int compare_ids(const void *a, const void *b) {
    return memcmp(a, b, sizeof(struct bf_uuid));
}

static void test_uuid_v7__threads_share_one_order(void **state) {
    (void)state;
    struct bf_uuid *ids = calloc(THREADS * IDS_EACH, sizeof *ids);
    pthread_t threads[THREADS];
    for (int t = 0; t < THREADS; t++) {
        assert_int_equal(pthread_create(&threads[t], NULL, make_ids, ids + t * IDS_EACH), 0);
    }
    for (int t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
        for (int i = 1; i < IDS_EACH; i++) {
            assert_true(memcmp(&ids[t * IDS_EACH + i - 1], &ids[t * IDS_EACH + i], 8) < 0);
        }
    }
    qsort(ids, THREADS * IDS_EACH, sizeof *ids, compare_ids);
    for (int i = 1; i < THREADS * IDS_EACH; i++) {
        assert_memory_not_equal(&ids[i - 1], &ids[i], 8); /* the first half alone is unique */
    }
    free(ids);
}

/* Random bytes are kept in blocks: a child must not go on with those of its parent. */
static void test_uuid_v7__a_forked_child_draws_its_own(void **state) {
    (void)state;
    int ends[2];
    struct bf_uuid ours, theirs;
    (void)bf_uuid_v7(); /* there is a block to inherit */
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct bf_uuid id = bf_uuid_v7();
        _exit(write(ends[1], &id, sizeof id) == (ssize_t)sizeof id ? 0 : 1);
    }
    assert_true(child > 0);
    ours = bf_uuid_v7();
    assert_int_equal(read(ends[0], &theirs, sizeof theirs), sizeof theirs);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_memory_not_equal(ours.b + 8, theirs.b + 8, 8);
    close(ends[0]);
    close(ends[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event_id__of_a_text_that_is_no_uuid),
        cmocka_unit_test(test_event_id__of_a_uuid_is_itself),
        cmocka_unit_test(test_event_id__derived_from_the_message),
        cmocka_unit_test(test_event_id__parts_do_not_run_into_each_other),
        cmocka_unit_test(test_event_id__caused_by_another),
        cmocka_unit_test(test_uuid__parse_takes_one_form_only),
        cmocka_unit_test(test_uuid_v7__has_its_clock_version_and_variant),
        cmocka_unit_test(test_uuid_v7__rises_within_a_millisecond),
        cmocka_unit_test(test_uuid_v7__threads_share_one_order),
        cmocka_unit_test(test_uuid_v7__a_forked_child_draws_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
