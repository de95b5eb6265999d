/* Tokens: who gets what answer, on every route. */
#include "api_fixture.h"
#include "api_internal.h"
#include "bf_stop.h"
#include "bf_token.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define OTHER "rim:metric:other:X"

static struct fx fx;
#define F (&fx)

static char path[64];
static struct person {
    const char *name, *scopes, *topics, *nodes;
    char token[BF_TOKEN_TEXT_LEN + 1];
} people[] = {
    {"reader", "read", NULL, NULL, ""},   {"auditor", "audit", NULL, NULL, ""},
    {"replayer", "replay", NULL, NULL, ""}, {"admin", "admin", NULL, NULL, ""},
    {"fast", "read,audit,replay", FAST, NULL, ""}, {"finance", "read,audit,replay,admin", NULL, "rim:metric:finance:,rim:entity:finance:", ""},
};
#define PEOPLE (sizeof(people) / sizeof(*people))

static const char *token_of(const char *name) {
    for (size_t i = 0; i < PEOPLE; i++) {
        if (strcmp(people[i].name, name) == 0) {
            return people[i].token;
        }
    }
    return name;
}

/* Everybody but `without`; a NULL text: those. */
static void write_tokens(const char *without, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < PEOPLE && !text; i++) {
        struct person *p = &people[i];
        struct bf_buf line;
        static struct bf_buf kept[PEOPLE];
        bf_buf_init(&line, 4096);
        if (!p->token[0]) {
            assert_int_equal(bf_token_new(p->name, p->scopes, p->topics, p->nodes, p->token, &line, &fx.err), BF_OK);
            bf_buf_init(&kept[i], 4096);
            bf_buf_puts(&kept[i], line.data);
            bf_buf_putc(&kept[i], '\0');
        }
        if (!without || strcmp(without, p->name) != 0) {
            fprintf(f, "%s\n", kept[i].data);
        }
        bf_buf_fini(&line);
    }
    fputs(text ? text : "", f);
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);
}

static int setup(void **state) {
    (void)state;
    assert_int_equal(bf_stop_install(&fx.err), BF_OK);
    strcpy(path, "/tmp/bf-api-tokens-XXXXXX");
    close(mkstemp(path));
    write_tokens(NULL, NULL);
    fx_open_guarded(F, NULL, path);
    fx_put(F, FAST, 0, EURUSD, "mine", INT64_C(1700000000000000), 1, NULL, NULL);
    fx_put(F, FAST, 0, OTHER, "other", INT64_C(1700000000000000), 1, NULL, NULL);
    fx_put(F, REFLEX, 0, EURUSD, "reflex", INT64_C(1700000000000000), 1, NULL, NULL);
    fx_put_poison(F, FAST, 1, POISON_AVRO, 1);
    fx_commit(F);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fx_close(F);
    unlink(path);
    return 0;
}

/* header NULL: none. The body is in fx.body. */
static int ask(const char *header, const char *target, const char *answer_header, char *value, size_t value_bytes) {
    struct bf_http_client *client = NULL;
    char url[1024];
    int status = 0;
    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", api_port(fx.api), target);
    assert_int_equal(bf_http_client_new(5000, &client, &fx.err), BF_OK);
    if (header) {
        assert_int_equal(bf_http_client_header(client, header, &fx.err), BF_OK);
    }
    assert_int_equal(bf_http_call(client, "GET", url, NULL, BF_SLICE_NONE, &status, &fx.body, &fx.err), BF_OK);
    bf_buf_putc(&fx.body, '\0');
    const char *got = answer_header ? bf_http_client_answer_header(client, answer_header) : NULL;
    if (value) {
        snprintf(value, value_bytes, "%s", got ? got : "");
    }
    bf_http_client_free(client);
    return status;
}

static int ask_as(const char *name, const char *target) {
    char header[128];
    snprintf(header, sizeof(header), "Authorization: Bearer %s", token_of(name));
    return ask(header, target, NULL, NULL, 0);
}

/* The route's pattern with something good in it. */
static void example_of(const char *pattern, char dst[256]) {
    static const struct {
        const char *name, *value;
    } values[] = {{"{event_id}", "mine"}, {"{topic}", FAST}, {"{partition}", "1"}, {"{offset}", "0"}};
    size_t n = 0;
    for (const char *p = pattern; *p;) {
        size_t i = 0;
        while (i < 4 && strncmp(p, values[i].name, strlen(values[i].name)) != 0) {
            i++;
        }
        if (i < 4) {
            n += (size_t)snprintf(dst + n, 256 - n, "%s", values[i].value);
            p += strlen(values[i].name);
        } else if (strncmp(p, "{id}", 4) == 0) {
            n += (size_t)snprintf(dst + n, 256 - n, "%s", strstr(pattern, "nodes") ? EURUSD : "1");
            p += 4;
        } else {
            dst[n++] = *p++;
        }
    }
    dst[n] = '\0';
}

