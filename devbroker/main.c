/* devbroker: a broker for one machine and for trying things, in memory. It speaks Kafka's protocol on a socket and makes the catalogue's
 * topics; it is no store. */
#include "bf_kafka.h"
#include "bf_log.h"
#include "bf_settings.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "bf_topics.h"
#include "offsets.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct settings {
    char *schemas_dir, *endpoints_file, *port_file, *dir, *log_level;
    int64_t brokers;
};

#define SAVE_EVERY_MS 500

#define F(name) offsetof(struct settings, name)
static const struct bf_setting table[] = {
    {"schemas-dir", BF_SETTING_STRING, F(schemas_dir), NULL, 0, 0, false, false, NULL,
     "Folder of topics.json: its topics are made at start, with their partitions; others come when somebody asks for them"},
    {"endpoints-file", BF_SETTING_STRING, F(endpoints_file), NULL, 0, 0, false, false, NULL, "Write {\"kafka\":\"host:port\"} here when serving"},
    {"port-file", BF_SETTING_STRING, F(port_file), NULL, 0, 0, false, false, NULL, "Write host:port here when serving"},
    {"brokers", BF_SETTING_INT, F(brokers), "1", 1, 9, false, false, NULL, "Brokers in the cluster, each on a free port of loopback"},
    {"dir", BF_SETTING_STRING, F(dir), NULL, 0, 0, false, false, NULL, "Keep here where the partitions ended, so that offsets go on after a restart; without it they begin anew"},
    {"log-level", BF_SETTING_STRING, F(log_level), "info", 0, 0, false, false, NULL, "debug, info, warn or error"},
    {NULL, BF_SETTING_STRING, 0, NULL, 0, 0, false, false, NULL, NULL},
};

static const struct bf_settings_program program = {
    .name = "devbroker",
    .usage = "[options]",
    .about = "A Kafka broker for one machine and for trying things: real protocol, real sockets, everything in memory.\n"
             "It KEEPS ONLY THE LAST 5 MiB OF EACH PARTITION, silently drops what is older, and forgets everything but the offsets when it ends.\n"
             "Producers of this project hold back for it. For anything that must not be lost use a real Kafka.",
    .epilogue = "No admin API, no lookup by time, no compaction, no TLS or SASL. A topic that is not in the catalogue gets 4 partitions.\n"
                "SIGTERM ends it. Exit codes: 0 ok, 2 usage, 3 settings, 70 internal.",
    .table = table,
    .positional = false,
};

/* Written beside and moved into place, so that whoever waits for the file never reads half of it. */
static enum bf_code write_file(const char *path, const char *before, const char *text, const char *after, struct bf_err *err) {
    char temp[4096];

    if (path == NULL) return BF_OK;
    if (snprintf(temp, sizeof temp, "%s.%d", path, (int)getpid()) >= (int)sizeof temp) {
        return bf_fail(err, BF_INVALID, 0, "%s: the name is too long", path);
    }
    FILE *f = fopen(temp, "w");
    bool ok = f != NULL && fprintf(f, "%s%s%s\n", before, text, after) > 0;
    ok = f != NULL && fclose(f) == 0 && ok;
    if (ok && rename(temp, path) == 0) return BF_OK;
    return bf_fail(err, BF_INVALID, errno, "%s: %s", path, strerror(errno));
}

static enum bf_code make_topics(struct bf_mock_cluster *cluster, const char *dir, struct bf_err *err) {
    struct bf_topics *topics = NULL;
    enum bf_code code = dir != NULL ? bf_topics_load(dir, &topics, err) : BF_OK;

    for (size_t i = 0; topics != NULL && i < bf_topics_count(topics) && code == BF_OK; i++) {
        const struct bf_topic *t = bf_topics_at(topics, i);
        if (bf_topic_is_event(t->name)) code = bf_mock_cluster_topic(cluster, t->name, t->partitions, err);
    }
    bf_topics_free(topics);
    return code;
}

/* Until a stop is asked for. */
static enum bf_code keep_serving(struct offsets *offsets, struct bf_mock_cluster *cluster, struct bf_err *err) {
    enum bf_code code = BF_OK;

    while (code == BF_OK && bf_sleep_ms(SAVE_EVERY_MS)) {
        if (offsets != NULL) code = offsets_save(offsets, cluster, false, err);
    }
    if (code == BF_OK && offsets != NULL) code = offsets_save(offsets, cluster, true, err);
    return code;
}

static enum bf_exit serve(const struct settings *s) {
    struct bf_err err = {0};
    struct bf_mock_cluster *cluster = NULL;
    struct offsets *offsets = NULL;
    enum bf_code code = bf_stop_install(&err);

    if (code == BF_OK && s->dir != NULL) code = offsets_open(s->dir, &offsets, &err);
    if (code == BF_OK) code = bf_mock_cluster_open((int)s->brokers, &cluster, &err);
    if (code == BF_OK) code = make_topics(cluster, s->schemas_dir, &err);
    if (code == BF_OK && offsets != NULL) code = offsets_fill(offsets, cluster, &err);
    if (code == BF_OK) code = write_file(s->endpoints_file, "{\"kafka\":\"", bf_mock_cluster_bootstrap(cluster), "\"}", &err);
    if (code == BF_OK) code = write_file(s->port_file, "", bf_mock_cluster_bootstrap(cluster), "", &err);
    if (code == BF_OK) {
        bf_log(BF_LOG_INFO, "serving", "kafka=%s keeps=\"the last 5 MiB of a partition, in memory\"", bf_mock_cluster_bootstrap(cluster));
        code = keep_serving(offsets, cluster, &err);
        bf_log(BF_LOG_INFO, "stopping", "kafka=%s", bf_mock_cluster_bootstrap(cluster));
    }
    if (code != BF_OK) {
        bf_log_err(BF_LOG_ERROR, "failed", &err, "exit=%d", code == BF_INVALID ? BF_EXIT_SETTINGS : BF_EXIT_INTERNAL);
    }
    offsets_close(offsets);
    bf_mock_cluster_close(cluster);
    return code == BF_OK ? BF_EXIT_OK : code == BF_INVALID || code == BF_NOT_FOUND ? BF_EXIT_SETTINGS : BF_EXIT_INTERNAL;
}

static bool parse_level(const char *text, enum bf_log_level *level) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        *level = (enum bf_log_level)i;
        return true;
    }
    return false;
}

int main(int argc, char **argv) {
    struct settings s = {0};
    struct bf_err err = {0};
    char **left;
    int left_count, exit_code = BF_EXIT_OK;
    enum bf_log_level level = BF_LOG_INFO;

    bf_log_init("devbroker", level);
    enum bf_code code = bf_settings_load(&program, argc, argv, &s, &left, &left_count, &exit_code, &err);
    if (code == BF_OK && !parse_level(s.log_level, &level)) {
        code = bf_fail(&err, BF_INVALID, 0, "log-level: '%s' is none of debug, info, warn, error", s.log_level);
        exit_code = BF_EXIT_SETTINGS;
    }
    if (code == BF_OK) {
        bf_log_init("devbroker", level);
        exit_code = (int)serve(&s);
    } else if (code != BF_CANCELLED) {
        fprintf(stderr, "devbroker: %s\n", err.msg);
    }
    bf_settings_fini(&program, &s);
    return exit_code;
}
