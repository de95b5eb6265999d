#include "avro_check.h"

#include <stdlib.h>

struct bf_avro *compile_paths(const char *schema, const char *const *paths, size_t count) {
    struct bf_avro *a = NULL;
    struct bf_err err;
    if (bf_avro_compile(schema, strlen(schema), NULL, 0, paths, count, &a, &err) != BF_OK) {
        fail_msg("%s: %s", schema, err.msg);
    }
    return a;
}

struct bf_avro *compile(const char *schema) {
    return compile_paths(schema, NULL, 0);
}

/* The message in memory of its own, so that the address sanitizer sees a read beyond it. */
static enum bf_code decode(const struct bf_avro *a, struct bf_slice bytes, const struct bf_avro_limits *limits, struct bf_buf *json,
                           struct bf_err *err) {
    struct bf_avro_field fields[BF_AVRO_PATHS_MAX];
    uint8_t *copy = malloc(bytes.len > 0 ? bytes.len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes.data, bytes.len);
    enum bf_code code = bf_avro_decode(a, (struct bf_slice){copy, bytes.len}, limits, json, fields, err);
    free(copy);
    return code;
}

static void expect_text(const struct bf_avro *a, struct bf_slice bytes, const char *json) {
    struct bf_buf out;
    struct bf_err err;
    bf_buf_init(&out, 64 << 20);
    if (decode(a, bytes, NULL, &out, &err) != BF_OK) {
        fail_msg("%s wanted, but: %s", json, err.msg);
    }
    bf_buf_putc(&out, '\0');
    assert_string_equal(out.data, json);
    bf_buf_fini(&out);
    assert_int_equal(decode(a, bytes, NULL, NULL, &err), BF_OK); /* checking alone says the same */
}

void expect_json_only(const char *schema, struct bf_slice bytes, const char *json) {
    struct bf_avro *a = compile(schema);
    expect_text(a, bytes, json);
    bf_avro_free(a);
}

void expect_json(const char *schema, struct bf_slice bytes, const char *json) {
    struct bf_avro *a = compile(schema);
    expect_text(a, bytes, json);
    for (size_t len = 0; len < bytes.len; len++) {
        expect_fault_within(a, (struct bf_slice){bytes.data, len}, NULL, BF_AVRO_FAULT_AVRO, "");
    }
    char *longer = malloc(bytes.len + 1);
    memcpy(longer, bytes.data, bytes.len);
    longer[bytes.len] = 0;
    expect_fault_within(a, (struct bf_slice){longer, bytes.len + 1}, NULL, BF_AVRO_FAULT_AVRO, "left over");
    free(longer);
    bf_avro_free(a);
}

void expect_fault_within(const struct bf_avro *a, struct bf_slice bytes, const struct bf_avro_limits *limits, enum bf_avro_fault fault,
                         const char *words) {
    struct bf_err err = {0};
    struct bf_buf json;
    bf_buf_init(&json, 64 << 20);
    bf_buf_puts(&json, "kept");
    for (int with_json = 0; with_json < 2; with_json++) {
        assert_int_equal(decode(a, bytes, limits, with_json ? &json : NULL, &err), BF_REJECTED);
        assert_int_equal(err.native, fault);
        if (strstr(err.msg, words) == NULL) {
            fail_msg("\"%s\" wanted, got: %s", words, err.msg);
        }
    }
    assert_int_equal(json.len, 4);
    assert_false(json.failed);
    bf_buf_fini(&json);
}

void expect_fault(const char *schema, struct bf_slice bytes, enum bf_avro_fault fault, const char *words) {
    struct bf_avro *a = compile(schema);
    expect_fault_within(a, bytes, NULL, fault, words);
    bf_avro_free(a);
}

void expect_bad_schema(const char *schema, const char *words) {
    struct bf_avro *a = NULL;
    struct bf_err err = {0};
    if (bf_avro_compile(schema, strlen(schema), NULL, 0, NULL, 0, &a, &err) != BF_INVALID) {
        fail_msg("taken: %s", schema);
    }
    assert_null(a);
    if (strstr(err.msg, words) == NULL) {
        fail_msg("%s: \"%s\" wanted, got: %s", schema, words, err.msg);
    }
}

void put_long(struct bf_buf *b, int64_t v) {
    uint64_t z = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
    for (; z >= 0x80; z >>= 7) {
        bf_buf_putc(b, (char)(z | 0x80));
    }
    bf_buf_putc(b, (char)z);
}

void put_text(struct bf_buf *b, const char *s) {
    put_long(b, (int64_t)strlen(s));
    bf_buf_puts(b, s);
}

void put_double(struct bf_buf *b, double v) {
    bf_buf_append(b, &v, sizeof v);
}

struct bf_slice bytes_of(const struct bf_buf *b) {
    return (struct bf_slice){b->data, b->len};
}
