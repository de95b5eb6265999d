/* Replay as CSV, Avro and server-sent events says what NDJSON says, with the same facts at its end, and goes on after a cut. */
#include "api_fixture.h"

#include <avro.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define EVENTS 2500

static struct fx fx;
#define F (&fx)

/* What NDJSON says: the reference. */
static json_t *lines[EVENTS * 2];
static size_t line_count;

static void read_reference(void) {
    assert_int_equal(fx_get(F, "/v1/replay"), 200);
    for (char *at = fx.body.data, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        json_t *line = NULL;
        assert_int_equal(bf_json_parse(at, (size_t)(end - at), &line, &fx.err), BF_OK);
        if (json_object_get(line, "end")) {
            json_decref(line);
            break;
        }
        lines[line_count++] = line;
    }
    assert_true(line_count > 2000);
}

static int setup(void **state) {
    (void)state;
    fx_open(F, NULL);
    fx_fill(F, EVENTS, 7);
    fx_put(F, FAST, 0, fx_node(1), "quote \" comma, \xc3\xa9", INT64_C(1700000000000000), 1, "tr\"ace,", "cause");
    fx_commit(F);
    read_reference();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (size_t i = 0; i < line_count; i++) {
        json_decref(lines[i]);
    }
    fx_close(F);
    return 0;
}

static const char *header(const char *name) {
    return bf_http_client_answer_header(fx.client, name);
}

static void sha256_text(const char *data, size_t len, char dst[80]) {
    unsigned char sum[32];
    unsigned n = 0;
    assert_int_equal(EVP_Digest(data, len, sum, &n, EVP_sha256(), NULL), 1);
    strcpy(dst, "sha256:");
    for (unsigned i = 0; i < n; i++) {
        snprintf(dst + 7 + 2 * i, 3, "%02x", sum[i]);
    }
}

/* The trailers of the last answer speak of its body, which had `count` events. */
static void check_trailers(size_t count) {
    char digest[80], text[24];
    sha256_text(fx.body.data, fx.body.len, digest);
    snprintf(text, sizeof(text), "%zu", count);
    assert_string_equal(header("Capsule-Count"), text);
    assert_string_equal(header("Capsule-Digest"), digest);
    assert_string_equal(header("Capsule-Complete"), "true");
}

struct copy {
    char *bytes;
    size_t len;
};

static struct copy copy_body(void) {
    struct copy c = {malloc(fx.body.len + 1), fx.body.len};
    memcpy(c.bytes, fx.body.data, fx.body.len);
    c.bytes[c.len] = '\0';
    return c;
}

/* The last answer is what `whole` has from `at` on. */
static void check_rest(const struct copy *whole, size_t at) {
    assert_int_equal(fx.body.len, whole->len - at);
    assert_memory_equal(fx.body.data, whole->bytes + at, fx.body.len);
}

/* ---- CSV ---- */

#define COLUMNS 15

/* One record (RFC 4180), unquoted in place; returns behind its CRLF. quoted[i]: it was in quotes. */
static char *take_record(char *at, char *fields[COLUMNS], bool quoted[COLUMNS]) {
    for (int i = 0; i < COLUMNS; i++) {
        char *to = at;
        fields[i] = at;
        quoted[i] = *at == '"';
        if (quoted[i]) {
            for (at++; !(at[0] == '"' && at[1] != '"'); at++) {
                *to++ = *at;
                at += *at == '"';
            }
            at++;
        } else {
            to = at += strcspn(at, ",\r");
        }
        char stop = *at;
        if (i + 1 < COLUMNS) {
            assert_int_equal(stop, ',');
            at++;
        } else {
            assert_memory_equal(at, "\r\n", 2);
            at += 2;
        }
        *to = '\0';
    }
    return at;
}

static void check_field(const json_t *line, const char *name, const char *field, bool quoted) {
    json_t *v = json_object_get(line, name);
    char number[24];
    if (!v) {
        assert_string_equal(field, "");
        assert_false(quoted);
    } else if (json_is_integer(v)) {
        snprintf(number, sizeof(number), "%lld", json_integer_value(v));
        assert_string_equal(field, number);
    } else if (json_is_object(v)) {
        json_t *parsed = NULL;
        assert_int_equal(bf_json_parse(field, strlen(field), &parsed, &fx.err), BF_OK);
        assert_true(json_equal(parsed, v));
        json_decref(parsed);
    } else {
        assert_string_equal(field, json_string_value(v));
    }
}

