/* odyssey's settings: one table, from which the flags, the environment, the file and --help come. */
#ifndef ODYSSEY_SETTINGS_H
#define ODYSSEY_SETTINGS_H

#include "bf_settings.h"

struct odyssey_settings {
    char *bootstrap, *registry, *rules, *schemas_dir, *capsule, *capsule_token, *state_dir, *http_host, *endpoints_file, *group, *topic, *log_level;
    int64_t http_port, nodes_max, warm_events_max, linger_ms, commit_interval_ms, retry_ms, in_flight_max, start_timeout_ms;
};

extern const struct bf_settings_program odyssey_program;

#endif
