/* The table of routes, and the server around it. */
#include "api.h"
#include "api_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARAMS(...) (const char *const[]){__VA_ARGS__, NULL}

static const char *const no_params[] = {NULL};

static const struct bf_http_route routes[] = {
    {"GET", "/v1/events", api_get_events,
     PARAMS("topic", "domain", "node", "node_prefix", "from", "to", "recorded_from", "recorded_to", "trace", "cause", "known_by", "order",
            "limit", "cursor"), 0},
    {"GET", "/v1/events/{event_id}", api_get_event, PARAMS("topic", "known_by"), 0},
    {"GET", "/v1/events/{event_id}/raw", api_get_event_raw, PARAMS("topic", "part", "revision", "known_by"), 0},
    {"GET", "/v1/nodes", api_get_nodes, PARAMS("prefix", "limit", "cursor"), 0},
    {"GET", "/v1/nodes/{id}", api_get_node, no_params, 0},
    {"GET", "/v1/nodes/{id}/history", api_get_history, PARAMS("from", "to", "topic", "known_by", "order", "limit", "cursor"), 0},
    {"GET", "/v1/nodes/{id}/state", api_get_state, PARAMS("as_of", "known_by", "topic"), 0},
    {"GET", "/v1/state", api_get_world, PARAMS("as_of", "known_by", "topic", "prefix", "format", "cursor"), 0},
    {"GET", "/v1/replay", api_get_replay,
     PARAMS("topic", "node", "node_prefix", "by", "from", "to", "known_by", "partition", "from_offset", "to_offset", "cursor", "format",
            "follow", "speed", "max_gap_ms", "heartbeat_ms", "codec", "records"), 0},
    {"POST", "/v1/replays", api_post_replays,
     PARAMS("name", "topic", "node", "node_prefix", "by", "from", "to", "known_by", "partition", "from_offset", "to_offset", "rate", "partitions",
            "dry_run"), 0},
    {"GET", "/v1/replays", api_get_replays, PARAMS("limit"), 0},
    {"GET", "/v1/replays/{id}", api_get_replay_job, no_params, 0},
    {"POST", "/v1/replays/{id}/pause", api_pause_replay, no_params, 0},
    {"POST", "/v1/replays/{id}/resume", api_resume_replay, no_params, 0},
    {"POST", "/v1/replays/{id}/cancel", api_cancel_replay, no_params, 0},
    {"GET", "/v1/topics", api_get_topics, no_params, 0},
    {"GET", "/v1/topics/{topic}", api_get_topic, no_params, 0},
    {"GET", "/v1/lag", api_get_lag, no_params, 0},
    {"GET", "/v1/coverage", api_get_coverage, PARAMS("topic", "partition"), 0},
    {"GET", "/v1/quarantine", api_get_quarantine, PARAMS("topic", "reason", "schema_id", "redriven", "known_by", "limit", "cursor"), 0},
    {"GET", "/v1/quarantine/{topic}/{partition}/{offset}", api_get_poison, no_params, 0},
    {"GET", "/v1/quarantine/{topic}/{partition}/{offset}/raw", api_get_poison_raw, PARAMS("part"), 0},
    {"POST", "/v1/quarantine/redrive", api_post_redrive,
     PARAMS("topic", "partition", "offset", "reason", "schema_id", "dry_run", "limit"), 0},
    {"GET", "/v1/reads", api_get_reads, PARAMS("from", "to", "who", "limit", "cursor"), 0},
    {"GET", "/v1/schemas/{id}", api_get_schema, no_params, 0},
    {"GET", "/v1/status", api_get_status, no_params, 0},
    {"GET", "/livez", api_get_livez, no_params, 0},
    {"GET", "/readyz", api_get_readyz, no_params, 0},
    {"GET", "/metrics", api_get_metrics, no_params, 0},
    {"GET", "/openapi.json", api_get_openapi, no_params, 0},
    {NULL, NULL, NULL, NULL, 0},
};

const struct bf_http_route *api_routes(void) {
    return routes;
}

/* Of one thing, mostly from the hot store. */
static bf_http_handler *const quick[] = {api_get_event, api_get_event_raw, api_get_history, api_get_node, api_get_state, api_get_livez, NULL};

/* Requests mostly are of a few kinds: each thread remembers the series it counted them on. */
#define SERIES_REMEMBERED 8
static void observe(void *ctx, const char *method, const char *route, int status, double seconds) {
    static _Thread_local struct remembered {
        const struct bf_metrics *metrics;
        const char *route;
        int status;
        struct bf_series *series;
    } remembered[SERIES_REMEMBERED];
    struct remembered *last = &remembered[((uintptr_t)route / 16 + (unsigned)status) % SERIES_REMEMBERED];
    const struct api *api = ctx;
    (void)method;
    if (last->metrics != api->capsule->metrics || last->route != route || last->status != status) {
        char code[12];
        snprintf(code, sizeof(code), "%d", status);
        last->series = bf_metrics_series(api->capsule->metrics, M_HTTP, route, code, NULL);
        last->metrics = api->capsule->metrics;
        last->route = route;
        last->status = status;
    }
    bf_series_observe(last->series, seconds, 1);
}

enum bf_code api_start(struct capsule *c, struct api **out, struct bf_err *err) {
    struct api *api = calloc(1, sizeof(*api));
    if (!api) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for the HTTP interface");
    }
    api->capsule = c;
    const struct bf_http_settings settings = {
        .host = c->settings->http_host,
        .port = (int)c->settings->http_port,
        .port_or_free = c->settings->http_port_or_free,
        .connections_max = (int)c->settings->http_connections_max,
        .connections_per_address_max = (int)(c->settings->http_address_connections_max != 0 ? c->settings->http_address_connections_max
                                                                                            : c->settings->http_connections_max),
        .loops = (int)c->settings->http_loops,
        .quick = quick,
        .head_timeout_ms = c->settings->http_head_timeout_ms,
        .idle_timeout_ms = c->settings->http_idle_timeout_ms,
        .tls_cert = c->settings->tls_cert,
        .tls_key = c->settings->tls_key,
        .observe = observe,
    };
    if (api_auth_new(c->settings->tokens_file, &api->auth, err) != BF_OK ||
        bf_http_start(&settings, routes, api, &api->http, err) != BF_OK) {
        api_auth_free(api->auth);
        free(api);
        return err->code;
    }
    *out = api;
    return BF_OK;
}

void api_stop(struct api *api) {
    if (!api) {
        return;
    }
    bf_http_stop(api->http);
    api_auth_free(api->auth);
    free(api);
}

int api_port(const struct api *api) {
    return bf_http_port(api->http);
}