static void test_route__every_one_has_a_policy_and_wants_its_scope(void **state) {
    (void)state;
    for (const struct bf_http_route *r = api_routes(); r->method; r++) {
        const struct api_policy *policy = api_policy_of(r);
        char target[256], challenge[256];
        if (!policy) {
            fail_msg("%s %s has no policy", r->method, r->pattern);
        }
        if (strcmp(r->method, "GET") != 0) {
            continue;
        }
        example_of(r->pattern, target);
        if (policy->needs & API_OPEN) {
            assert_int_equal(ask(NULL, target, NULL, NULL, 0) / 100, 2);
            continue;
        }
        assert_int_equal(ask(NULL, target, "WWW-Authenticate", challenge, sizeof(challenge)), 401);
        assert_string_equal(challenge, "Bearer realm=\"capsule\"");
        assert_int_equal(ask_as("bfly_nobody", target), 401);
        for (size_t i = 0; i < 4; i++) {
            unsigned scope = 1U << i; /* reader, auditor, replayer, admin */
            int status = ask_as(people[i].name, target);
            if ((status == 403) == (scope == policy->scope) || status == 401 || status >= 500) {
                if (status != 503) {
                    fail_msg("%s as %s: %d %s", target, people[i].name, status, fx.body.data);
                }
            }
        }
    }
}

static void test_challenge__says_what_is_wrong(void **state) {
    (void)state;
    char value[256], header[128];
    static const char *const malformed[] = {"Authorization: Basic abc", "Authorization: Bearer", "Authorization: bfly_x"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(ask(malformed[i], "/v1/status", NULL, NULL, 0), 401);
    }
    assert_int_equal(ask("Authorization: Bearer bfly_nobody", "/v1/status", "WWW-Authenticate", value, sizeof(value)), 401);
    assert_non_null(strstr(value, "error=\"invalid_token\""));
    snprintf(header, sizeof(header), "Authorization: bearer   %s", token_of("reader"));
    assert_int_equal(ask(header, "/v1/status", NULL, NULL, 0), 200);
    assert_int_equal(ask(header, "/v1/replay", "WWW-Authenticate", value, sizeof(value)), 403);
    assert_non_null(strstr(value, "error=\"insufficient_scope\", scope=\"replay\""));
    assert_non_null(strstr(fx.body.data, "lacks the scope replay"));
    assert_null(strstr(fx.body.data, token_of("reader")));
}

