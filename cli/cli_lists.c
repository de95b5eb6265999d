/* nodes, reads, schema: what is known, who asked for it, and in which shapes it came. */
#include "cli_rows.h"

#include "bf_json.h"

#include <string.h>

static void tell_more(const json_t *answer) {
    const char *next = cli_str(answer, "next");
    if (next != NULL)
        fprintf(stderr, "more: --cursor %s\n", next);
}

/* ---- nodes ---- */

static const struct bf_setting nodes_table[] = {
    CLI_OPTION_ROWS(struct cli_rows_query),
    CLI_ROWS_PARAM(0, "prefix", "Only nodes whose id begins so"),
    CLI_ROWS_PARAM(1, "limit", "At most so many"),
    CLI_ROWS_PARAM(2, "cursor", "Go on where another page ended"),
    CLI_OPTIONS_END,
};
static const struct bf_settings_program nodes_program = {
    "butterfly", "nodes [NODE] [options]", "Lists the nodes that are known; of one node, what is held of it by topic.", NULL, nodes_table, true};

static void print_nodes(const json_t *answer, bool one) {
    static const struct cli_column names[] = {{"NODE", false}};
    static const char *const name_keys[] = {"rim_node_id"};
    static const struct cli_column topics[] = {{"TOPIC", false}, {"EVENTS", true}, {"FIRST EVENT", false}, {"NEWEST EVENT", false}};
    static const char *const topic_keys[] = {"topic", "events", "first_event_time", "last_event_time"};
    if (one)
        cli_rows_print(json_object_get(answer, "topics"), topics, topic_keys, 4);
    else
        cli_rows_print(json_object_get(answer, "nodes"), names, name_keys, 1);
    tell_more(answer);
}

int cli_nodes(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    static const struct cli_rows_command command = {&nodes_program, "/v1/nodes", 0, 1, print_nodes, false};
    return cli_rows_run(&command, argc, argv);
}

/* ---- reads ---- */

static const struct bf_setting reads_table[] = {
    CLI_OPTION_ROWS(struct cli_rows_query),
    CLI_ROWS_PARAM(0, "from", "Read at this moment or later"),
    CLI_ROWS_PARAM(1, "to", "Read before this"),
    CLI_ROWS_PARAM(2, "who", "Only by the bearer of the token with this name"),
    CLI_ROWS_PARAM(3, "limit", "At most so many"),
    CLI_ROWS_PARAM(4, "cursor", "Go on where another page ended"),
    CLI_OPTIONS_END,
};
static const struct bf_settings_program reads_program = {
    "butterfly", "reads [options]", "Shows who read what of history, oldest first.", "With tokens it needs one of scope audit.", reads_table, false};

static void print_reads(const json_t *answer, bool one) {
    static const struct cli_column columns[] = {{"READ", false}, {"WHO", false},  {"PEER", false},  {"STATUS", true},
                                                {"ROWS", true},  {"BYTES", true}, {"QUESTION", false}};
    static const char *const keys[] = {"read_at", "who", "peer", "status", "rows", "bytes", "question"};
    const json_t *list = json_object_get(answer, "reads");
    (void)one;
    cli_rows_print(list, columns, keys, 7);
    fprintf(stderr, "%zu read%s\n", json_array_size(list), json_array_size(list) == 1 ? "" : "s");
    tell_more(answer);
}

int cli_reads(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    static const struct cli_rows_command command = {&reads_program, "/v1/reads", 0, 0, print_reads, false};
    return cli_rows_run(&command, argc, argv);
}

/* ---- schema ---- */

static const struct bf_setting schema_table[] = {CLI_OPTION_ROWS(struct cli_rows_query), CLI_OPTIONS_END};
static const struct bf_settings_program schema_program = {
    "butterfly", "schema ID [options]", "Shows a writer's schema as it was registered, indented; --json: as the server gives it.", NULL, schema_table, true};

static void print_schema(const json_t *answer, bool one) {
    struct bf_err err;
    const char *text = cli_str(answer, "schema");
    json_t *schema = NULL;
    (void)one;
    if (text == NULL || bf_json_parse(text, strlen(text), &schema, &err) != BF_OK) {
        cli_rows_print_fields(answer);
        return;
    }
    json_dumpf(schema, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(schema);
}

int cli_schema(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    static const struct cli_rows_command command = {&schema_program, "/v1/schemas", 1, 1, print_schema, false};
    return cli_rows_run(&command, argc, argv);
}
