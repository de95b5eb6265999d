/* Many threads register the same contents and contents of their own at once: one content, one id; one version each in a
 * shared subject. */
#include "registry_fixture.h"

#include <pthread.h>
#include <stdio.h>

enum { THREADS = 8, SHARED = 12, OWN = 6 };

struct worker {
    pthread_t thread;
    struct registry *r;
    int number;
    int shared[SHARED], own[OWN];
    int failures;
};

static int register_quietly(struct registry *r, const char *subject, const char *schema) {
    json_t *request = request_of(schema), *out = NULL;
    struct registry_refusal no;
    struct bf_err err;
    registry_refusal_init(&no);
    enum bf_code code = registry_register(r, subject, request, false, &out, &no, &err);
    int id = code == BF_OK ? (int)json_integer_value(json_object_get(out, "id")) : -1;
    registry_refusal_fini(&no);
    json_decref(request);
    json_decref(out);
    return id;
}

static void *work(void *arg) {
    struct worker *w = arg;
    char subject[64], schema[200];
    for (int i = 0; i < SHARED; i++) {
        int which = (i + w->number) % SHARED; /* each begins elsewhere, so that they meet */
        snprintf(schema, sizeof schema, "{\"type\":\"record\",\"name\":\"Shared%d\",\"fields\":[]}", which);
        snprintf(subject, sizeof subject, "shared-%d", which);
        w->shared[which] = register_quietly(w->r, subject, schema);
        w->failures += w->shared[which] < 0;
        if (i < OWN) {
            snprintf(schema, sizeof schema,
                     "{\"type\":\"record\",\"name\":\"Own\",\"fields\":[{\"name\":\"f%d_%d\",\"type\":\"int\","
                     "\"default\":0}]}",
                     w->number, i);
            w->own[i] = register_quietly(w->r, "everybody", schema);
            w->failures += w->own[i] < 0;
        }
    }
    return NULL;
}

static void test_concurrent__one_content_gets_one_id(void **state) {
    struct fixture *f = *state;
    struct worker workers[THREADS];
    bool seen[SHARED + THREADS * OWN + 1] = {false};
    struct asked a;
    asked_init(&a);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.r = f->r, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].failures, 0);
    }
    for (int s = 0; s < SHARED; s++) {
        for (int i = 1; i < THREADS; i++) {
            assert_int_equal(workers[i].shared[s], workers[0].shared[s]);
        }
        assert_in_range(workers[0].shared[s], 1, SHARED + THREADS * OWN);
        assert_false(seen[workers[0].shared[s]]);
        seen[workers[0].shared[s]] = true;
    }
    for (int i = 0; i < THREADS; i++) {
        for (int k = 0; k < OWN; k++) {
            assert_in_range(workers[i].own[k], 1, SHARED + THREADS * OWN);
            assert_false(seen[workers[i].own[k]]);
            seen[workers[i].own[k]] = true;
        }
    }
    assert_int_equal(
        CALL(&a, f->r, registry_list_versions, "everybody", REGISTRY_UNDELETED, ((struct registry_page){0, -1})), 0);
    assert_int_equal(json_array_size(a.out), THREADS * OWN);
    for (size_t i = 0; i < THREADS * OWN; i++) {
        assert_int_equal(json_integer_value(json_array_get(a.out, i)), i + 1);
    }
    asked_fini(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_concurrent__one_content_gets_one_id, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