static void test_csv__says_what_ndjson_says(void **state) {
    (void)state;
    char *names[COLUMNS], *fields[COLUMNS];
    bool quoted[COLUMNS];
    assert_int_equal(fx_get(F, "/v1/replay?format=csv"), 200);
    assert_string_equal(header("Content-Type"), "text/csv; charset=utf-8; header=present");
    check_trailers(line_count);
    struct copy c = copy_body();
    char *at = take_record(c.bytes, names, quoted);
    assert_string_equal(names[0], "event_id");
    for (size_t i = 0; i < line_count; i++) {
        at = take_record(at, fields, quoted);
        for (int k = 0; k < COLUMNS; k++) {
            check_field(lines[i], names[k], fields[k], quoted[k]);
        }
    }
    assert_int_equal(*at, 0);
    assert_string_equal(header("Capsule-Next"), fields[COLUMNS - 1]);
    free(c.bytes);
}

static void test_csv__goes_on_behind_any_record_without_a_header_line(void **state) {
    (void)state;
    assert_int_equal(fx_get(F, "/v1/replay?format=csv"), 200);
    struct copy whole = copy_body();
    size_t at = 0, row = 0;
    for (char *end = whole.bytes; (end = strstr(end, "\r\n")) != NULL; row++) {
        end += 2;
        at = (size_t)(end - whole.bytes);
        if (row == 0 || (row % 400 != 1 && row != line_count)) { /* row 0 is the header line */
            continue;
        }
        assert_int_equal(fx_get(F, "/v1/replay?format=csv&cursor=%s", fx_str(lines[row - 1], "cursor")), 200);
        check_rest(&whole, at);
        check_trailers(line_count - row);
    }
    assert_int_equal(row, line_count + 1);
    free(whole.bytes);
}

/* ---- Avro ---- */

static avro_file_reader_t open_avro(const struct copy *c, char path[32]) {
    avro_file_reader_t reader;
    strcpy(path, "/tmp/bf-avro-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, c->bytes, c->len), c->len);
    close(fd);
    if (avro_file_reader(path, &reader) != 0) {
        fail_msg("not a container file: %s", avro_strerror());
    }
    return reader;
}

static bool get_field(avro_value_t *record, const char *name, avro_value_t *out) {
    avro_value_t field;
    int branch = 0;
    assert_int_equal(avro_value_get_by_name(record, name, &field, NULL), 0);
    if (avro_value_get_type(&field) != AVRO_UNION) {
        *out = field;
        return true;
    }
    assert_int_equal(avro_value_get_discriminant(&field, &branch), 0);
    assert_int_equal(avro_value_get_current_branch(&field, out), 0);
    return branch != 0;
}

static void check_avro_string(avro_value_t *record, const char *name, const json_t *expected) {
    avro_value_t v;
    const char *text = NULL;
    size_t len = 0;
    if (!get_field(record, name, &v)) {
        assert_null(expected);
        return;
    }
    assert_int_equal(avro_value_get_string(&v, &text, &len), 0);
    if (json_is_object(expected)) {
        json_t *parsed = NULL;
        assert_int_equal(bf_json_parse(text, len - 1, &parsed, &fx.err), BF_OK);
        assert_true(json_equal(parsed, expected));
        json_decref(parsed);
    } else {
        assert_string_equal(text, json_string_value(expected));
    }
}

static void check_envelope(avro_value_t *record, const json_t *line) {
    static const char *const texts[] = {"event_id", "topic", "rim_node_id", "trace_id", "cause_id", "source_id", "payload", "cursor"};
    avro_value_t v;
    int64_t l = 0;
    int32_t n = 0;
    const void *raw = NULL;
    size_t raw_len = 0;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        check_avro_string(record, texts[i], json_object_get(line, texts[i]));
    }
    assert_true(get_field(record, "offset", &v) && avro_value_get_long(&v, &l) == 0);
    assert_int_equal(l, json_integer_value(json_object_get(line, "offset")));
    assert_true(get_field(record, "recorded_at", &v) && avro_value_get_long(&v, &l) == 0);
    assert_int_equal(l, fx_time(line, "recorded_at"));
    assert_true(get_field(record, "event_time", &v) && avro_value_get_long(&v, &l) == 0);
    assert_int_equal(l, fx_time(line, "event_time"));
    assert_true(get_field(record, "schema_id", &v) && avro_value_get_int(&v, &n) == 0);
    assert_int_equal(n, json_integer_value(json_object_get(line, "schema_id")));
    assert_true(get_field(record, "raw", &v) && avro_value_get_bytes(&v, &raw, &raw_len) == 0);
    assert_true(raw_len > 5);
    assert_int_equal(((const unsigned char *)raw)[0], 0);
}

