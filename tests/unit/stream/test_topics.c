/* Topic names and the catalogue. */
#include "../base/check.h"

#include "bf_topics.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAR "{\"topic\":\"*\"}"

static char dir[] = "/tmp/bf-topics-XXXXXX";

static void put_file(const char *name, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state) {
    (void)state;
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int teardown(void **state) {
    (void)state;
    static const char *const names[] = {"topics.json", "a.avsc"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

static struct bf_topics *load(const char *json) {
    struct bf_topics *t = NULL;
    struct bf_err err;
    put_file("topics.json", json);
    if (bf_topics_load(dir, &t, &err) != BF_OK) {
        fail_msg("%s: %s", json, err.msg);
    }
    return t;
}

static void test_topic__names_of_events(void **state) {
    (void)state;
    static const char *const good[] = {"a.b", "rim.fast-path", "a-b-c.d-1", "0.1", "dlq.a", "replays.a"};
    static const char *const bad[] = {"", ".", "a", "a.", ".b", "a.b.c", "a..b", "A.b", "a.B", "a_b.c", "-a.b", "a-.b", "a.-b", "a.b-", "a--b.c",
                                      "a.b ", "a.dlq", "rim.fast-path.dlq", "replay.x", "__consumer_offsets", "\xc3\xa9.b"};
    for (size_t i = 0; i < COUNT(good); i++) {
        if (!bf_topic_is_event(good[i])) {
            fail_msg("refused: %s", good[i]);
        }
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (bf_topic_is_event(bad[i])) {
            fail_msg("taken: %s", bad[i]);
        }
    }
}

static void test_topic__names_have_kafkas_limit(void **state) {
    (void)state;
    char name[BF_TOPIC_MAX + 2];
    memset(name, 'a', sizeof name);
    name[3] = '.';
    name[BF_TOPIC_MAX] = '\0';
    assert_true(bf_topic_is_event(name));
    name[BF_TOPIC_MAX] = 'a';
    name[BF_TOPIC_MAX + 1] = '\0';
    assert_false(bf_topic_is_event(name));
}

static void test_topic__splits_at_its_dot(void **state) {
    (void)state;
    struct bf_slice domain, type;
    bf_topic_split("rim.fast-path", &domain, &type);
    assert_true(bf_slice_eq(domain, bf_slice_str("rim")));
    assert_true(bf_slice_eq(type, bf_slice_str("fast-path")));
    bf_topic_split("odd", &domain, &type);
    assert_true(bf_slice_eq(domain, bf_slice_str("odd")));
    assert_int_equal(type.len, 0);
}

static void test_catalogue__the_projects_own_loads(void **state) {
    (void)state;
    struct bf_topics *t = NULL;
    struct bf_err err;
    assert_int_equal(bf_topics_load(BF_SOURCE_DIR "/schemas", &t, &err), BF_OK);
    assert_int_equal(bf_topics_count(t), 3);
    const struct bf_topic *rim = bf_topics_find(t, "rim.fast-path");
    assert_string_equal(rim->name, "rim.fast-path");
    assert_int_equal(rim->partitions, 12);
    assert_int_equal(rim->retention_ms, INT64_C(604800000));
    assert_string_equal(rim->event_time_paths[0], "vector_timestamp.event_ts_ms");
    assert_null(rim->event_time_paths[1]);
    assert_null(rim->cause_paths[0]);
    assert_int_equal(rim->event_time_unit_us, 1000);
    assert_int_equal(rim->archive_cut, BF_ARCHIVE_MONTHLY);
    assert_non_null(strstr(rim->schema_json, "RimFastEvent"));
    assert_string_equal(bf_topics_find(t, "plato.decision")->schema_file, BF_SOURCE_DIR "/schemas/plato.decision.avsc");
    bf_topics_free(t);
}

static void test_catalogue__an_unknown_topic_has_the_ways_of_the_star(void **state) {
    (void)state;
    struct bf_topics *t = load("{\"topics\":[{\"topic\":\"*\",\"partitions\":9,\"event_time_unit\":\"s\",\"archive\":\"daily\",\"node\":[\"a\",\"b.c\"]},{\"topic\":\"x.y\"}]}");
    const struct bf_topic *topic = bf_topics_find(t, "no.such");
    assert_string_equal(topic->name, "*");
    assert_int_equal(topic->partitions, 9);
    assert_int_equal(topic->event_time_unit_us, 1000000);
    assert_int_equal(topic->archive_cut, BF_ARCHIVE_DAILY);
    assert_string_equal(topic->node_paths[1], "b.c");
    assert_null(topic->node_paths[2]);
    assert_null(topic->schema_json);
    assert_int_equal(bf_topics_count(t), 1); /* the star is none */
    assert_string_equal(bf_topics_at(t, 0)->name, "x.y");
    assert_null(bf_topics_at(t, 1));
    bf_topics_free(t);
    bf_topics_free(NULL);
}

static void test_catalogue__what_is_not_said_has_defaults(void **state) {
    (void)state;
    struct bf_topics *t = load("{\"topics\":[{\"topic\":\"x.y\"}," STAR "]}");
    const struct bf_topic *topic = bf_topics_find(t, "x.y");
    assert_int_equal(topic->partitions, 6);
    assert_int_equal(topic->retention_ms, INT64_C(604800000));
    assert_int_equal(topic->event_time_unit_us, 1000);
    assert_int_equal(topic->archive_cut, BF_ARCHIVE_MONTHLY);
    assert_null(topic->event_id_paths[0]);
    bf_topics_free(t);
}

static void test_catalogue__a_schema_keeps_its_order(void **state) {
    (void)state;
    put_file("a.avsc", "{\"type\":\"record\", \"name\":\"Z\", \"fields\":[]}");
    struct bf_topics *t = load("{\"topics\":[{\"topic\":\"x.y\",\"schema\":\"a.avsc\"}," STAR "]}");
    assert_string_equal(bf_topics_find(t, "x.y")->schema_json, "{\"type\":\"record\",\"name\":\"Z\",\"fields\":[]}");
    bf_topics_free(t);
}

static void test_catalogue__every_mistake_is_named(void **state) {
    (void)state;
    static const char *const table[][2] = {
        {"{", "topics.json"},
        {"[]", "there is no list \"topics\""},
        {"{\"topics\":{}}", "there is no list \"topics\""},
        {"{\"topics\":[]}", "there is no list \"topics\""},
        {"{\"topics\":[{\"topic\":\"x.y\"}]}", "no entry '*'"},
        {"{\"topics\":[" STAR "," STAR "]}", "topic '*' stands there twice"},
        {"{\"topics\":[{\"topic\":\"x.y\"},{\"topic\":\"x.y\"}," STAR "]}", "topic 'x.y' stands there twice"},
        {"{\"topics\":[7," STAR "]}", "'(none)' is not a topic name"},
        {"{\"topics\":[{\"topic\":7}," STAR "]}", "'(none)' is not a topic name"},
        {"{\"topics\":[{\"topic\":\"XY\"}," STAR "]}", "'XY' is not a topic name"},
        {"{\"topics\":[{\"topic\":\"x.dlq\"}," STAR "]}", "'x.dlq' is not a topic name"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"partition\":1}," STAR "]}", "topic 'x.y': unknown member \"partition\""},
        {"{\"topics\":[{\"topic\":\"x.y\",\"partitions\":0}," STAR "]}", "\"partitions\" must be an integer from 1 to 10000"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"partitions\":\"6\"}," STAR "]}", "\"partitions\" must be"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"partitions\":10001}," STAR "]}", "\"partitions\" must be"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"retention_ms\":-2}," STAR "]}", "\"retention_ms\" must be"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"retention_ms\":1.5}," STAR "]}", "\"retention_ms\" must be"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"event_time_unit\":\"ns\"}," STAR "]}", "event_time_unit 'ns' is none of s, ms, us"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"event_time_unit\":1}," STAR "]}", "\"event_time_unit\" must be s, ms or us"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"archive\":\"weekly\"}," STAR "]}", "\"archive\" must be daily, monthly or yearly"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"archive\":null}," STAR "]}", "\"archive\" must be"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"node\":\"a\"}," STAR "]}", "\"node\" must be a list of paths"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"trace\":[\"a\",7]}," STAR "]}", "\"trace\" must hold strings"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"cause\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]}," STAR "]}", "\"cause\" has 9 paths, at most 8"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"schema\":\"none.avsc\"}," STAR "]}", "topic 'x.y'"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"schema\":\"a.avsc\"}," STAR "]}", "a.avsc"},
        {"{\"topics\":[{\"topic\":\"x.y\",\"schema\":7}," STAR "]}", "\"schema\" must be the name of a file"}, /* regression 4 */
    };
    put_file("a.avsc", "{\"type\":");
    for (size_t i = 0; i < COUNT(table); i++) {
        struct bf_topics *t = NULL;
        struct bf_err err = {0};
        put_file("topics.json", table[i][0]);
        if (bf_topics_load(dir, &t, &err) == BF_OK) {
            fail_msg("taken: %s", table[i][0]);
        }
        assert_null(t);
        if (strstr(err.msg, table[i][1]) == NULL) {
            fail_msg("%s: \"%s\" wanted, got: %s", table[i][0], table[i][1], err.msg);
        }
    }
}

static void test_catalogue__that_is_not_there_is_not_found(void **state) {
    (void)state;
    struct bf_topics *t = NULL;
    struct bf_err err;
    assert_int_equal(bf_topics_load("/nonexistent", &t, &err), BF_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nonexistent/topics.json"));
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topic__names_of_events),
        cmocka_unit_test(test_topic__names_have_kafkas_limit),
        cmocka_unit_test(test_topic__splits_at_its_dot),
        cmocka_unit_test(test_catalogue__the_projects_own_loads),
        T(test_catalogue__an_unknown_topic_has_the_ways_of_the_star),
        T(test_catalogue__what_is_not_said_has_defaults),
        T(test_catalogue__a_schema_keeps_its_order),
        T(test_catalogue__every_mistake_is_named),
        cmocka_unit_test(test_catalogue__that_is_not_there_is_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
