/* bench_bare_http: our HTTP server with a handler that does nothing but answer N bytes: what the transport alone can do. */
#include "bf_http.h"
#include "bf_log.h"
#include "bf_settings.h"
#include "bf_stop.h"
#include "bf_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bare_settings {
    char *endpoints_file;
    int64_t port, bytes, loops;
};

#define F(name) offsetof(struct bare_settings, name)
static const struct bf_setting table[] = {
    {"port", BF_SETTING_INT, F(port), "0", 0, 65535, false, false, NULL, "0: any free one"},
    {"bytes", BF_SETTING_BYTES, F(bytes), "1000", 0, 1 << 24, false, false, "bytes", "Size of the answer"},
    {"loops", BF_SETTING_INT, F(loops), "4", 0, 64, false, false, NULL, "Event loops; 0: a thread per connection"},
    {"endpoints-file", BF_SETTING_STRING, F(endpoints_file), NULL, 0, 0, true, false, NULL, "Write {\"http\":…} here"},
    {NULL, 0, 0, NULL, 0, 0, false, false, NULL, NULL},
};
static const struct bf_settings_program program = {.name = "bench_bare_http", .usage = "[options]", .about = "Answers N bytes.", .table = table};

struct bare {
    struct bare_settings s;
    char *body;
};

static void answer(struct bf_http_request *req, void *ctx) {
    const struct bare *b = ctx;
    bf_http_reply(req, 200, "application/json", b->body, (size_t)b->s.bytes);
}

static int run(struct bare *b) {
    static bf_http_handler *const quick[] = {answer, NULL};
    static const struct bf_http_route routes[] = {{"GET", "/", answer, NULL, 0}, {NULL, NULL, NULL, NULL, 0}};
    const struct bf_http_settings settings = {.host = "127.0.0.1", .port = (int)b->s.port, .loops = (int)b->s.loops, .quick = quick};
    struct bf_http *http = NULL;
    struct bf_err err;
    b->body = malloc((size_t)b->s.bytes + 1);
    if (!b->body)
        return BF_EXIT_INTERNAL;
    memset(b->body, 'x', (size_t)b->s.bytes);
    if (bf_http_start(&settings, routes, b, &http, &err) != BF_OK) {
        bf_log_err(BF_LOG_ERROR, "start_failed", &err, "port=%d", (int)b->s.port);
        return BF_EXIT_INTERNAL;
    }
    FILE *f = fopen(b->s.endpoints_file, "w");
    if (f) {
        fprintf(f, "{\"http\":\"http://127.0.0.1:%d\"}\n", bf_http_port(http));
        fclose(f);
    }
    while (bf_sleep_ms(60000))
        ;
    bf_http_stop(http);
    free(b->body);
    return BF_EXIT_OK;
}

int main(int argc, char **argv) {
    struct bare b = {0};
    struct bf_err err;
    char **rest;
    int rest_count, exit_code = 0;
    bf_log_init("bench_bare_http", BF_LOG_INFO);
    enum bf_code code = bf_settings_load(&program, argc, argv, &b.s, &rest, &rest_count, &exit_code, &err);
    if (code == BF_OK)
        exit_code = bf_stop_install(&err) == BF_OK ? run(&b) : BF_EXIT_INTERNAL;
    else if (code != BF_CANCELLED)
        fprintf(stderr, "bench_bare_http: %s\n", err.msg);
    bf_settings_fini(&program, &b.s);
    return exit_code;
}
