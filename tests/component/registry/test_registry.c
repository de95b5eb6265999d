/* What each operation answers, over a real store. */
#include "registry_fixture.h"

#define ALL ((struct registry_page){0, -1})

static void test_register__the_same_content_has_one_id_everywhere(void **state) {
    struct registry *r = ((struct fixture *)*state)->r;
    int id = do_register(r, "one", REC(FIELD_A));
    assert_int_equal(id, 1);
    assert_int_equal(
        do_register(r, "one",
                    "{ \"name\":\"R\", \"type\":\"record\",  \"fields\":[ {\"type\":\"int\",\"name\":\"a\"} ] }"),
        1);
    assert_int_equal(do_register(r, "two", REC(FIELD_A)), 1);
    assert_int_equal(do_register(r, "two", "\"string\""), -409);
    assert_int_equal(do_register(r, "three", "\"string\""), 2);
    struct asked a;
    asked_init(&a);
    assert_int_equal(CALL(&a, r, registry_uses_of_id, "1", true, false), 0);
    assert_answer(&a, "[{\"subject\":\"one\",\"version\":1},{\"subject\":\"two\",\"version\":1}]");
    assert_int_equal(CALL(&a, r, registry_by_id, "1", true), 0);
    assert_int_equal(answer_int(&a, "maxId"), 2);
    assert_int_equal(CALL(&a, r, registry_by_id, "99", false), 40403);
    asked_fini(&a);
}

static void test_register__bad_schemas_are_told_apart(void **state) {
    struct registry *r = ((struct fixture *)*state)->r;
    struct asked a;
    asked_init(&a);
    assert_int_equal(do_register(r, "s", "{\"type\":\"nonsense\"}"), -42201);
    assert_int_equal(do_register(r, "s", ""), -42201);
    assert_int_equal(do_register(r, "", "\"int\""), -42208);
    json_t *proto = json_pack("{s:s, s:s}", "schema", "message X {}", "schemaType", "PROTOBUF");
    assert_int_equal(CALL(&a, r, registry_register, "s", proto, false), 42201);
    assert_non_null(strstr(a.no.message.data, "PROTOBUF"));
    json_decref(proto);
    assert_int_equal(CALL(&a, r, registry_subjects, "", REGISTRY_WITH_DELETED, ALL), 0);
    assert_answer(&a, "[]");
    asked_fini(&a);
}

static void test_versions__count_up_and_can_be_read(void **state) {
    struct registry *r = ((struct fixture *)*state)->r;
    struct asked a;
    asked_init(&a);
    assert_int_equal(CALL(&a, r, registry_list_versions, "s", REGISTRY_UNDELETED, ALL), 40401);
    assert_int_equal(do_register(r, "s", REC(FIELD_A)), 1);
    assert_int_equal(do_register(r, "s", REC("")), 2);
    assert_int_equal(CALL(&a, r, registry_list_versions, "s", REGISTRY_UNDELETED, ALL), 0);
    assert_answer(&a, "[1,2]");
    assert_int_equal(CALL(&a, r, registry_list_versions, "s", REGISTRY_UNDELETED, ((struct registry_page){1, 1})), 0);
    assert_answer(&a, "[2]");
    assert_int_equal(CALL(&a, r, registry_version, "s", "latest", false), 0);
    assert_int_equal(answer_int(&a, "version"), 2);
    assert_int_equal(CALL(&a, r, registry_version, "s", "-1", false), 0);
    assert_int_equal(CALL(&a, r, registry_version, "s", "1", false), 0);
    assert_int_equal(answer_int(&a, "id"), 1);
    assert_string_equal(json_string_value(json_object_get(a.out, "schema")), REC(FIELD_A));
    assert_int_equal(CALL(&a, r, registry_version, "s", "3", false), 40402);
    assert_int_equal(CALL(&a, r, registry_version, "nobody", "1", false), 40401);
    static const char *const bad[] = {"0", "-2", "x", "1x", "99999999999", "", " 1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(CALL(&a, r, registry_version, "s", bad[i], false), 42202);
    }
    asked_fini(&a);
}

