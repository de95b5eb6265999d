/* What each route wants of who asks. A route that is missing here answers nobody with a token, and a test names it. */
#include "api_internal.h"

#include "bf_token.h"

#include <stdint.h>
#include <string.h>

#define KEPT 32

static const struct api_policy policies[] = {
    {"GET", "/v1/events", BF_SCOPE_READ, API_BY_TOPIC | API_BY_NODE | API_HISTORY},
    {"GET", "/v1/events/{event_id}", BF_SCOPE_READ, API_BY_TOPIC | API_BY_EVENT | API_HISTORY},
    {"GET", "/v1/events/{event_id}/raw", BF_SCOPE_READ, API_BY_TOPIC | API_BY_EVENT | API_HISTORY},
    {"GET", "/v1/nodes", BF_SCOPE_READ, API_BY_NODE | API_HISTORY},
    {"GET", "/v1/nodes/{id}", BF_SCOPE_READ, API_BY_NODE | API_HISTORY},
    {"GET", "/v1/nodes/{id}/history", BF_SCOPE_READ, API_BY_TOPIC | API_BY_NODE | API_HISTORY},
    {"GET", "/v1/nodes/{id}/state", BF_SCOPE_READ, API_BY_TOPIC | API_BY_NODE | API_HISTORY},
    {"GET", "/v1/state", BF_SCOPE_READ, API_BY_TOPIC | API_BY_NODE | API_HISTORY},
    {"GET", "/v1/replay", BF_SCOPE_REPLAY, API_BY_TOPIC | API_BY_NODE | API_HISTORY},
    {"POST", "/v1/replays", BF_SCOPE_REPLAY, API_BY_TOPIC | API_BY_NODE | API_HISTORY},
    {"GET", "/v1/replays", BF_SCOPE_REPLAY, 0},
    {"GET", "/v1/replays/{id}", BF_SCOPE_REPLAY, 0},
    {"POST", "/v1/replays/{id}/pause", BF_SCOPE_REPLAY, 0},
    {"POST", "/v1/replays/{id}/resume", BF_SCOPE_REPLAY, 0},
    {"POST", "/v1/replays/{id}/cancel", BF_SCOPE_REPLAY, 0},
    {"GET", "/v1/topics", BF_SCOPE_READ, 0},
    {"GET", "/v1/topics/{topic}", BF_SCOPE_READ, API_BY_TOPIC},
    {"GET", "/v1/lag", BF_SCOPE_READ, 0},
    {"GET", "/v1/coverage", BF_SCOPE_READ, API_BY_TOPIC},
    {"GET", "/v1/quarantine", BF_SCOPE_AUDIT, API_BY_TOPIC | API_HISTORY},
    {"GET", "/v1/quarantine/{topic}/{partition}/{offset}", BF_SCOPE_AUDIT, API_BY_TOPIC | API_HISTORY},
    {"GET", "/v1/quarantine/{topic}/{partition}/{offset}/raw", BF_SCOPE_AUDIT, API_BY_TOPIC | API_HISTORY},
    {"POST", "/v1/quarantine/redrive", BF_SCOPE_ADMIN, 0},
    {"GET", "/v1/reads", BF_SCOPE_AUDIT, API_HISTORY},
    {"GET", "/v1/schemas/{id}", BF_SCOPE_READ, API_BY_TOPIC | API_BY_NODE},
    {"GET", "/v1/status", BF_SCOPE_READ, 0},
    {"GET", "/livez", 0, API_OPEN},
    {"GET", "/readyz", 0, API_OPEN},
    {"GET", "/metrics", BF_SCOPE_READ, 0},
    {"GET", "/openapi.json", 0, API_OPEN},
};

static const struct api_policy *look_up(const struct bf_http_route *route) {
    for (size_t i = 0; i < sizeof(policies) / sizeof(*policies); i++) {
        if (strcmp(policies[i].pattern, route->pattern) == 0 && strcmp(policies[i].method, route->method) == 0) {
            return &policies[i];
        }
    }
    return NULL;
}

const struct api_policy *api_policy_of(const struct bf_http_route *route) {
    static _Thread_local struct {
        const struct bf_http_route *route;
        const struct api_policy *policy;
    } kept[KEPT]; /* an event loop's requests are of several kinds */
    size_t at = ((uintptr_t)route / sizeof(*route)) % KEPT;
    if (kept[at].route != route) {
        kept[at].route = route;
        kept[at].policy = look_up(route);
    }
    return kept[at].policy;
}
