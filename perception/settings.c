#include "settings.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define F(name) offsetof(struct perception_settings, name)
#define KIB INT64_C(1024)
#define MIB (KIB * 1024)

static const struct bf_setting table[] = {
    {"file", BF_SETTING_STRING, F(file), NULL, 0, 0, false, false, NULL, "Read signals from this file; gzip is recognised"},
    {"stdin", BF_SETTING_BOOL, F(from_stdin), "false", 0, 0, false, false, NULL, "Read signals from standard input; gzip is recognised"},
    {"listen", BF_SETTING_STRING, F(listen), NULL, 0, 0, false, false, NULL,
     "Take signals over HTTP at this host:port (port 0: any free one); POST /v1/signals"},
    {"from-topic", BF_SETTING_STRING, F(from_topic), NULL, 0, 0, false, false, NULL,
     "Take signals from this Kafka topic, one in plain JSON a message; its offsets are committed when the signals are acknowledged"},
    {"from-bootstrap", BF_SETTING_STRING, F(from_bootstrap), NULL, 0, 0, false, false, NULL, "For --from-topic: its brokers, when they are others"},
    {"group", BF_SETTING_STRING, F(group), "perception", 0, 0, false, false, NULL, "For --from-topic: the consumer group"},
    {"checkpoint", BF_SETTING_STRING, F(checkpoint), NULL, 0, 0, false, false, NULL,
     "For --file: keep here how far Kafka has acknowledged it, and go on from there when the file exists"},
    {"topic", BF_SETTING_STRING, F(topic), "rim.fast-path", 0, 0, false, false, NULL, "Topic to publish to"},
    {"format", BF_SETTING_STRING, F(format), NULL, 0, 0, false, false, NULL, "ndjson or csv; without it, csv when a map is given"},
    {"map", BF_SETTING_STRING, F(map), NULL, 0, 0, false, false, NULL, "For csv: the file that says what the columns mean"},
    {"rate", BF_SETTING_DOUBLE, F(rate), "0", 0, 0, false, false, "events/s", "Publish this many a second, evenly; 0: as fast as it goes"},
    {"strict", BF_SETTING_BOOL, F(strict), "false", 0, 0, false, false, NULL, "Stop at the first bad signal"},
    {"bootstrap", BF_SETTING_STRING, F(bootstrap), "127.0.0.1:9092", 0, 0, false, false, NULL, "Kafka brokers, host:port[,…]"},
    {"registry", BF_SETTING_STRING, F(registry), "http://127.0.0.1:8081", 0, 0, false, false, NULL, "Schema registry"},
    {"schemas-dir", BF_SETTING_STRING, F(schemas_dir), NULL, 0, 0, false, false, NULL,
     "Folder of topics.json and the schemas; without it, schemas/ two levels above the program"},
    {"schema", BF_SETTING_STRING, F(schema), NULL, 0, 0, false, false, NULL, "The topic's Avro schema, where the catalogue has none"},
    {"create-topic", BF_SETTING_BOOL, F(create_topic), "true", 0, 0, false, false, NULL,
     "Make the topic, as the catalogue says, when it is not there"},
    {"start-timeout", BF_SETTING_MS, F(start_timeout_ms), "60s", 0, 0, false, false, "ms",
     "How long to wait for Kafka and the registry at start before giving up with exit code 4"},
    {"delivery-timeout", BF_SETTING_MS, F(delivery_timeout_ms), "120s", 100, 86400000, false, false, "ms",
     "How long Kafka may take to acknowledge a signal before it counts as failed"},
    {"linger", BF_SETTING_INT, F(linger_ms), "-1", -1, 10000, false, false, "ms",
     "How long a signal waits for company in a request; -1: as little as the broker allows, and 10 for a file without a rate"},
    {"in-flight-max", BF_SETTING_INT, F(in_flight_max), "100000", 1, 500000, false, false, "events",
     "Signals that Kafka has not acknowledged yet; at this many, reading waits"},
    {"queue-wait", BF_SETTING_MS, F(queue_wait_ms), "2s", 0, 600000, false, false, "ms",
     "With --listen: how long a request waits for room in a full queue before it is answered 429 with Retry-After"},
    {"hold-back-bytes", BF_SETTING_INT, F(hold_back_bytes), "-1", -1, 1024 * 1024 * MIB, false, false, "bytes",
     "Wait while a partition holds more bytes of ours than this that the group has not committed; 0: never; -1: 3 MiB at "
     "the embedded broker (which forgets) and never at a real one"},
    {"hold-back-group", BF_SETTING_STRING, F(hold_back_group), "capsule", 0, 0, false, false, NULL, "The group that is waited for"},
    {"line-bytes-max", BF_SETTING_BYTES, F(line_bytes_max), "1MiB", KIB, 16 * MIB, false, false, "bytes", "A longer line is rejected"},
    {"body-bytes-max", BF_SETTING_BYTES, F(body_bytes_max), "16MiB", KIB, 256 * MIB, false, false, "bytes",
     "A longer HTTP body is refused"},
    {"metrics-port", BF_SETTING_INT, F(metrics_port), "-1", -1, 65535, false, false, NULL,
     "With another source than --listen: serve /metrics, /livez and /readyz on this port of 127.0.0.1 (0: any free one; -1: nowhere)"},
    {"endpoints-file", BF_SETTING_STRING, F(endpoints_file), NULL, 0, 0, false, false, NULL,
     "Write {\"perception\":URL} here when --listen serves, {\"http\":URL} when --metrics-port does"},
    {"log-level", BF_SETTING_STRING, F(log_level), "info", 0, 0, false, false, NULL, "debug, info, warn or error"},
    {NULL, BF_SETTING_STRING, 0, NULL, 0, 0, false, false, NULL, NULL},
};

