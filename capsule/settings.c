#include "settings.h"

#include "bf_token.h"

#include <arpa/inet.h>
#include <string.h>

#define F(name) offsetof(struct capsule_settings, name)
#define KIB INT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

static const struct bf_setting table[] = {
    {"dir", BF_SETTING_STRING, F(dir), NULL, 0, 0, true, false, NULL, "Folder of the hot store; made when missing"},
    {"bootstrap", BF_SETTING_STRING, F(bootstrap), "127.0.0.1:9092", 0, 0, false, false, NULL, "Kafka brokers, host:port[,…]"},
    {"registry-url", BF_SETTING_STRING, F(registry_url), "http://127.0.0.1:8081", 0, 0, false, false, NULL,
     "Schema registry (Confluent's API)"},
    {"postgres", BF_SETTING_STRING, F(postgres), NULL, 0, 0, true, true, NULL, "PostgreSQL connection string (libpq)"},
    {"group", BF_SETTING_STRING, F(group), "capsule", 0, 0, false, false, NULL, "Kafka consumer group"},
    {"schemas-dir", BF_SETTING_STRING, F(schemas_dir), "schemas", 0, 0, false, false, NULL, "Folder of topics.json"},
    {"migrations-dir", BF_SETTING_STRING, F(migrations_dir), "migrations", 0, 0, false, false, NULL,
     "Folder of the SQL migrations"},
    {"http-host", BF_SETTING_STRING, F(http_host), "127.0.0.1", 0, 0, false, false, NULL,
     "Address to listen on; other than loopback only with tokens-file"},
    {"http-port", BF_SETTING_INT, F(http_port), "8480", 0, 65535, false, false, NULL, "Port to listen on; 0: any free one"},
    {"http-port-or-free", BF_SETTING_BOOL, F(http_port_or_free), "false", 0, 0, false, false, NULL,
     "When the port is taken, use a free one"},
    {"http-connections-max", BF_SETTING_INT, F(http_connections_max), "1024", 1, 100000, false, false, "connections",
     "More are refused"},
    {"http-address-connections-max", BF_SETTING_INT, F(http_address_connections_max), "0", 0, 100000, false, false, "connections",
     "From one address; 0: as many as in total"},
    {"http-loops", BF_SETTING_INT, F(http_loops), "4", 1, 64, false, false, "threads",
     "Event loops that answer what is in the hot store; what waits for the archive, and streams, have a thread while they last. With TLS each connection has one"},
    {"http-head-timeout", BF_SETTING_MS, F(http_head_timeout_ms), "10s", 100, 3600000, false, false, "ms",
     "A request's head must be whole by then, however slowly its bytes come"},
    {"http-idle-timeout", BF_SETTING_MS, F(http_idle_timeout_ms), "60s", 100, 86400000, false, false, "ms",
     "Between requests, and for a client that does not take its answer (longer for large ones: 16 KiB a second)"},
    {"tokens-file", BF_SETTING_STRING, F(tokens_file), NULL, 0, 0, false, false, NULL,
     "Bearer tokens (butterfly token new); read again on SIGHUP. Without it everybody who reaches the port may ask everything"},
    {"record-reads", BF_SETTING_BOOL, F(record_reads), "true", 0, 0, false, false, NULL,
     "Write down every read of history before its first byte: who, what, when, rows, digest (GET /v1/reads, capsule.reads)"},
    {"reads-bytes-max", BF_SETTING_BYTES, F(reads_bytes_max), "1GiB", 32 * MIB, 1024 * GIB, false, false, "bytes",
     "The most that recorded reads may take on disk while the archive is away; then reads are refused (503)"},
    {"tls-cert", BF_SETTING_STRING, F(tls_cert), NULL, 0, 0, false, false, NULL, "Certificate (PEM, its chain behind it): serve HTTPS"},
    {"tls-key", BF_SETTING_STRING, F(tls_key), NULL, 0, 0, false, false, NULL, "The certificate's private key (PEM)"},
    {"endpoints-file", BF_SETTING_STRING, F(endpoints_file), NULL, 0, 0, false, false, NULL,
     "Write {\"http\":…} here when serving"},
    {"archive-pool-max", BF_SETTING_INT, F(archive_pool_max), "4", 1, 1000, false, false, "connections",
     "PostgreSQL connections for reading"},
    {"archive-retry-max", BF_SETTING_MS, F(archive_retry_max_ms), "10s", 100, 3600000, false, false, "ms",
     "While PostgreSQL is away it is tried again after 100 ms, then after twice as long each time, up to this"},
    {"hot-bytes-max", BF_SETTING_BYTES, F(hot_bytes_max), "16GiB", 64 * MIB, 16384 * GIB, false, false, "bytes",
     "The most the hot store may hold; when it is full and nothing can be evicted, fetching pauses"},
    {"hot-age", BF_SETTING_MS, F(hot_age_ms), "7d", 1000, INT64_C(315360000000), false, false, "ms",
     "Archived records older than this are dropped from the hot store"},
    {"batch-events-max", BF_SETTING_INT, F(batch_events_max), "16384", 1, 1000000, false, false, "events",
     "The most one hot commit holds"},
    {"node-run-min", BF_SETTING_INT, F(node_run_min), "4096", 0, 1000000, false, false, "events",
     "Hot commits of so many events add to the node index as a sorted run that is merged later; 0: never"},
    {"batch-bytes-max", BF_SETTING_BYTES, F(batch_bytes_max), "32MiB", 64 * KIB, GIB, false, false, "bytes",
     "The most one hot commit holds"},
    {"archive-connections", BF_SETTING_INT, F(archive_connections), "2", 1, 2, false, false, "connections",
     "PostgreSQL connections for archiving; with the second one a backlog's next rows are copied while the others are committed"},
    {"archive-events-max", BF_SETTING_INT, F(archive_events_max), "32768", 1, 1000000, false, false, "events",
     "About the most one PostgreSQL transaction holds"},
    {"value-bytes-max", BF_SETTING_BYTES, F(value_bytes_max), "8MiB", KIB, 512 * MIB, false, false, "bytes",
     "A longer value is quarantined"},
    {"depth-max", BF_SETTING_INT, F(depth_max), "64", 1, 200, false, false, "levels", "A deeper value is quarantined"},
    {"schema-retry", BF_SETTING_MS, F(schema_retry_ms), "1s", 0, 600000, false, false, "ms",
     "How long the registry is asked again for a schema id that it does not know, before the record is quarantined"},
    {"sync-commits", BF_SETTING_BOOL, F(sync_commits), "false", 0, 0, false, false, NULL,
     "fdatasync at every hot commit (a crash of the process never loses anything; this is about the machine)"},
    {"adopt-archive", BF_SETTING_BOOL, F(adopt_archive), "false", 0, 0, false, false, NULL,
     "Archive into this database although the hot store was filled beside another one, which is lost"},
    {"start-timeout", BF_SETTING_MS, F(start_timeout_ms), "60s", 0, 86400000, false, false, "ms",
     "How long to wait for Kafka and PostgreSQL at start before giving up with exit code 4"},
    {"log-level", BF_SETTING_STRING, F(log_level), "info", 0, 0, false, false, NULL, "debug, info, warn or error"},
    {NULL, 0, 0, NULL, 0, 0, false, false, NULL, NULL},
};

