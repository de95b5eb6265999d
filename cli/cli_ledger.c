/* What is held, and what became of the rest: topics, coverage, lag, quarantine. */
#include "cli_rows.h"

#include <string.h>

static void print_watermarks(const json_t *answer) {
    const char *recorded = cli_str(answer, "recorded_through"), *archived = cli_str(answer, "archived_through");
    if (recorded != NULL)
        fprintf(stderr, "recorded through %s", recorded);
    if (archived != NULL)
        fprintf(stderr, ", archived through %s", archived);
    fputc('\n', stderr);
}

/* ---- topics ---- */

static const struct bf_setting topics_table[] = {CLI_OPTION_ROWS(struct cli_rows_query), CLI_OPTIONS_END};
static const struct bf_settings_program topics_program = {
    "butterfly", "topics [TOPIC] [options]", "Shows the topics held and how much of them; of one topic its partitions.", NULL, topics_table, true};

static void print_topics(const json_t *answer, bool one) {
    static const struct cli_column of_topics[] = {{"TOPIC", false},       {"PARTITIONS", true}, {"EVENTS", true},  {"DUPLICATES", true},
                                                  {"QUARANTINED", true},  {"CONTROL", true},    {"LOST", true},    {"NEWEST EVENT", false}};
    static const char *const topic_keys[] = {"topic", "partitions", "events", "dispositions.duplicate", "dispositions.quarantined",
                                             "dispositions.control", "dispositions.lost-before-read", "newest_event_time"};
    static const struct cli_column of_partitions[] = {{"PARTITION", true}, {"FIRST", true},    {"NEXT", true},   {"EVENTS", true},
                                                      {"LAG", true},       {"ARCHIVED", true}, {"EPOCH", true},  {"NEWEST EVENT", false}};
    static const char *const partition_keys[] = {"partition",    "first_offset",    "next_offset", "events",
                                                 "lag_messages", "archived_offset", "epoch",       "newest_event_time"};
    if (one)
        cli_rows_print(json_object_get(answer, "partitions"), of_partitions, partition_keys, 8);
    else
        cli_rows_print(json_object_get(answer, "topics"), of_topics, topic_keys, 8);
    print_watermarks(answer);
}

int cli_topics(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    static const struct cli_rows_command l = {&topics_program, "/v1/topics", 0, 1, print_topics, false};
    return cli_rows_run(&l, argc, argv);
}

/* ---- lag ---- */

static const struct bf_setting lag_table[] = {CLI_OPTION_ROWS(struct cli_rows_query), CLI_OPTIONS_END};
static const struct bf_settings_program lag_program = {"butterfly", "lag [options]", "Shows how far the server is behind Kafka, by partition.",
                                                       NULL, lag_table, false};

static void print_lag(const json_t *answer, bool one) {
    static const struct cli_column columns[] = {{"TOPIC", false}, {"PARTITION", true}, {"NEXT", true},     {"HIGH", true},
                                                {"LAG", true},    {"SECONDS", true},   {"ARCHIVED", true}};
    static const char *const keys[] = {"topic", "partition", "next_offset", "high_watermark", "lag_messages", "lag_seconds", "archived_offset"};
    (void)one;
    cli_rows_print(json_object_get(answer, "lag"), columns, keys, 7);
    fprintf(stderr, "%lld messages behind, ", (long long)cli_int(answer, "lag_messages", 0));
    print_watermarks(answer);
}

int cli_lag(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    static const struct cli_rows_command l = {&lag_program, "/v1/lag", 0, 0, print_lag, false};
    return cli_rows_run(&l, argc, argv);
}

/* ---- coverage ---- */

static const struct bf_setting coverage_table[] = {
    CLI_OPTION_ROWS(struct cli_rows_query),
    CLI_ROWS_PARAM(0, "topic", "Only of this topic"),
    CLI_ROWS_PARAM(1, "partition", "Only of this partition"),
    CLI_OPTIONS_END,
};
static const struct bf_settings_program coverage_program = {
    "butterfly", "coverage [options]", "Shows what became of every offset: stored, duplicate, quarantined, control or lost-before-read.", NULL,
    coverage_table, false};

static void print_coverage(const json_t *answer, bool one) {
    static const struct cli_column columns[] = {{"TOPIC", false}, {"PARTITION", true}, {"FROM", true}, {"TO", true}, {"DISPOSITION", false}};
    struct cli_table t;
    size_t i, k;
    json_t *partition, *interval;
    (void)one;
    cli_table_init(&t, columns, 5);
    json_array_foreach(json_object_get(answer, "coverage"), i, partition) {
        static const char *const lists[] = {"intervals", "holes"};
        for (size_t l = 0; l < 2; l++)
            json_array_foreach(json_object_get(partition, lists[l]), k, interval) {
                cli_cell_json(&t, json_object_get(partition, "topic"));
                cli_cell_json(&t, json_object_get(partition, "partition"));
                cli_cell_json(&t, json_object_get(interval, "from"));
                cli_cell_json(&t, json_object_get(interval, "to"));
                cli_cell(&t, l == 0 ? cli_str(interval, "disposition") : "HOLE");
            }
    }
    cli_table_print(&t, stdout);
    cli_table_fini(&t);
    fprintf(stderr, "%s, ", json_is_true(json_object_get(answer, "complete")) ? "no holes" : "THERE ARE HOLES");
    print_watermarks(answer);
}

