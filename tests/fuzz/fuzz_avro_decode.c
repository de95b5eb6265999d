/* A schema, a NUL, a message: whatever both are, the decoder ends in bounded time, says the same with and without JSON, and what it writes is
 * JSON. */
#include "fuzz.h"

#include "bf_avro.h"
#include "bf_json.h"

#include <string.h>

static const char *const paths[] = {"a", "a.b", "a.b.c", "b", "m.k", "m.k.a", "value", "next.next", "rim_node_id",
                                    "vector_timestamp.event_ts_ms", "metadata.trace_id", "a"};
#define PATHS (sizeof paths / sizeof paths[0])

static void check_same(const struct bf_avro_field *a, const struct bf_avro_field *b) {
    for (size_t i = 0; i < PATHS; i++) {
        bf_assert(a[i].kind == b[i].kind);
        bf_assert(a[i].kind != BF_AVRO_LONG || a[i].l == b[i].l);
        bf_assert((a[i].kind != BF_AVRO_STRING && a[i].kind != BF_AVRO_BYTES) || bf_slice_eq(a[i].s, b[i].s));
    }
}

/* Our strict reader refuses a member twice, which a map may have, and a NUL in a name: so through jansson itself. */
static void check_json(const struct bf_buf *json) {
    json_error_t error;
    bf_assert(bf_utf8_valid(json->data, json->len));
    if (json->len > 65536 || memmem(json->data, json->len, "\\u0000", 6) != NULL) {
        return;
    }
    json_t *v = json_loadb(json->data, json->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    bf_assert(v != NULL);
    json_decref(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct bf_avro_limits limits = {.depth_max = 40, .items_max = 5000, .json_bytes_max = 1 << 20};
    struct bf_avro_field with[BF_AVRO_PATHS_MAX], without[BF_AVRO_PATHS_MAX];
    struct bf_slice schema, message;
    struct bf_avro *a = NULL;
    struct bf_buf json;
    struct bf_err err;
    if (!fuzz_split(data, size, &schema, &message) ||
        bf_avro_compile(schema.data, schema.len, NULL, 0, paths, PATHS, &a, &err) != BF_OK) {
        return 0;
    }
    bf_buf_init(&json, 4 << 20);
    bf_buf_puts(&json, "#");
    enum bf_code checked = bf_avro_decode(a, message, &limits, NULL, without, &err);
    enum bf_code written = bf_avro_decode(a, message, &limits, &json, with, &err);
    bf_assert(checked == written || (written == BF_REJECTED && err.native == BF_AVRO_FAULT_LIMIT)); /* only JSON can be too long */
    if (written == BF_OK) {
        check_same(with, without);
        memmove(json.data, json.data + 1, --json.len);
        check_json(&json);
    } else {
        bf_assert(json.len == 1 && !json.failed && err.native >= BF_AVRO_FAULT_AVRO && err.native <= BF_AVRO_FAULT_LIMIT);
    }
    bf_buf_fini(&json);
    bf_avro_free(a);
    return 0;
}
