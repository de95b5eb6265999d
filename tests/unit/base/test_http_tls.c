#include "check.h"

#include "bf_http.h"
#include "bf_http_client.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64], cert[96], key[96];

static void answer(struct bf_http_request *req, void *ctx) {
    (void)ctx;
    bf_http_reply(req, 200, "text/plain", bf_http_peer(req), strlen(bf_http_peer(req)));
}

static const struct bf_http_route routes[] = {{"GET", "/", answer, NULL, 0}, {0}};

static int setup(void **state) {
    char command[512];
    (void)state;
    strcpy(dir, "/tmp/bf-tls-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s -out %s -days 2 -subj /CN=localhost "
             "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null", key, cert);
    return system(command);
}

static int teardown(void **state) {
    (void)state;
    unlink(cert);
    unlink(key);
    return rmdir(dir);
}

static void start(struct bf_http **h) {
    const struct bf_http_settings settings = {.tls_cert = cert, .tls_key = key};
    struct bf_err err;
    if (bf_http_start(&settings, routes, NULL, h, &err) != BF_OK) {
        fail_msg("%s", err.msg);
    }
}

static enum bf_code get(const char *scheme, int port, const char *ca, int *status, struct bf_buf *body) {
    struct bf_http_client *c = NULL;
    struct bf_err err;
    char url[64];
    assert_int_equal(bf_http_client_new(5000, &c, &err), BF_OK);
    if (ca != NULL) {
        assert_int_equal(bf_http_client_ca(c, ca, &err), BF_OK);
    }
    snprintf(url, sizeof url, "%s://127.0.0.1:%d/", scheme, port);
    enum bf_code code = BF_OK;
    for (int i = 0; i < 3 && code == BF_OK; i++) { /* the connection stays */
        code = bf_http_call(c, "GET", url, NULL, BF_SLICE_NONE, status, body, &err);
    }
    bf_http_client_free(c);
    return code;
}

static void test_tls__answers_who_trusts_the_certificate(void **state) {
    struct bf_http *h = NULL;
    struct bf_buf body;
    int status = 0;
    (void)state;
    start(&h);
    bf_buf_init(&body, 4096);
    assert_int_equal(get("https", bf_http_port(h), cert, &status, &body), BF_OK);
    assert_int_equal(status, 200);
    assert_int_equal(body.len, 9);
    assert_memory_equal(body.data, "127.0.0.1", 9);
    assert_int_equal(get("https", bf_http_port(h), NULL, &status, &body), BF_AGAIN);
    assert_int_equal(get("http", bf_http_port(h), NULL, &status, &body), BF_AGAIN);
    bf_buf_fini(&body);
    bf_http_stop(h);
}

static void test_tls__old_versions_are_refused(void **state) {
    struct bf_http *h = NULL;
    char command[256];
    (void)state;
    start(&h);
    snprintf(command, sizeof command, "openssl s_client -connect 127.0.0.1:%d -tls1_2 </dev/null >/dev/null 2>&1", bf_http_port(h));
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "openssl s_client -connect 127.0.0.1:%d -tls1_1 -cipher ALL:@SECLEVEL=0 </dev/null >/dev/null 2>&1",
             bf_http_port(h));
    assert_int_not_equal(system(command), 0);
    bf_http_stop(h);
}

static void test_tls__half_or_wrong_files_are_named(void **state) {
    const struct bf_http_settings table[] = {{.tls_cert = cert}, {.tls_key = key}, {.tls_cert = "/nowhere", .tls_key = key},
                                             {.tls_cert = "/dev/null", .tls_key = key}, {.tls_cert = key, .tls_key = cert}};
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct bf_http *h = NULL;
        struct bf_err err;
        assert_int_equal(bf_http_start(&table[i], routes, NULL, &h, &err), BF_INVALID);
        assert_null(h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls__answers_who_trusts_the_certificate),
        cmocka_unit_test(test_tls__old_versions_are_refused),
        cmocka_unit_test(test_tls__half_or_wrong_files_are_named),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
