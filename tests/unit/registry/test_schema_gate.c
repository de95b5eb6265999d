/* The gate itself, over the project's schemas; and that it does find what it is for. */
#include "schema_gate.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void test_schema_gate__the_projects_schemas_keep_what_was_released(void **state) {
    (void)state;
    struct bf_buf complaints;
    struct bf_err err;
    size_t count = 0, compared = 0;
    bf_buf_init(&complaints, 1 << 20);
    assert_int_equal(schema_gate_check(BF_SOURCE_DIR "/schemas", &complaints, &count, &compared, &err), BF_OK);
    bf_buf_putc(&complaints, '\0');
    if (count > 0) {
        fail_msg("schemas/ breaks compatibility (see schemas/README.md):\n%s", complaints.data);
    }
    assert_true(compared >= 3);
    bf_buf_fini(&complaints);
}

static void put(const char *dir, const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void put_released(const char *dir, const char *text) {
    unsigned char digest[32];
    char line[128];
    put(dir, "released/a.b.1.avsc", text);
    assert_int_equal(EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL), 1);
    for (size_t i = 0; i < sizeof digest; i++) {
        snprintf(line + 2 * i, 3, "%02x", digest[i]);
    }
    strcat(line, "  a.b.1.avsc\n");
    put(dir, "released/SHA256SUMS", line);
}

#define HEAD "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"}"
#define RELEASED HEAD "]}"

static size_t complaints_about(const char *current, const char *tampered, char words[400]) {
    char dir[] = "/tmp/schema-gate-XXXXXX", sub[64], command[128];
    struct bf_buf complaints;
    struct bf_err err;
    size_t count = 0, compared = 0;
    assert_non_null(mkdtemp(dir));
    snprintf(sub, sizeof sub, "%s/released", dir);
    assert_int_equal(mkdir(sub, 0700), 0);
    put(dir, "topics.json", "{\"topics\":[{\"topic\":\"a.b\",\"schema\":\"a.b.avsc\"},{\"topic\":\"*\"}]}");
    put(dir, "a.b.avsc", current);
    put_released(dir, RELEASED);
    if (tampered != NULL) {
        put(dir, "released/a.b.1.avsc", tampered);
    }
    bf_buf_init(&complaints, 1 << 20);
    assert_int_equal(schema_gate_check(dir, &complaints, &count, &compared, &err), BF_OK);
    bf_buf_putc(&complaints, '\0');
    snprintf(words, 400, "%s", complaints.data);
    bf_buf_fini(&complaints);
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    assert_int_equal(system(command), 0);
    return count;
}

static void test_schema_gate__a_violation_is_found(void **state) {
    (void)state;
    char words[400];
    assert_int_equal(complaints_about(RELEASED, NULL, words), 0);
    assert_int_equal(complaints_about(HEAD ",{\"name\":\"b\",\"type\":\"int\",\"default\":0}]}", NULL, words), 0);
    assert_int_equal(complaints_about(HEAD ",{\"name\":\"b\",\"type\":\"int\"}]}", NULL, words), 1);
    assert_non_null(strstr(words, "READER_FIELD_MISSING_DEFAULT_VALUE at /fields/1: b"));
    assert_int_equal(complaints_about("{\"type\":\"record\"}", NULL, words), 1);
}

static void test_schema_gate__a_changed_release_is_found(void **state) {
    (void)state;
    char words[400];
    assert_int_equal(complaints_about(RELEASED, RELEASED " ", words), 1);
    assert_non_null(strstr(words, "was changed or is gone"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema_gate__the_projects_schemas_keep_what_was_released),
        cmocka_unit_test(test_schema_gate__a_violation_is_found),
        cmocka_unit_test(test_schema_gate__a_changed_release_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