static void test_subjects__page_and_filter(void **state) {
    struct registry *r = ((struct fixture *)*state)->r;
    struct asked a;
    asked_init(&a);
    static const char *const names[] = {"b-value", "a-value", "a-key", "c", "a"};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(do_register(r, names[i], "\"int\""), 1);
    }
    assert_int_equal(CALL(&a, r, registry_delete_subject, "c", false), 0);
    assert_int_equal(CALL(&a, r, registry_subjects, "", REGISTRY_UNDELETED, ALL), 0);
    assert_answer(&a, "[\"a\",\"a-key\",\"a-value\",\"b-value\"]");
    assert_int_equal(CALL(&a, r, registry_subjects, "a-", REGISTRY_UNDELETED, ALL), 0);
    assert_answer(&a, "[\"a-key\",\"a-value\"]");
    assert_int_equal(CALL(&a, r, registry_subjects, "", REGISTRY_ONLY_DELETED, ALL), 0);
    assert_answer(&a, "[\"c\"]");
    assert_int_equal(CALL(&a, r, registry_subjects, "", REGISTRY_WITH_DELETED, ((struct registry_page){3, 10})), 0);
    assert_answer(&a, "[\"b-value\",\"c\"]");
    assert_int_equal(CALL(&a, r, registry_schemas, "a", false, true, ((struct registry_page){0, 2})), 0);
    assert_int_equal(json_array_size(a.out), 2);
    asked_fini(&a);
}

static void test_lookup__finds_by_content(void **state) {
    struct registry *r = ((struct fixture *)*state)->r;
    struct asked a;
    asked_init(&a);
    json_t *known = request_of(REC(FIELD_A)), *other = request_of("\"int\"");
    assert_int_equal(CALL(&a, r, registry_lookup, "s", known, false, false), 40401);
    assert_int_equal(do_register(r, "s", REC(FIELD_A)), 1);
    assert_int_equal(CALL(&a, r, registry_lookup, "s", known, false, false), 0);
    assert_int_equal(answer_int(&a, "version"), 1);
    assert_int_equal(CALL(&a, r, registry_lookup, "s", other, false, false), 40403);
    assert_int_equal(CALL(&a, r, registry_delete_version, "s", "1", false), 0);
    assert_int_equal(CALL(&a, r, registry_lookup, "s", known, false, false), 40401);
    assert_int_equal(CALL(&a, r, registry_lookup, "s", known, false, true), 0);
    json_decref(known);
    json_decref(other);
    asked_fini(&a);
}

static void test_delete__goes_in_two_steps_and_never_gives_an_id_again(void **state) {
    struct fixture *f = *state;
    struct asked a;
    asked_init(&a);
    assert_int_equal(do_register(f->r, "s", REC(FIELD_A)), 1);
    assert_int_equal(do_register(f->r, "s", REC("")), 2);
    assert_int_equal(CALL(&a, f->r, registry_delete_version, "s", "2", true), 40407);
    assert_int_equal(CALL(&a, f->r, registry_delete_version, "s", "2", false), 0);
    assert_answer(&a, "2");
    assert_int_equal(CALL(&a, f->r, registry_delete_version, "s", "2", false), 40406);
    assert_int_equal(CALL(&a, f->r, registry_version, "s", "2", false), 40402);
    assert_int_equal(CALL(&a, f->r, registry_version, "s", "2", true), 0);
    assert_true(json_is_true(json_object_get(a.out, "deleted")));
    assert_int_equal(CALL(&a, f->r, registry_by_id, "2", false), 0); /* still readable: messages may carry it */
    assert_int_equal(do_register(f->r, "s", REC("")), 2);            /* again, as version 3 */
    assert_int_equal(CALL(&a, f->r, registry_list_versions, "s", REGISTRY_UNDELETED, ALL), 0);
    assert_answer(&a, "[1,3]");
    assert_int_equal(CALL(&a, f->r, registry_delete_subject, "s", true), 40405);
    assert_int_equal(CALL(&a, f->r, registry_delete_subject, "s", false), 0);
    assert_answer(&a, "[1,3]");
    assert_int_equal(CALL(&a, f->r, registry_delete_subject, "s", false), 40404);
    assert_int_equal(CALL(&a, f->r, registry_delete_subject, "s", true), 0);
    assert_answer(&a, "[1,2,3]");
    assert_int_equal(CALL(&a, f->r, registry_delete_subject, "s", true), 40401);
    assert_int_equal(CALL(&a, f->r, registry_by_id, "2", false), 40403);
    fixture_reopen(f);
    assert_int_equal(do_register(f->r, "s", REC(FIELD_A)), 3);
    asked_fini(&a);
}

