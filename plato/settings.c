#include "settings.h"

#include <stddef.h>

#define F(name) offsetof(struct plato_settings, name)

static const struct bf_setting table[] = {
    {"bootstrap", BF_SETTING_STRING, F(bootstrap), "127.0.0.1:9092", 0, 0, false, false, NULL, "Kafka brokers, host:port[,…]"},
    {"registry", BF_SETTING_STRING, F(registry), "http://127.0.0.1:8081", 0, 0, false, false, NULL, "Schema registry"},
    {"policies", BF_SETTING_STRING, F(policies), NULL, 0, 0, true, false, NULL, "The policy file; read again on SIGHUP"},
    {"schemas-dir", BF_SETTING_STRING, F(schemas_dir), NULL, 0, 0, false, false, NULL,
     "Folder of topics.json and the schemas; without it, schemas/ two levels above the program"},
    {"capsule", BF_SETTING_STRING, F(capsule), NULL, 0, 0, false, false, NULL,
     "CAPSULE's address, from which evidence comes; without it policies may only ask about the reflex itself"},
    {"capsule-token", BF_SETTING_STRING, F(capsule_token), NULL, 0, 0, false, true, NULL,
     "Bearer token for CAPSULE, where it wants one; others cannot see it in the environment"},
    {"state-dir", BF_SETTING_STRING, F(state_dir), NULL, 0, 0, false, false, NULL,
     "Folder where every policy file that was in use is kept by its version, so that its decisions can be judged again"},
    {"group", BF_SETTING_STRING, F(group), "plato", 0, 0, false, false, NULL, "Consumer group"},
    {"topic", BF_SETTING_STRING, F(topic), "odyssey.reflex", 0, 0, false, false, NULL, "Topic of the reflexes"},
    {"signal-topic", BF_SETTING_STRING, F(signal_topic), "rim.fast-path", 0, 0, false, false, NULL, "Topic of the signals, whose newest is a node's state"},
    {"linger", BF_SETTING_MS, F(linger_ms), NULL, 0, 1000, false, false, "ms",
     "How long a decision waits for company in a request; without it, as the rate asks: not at all when few are on their way"},
    {"commit-interval", BF_SETTING_MS, F(commit_interval_ms), "200ms", 1, 60000, false, false, "ms", "How often offsets are committed"},
    {"retry", BF_SETTING_MS, F(retry_ms), "500ms", 1, 60000, false, false, "ms", "How soon something that is away is tried again"},
    {"in-flight-max", BF_SETTING_INT, F(in_flight_max), "100000", 1, 500000, false, false, "events",
     "Decisions that Kafka has not acknowledged yet; at this many, reading waits"},
    {"http-host", BF_SETTING_STRING, F(http_host), "127.0.0.1", 0, 0, false, false, NULL,
     "Address to listen on; there is no authentication yet, so loopback only"},
    {"http-port", BF_SETTING_INT, F(http_port), "0", 0, 65535, false, false, NULL, "Port to listen on; 0: any free one"},
    {"body-bytes-max", BF_SETTING_BYTES, F(body_bytes_max), "64KiB", 1024, 1 << 24, false, false, "bytes", "A longer HTTP body is refused"},
    {"endpoints-file", BF_SETTING_STRING, F(endpoints_file), NULL, 0, 0, false, false, NULL, "Write {\"http\":URL} here when listening"},
    {"start-timeout", BF_SETTING_MS, F(start_timeout_ms), "60s", 0, 86400000, false, false, "ms",
     "How long to wait for Kafka, the registry and CAPSULE at start before giving up with exit code 4"},
    {"log-level", BF_SETTING_STRING, F(log_level), "info", 0, 0, false, false, NULL, "debug, info, warn or error"},
    {NULL, BF_SETTING_STRING, 0, NULL, 0, 0, false, false, NULL, NULL},
};

const struct bf_settings_program plato_program = {
    .name = "plato",
    .usage = "--policies FILE [options]",
    .about = "Governance: judges each reflex by written policies, with evidence from CAPSULE, and answers with events of the topic\n"
             "plato.decision. A person gives the second of four eyes over HTTP.",
    .epilogue = "Exit codes: 0 ok, 2 usage, 3 settings or a policy file that is wrong, 4 a dependency is missing at start, 70 internal.",
    .table = table,
    .positional = false,
};
