/* perception's settings: one table, from which the flags, the environment, the file and --help come. */
#ifndef PERCEPTION_SETTINGS_H
#define PERCEPTION_SETTINGS_H

#include "bf_log.h"
#include "bf_settings.h"

struct perception_settings {
    char *file, *listen, *from_topic, *from_bootstrap, *group, *checkpoint, *topic, *format, *map, *bootstrap, *registry, *schemas_dir, *schema, *endpoints_file, *hold_back_group,
        *log_level;
    bool from_stdin, strict, create_topic;
    double rate;
    int64_t metrics_port, queue_wait_ms;
    int64_t start_timeout_ms, delivery_timeout_ms, linger_ms, in_flight_max, hold_back_bytes, line_bytes_max, body_bytes_max;
};

extern const struct bf_settings_program perception_program;

enum perception_source { PERCEPTION_FILE, PERCEPTION_STDIN, PERCEPTION_LISTEN, PERCEPTION_TOPIC };

/* What the table cannot say: one source, a format that is there, a map for CSV. *exit_code is usage or settings. */
BF_MUST_CHECK enum bf_code perception_settings_check(const struct perception_settings *s, enum perception_source *source, bool *csv,
                                                     enum bf_log_level *level, int *exit_code, struct bf_err *err);

/* "H:P" in two; H must be loopback. */
BF_MUST_CHECK enum bf_code perception_listen_parse(const char *text, char host[256], int *port, struct bf_err *err);

#endif
