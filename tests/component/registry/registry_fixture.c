#include "registry_fixture.h"

#include <stdio.h>

int fixture_setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    struct bf_err err;
    if (f == NULL) {
        return 1;
    }
    strcpy(f->dir, "/tmp/registry-test-XXXXXX");
    if (mkdtemp(f->dir) == NULL || registry_open(f->dir, 256 << 20, &f->r, &err) != BF_OK) {
        free(f);
        return 1;
    }
    *state = f;
    return 0;
}

int fixture_teardown(void **state) {
    struct fixture *f = *state;
    registry_close(f->r);
    fixture_remove_dir(f->dir);
    free(f);
    return 0;
}

void fixture_reopen(struct fixture *f) {
    struct bf_err err;
    registry_close(f->r);
    f->r = NULL;
    assert_int_equal(registry_open(f->dir, 256 << 20, &f->r, &err), BF_OK);
}

void fixture_remove_dir(const char *dir) {
    char command[128];
    if (strncmp(dir, "/tmp/registry-", 14) == 0) {
        snprintf(command, sizeof command, "rm -r '%s'", dir);
        if (system(command) != 0) {
            fprintf(stderr, "cannot remove %s\n", dir);
        }
    }
}

json_t *request_of(const char *schema) {
    return json_pack("{s:s}", "schema", schema);
}

int outcome(enum bf_code code, struct registry_refusal *no, const struct bf_err *err) {
    if (code == BF_OK) {
        return 0;
    }
    if (code != BF_INVALID || no->code == 0) {
        fail_msg("failed (%s): %s", bf_code_name(code), err->msg);
    }
    bf_buf_putc(&no->message, '\0');
    return no->code;
}

int do_register(struct registry *r, const char *subject, const char *schema) {
    struct asked a;
    asked_init(&a);
    json_t *request = request_of(schema);
    int code = CALL(&a, r, registry_register, subject, request, false);
    int result = code == 0 ? (int)answer_int(&a, "id") : -code;
    json_decref(request);
    asked_fini(&a);
    return result;
}

void asked_init(struct asked *a) {
    a->out = NULL;
    registry_refusal_init(&a->no);
}

void asked_fini(struct asked *a) {
    json_decref(a->out);
    registry_refusal_fini(&a->no);
}

void assert_answer(const struct asked *a, const char *json) {
    json_error_t where;
    json_t *expected = json_loads(json, JSON_DECODE_ANY, &where);
    assert_non_null(expected);
    if (!json_equal(a->out, expected)) {
        char *got = json_dumps(a->out, JSON_COMPACT | JSON_ENCODE_ANY);
        fail_msg("answer is %s, not %s", got, json);
    }
    json_decref(expected);
}

int64_t answer_int(const struct asked *a, const char *member) {
    return json_integer_value(member == NULL ? a->out : json_object_get(a->out, member));
}
