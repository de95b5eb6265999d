/* The registry over HTTP: Confluent's routes, bodies and error bodies onto registry.h. */
#ifndef REGISTRY_HTTP_H
#define REGISTRY_HTTP_H

#include "bf_http.h"
#include "bf_metrics.h"
#include "registry.h"

struct registry_http {
    struct registry *registry;
    struct bf_metrics *metrics;
};

/* For bf_http_start(), whose ctx is a struct registry_http. */
const struct bf_http_route *registry_http_routes(void);
/* For bf_http_settings.on_error: {"error_code","message"}. */
void registry_http_error(struct bf_http_request *req, int status, const char *detail, const char *param);

enum {
    REGISTRY_METRIC_REQUESTS,
    REGISTRY_METRIC_REFUSALS,
    REGISTRY_METRIC_FAILURES,
    REGISTRY_METRIC_REGISTERED,
    REGISTRY_METRICS
};
extern const struct bf_metric_def registry_metric_defs[REGISTRY_METRICS];

#endif
