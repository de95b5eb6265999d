/* Signals over HTTP: POST /v1/signals, /livez, /readyz, /metrics. */
#ifndef PERCEPTION_LISTEN_H
#define PERCEPTION_LISTEN_H

#include "publish.h"
#include "signal_check.h"

struct listen_settings {
    const char *host;
    int port;
    struct signal_check *check;
    struct publish *publish;
    size_t line_bytes_max, body_bytes_max;
    const char *endpoints_file; /* NULL: none */
};

/* Serve until a stop is asked for; requests under way are finished, and what they queued is through. */
BF_MUST_CHECK enum bf_code listen_run(const struct listen_settings *settings, struct bf_err *err);

#endif