const struct bf_settings_program perception_program = {
    .name = "perception",
    .usage = "--file F | --stdin | --listen H:P | --from-topic T [options]",
    .about = "Takes signals in, checks them, gives them identity and publishes them to Kafka, keyed by rim_node_id.\n"
             "Signals are NDJSON, one object a line, or CSV with a map. A bad one is reported with its line and the reason;\n"
             "the others go through.",
    .epilogue = "The last line on stderr is accepted=N rejected=N published=N failed=N.\n"
                "Exit codes: 0 every signal was accepted and acknowledged by Kafka, 1 some were rejected or failed, 2 usage,\n"
                "3 settings, 4 a dependency is missing at start, 70 internal.",
    .table = table,
    .positional = false,
};

static enum bf_code level_of(const char *text, enum bf_log_level *level, struct bf_err *err) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        *level = (enum bf_log_level)i;
        return BF_OK;
    }
    return bf_fail(err, BF_INVALID, 0, "log-level: '%s' is none of debug, info, warn, error", text);
}

static bool is_loopback(const char *host) {
    struct in_addr v4;

    if (inet_pton(AF_INET, host, &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0;
}

enum bf_code perception_listen_parse(const char *text, char host[256], int *port, struct bf_err *err) {
    const char *colon = strrchr(text, ':');
    char *end = NULL;

    if (colon == NULL || colon == text || colon - text >= 256) return bf_fail(err, BF_INVALID, 0, "listen: '%s' is no host:port", text);
    long number = strtol(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || number > 65535) {
        return bf_fail(err, BF_INVALID, 0, "listen: '%s' is no port", colon + 1);
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    if (!is_loopback(host)) {
        return bf_fail(err, BF_INVALID, 0, "listen: '%s' is not loopback, and there is no authentication yet", host);
    }
    *port = (int)number;
    return BF_OK;
}

enum bf_code perception_settings_check(const struct perception_settings *s, enum perception_source *source, bool *csv,
                                       enum bf_log_level *level, int *exit_code, struct bf_err *err) {
    char host[256];
    int port, sources = (s->file != NULL) + s->from_stdin + (s->listen != NULL) + (s->from_topic != NULL);

    *exit_code = BF_EXIT_USAGE;
    if (sources != 1) return bf_fail(err, BF_INVALID, 0, "give one of --file F, --stdin, --listen H:P and --from-topic T");
    *exit_code = BF_EXIT_SETTINGS;
    *source = s->file != NULL ? PERCEPTION_FILE : s->from_stdin ? PERCEPTION_STDIN : s->listen != NULL ? PERCEPTION_LISTEN : PERCEPTION_TOPIC;
    if (level_of(s->log_level, level, err) != BF_OK) return err->code;
    if (s->rate < 0) return bf_fail(err, BF_INVALID, 0, "rate: it cannot be negative");
    if (s->format != NULL && strcmp(s->format, "csv") != 0 && strcmp(s->format, "ndjson") != 0) {
        return bf_fail(err, BF_INVALID, 0, "format: '%s' is none of ndjson, csv", s->format);
    }
    *csv = s->format != NULL ? strcmp(s->format, "csv") == 0 : s->map != NULL;
    if (*csv && s->map == NULL) return bf_fail(err, BF_INVALID, 0, "map: csv needs one, to say what the columns mean");
    if (!*csv && s->map != NULL) return bf_fail(err, BF_INVALID, 0, "map: it is for csv only");
    if (s->checkpoint != NULL && *source != PERCEPTION_FILE) return bf_fail(err, BF_INVALID, 0, "checkpoint: it is for --file only");
    if (s->metrics_port >= 0 && *source == PERCEPTION_LISTEN) return bf_fail(err, BF_INVALID, 0, "metrics-port: --listen serves them itself");
    if (*csv && (*source == PERCEPTION_LISTEN || *source == PERCEPTION_TOPIC)) {
        return bf_fail(err, BF_INVALID, 0, "format: over HTTP and from a topic signals are ndjson");
    }
    if (s->rate > 0 && *source != PERCEPTION_FILE && *source != PERCEPTION_STDIN) {
        return bf_fail(err, BF_INVALID, 0, "rate: it is for --file and --stdin");
    }
    if (*source == PERCEPTION_TOPIC && s->from_bootstrap == NULL && strcmp(s->from_topic, s->topic) == 0) {
        return bf_fail(err, BF_INVALID, 0, "from-topic: it is the topic that is published to");
    }
    return *source == PERCEPTION_LISTEN ? perception_listen_parse(s->listen, host, &port, err) : BF_OK;
}