static json_t *with_reference(const char *schema, const char *subject, int version) {
    return json_pack("{s:s, s:[{s:s, s:s, s:i}]}", "schema", schema, "references", "name", "R", "subject", subject,
                     "version", version);
}

static void test_references__are_resolved_guarded_and_listed(void **state) {
    struct registry *r = ((struct fixture *)*state)->r;
    struct asked a;
    asked_init(&a);
    static const char user[] = "{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"r\",\"type\":\"R\"}]}";
    json_t *good = with_reference(user, "inner", 1), *bad = with_reference(user, "nobody", 1),
           *newest = with_reference(user, "inner", -1);
    assert_int_equal(do_register(r, "inner", REC(FIELD_A)), 1);
    assert_int_equal(do_register(r, "outer", user), -42201);
    assert_int_equal(CALL(&a, r, registry_register, "outer", bad, false), 42201);
    assert_int_equal(CALL(&a, r, registry_register, "outer", good, false), 0);
    assert_int_equal(answer_int(&a, "id"), 2);
    assert_int_equal(CALL(&a, r, registry_register, "outer", newest, false), 0);
    assert_int_equal(answer_int(&a, "version"), 1);
    assert_int_equal(CALL(&a, r, registry_by_id, "2", false), 0);
    assert_int_equal(json_array_size(json_object_get(a.out, "references")), 1);
    assert_int_equal(CALL(&a, r, registry_referenced_by, "inner", "1"), 0);
    assert_answer(&a, "[2]");
    assert_int_equal(CALL(&a, r, registry_delete_subject, "inner", false), 42206);
    assert_int_equal(CALL(&a, r, registry_delete_version, "inner", "latest", false), 42206);
    assert_int_equal(CALL(&a, r, registry_delete_subject, "outer", false), 0);
    assert_int_equal(CALL(&a, r, registry_referenced_by, "inner", "1"), 0);
    assert_answer(&a, "[]");
    assert_int_equal(CALL(&a, r, registry_delete_subject, "inner", false), 0);
    json_decref(good);
    json_decref(bad);
    json_decref(newest);
    asked_fini(&a);
}

static void set_level(struct asked *a, struct registry *r, const char *subject, const char *level) {
    json_t *request = json_pack("{s:s}", "compatibility", level);
    assert_int_equal(CALL(a, r, registry_config_put, subject, request), 0);
    json_decref(request);
}

static bool compatible(struct asked *a, struct registry *r, const char *version, const char *schema) {
    json_t *request = request_of(schema);
    assert_int_equal(CALL(a, r, registry_compatibility, "s", version, request, false, true), 0);
    json_decref(request);
    bool ok = json_is_true(json_object_get(a->out, "is_compatible"));
    assert_int_equal(json_array_size(json_object_get(a->out, "messages")) == 0, ok);
    return ok;
}

#define WITH_B REC(FIELD_A ",{\"name\":\"b\",\"type\":\"int\"}")
#define WITH_B_DEFAULT REC(FIELD_A ",{\"name\":\"b\",\"type\":\"int\",\"default\":0}")