int cli_coverage(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    static const struct cli_rows_command l = {&coverage_program, "/v1/coverage", 0, 0, print_coverage, false};
    return cli_rows_run(&l, argc, argv);
}

/* ---- quarantine ---- */

static const struct bf_setting quarantine_table[] = {
    CLI_OPTION_ROWS(struct cli_rows_query),
    CLI_ROWS_PARAM(0, "topic", "Only of this topic"),
    CLI_ROWS_PARAM(1, "reason", "Only these: avro, framing, schema, node_id, utf8, limit or refused"),
    CLI_ROWS_PARAM(2, "schema-id", "Only of this schema id"),
    CLI_ROWS_PARAM(3, "redriven", "true or false"),
    CLI_ROWS_PARAM(4, "limit", "At most so many"),
    CLI_ROWS_PARAM(5, "cursor", "Go on where another page ended"),
    CLI_ROWS_RAW("With one record: write its value's bytes to standard output"),
    CLI_ROWS_PARAM(6, "part", "With --raw: key or headers instead"),
    CLI_OPTIONS_END,
};
static const struct bf_settings_program quarantine_program = {
    "butterfly", "quarantine [redrive | TOPIC PARTITION OFFSET] [options]",
    "Shows the records that could not be taken in, and why; of one record everything, or with --raw its bytes.", NULL, quarantine_table, true};

static void print_quarantine(const json_t *answer, bool one) {
    static const struct cli_column columns[] = {{"TOPIC", false},  {"PARTITION", true}, {"OFFSET", true},    {"QUARANTINED", false},
                                                {"REASON", false}, {"SCHEMA", true},    {"REDRIVEN", false}, {"DETAIL", false}};
    static const char *const keys[] = {"topic", "partition", "offset", "quarantined_at", "reason", "schema_id", "redriven_at", "detail"};
    const json_t *list = json_object_get(answer, "quarantined");
    if (one) {
        cli_rows_print_fields(answer);
        return;
    }
    cli_rows_print(list, columns, keys, 8);
    fprintf(stderr, "%zu record%s\n", json_array_size(list), json_array_size(list) == 1 ? "" : "s");
    if (cli_str(answer, "next") != NULL)
        fprintf(stderr, "more: --cursor %s\n", cli_str(answer, "next"));
}

static const struct bf_setting redrive_table[] = {
    CLI_OPTION_ROWS(struct cli_rows_query),
    CLI_ROWS_PARAM(0, "topic", "Only of this topic"),
    CLI_ROWS_PARAM(1, "partition", "Only of this partition; needs --topic"),
    CLI_ROWS_PARAM(2, "offset", "Only this offset; needs --partition"),
    CLI_ROWS_PARAM(3, "reason", "Only these: avro, framing, schema, node_id, utf8, limit or refused"),
    CLI_ROWS_PARAM(4, "schema-id", "Only of this schema id"),
    CLI_ROWS_PARAM(5, "dry-run", "true: only say what would become of each"),
    CLI_ROWS_PARAM(6, "limit", "At most so many"),
    CLI_OPTIONS_END,
};
static const struct bf_settings_program redrive_program = {
    "butterfly", "quarantine redrive [options]", "Takes quarantined records in after all, with their original coordinates, as far as they can be read now.", NULL,
    redrive_table, true};

static void print_redrive(const json_t *answer, bool one) {
    static const struct cli_column columns[] = {{"TOPIC", false},   {"PARTITION", true}, {"OFFSET", true}, {"OUTCOME", false},
                                                {"EVENT", false},   {"REVISION", true},  {"DETAIL", false}};
    static const char *const keys[] = {"topic", "partition", "offset", "outcome", "event_id", "revision", "detail"};
    (void)one;
    cli_rows_print(json_object_get(answer, "results"), columns, keys, 7);
    fprintf(stderr, "%lld of %lld %s%s\n", (long long)cli_int(answer, "redriven", 0), (long long)cli_int(answer, "found", 0),
            json_is_true(json_object_get(answer, "dry_run")) ? "could be taken in" : "were taken in",
            json_is_true(json_object_get(answer, "more")) ? "; there are more" : "");
}

int cli_quarantine(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    static const struct cli_rows_command l = {&quarantine_program, "/v1/quarantine", 0, 3, print_quarantine, false};
    static const struct cli_rows_command redrive = {&redrive_program, "/v1/quarantine", 0, 1, print_redrive, true};
    for (int i = 1; i < argc; i++) /* words without dashes are the action, or a record's place */
        if (strcmp(argv[i], "redrive") == 0)
            return cli_rows_run(&redrive, argc, argv);
    return cli_rows_run(&l, argc, argv);
}
