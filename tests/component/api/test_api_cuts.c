/* A replay that is cut at any byte and taken up again, by this instance, by itself restarted, or by another one that has nothing but the archive:
 * what was cut and what came then are, put together, the uninterrupted stream. BF_TORTURE=1: ten thousand cuts. */
#include "api_archive.h"
#include "test_pg.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EVENTS 300
#define CUTS 300
#define CUTS_TORTURE 10000
#define SSE_RETRY "retry: 1000\n\n"

static struct fx one, other;
static struct fx_archive side;
static char *conninfo;
static int64_t known_by_us;

static int setup(void **state) {
    (void)state;
    conninfo = test_pg_database();
    fx_open(&one, conninfo);
    fx_archive_open(&side, &one, conninfo);
    fx_fill(&one, EVENTS, 3);
    int64_t half = one.told[one.committed / 2].recorded_at_us;
    fx_archive_all(&side, &one);
    fx_archive_evict(&one, half);
    known_by_us = store_recorded_through(one.capsule.store);
    assert_int_equal(archive_secret(side.archive, "cursor", one.capsule.cursor_key, sizeof(one.capsule.cursor_key), &one.err), BF_OK);
    fx_open(&other, conninfo);
    assert_int_equal(archive_secret(side.archive, "cursor", other.capsule.cursor_key, sizeof(other.capsule.cursor_key), &one.err), BF_OK);
    assert_int_equal(hot_set_hot_from(other.capsule.hot, known_by_us + 1, &other.err), BF_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fx_close(&other);
    fx_archive_close(&side);
    fx_close(&one);
    test_pg_drop(conninfo);
    return 0;
}

struct cut {
    struct bf_buf *bytes;
    size_t at;
};

static bool take_until(void *ctx, const char *data, size_t len) {
    struct cut *c = ctx;
    size_t left = c->at - c->bytes->len;
    bf_buf_append(c->bytes, data, len < left ? len : left);
    return c->bytes->len < c->at;
}

/* Begin to read, and leave the connection when `at` bytes are here. */
static void read_until(struct fx *f, const char *query, size_t at, struct bf_buf *bytes) {
    struct bf_http_client *c = NULL;
    struct cut cut = {bytes, at};
    char url[2500];
    int status = 0;
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/v1/replay%s", api_port(f->api), query);
    bf_buf_clear(bytes);
    if (at == 0) {
        return;
    }
    assert_int_equal(bf_http_client_new(20000, &c, &f->err), BF_OK);
    assert_int_equal(bf_http_get_stream(c, url, &status, &f->body, take_until, &cut, &f->err), BF_CANCELLED);
    bf_http_client_free(c);
    assert_int_equal(bytes->len, at);
}

/* Keep what is whole of the first `len` bytes and say its last cursor ("" when there is none). */
typedef size_t whole_part(const char *bytes, size_t len, char cursor[1100]);

static const char *last_of(const char *bytes, size_t len, const char *mark) {
    size_t n = strlen(mark);
    for (const char *p = bytes + len - n; len >= n && p >= bytes; p--) {
        if (memcmp(p, mark, n) == 0) {
            return p;
        }
    }
    return NULL;
}

static void copy_until(char cursor[1100], const char *from, const char *stop) {
    size_t n = strcspn(from, stop);
    assert_true(n < 1100);
    memcpy(cursor, from, n);
    cursor[n] = '\0';
}

static size_t whole_ndjson(const char *bytes, size_t len, char cursor[1100]) {
    const char *end = last_of(bytes, len, "}\n");
    cursor[0] = '\0';
    if (!end) {
        return 0;
    }
    copy_until(cursor, last_of(bytes, (size_t)(end - bytes), "\"cursor\":\"") + 10, "\"");
    return (size_t)(end - bytes) + 2;
}

static size_t whole_csv(const char *bytes, size_t len, char cursor[1100]) {
    const char *end = last_of(bytes, len, "\r\n"); /* no field of this data has a line break */
    cursor[0] = '\0';
    if (!end) {
        return 0;
    }
    const char *comma = last_of(bytes, (size_t)(end - bytes), ",");
    copy_until(cursor, comma + 1, "\r");
    if (strcmp(cursor, "cursor") == 0) { /* only the header line: begin again */
        cursor[0] = '\0';
        return 0;
    }
    return (size_t)(end - bytes) + 2;
}

static size_t whole_sse(const char *bytes, size_t len, char cursor[1100]) {
    const char *end = last_of(bytes, len, "\n\n"), *id = end ? last_of(bytes, (size_t)(end - bytes), "id: ") : NULL;
    cursor[0] = '\0';
    if (!id) {
        return 0;
    }
    copy_until(cursor, id + 4, "\n");
    return (size_t)(end - bytes) + 2;
}

/* Behind the last sync marker; the cursor is the last field of the last record (codec null). */
static size_t whole_avro(const char *bytes, size_t len, char cursor[1100]) {
    static const char codec[] = "avro.codec\x08null";
    const char *header = memmem(bytes, len, codec, sizeof(codec) - 1);
    cursor[0] = '\0';
    if (!header || (size_t)(bytes + len - header) < sizeof(codec) + 16) {
        return 0;
    }
    const char *sync = header + sizeof(codec), *last = sync; /* a zero ends the header's map */
    for (const char *p = sync + 16; (p = memmem(p, (size_t)(bytes + len - p), sync, 16)) != NULL; p += 16) {
        last = p;
    }
    if (last == sync) {
        return 0;
    }
    static const char of_cursor[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *begin = last;
    while (strchr(of_cursor, begin[-1]) && begin[-1]) {
        begin--;
    }
    begin = last - 56 > begin ? last - 56 : begin; /* 26 + 8 bytes and 8 of known_by … as base64: what NDJSON's cursors have */
    memcpy(cursor, begin, (size_t)(last - begin));
    cursor[last - begin] = '\0';
    return (size_t)(last - bytes) + 16;
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

/* What the digest speaks of: without the end, and without SSE's first line. */
static void digested(struct bf_buf *b) {
    char *end = memmem(b->data, b->len, "{\"end\":true", 11);
    b->len = end ? (size_t)(end - b->data) : b->len;
    if (b->len > 18 && memcmp(b->data + b->len - 18, "event: end\ndata: ", 17) == 0) {
        b->len -= 17;
    } else if (b->len >= 17 && memcmp(b->data + b->len - 17, "event: end\ndata: ", 17) == 0) {
        b->len -= 17;
    }
}

static struct fx *instance(unsigned *seed) {
    unsigned r = (unsigned)rand_r(seed) % 64;
    if (r == 0) { /* restarted */
        api_stop(one.api);
        assert_int_equal(api_start(&one.capsule, &one.api, &one.err), BF_OK);
    }
    return r < 40 ? &one : &other;
}

/* Cut, resume, cut again … until the end comes. */
static void cut_once(const char *query, whole_part *whole_of, const struct bf_buf *whole, const char *digest, unsigned *seed) {
    struct bf_buf joined, bytes;
    char cursor[1100] = "", resumed[2000], sum[80];
    bf_buf_init(&joined, 64 << 20);
    bf_buf_init(&bytes, 64 << 20);
    for (int left = 1 + (int)((unsigned)rand_r(seed) % 3);; left--) {
        struct fx *f = instance(seed);
        snprintf(resumed, sizeof(resumed), "%s%s%s", query, cursor[0] ? "&cursor=" : "", cursor);
        if (left == 0) {
            assert_int_equal(fx_get(f, "/v1/replay%s", resumed), 200);
            digested(&f->body);
            bool again = joined.len > 0 && f->body.len >= sizeof(SSE_RETRY) - 1 && memcmp(f->body.data, SSE_RETRY, sizeof(SSE_RETRY) - 1) == 0;
            bf_buf_append(&joined, f->body.data + (again ? sizeof(SSE_RETRY) - 1 : 0), f->body.len - (again ? sizeof(SSE_RETRY) - 1 : 0));
            break;
        }
        size_t rest = whole->len - joined.len;
        read_until(f, resumed, rest == 0 ? 0 : (size_t)rand_r(seed) % rest, &bytes);
        char last[1100];
        size_t keep = whole_of(bytes.data, bytes.len, last);
        if (keep > 0) {
            bool again = joined.len > 0 && memcmp(bytes.data, SSE_RETRY, sizeof(SSE_RETRY) - 1) == 0;
            size_t skip = again ? sizeof(SSE_RETRY) - 1 : 0;
            bf_buf_append(&joined, bytes.data + skip, keep - skip);
            strcpy(cursor, last);
        }
    }
    assert_int_equal(joined.len, whole->len);
    assert_memory_equal(joined.data, whole->data, whole->len);
    size_t skip = whole_of == whole_sse ? sizeof(SSE_RETRY) - 1 : 0;
    sha256_text(joined.data + skip, joined.len - skip, sum);
    assert_string_equal(sum, digest);
    bf_buf_fini(&joined);
    bf_buf_fini(&bytes);
}

static void check(const char *params, whole_part *whole_of, int cuts, unsigned seed) {
    struct bf_buf whole;
    char query[300], digest[80];
    snprintf(query, sizeof(query), "?known_by=%lld%s", (long long)known_by_us, params);
    assert_int_equal(fx_get(&one, "/v1/replay%s", query), 200);
    snprintf(digest, sizeof(digest), "%s", bf_http_client_answer_header(one.client, "Capsule-Digest"));
    bf_buf_init(&whole, 64 << 20);
    bf_buf_append(&whole, one.body.data, one.body.len);
    digested(&whole);
    for (int i = 0; i < cuts; i++) {
        cut_once(query, whole_of, &whole, digest, &seed);
    }
    bf_buf_fini(&whole);
}

static void test_cuts__anywhere_resumed_anywhere_make_the_uninterrupted_stream(void **state) {
    (void)state;
    static const struct {
        const char *params;
        whole_part *whole_of;
    } cases[] = {
        {"&format=ndjson", whole_ndjson},
        {"&format=ndjson&by=recorded", whole_ndjson},
        {"&format=csv&node_prefix=rim:metric:test:N0", whole_csv},
        {"&format=sse&topic=" FAST, whole_sse},
        {"&format=avro&codec=null", whole_avro},
        {"&format=csv&topic=" FAST "&partition=1", whole_csv},
    };
    const char *torture = getenv("BF_TORTURE");
    int cuts = (torture && strcmp(torture, "0") != 0 ? CUTS_TORTURE : CUTS) / (int)(sizeof(cases) / sizeof(*cases));
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        check(cases[i].params, cases[i].whole_of, cuts, (unsigned)i + 1);
    }
}

static void test_cursor__is_accepted_by_another_instance_of_the_archive_and_by_no_other_archive(void **state) {
    (void)state;
    json_t *page = fx_json(&one, "/v1/events?limit=3&known_by=%lld", (long long)known_by_us), *there;
    const char *next = fx_str(page, "next");
    there = fx_json(&other, "/v1/events?limit=3&cursor=%s", next);
    json_t *here = fx_json(&one, "/v1/events?limit=3&cursor=%s", next);
    assert_true(json_equal(json_object_get(here, "events"), json_object_get(there, "events")));
    other.capsule.cursor_key[3] ^= 1;
    fx_problem(&other, 400, "cursor", "/v1/events?limit=3&cursor=%s", next);
    other.capsule.cursor_key[3] ^= 1;
    json_decref(here);
    json_decref(there);
    json_decref(page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts__anywhere_resumed_anywhere_make_the_uninterrupted_stream),
        cmocka_unit_test(test_cursor__is_accepted_by_another_instance_of_the_archive_and_by_no_other_archive),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
