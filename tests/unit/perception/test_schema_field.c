#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "bf_json.h"
#include "perception_fixture.h"
#include "schema_field.h"

#include <string.h>

static json_t *fast_path_schema(void) {
    struct bf_topics *topics = project_topics();
    struct bf_err err = {0};
    json_t *schema = NULL;
    const char *text = bf_topics_find(topics, "rim.fast-path")->schema_json;
    assert_int_equal(bf_json_parse(text, strlen(text), &schema, &err), BF_OK);
    bf_topics_free(topics);
    return schema;
}

static void test_schema_field__finds_kinds_by_dotted_path(void **state) {
    static const struct {
        const char *path;
        enum schema_field kind;
    } rows[] = {{"rim_node_id", SCHEMA_FIELD_STRING},
                {"event_id", SCHEMA_FIELD_STRING},
                {"price", SCHEMA_FIELD_DOUBLE},
                {"vector_timestamp", SCHEMA_FIELD_OTHER},
                {"vector_timestamp.event_ts_ms", SCHEMA_FIELD_LONG},
                {"vector_timestamp.logical_clock", SCHEMA_FIELD_LONG},
                {"vector_timestamp.nothing", SCHEMA_FIELD_NONE},
                {"critical_metrics.spread", SCHEMA_FIELD_DOUBLE},
                {"metadata.venue", SCHEMA_FIELD_STRING},
                {"metadata.two.parts", SCHEMA_FIELD_NONE}, /* a key with a dot cannot be set by path */
                {"price.more", SCHEMA_FIELD_NONE},
                {"nothing", SCHEMA_FIELD_NONE}};
    json_t *schema = fast_path_schema();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (schema_field(schema, rows[i].path) != rows[i].kind) fail_msg("%s is %d", rows[i].path, (int)schema_field(schema, rows[i].path));
    }
    json_decref(schema);
}

static void test_set_and_get__make_the_objects_on_the_way(void **state) {
    json_t *object = json_object();
    (void)state;
    assert_int_equal(schema_field_set(object, "a.b.c", json_integer(7)), 0);
    assert_int_equal(schema_field_set(object, "a.b.d", json_string("x")), 0);
    assert_int_equal(json_integer_value(schema_field_get(object, "a.b.c")), 7);
    assert_string_equal(json_string_value(schema_field_get(object, "a.b.d")), "x");
    assert_null(schema_field_get(object, "a.z"));
    assert_null(schema_field_get(object, "a.b.c.d"));
    assert_int_equal(schema_field_set(object, "a.b.c.d", json_integer(1)), -1); /* the way is blocked */
    assert_int_equal(schema_field_set(object, "x", NULL), -1);
    json_decref(object);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema_field__finds_kinds_by_dotted_path),
        cmocka_unit_test(test_set_and_get__make_the_objects_on_the_way),
    };
    return cmocka_run_group_tests_name("perception_schema_field", tests, NULL, NULL);
}
