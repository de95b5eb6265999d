/* plato's settings: one table, from which the flags, the environment, the file and --help come. */
#ifndef PLATO_SETTINGS_H
#define PLATO_SETTINGS_H

#include "bf_settings.h"

struct plato_settings {
    char *bootstrap, *registry, *policies, *schemas_dir, *capsule, *capsule_token, *state_dir, *http_host, *endpoints_file, *group, *topic, *signal_topic, *log_level;
    int64_t http_port, linger_ms, commit_interval_ms, retry_ms, in_flight_max, start_timeout_ms, body_bytes_max;
};

extern const struct bf_settings_program plato_program;

#endif