const struct bf_settings_program capsule_program = {
    .name = "capsule",
    .usage = "--dir D --postgres CONNINFO [options]",
    .about = "Keeps every event of every topic: consumes Kafka into an LMDB hot store and a PostgreSQL archive, and serves\n"
             "history, state as of any moment and replay over HTTP.",
    .epilogue = "Exit codes: 0 ok, 2 usage, 3 settings, 4 a dependency is missing at start, 5 local state is corrupt or another\n"
                "cluster's, 70 internal.",
    .table = table,
    .positional = false,
};

/* 127.0.0.0/8, ::1, localhost. A name that only begins like one is not one. */
static bool is_loopback(const char *host) {
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return strcmp(host, "localhost") == 0;
}

static enum bf_code check_doors(const struct capsule_settings *s, struct bf_err *err) {
    struct bf_tokens *tokens = NULL;
    if (!is_loopback(s->http_host) && !s->tokens_file)
        return bf_fail(err, BF_INVALID, 0, "http-host: '%s' is not loopback, and without tokens-file everybody could ask everything",
                       s->http_host);
    if (!s->tls_cert != !s->tls_key)
        return bf_fail(err, BF_INVALID, 0, "%s: goes only with %s", s->tls_cert ? "tls-cert" : "tls-key", s->tls_cert ? "tls-key" : "tls-cert");
    if (s->tokens_file && bf_tokens_load(s->tokens_file, &tokens, err) != BF_OK)
        return bf_err_prepend(err, "tokens-file");
    bf_tokens_unref(tokens);
    return BF_OK;
}

enum bf_code capsule_settings_check(const struct capsule_settings *s, struct bf_err *err) {
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    bool known = false;
    for (size_t i = 0; i < 4; i++)
        known = known || strcmp(s->log_level, levels[i]) == 0;
    if (!known)
        return bf_fail(err, BF_INVALID, 0, "log-level: '%s' is none of debug, info, warn, error", s->log_level);
    return check_doors(s, err);
}