/* Read the last answer as a container file: how many records; each envelope against the reference from `first` on. */
static size_t read_avro(bool envelope, size_t first) {
    struct copy c = copy_body();
    char path[32];
    avro_file_reader_t reader = open_avro(&c, path);
    avro_schema_t schema = avro_file_reader_get_writer_schema(reader);
    avro_value_iface_t *iface = avro_generic_class_from_schema(schema);
    avro_value_t value;
    size_t count = 0;
    assert_int_equal(avro_generic_value_new(iface, &value), 0);
    for (; avro_file_reader_read_value(reader, &value) == 0; count++) {
        if (envelope) {
            check_envelope(&value, lines[first + count]);
        }
        avro_value_reset(&value);
    }
    avro_value_decref(&value);
    avro_value_iface_decref(iface);
    avro_schema_decref(schema);
    avro_file_reader_close(reader);
    unlink(path);
    free(c.bytes);
    return count;
}

static void test_avro__envelopes_say_what_ndjson_says(void **state) {
    (void)state;
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fx_get(F, "/v1/replay?format=avro&codec=%s", i == 0 ? "null" : "deflate"), 200);
        assert_string_equal(header("Content-Type"), "application/avro");
        check_trailers(line_count);
        assert_string_equal(header("Capsule-Next"), fx_str(lines[line_count - 1], "cursor"));
        bytes[i] = fx.body.len;
        assert_int_equal(read_avro(true, 0), line_count);
    }
    assert_true(bytes[1] < bytes[0] / 2);
}

static uint64_t read_varint(const uint8_t **at) {
    uint64_t v = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t b = *(*at)++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            return v >> 1; /* counts and sizes: not negative */
        }
    }
}

static void test_avro__goes_on_behind_any_block(void **state) {
    (void)state;
    assert_int_equal(fx_get(F, "/v1/replay?format=avro"), 200);
    struct copy whole = copy_body();
    const uint8_t *begin = (const uint8_t *)whole.bytes, *sync = begin + whole.len - 16;
    const uint8_t *at = (const uint8_t *)memmem(begin, whole.len, sync, 16) + 16; /* behind the header */
    size_t events = 0, blocks = 0;
    while (at < begin + whole.len) {
        events += (size_t)read_varint(&at);
        size_t bytes = (size_t)read_varint(&at);
        at += bytes + 16;
        blocks++;
        assert_memory_equal(at - 16, sync, 16);
        assert_int_equal(fx_get(F, "/v1/replay?format=avro&cursor=%s", fx_str(lines[events - 1], "cursor")), 200);
        check_rest(&whole, (size_t)(at - begin));
        check_trailers(line_count - events);
    }
    assert_int_equal(events, line_count);
    assert_true(blocks > 5);
    free(whole.bytes);
}

static void test_avro__own_records_have_the_writers_schema(void **state) {
    (void)state;
    assert_int_equal(fx_get(F, "/v1/replay?format=avro&records=own&topic=" REFLEX), 200);
    size_t count = strtoul(header("Capsule-Count"), NULL, 10);
    assert_string_equal(header("Capsule-Complete"), "true");
    assert_non_null(memmem(fx.body.data, fx.body.len, "cause_topic", 11));
    assert_true(count > 100);
    assert_int_equal(read_avro(false, 0), count);
    assert_int_equal(fx_get(F, "/v1/replay?format=avro&records=own&topic=unknown.topic"), 200);
    assert_int_equal(read_avro(false, 0), 0);
}

