#include "settings.h"

#include <stddef.h>

#define F(name) offsetof(struct odyssey_settings, name)

static const struct bf_setting table[] = {
    {"bootstrap", BF_SETTING_STRING, F(bootstrap), "127.0.0.1:9092", 0, 0, false, false, NULL, "Kafka brokers, host:port[,…]"},
    {"registry", BF_SETTING_STRING, F(registry), "http://127.0.0.1:8081", 0, 0, false, false, NULL, "Schema registry"},
    {"rules", BF_SETTING_STRING, F(rules), NULL, 0, 0, true, false, NULL, "The rule file; read again on SIGHUP"},
    {"schemas-dir", BF_SETTING_STRING, F(schemas_dir), NULL, 0, 0, false, false, NULL,
     "Folder of topics.json and the schemas; without it, schemas/ two levels above the program"},
    {"capsule", BF_SETTING_STRING, F(capsule), NULL, 0, 0, false, false, NULL,
     "CAPSULE's address, from which a node's past is learned at a start; without it a restart begins with empty memory"},
    {"capsule-token", BF_SETTING_STRING, F(capsule_token), NULL, 0, 0, false, true, NULL,
     "Bearer token for CAPSULE, where it wants one; others cannot see it in the environment"},
    {"warm-events-max", BF_SETTING_INT, F(warm_events_max), "1000000", 0, INT64_C(1000000000), false, false, "events",
     "How many offsets before the committed one are learned again at a start, in each partition"},
    {"group", BF_SETTING_STRING, F(group), "odyssey", 0, 0, false, false, NULL, "Consumer group"},
    {"topic", BF_SETTING_STRING, F(topic), "rim.fast-path", 0, 0, false, false, NULL, "Topic of the signals"},
    {"nodes-max", BF_SETTING_INT, F(nodes_max), "1000000", 1, INT64_C(100000000), false, false, "nodes",
     "Nodes of one partition that are watched; further ones are counted and left alone"},
    {"linger", BF_SETTING_MS, F(linger_ms), NULL, 0, 1000, false, false, "ms",
     "How long a reflex waits for company in a request; without it, as the rate asks: not at all when few are on their way"},
    {"commit-interval", BF_SETTING_MS, F(commit_interval_ms), "200ms", 1, 60000, false, false, "ms", "How often offsets are committed"},
    {"retry", BF_SETTING_MS, F(retry_ms), "500ms", 1, 60000, false, false, "ms", "How soon something that is away is tried again"},
    {"in-flight-max", BF_SETTING_INT, F(in_flight_max), "100000", 1, 500000, false, false, "events",
     "Reflexes that Kafka has not acknowledged yet; at this many, reading waits"},
    {"state-dir", BF_SETTING_STRING, F(state_dir), NULL, 0, 0, false, false, NULL, "Folder for local files; this service has none: what it must know again comes from CAPSULE"},
    {"http-host", BF_SETTING_STRING, F(http_host), "127.0.0.1", 0, 0, false, false, NULL,
     "Address of /livez, /readyz and /metrics; there is no authentication yet, so loopback only"},
    {"http-port", BF_SETTING_INT, F(http_port), "0", 0, 65535, false, false, NULL, "Port to listen on; 0: any free one"},
    {"endpoints-file", BF_SETTING_STRING, F(endpoints_file), NULL, 0, 0, false, false, NULL, "Write {\"http\":URL} here when listening"},
    {"start-timeout", BF_SETTING_MS, F(start_timeout_ms), "60s", 0, 86400000, false, false, "ms",
     "How long to wait for Kafka, the registry and CAPSULE at start before giving up with exit code 4"},
    {"log-level", BF_SETTING_STRING, F(log_level), "info", 0, 0, false, false, NULL, "debug, info, warn or error"},
    {NULL, BF_SETTING_STRING, 0, NULL, 0, 0, false, false, NULL, NULL},
};

const struct bf_settings_program odyssey_program = {
    .name = "odyssey",
    .usage = "--rules FILE [options]",
    .about = "Reflexes: keeps what it must know of each node, asks the rules at each signal, and answers within milliseconds with\n"
             "events of the topic odyssey.reflex.",
    .epilogue = "Exit codes: 0 ok, 2 usage, 3 settings or a rule file that is wrong, 4 a dependency is missing at start, 70 internal.",
    .table = table,
    .positional = false,
};
