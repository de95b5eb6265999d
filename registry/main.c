/* The embedded schema registry: settings, store, HTTP, and a clean end. */
#include "bf_http.h"
#include "bf_log.h"
#include "bf_settings.h"
#include "bf_stop.h"
#include "registry_http.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
    char *host, *dir, *endpoints_file, *log_level;
    int64_t port, map_bytes_max;
    bool port_or_free;
};

#define FIELD(name) offsetof(struct settings, name)
static const struct bf_setting table[] = {
    {"host", BF_SETTING_STRING, FIELD(host), "127.0.0.1", 0, 0, false, false, NULL, "Address to listen on."},
    {"port", BF_SETTING_INT, FIELD(port), "8081", 0, 65535, false, false, NULL,
     "Port to listen on; 0 takes any free one."},
    {"port-or-free", BF_SETTING_BOOL, FIELD(port_or_free), "false", 0, 0, false, false, NULL,
     "When the port is taken, use a free one."},
    {"dir", BF_SETTING_STRING, FIELD(dir), NULL, 0, 0, true, false, NULL, "Folder of the store; made when missing."},
    {"map-bytes-max", BF_SETTING_BYTES, FIELD(map_bytes_max), "4GiB", 1 << 20, INT64_MAX, false, false, "bytes",
     "The most the store may hold (reserved address space, not disk)."},
    {"endpoints-file", BF_SETTING_STRING, FIELD(endpoints_file), NULL, 0, 0, false, false, NULL,
     "File that gets {\"registry\":URL} once it serves."},
    {"log-level", BF_SETTING_STRING, FIELD(log_level), "info", 0, 0, false, false, NULL, "debug, info, warn or error."},
    {NULL, BF_SETTING_STRING, 0, NULL, 0, 0, false, false, NULL, NULL},
};

static const struct bf_settings_program program = {
    .name = "registry",
    .usage = "--dir DIR [options]",
    .about = "A schema registry for Avro that speaks Confluent's API and keeps its data in LMDB.\n"
             "What it has acknowledged survives kill -9 and power loss.",
    .epilogue = NULL,
    .table = table,
    .positional = false,
};

static bool parse_level(const char *text, enum bf_log_level *level) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            *level = (enum bf_log_level)i;
            return true;
        }
    }
    return false;
}

/* Written beside and moved into place, so that whoever waits for the file never reads half of it. */
static enum bf_code write_endpoints(const char *path, const char *url, struct bf_err *err) {
    char temp[4096];
    if (snprintf(temp, sizeof temp, "%s.%d", path, (int)getpid()) >= (int)sizeof temp) {
        return bf_fail(err, BF_INVALID, 0, "endpoints-file: the name is too long");
    }
    FILE *f = fopen(temp, "w");
    bool ok = f != NULL && fprintf(f, "{\"registry\":\"%s\"}\n", url) > 0;
    ok = (f != NULL && fclose(f) == 0) && ok;
    if (!ok || rename(temp, path) != 0) {
        return bf_fail(err, BF_INVALID, errno, "endpoints-file %s: %s", path, strerror(errno));
    }
    return BF_OK;
}

static void observe(void *ctx, const char *method, const char *route, int status, double seconds) {
    struct registry_http *h = ctx;
    char code[16];
    (void)method;
    snprintf(code, sizeof code, "%d", status);
    bf_series_observe(bf_metrics_series(h->metrics, REGISTRY_METRIC_REQUESTS, route, code, NULL), seconds, 1);
}

static enum bf_exit exit_for(enum bf_code code) {
    switch (code) {
    case BF_INVALID: return BF_EXIT_SETTINGS;
    case BF_AGAIN: return BF_EXIT_DEPENDENCY;
    case BF_REJECTED: return BF_EXIT_STATE;
    default: return BF_EXIT_INTERNAL;
    }
}

static enum bf_exit serve(const struct settings *s) {
    struct registry_http h = {0};
    struct bf_http *http = NULL;
    struct bf_err err;
    char url[300];
    enum bf_code code = bf_stop_install(&err);
    if (code == BF_OK) {
        code = bf_metrics_new(registry_metric_defs, REGISTRY_METRICS, &h.metrics, &err);
    }
    if (code == BF_OK) {
        code = registry_open(s->dir, s->map_bytes_max, &h.registry, &err);
    }
    struct bf_http_settings hs = {.host = s->host,
                                  .port = (int)s->port,
                                  .port_or_free = s->port_or_free,
                                  .observe = observe,
                                  .on_error = registry_http_error};
    if (code == BF_OK) {
        code = bf_http_start(&hs, registry_http_routes(), &h, &http, &err);
    }
    if (code == BF_OK) {
        snprintf(url, sizeof url, "http://%s:%d", s->host, bf_http_port(http));
        code = s->endpoints_file == NULL ? BF_OK : write_endpoints(s->endpoints_file, url, &err);
    }
    if (code == BF_OK) {
        bf_log(BF_LOG_INFO, "serving", "url=%s", url);
        struct pollfd stop = {.fd = bf_stop_fd(), .events = POLLIN};
        while (!bf_stop_requested()) {
            poll(&stop, 1, -1);
        }
        bf_log(BF_LOG_INFO, "stopping", "url=%s", url);
    } else {
        bf_log_err(BF_LOG_ERROR, "start_failed", &err, "exit_code=%d", (int)exit_for(code));
    }
    bf_http_stop(http);
    registry_close(h.registry);
    bf_metrics_free(h.metrics);
    return code == BF_OK ? BF_EXIT_OK : exit_for(code);
}

int main(int argc, char **argv) {
    struct settings s = {0};
    struct bf_err err;
    char **left;
    int left_count, exit_code = BF_EXIT_OK;
    enum bf_log_level level = BF_LOG_INFO;
    bf_log_init("registry", BF_LOG_INFO);
    enum bf_code code = bf_settings_load(&program, argc, argv, &s, &left, &left_count, &exit_code, &err);
    if (code == BF_OK && !parse_level(s.log_level, &level)) {
        code = bf_fail(&err, BF_INVALID, 0, "log-level: \"%s\" is not debug, info, warn or error", s.log_level);
        exit_code = BF_EXIT_SETTINGS;
    }
    if (code == BF_INVALID) {
        fprintf(stderr, "registry: %s\n", err.msg);
    } else if (code == BF_OK) {
        bf_log_init("registry", level);
        exit_code = (int)serve(&s);
    } else if (code != BF_CANCELLED) {
        fprintf(stderr, "registry: %s\n", err.msg);
        exit_code = BF_EXIT_INTERNAL;
    }
    bf_settings_fini(&program, &s);
    return exit_code;
}