static void test_levels__decide_what_may_be_registered(void **state) {
    struct registry *r = ((struct fixture *)*state)->r;
    struct asked a;
    asked_init(&a);
    assert_int_equal(do_register(r, "s", REC(FIELD_A)), 1);
    static const struct {
        const char *level;
        bool with_b, with_default, without_a;
    } rows[] = {{"NONE", true, true, true},
                {"BACKWARD", false, true, true},
                {"forward", true, true, false},
                {"FULL", false, true, false},
                {"FULL_TRANSITIVE", false, true, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        set_level(&a, r, "s", rows[i].level);
        assert_int_equal(compatible(&a, r, "latest", WITH_B), rows[i].with_b);
        assert_int_equal(compatible(&a, r, "1", WITH_B_DEFAULT), rows[i].with_default);
        assert_int_equal(compatible(&a, r, NULL, REC("")), rows[i].without_a);
    }
    /* The transitive levels look further back than the newest. */
    set_level(&a, r, "s", "BACKWARD");
    assert_int_equal(do_register(r, "s", WITH_B_DEFAULT), 2);
    assert_true(compatible(&a, r, NULL, WITH_B));
    set_level(&a, r, "s", "BACKWARD_TRANSITIVE");
    assert_false(compatible(&a, r, NULL, WITH_B));
    assert_int_equal(do_register(r, "s", WITH_B), -409);
    asked_fini(&a);
}

static void test_config__has_a_global_and_a_subject_level(void **state) {
    struct registry *r = ((struct fixture *)*state)->r;
    struct asked a;
    asked_init(&a);
    assert_int_equal(CALL(&a, r, registry_config_get, NULL, false), 0);
    assert_answer(&a, "{\"compatibilityLevel\":\"BACKWARD\"}");
    assert_int_equal(CALL(&a, r, registry_config_get, "s", false), 40408);
    assert_int_equal(CALL(&a, r, registry_config_get, "s", true), 0);
    set_level(&a, r, NULL, "FULL");
    assert_answer(&a, "{\"compatibility\":\"FULL\"}");
    assert_int_equal(CALL(&a, r, registry_config_get, "s", true), 0);
    assert_answer(&a, "{\"compatibilityLevel\":\"FULL\"}");
    set_level(&a, r, "s", "NONE");
    assert_int_equal(CALL(&a, r, registry_config_delete, "s"), 0);
    assert_int_equal(CALL(&a, r, registry_config_delete, "s"), 40401);
    json_t *bad = json_pack("{s:s}", "compatibility", "SIDEWAYS");
    assert_int_equal(CALL(&a, r, registry_config_put, NULL, bad), 42203);
    json_decref(bad);
    asked_fini(&a);
}

static int put_mode(struct asked *a, struct registry *r, const char *subject, const char *mode, bool force) {
    json_t *request = json_pack("{s:s}", "mode", mode);
    int code = CALL(a, r, registry_mode_put, subject, request, force);
    json_decref(request);
    return code;
}

static int import(struct asked *a, struct registry *r, const char *subject, const char *schema, int id, int version) {
    json_t *request = json_pack("{s:s, s:i, s:i}", "schema", schema, "id", id, "version", version);
    int code = CALL(a, r, registry_register, subject, request, false);
    json_decref(request);
    return code;
}

static void test_mode__readonly_refuses_and_import_takes_ids(void **state) {
    struct registry *r = ((struct fixture *)*state)->r;
    struct asked a;
    asked_init(&a);
    assert_int_equal(CALL(&a, r, registry_mode_get, NULL, false), 0);
    assert_answer(&a, "{\"mode\":\"READWRITE\"}");
    assert_int_equal(CALL(&a, r, registry_mode_get, "s", false), 40409);
    assert_int_equal(put_mode(&a, r, NULL, "WRONG", false), 42204);
    assert_int_equal(do_register(r, "old", "\"int\""), 1);
    assert_int_equal(put_mode(&a, r, "old", "READONLY", false), 0);
    assert_int_equal(do_register(r, "old", "\"long\""), -42205);
    assert_int_equal(CALL(&a, r, registry_delete_subject, "old", false), 42205);
    assert_int_equal(CALL(&a, r, registry_mode_delete, "old"), 0);
    assert_int_equal(import(&a, r, "new", "\"int\"", 50, 1), 42205);
    assert_int_equal(put_mode(&a, r, "old", "IMPORT", false), 42205);
    assert_int_equal(put_mode(&a, r, "old", "IMPORT", true), 0);
    assert_int_equal(put_mode(&a, r, "new", "IMPORT", false), 0);
    assert_int_equal(do_register(r, "new", "\"int\""), -42205);
    assert_int_equal(import(&a, r, "new", "\"string\"", 50, 7), 0);
    assert_int_equal(import(&a, r, "new", "\"string\"", 50, 7), 0);
    assert_int_equal(import(&a, r, "new", "\"boolean\"", 50, 8), 42205);
    assert_int_equal(import(&a, r, "new", "\"boolean\"", 51, 7), 42205);
    assert_int_equal(CALL(&a, r, registry_version, "new", "7", false), 0);
    assert_int_equal(answer_int(&a, "id"), 50);
    assert_int_equal(put_mode(&a, r, "new", "READWRITE", false), 0);
    assert_int_equal(do_register(r, "other", "\"double\""), 51);
    assert_int_equal(put_mode(&a, r, NULL, "READONLY_OVERRIDE", false), 0);
    assert_int_equal(do_register(r, "new", "\"bytes\""), -42205);
    asked_fini(&a);
}

static void test_guid__is_that_of_the_content(void **state) {
    struct registry *r = ((struct fixture *)*state)->r;
    struct asked a;
    asked_init(&a);
    assert_int_equal(do_register(r, "s", "{\"type\":\"string\"}"), 1);
    assert_int_equal(CALL(&a, r, registry_by_id, "1", false), 0);
    /* printf %s "\"string\"" | md5sum */
    assert_string_equal(json_string_value(json_object_get(a.out, "guid")), "095d71cf-1255-6b9d-5e33-0ad575b3df5d");
    assert_int_equal(CALL(&a, r, registry_by_guid, "095d71cf-1255-6b9d-5e33-0ad575b3df5d"), 0);
    assert_int_equal(answer_int(&a, "id"), 1);
    assert_int_equal(CALL(&a, r, registry_by_guid, "00000000-0000-0000-0000-000000000000"), 40403);
    assert_int_equal(CALL(&a, r, registry_by_guid, "nonsense"), 40403);
    asked_fini(&a);
}

static void test_normalize__makes_equal_what_means_the_same(void **state) {
    struct registry *r = ((struct fixture *)*state)->r;
    struct asked a;
    asked_init(&a);
    json_t *one = request_of("{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":9,\"scale\":2}");
    json_t *two = request_of("{\"type\":\"bytes\",\"scale\":2,\"precision\":9,\"logicalType\":\"decimal\"}");
    assert_int_equal(CALL(&a, r, registry_register, "s", one, true), 0);
    assert_int_equal(CALL(&a, r, registry_register, "s", two, true), 0);
    assert_int_equal(answer_int(&a, "id"), 1);
    assert_int_equal(CALL(&a, r, registry_register, "s", two, false), 0);
    assert_int_equal(answer_int(&a, "id"), 2);
    json_t *config = json_pack("{s:b}", "normalize", 1);
    assert_int_equal(CALL(&a, r, registry_config_put, "t", config), 0);
    assert_int_equal(CALL(&a, r, registry_register, "t", two, false), 0);
    assert_int_equal(answer_int(&a, "id"), 1);
    json_decref(config);
    json_decref(one);
    json_decref(two);
    asked_fini(&a);
}

static void test_store__belongs_to_one_process(void **state) {
    struct fixture *f = *state;
    struct registry *second = NULL;
    struct bf_err err;
    assert_int_equal(registry_open(f->dir, 1 << 20, &second, &err), BF_AGAIN);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_register__the_same_content_has_one_id_everywhere),
        TEST(test_register__bad_schemas_are_told_apart),
        TEST(test_versions__count_up_and_can_be_read),
        TEST(test_subjects__page_and_filter),
        TEST(test_lookup__finds_by_content),
        TEST(test_delete__goes_in_two_steps_and_never_gives_an_id_again),
        TEST(test_references__are_resolved_guarded_and_listed),
        TEST(test_levels__decide_what_may_be_registered),
        TEST(test_config__has_a_global_and_a_subject_level),
        TEST(test_mode__readonly_refuses_and_import_takes_ids),
        TEST(test_guid__is_that_of_the_content),
        TEST(test_normalize__makes_equal_what_means_the_same),
        TEST(test_store__belongs_to_one_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