static void test_avro__own_records_end_where_another_schema_begins_and_next_brings_the_rest(void **state) {
    (void)state;
    char cursor[1100] = "";
    size_t total = 0, files = 0;
    bool complete = false;
    while (!complete) {
        assert_int_equal(fx_get(F, "/v1/replay?format=avro&records=own&by=recorded%s", cursor), 200);
        complete = strcmp(header("Capsule-Complete"), "true") == 0;
        size_t count = strtoul(header("Capsule-Count"), NULL, 10);
        assert_true(count > 0);
        snprintf(cursor, sizeof(cursor), "&cursor=%s", header("Capsule-Next"));
        assert_int_equal(read_avro(false, 0), count);
        total += count;
        files++;
    }
    assert_int_equal(total, line_count);
    assert_true(files > 2);
}

/* ---- SSE ---- */

/* The events of the last answer from `at` on against the reference from `first` on; the end's place. */
static size_t check_sse(size_t first) {
    char *at = strncmp(fx.body.data, "retry: ", 7) == 0 ? strstr(fx.body.data, "\n\n") + 2 : fx.body.data, *begin = at;
    size_t i = first;
    for (; strncmp(at, "event: end\n", 11) != 0; i++) {
        char *id = at + 4, *data = strchr(at, '\n') + 7, *end = strstr(at, "\n\n");
        json_t *line = NULL;
        assert_memory_equal(at, "id: ", 4);
        assert_memory_equal(data - 6, "data: ", 6);
        assert_int_equal(bf_json_parse(data, (size_t)(end - data), &line, &fx.err), BF_OK);
        assert_true(json_equal(line, lines[i]));
        assert_memory_equal(id, fx_str(line, "cursor"), (size_t)(data - 7 - id));
        json_decref(line);
        at = end + 2;
    }
    char digest[80];
    sha256_text(begin, (size_t)(at - begin), digest);
    assert_non_null(strstr(at, digest));
    assert_string_equal(header("Capsule-Digest"), digest);
    return i;
}

static void test_sse__has_the_cursor_as_id_and_resumes_by_last_event_id(void **state) {
    (void)state;
    struct bf_http_client *mine = fx.client;
    assert_int_equal(bf_http_client_new(5000, &fx.client, &fx.err), BF_OK);
    assert_int_equal(bf_http_client_header(fx.client, "Accept: text/event-stream", &fx.err), BF_OK);
    assert_int_equal(fx_get(F, "/v1/replay"), 200);
    assert_string_equal(header("Content-Type"), "text/event-stream; charset=utf-8");
    assert_int_equal(check_sse(0), line_count);
    char last[1200];
    snprintf(last, sizeof(last), "Last-Event-ID: %s", fx_str(lines[1000], "cursor"));
    assert_int_equal(bf_http_client_header(fx.client, last, &fx.err), BF_OK);
    assert_int_equal(fx_get(F, "/v1/replay?cursor=%s", fx_str(lines[10], "cursor")), 200); /* the URL is that of the first connection */
    assert_int_equal(check_sse(1001), line_count);
    assert_int_equal(fx_get(F, "/v1/replay?topic=" FAST), 400);
    bf_http_client_free(fx.client);
    fx.client = mine;
}

static void test_trailers__of_ndjson_say_what_its_last_line_says(void **state) {
    (void)state;
    assert_int_equal(fx_get(F, "/v1/replay"), 200);
    const char *end = strstr(fx.body.data, "{\"end\":true");
    char digest[80];
    sha256_text(fx.body.data, (size_t)(end - fx.body.data), digest);
    assert_string_equal(header("Capsule-Digest"), digest);
    assert_non_null(strstr(end, digest));
    assert_non_null(strstr(header("Trailer"), "Capsule-Digest"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv__says_what_ndjson_says),
        cmocka_unit_test(test_csv__goes_on_behind_any_record_without_a_header_line),
        cmocka_unit_test(test_avro__envelopes_say_what_ndjson_says),
        cmocka_unit_test(test_avro__goes_on_behind_any_block),
        cmocka_unit_test(test_avro__own_records_have_the_writers_schema),
        cmocka_unit_test(test_avro__own_records_end_where_another_schema_begins_and_next_brings_the_rest),
        cmocka_unit_test(test_sse__has_the_cursor_as_id_and_resumes_by_last_event_id),
        cmocka_unit_test(test_trailers__of_ndjson_say_what_its_last_line_says),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
