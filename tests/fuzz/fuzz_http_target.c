/* A method's first letter and a request target: what is taken is text without NUL, and routes find what they name. */
#include "fuzz.h"

#include "bf_http_target.h"
#include "bf_json.h"

#include <stdlib.h>
#include <string.h>

static const char *const params[] = {"topic", "from", "cursor", NULL};
static const struct bf_http_route routes[] = {
    {"GET", "/v1/events/{event_id}", NULL, params, 0},
    {"GET", "/v1/events/{event_id}/raw", NULL, params, 0},
    {"GET", "/v1/quarantine/{topic}/{partition}/{offset}/raw", NULL, NULL, 0},
    {"POST", "/v1/quarantine/redrive", NULL, NULL, 1024},
    {"GET", "/", NULL, NULL, 0},
    {NULL, NULL, NULL, NULL, 0},
};

static void check_parts(const struct bf_target *t) {
    bf_assert(t->segment_count <= BF_TARGET_SEGMENTS_MAX && t->query_count <= BF_TARGET_QUERY_MAX);
    for (size_t i = 0; i < t->segment_count; i++) {
        bf_assert(bf_utf8_valid(t->segments[i], strlen(t->segments[i])));
    }
    for (size_t i = 0; i < t->query_count; i++) {
        bf_assert(bf_utf8_valid(t->query[i].name, strlen(t->query[i].name)));
        bf_assert(bf_utf8_valid(t->query[i].value, strlen(t->query[i].value)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bf_target target;
    struct bf_err err;
    char allow[128];
    if (size == 0 || memchr(data, 0, size) != NULL) {
        return 0;
    }
    const char *method = data[0] == 'P' ? "POST" : data[0] == 'H' ? "HEAD" : "GET";
    char *raw = malloc(size), *space = malloc(size + 1); /* strlen(raw) + 2 */
    memcpy(raw, data + 1, size - 1);
    raw[size - 1] = '\0';
    if (bf_target_parse(raw, space, &target, &err) == BF_OK) {
        check_parts(&target);
        const struct bf_http_route *route = bf_target_route(routes, method, &target, allow, sizeof allow);
        if (route != NULL) {
            (void)bf_target_unknown(&target, route);
            bf_assert(strstr(route->pattern, "{event_id}") == NULL || bf_target_path(&target, route->pattern, "event_id") != NULL);
        } else {
            bf_assert(strlen(allow) < sizeof allow);
        }
    }
    free(raw);
    free(space);
    return 0;
}