static void test_limits__are_kept_on_every_route(void **state) {
    (void)state;
    static const struct {
        const char *who, *target;
        int status;
        const char *pointer;
    } cases[] = {
        {"fast", "/v1/events", 403, "topic"},
        {"fast", "/v1/events?topic=" FAST, 200, NULL},
        {"fast", "/v1/events?topic=" REFLEX, 403, "topic"},
        {"fast", "/v1/events?domain=rim", 403, "topic"},
        {"fast", "/v1/events/mine", 403, "topic"},
        {"fast", "/v1/events/mine?topic=" FAST, 200, NULL},
        {"fast", "/v1/events/reflex?topic=" REFLEX, 403, "topic"},
        {"fast", "/v1/events/reflex/raw?topic=" REFLEX, 403, "topic"},
        {"fast", "/v1/nodes", 403, NULL},
        {"fast", "/v1/nodes/" EURUSD, 403, NULL},
        {"fast", "/v1/nodes/" EURUSD "/history", 403, "topic"},
        {"fast", "/v1/nodes/" EURUSD "/history?topic=" FAST, 200, NULL},
        {"fast", "/v1/nodes/" EURUSD "/state", 403, "topic"},
        {"fast", "/v1/nodes/" EURUSD "/state?topic=" FAST, 200, NULL},
        {"fast", "/v1/state", 403, "topic"},
        {"fast", "/v1/state?topic=" FAST, 200, NULL},
        {"fast", "/v1/replay?topic=" FAST, 200, NULL},
        {"fast", "/v1/replay?topic=" FAST "&topic=" REFLEX, 403, "topic"},
        {"fast", "/v1/replay?topic=" REFLEX "&partition=0", 403, "topic"},
        {"fast", "/v1/topics", 403, NULL},
        {"fast", "/v1/topics/" FAST, 200, NULL},
        {"fast", "/v1/topics/" REFLEX, 403, "topic"},
        {"fast", "/v1/coverage", 403, "topic"},
        {"fast", "/v1/coverage?topic=" FAST, 200, NULL},
        {"fast", "/v1/lag", 403, NULL},
        {"fast", "/metrics", 403, NULL},
        {"fast", "/v1/status", 403, NULL},
        {"fast", "/v1/quarantine", 403, "topic"},
        {"fast", "/v1/quarantine?topic=" FAST, 200, NULL},
        {"fast", "/v1/quarantine/" FAST "/1/0", 200, NULL},
        {"fast", "/v1/quarantine/" REFLEX "/1/0/raw", 403, "topic"},
        {"fast", "/v1/schemas/1", 200, NULL},
        {"finance", "/v1/events", 403, "node_prefix"},
        {"finance", "/v1/events?node=" EURUSD, 200, NULL},
        {"finance", "/v1/events?node=" OTHER, 403, "node"},
        {"finance", "/v1/events?node_prefix=rim:metric:finance:EUR", 200, NULL},
        {"finance", "/v1/events?node_prefix=rim:entity:finance:", 200, NULL},
        {"finance", "/v1/events?node_prefix=rim:metric:", 403, "node_prefix"},
        {"finance", "/v1/events?node_prefix=", 403, "node_prefix"},
        {"finance", "/v1/events/mine", 200, NULL},
        {"finance", "/v1/events/other", 404, "event_id"},
        {"finance", "/v1/events/other/raw", 404, "event_id"},
        {"finance", "/v1/nodes", 403, "prefix"},
        {"finance", "/v1/nodes?prefix=rim:metric:finance:", 200, NULL},
        {"finance", "/v1/nodes/" EURUSD, 200, NULL},
        {"finance", "/v1/nodes/" OTHER, 403, "id"},
        {"finance", "/v1/nodes/" OTHER "/history", 403, "id"},
        {"finance", "/v1/nodes/" OTHER "/state", 403, "id"},
        {"finance", "/v1/state", 403, "prefix"},
        {"finance", "/v1/state?prefix=rim:metric:finance:", 200, NULL},
        {"finance", "/v1/replay", 403, "node_prefix"},
        {"finance", "/v1/replay?node=" EURUSD, 200, NULL},
        {"finance", "/v1/replay?topic=" FAST "&partition=0", 403, "node_prefix"},
        {"finance", "/v1/quarantine", 403, NULL},
        {"finance", "/v1/quarantine/" FAST "/1/0/raw", 403, NULL},
        {"finance", "/v1/coverage", 403, NULL},
        {"finance", "/v1/topics/" FAST, 403, NULL},
        {"finance", "/metrics", 403, NULL},
        {"finance", "/v1/schemas/1", 200, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        json_t *problem = NULL;
        int status = ask_as(cases[i].who, cases[i].target);
        if (status != cases[i].status) {
            fail_msg("%s as %s: %d %s", cases[i].target, cases[i].who, status, fx.body.data);
        }
        if (status < 400) {
            continue;
        }
        assert_int_equal(bf_json_parse(fx.body.data, fx.body.len - 1, &problem, &fx.err), BF_OK);
        const char *pointer = fx_str(problem, "pointer");
        if (cases[i].pointer ? !pointer || strcmp(pointer, cases[i].pointer) != 0 : pointer != NULL) {
            fail_msg("%s as %s: %s", cases[i].target, cases[i].who, fx.body.data);
        }
        json_decref(problem);
    }
}

/* A route that is refused to limited tokens as a whole, or that names its limit: every one, whatever is added. */
static void test_limited__gets_nothing_from_a_route_without_saying_what(void **state) {
    (void)state;
    for (const struct bf_http_route *r = api_routes(); r->method; r++) {
        const struct api_policy *policy = api_policy_of(r);
        char target[256];
        if (strcmp(r->method, "GET") != 0 || strchr(r->pattern, '{') || (policy->needs & API_OPEN)) {
            continue;
        }
        example_of(r->pattern, target);
        assert_int_equal(ask_as("fast", target), 403);
        assert_int_equal(ask_as("finance", target), 403);
    }
}

static void test_file__is_read_again_on_sighup(void **state) {
    (void)state;
    assert_int_equal(ask_as("reader", "/v1/status"), 200);
    write_tokens("reader", NULL);
    assert_int_equal(ask_as("reader", "/v1/status"), 200);
    raise(SIGHUP);
    assert_int_equal(ask_as("reader", "/v1/status"), 401);
    assert_int_equal(ask_as("auditor", "/v1/quarantine"), 200);
    write_tokens(NULL, "garbage\n");
    raise(SIGHUP);
    assert_int_equal(ask_as("auditor", "/v1/quarantine"), 200); /* the old ones stay in force */
    assert_int_equal(ask_as("reader", "/v1/status"), 401);
    write_tokens(NULL, NULL);
    raise(SIGHUP);
    assert_int_equal(ask_as("reader", "/v1/status"), 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_route__every_one_has_a_policy_and_wants_its_scope),
        cmocka_unit_test(test_challenge__says_what_is_wrong),
        cmocka_unit_test(test_limits__are_kept_on_every_route),
        cmocka_unit_test(test_limited__gets_nothing_from_a_route_without_saying_what),
        cmocka_unit_test(test_file__is_read_again_on_sighup),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
