/* Questions about events: event, history, search, state. A settings row behind the common ones is a query parameter; what a parameter
 * may be is the server's business, and its answer to a wrong one is printed as it is.
 */
#include "cli_rows.h"

#include <string.h>

enum { PARAMS_MAX = 16 };
struct query {
    struct cli_options common;
    char *params[PARAMS_MAX];
};

#define PARAM(index, key, type, help)                                                                                  \
    { key, type, offsetof(struct query, params) + (index) * sizeof(char *), NULL, 0, 0, false, false, NULL, help }
#define TEXT BF_SETTING_STRING
#define LIST BF_SETTING_LIST

/* ---- event ---- */

struct event_query {
    struct cli_options common;
    char *topic, *part;
    bool raw;
};

static const struct bf_setting event_table[] = {
    CLI_OPTION_ROWS(struct event_query),
    {"topic", BF_SETTING_STRING, offsetof(struct event_query, topic), NULL, 0, 0, false, false, NULL,
     "Which topic's, when several hold this id"},
    {"raw", BF_SETTING_BOOL, offsetof(struct event_query, raw), "false", 0, 0, false, false, NULL,
     "Write the value's bytes exactly as they were in Kafka to standard output"},
    {"part", BF_SETTING_STRING, offsetof(struct event_query, part), NULL, 0, 0, false, false, NULL, "With --raw: key or headers instead"},
    CLI_OPTIONS_END,
};
static const struct bf_settings_program event_program = {
    "butterfly", "event ID [options]", "Shows one event, all its revisions, and every place where it was seen. ID is a UUID or the source's own id.",
    NULL, event_table, true};

static void print_revisions(const json_t *revisions) {
    static const struct cli_column columns[] = {{"REV", true}, {"RECORDED", false}, {"EVENT TIME", false}, {"PARTITION", true},
                                                {"OFFSET", true}, {"PAYLOAD", false}};
    struct cli_table t;
    size_t i;
    json_t *ev;
    cli_table_init(&t, columns, 6);
    json_array_foreach((json_t *)(uintptr_t)revisions, i, ev) {
        struct bf_buf summary;
        bf_buf_init(&summary, 1 << 20);
        cli_summary(json_object_get(ev, "payload"), &summary);
        bf_buf_putc(&summary, '\0');
        cli_cell_json(&t, json_object_get(ev, "revision"));
        cli_cell_json(&t, json_object_get(ev, "recorded_at"));
        cli_cell_json(&t, json_object_get(ev, "event_time"));
        cli_cell_json(&t, json_object_get(ev, "partition"));
        cli_cell_json(&t, json_object_get(ev, "offset"));
        cli_cell(&t, summary.failed ? "(too long)" : summary.data);
        bf_buf_fini(&summary);
    }
    printf("\nrevisions, oldest first\n");
    cli_table_print(&t, stdout);
    cli_table_fini(&t);
}

static void print_seen(const json_t *seen) {
    static const struct cli_column columns[] = {{"TOPIC", false}, {"PARTITION", true}, {"OFFSET", true}, {"KAFKA TIME", false},
                                                {"DISPOSITION", false}};
    static const char *const keys[] = {"topic", "partition", "offset", "kafka_time", "disposition"};
    printf("\nseen in Kafka\n");
    cli_rows_print(seen, columns, keys, 5);
}

int cli_event(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    struct event_query q = {0};
    struct cli_client c = {0};
    char **left;
    int left_count, exit_code;
    json_t *answer = NULL;
    if (!cli_load(&event_program, argc, argv, 1, 1, &q, &left, &left_count, &exit_code) ||
        (exit_code = cli_client_open(&c, &q.common)) != BF_EXIT_OK)
        goto done;
    cli_path(&c, "/v1/events");
    cli_segment(&c, left[0]);
    if (q.raw)
        cli_tail(&c, "/raw");
    cli_param(&c, "topic", q.topic);
    if (q.raw) {
        cli_param(&c, "part", q.part);
        exit_code = cli_get(&c);
        if (exit_code == BF_EXIT_OK)
            fwrite(c.answer.data, 1, c.answer.len, stdout);
        goto done;
    }
    exit_code = cli_get_json(&c, &q.common, &answer);
    if (answer == NULL)
        goto done;
    cli_rows_print_fields(answer);
    print_revisions(json_object_get(answer, "revisions"));
    print_seen(json_object_get(answer, "seen"));
done:
    json_decref(answer);
    cli_client_close(&c);
    bf_settings_fini(&event_program, &q);
    return exit_code;
}

/* ---- history and search: pages of events ---- */

static const struct bf_setting history_table[] = {
    CLI_OPTION_ROWS(struct query),
    PARAM(0, "from", TEXT, "Event time, from here on"),
    PARAM(1, "to", TEXT, "Event time, before this"),
    PARAM(2, "topic", TEXT, "Only of this topic"),
    PARAM(3, "known-by", TEXT, "Only what was recorded by then"),
    PARAM(4, "order", TEXT, "desc (newest first, the default) or asc"),
    PARAM(5, "limit", TEXT, "At most so many, up to 10000"),
    PARAM(6, "cursor", TEXT, "Go on where another page ended"),
    CLI_OPTIONS_END,
};
static const struct bf_settings_program history_program = {
    "butterfly", "history NODE [options]", "Shows what happened at a node, newest first.", NULL, history_table, true};

static const struct bf_setting search_table[] = {
    CLI_OPTION_ROWS(struct query),
    PARAM(0, "topic", TEXT, "Only of this topic"),
    PARAM(1, "domain", TEXT, "Only of topics of this domain"),
    PARAM(2, "node", TEXT, "Only of this node"),
    PARAM(3, "node-prefix", TEXT, "Only of nodes whose id begins so"),
    PARAM(4, "from", TEXT, "Event time, from here on"),
    PARAM(5, "to", TEXT, "Event time, before this"),
    PARAM(6, "recorded-from", TEXT, "Recorded time, from here on"),
    PARAM(7, "recorded-to", TEXT, "Recorded time, before this"),
    PARAM(8, "trace", TEXT, "Only of this trace id"),
    PARAM(9, "cause", TEXT, "Only what this event id caused"),
    PARAM(10, "known-by", TEXT, "Only what was recorded by then"),
    PARAM(11, "order", TEXT, "asc or desc"),
    PARAM(12, "limit", TEXT, "At most so many, up to 10000"),
    PARAM(13, "cursor", TEXT, "Go on where another page ended"),
    CLI_OPTIONS_END,
};
static const struct bf_settings_program search_program = {
    "butterfly", "search [options]", "Finds events by topic, node, time, trace or cause.", NULL, search_table, true};

static void print_page(const json_t *answer) {
    struct cli_table t;
    size_t i;
    json_t *ev;
    const json_t *events = json_object_get(answer, "events");
    cli_table_init(&t, cli_event_columns, cli_event_column_count);
    json_array_foreach((json_t *)(uintptr_t)events, i, ev)
        cli_event_row(&t, ev);
    cli_table_print(&t, stdout);
    cli_table_fini(&t);
    const char *next = cli_str(answer, "next"), *through = cli_str(answer, "recorded_through");
    fprintf(stderr, "%zu event%s", json_array_size(events), json_array_size(events) == 1 ? "" : "s");
    if (through != NULL)
        fprintf(stderr, ", recorded through %s", through);
    fprintf(stderr, "\n");
    if (next != NULL)
        fprintf(stderr, "more: --cursor %s\n", next);
}

int cli_listing(const struct cli_command *cmd, int argc, char **argv) {
    bool history = strcmp(cmd->name, "history") == 0;
    const struct bf_settings_program *program = history ? &history_program : &search_program;
    struct query q = {0};
    struct cli_client c = {0};
    char **left;
    int left_count, exit_code;
    json_t *answer = NULL;
    if (!cli_load(program, argc, argv, history, history, &q, &left, &left_count, &exit_code) ||
        (exit_code = cli_client_open(&c, &q.common)) != BF_EXIT_OK)
        goto done;
    if (history) {
        cli_path(&c, "/v1/nodes");
        cli_segment(&c, left[0]);
        cli_tail(&c, "/history");
    } else {
        cli_path(&c, "/v1/events");
    }
    cli_params(&c, program->table, &q);
    exit_code = cli_get_json(&c, &q.common, &answer);
    if (answer != NULL)
        print_page(answer);
done:
    json_decref(answer);
    cli_client_close(&c);
    bf_settings_fini(program, &q);
    return exit_code;
}

/* ---- state of one node ---- */

static const struct bf_setting state_table[] = {
    CLI_OPTION_ROWS(struct query),
    PARAM(0, "as-of", TEXT, "What was true then (default: known-by)"),
    PARAM(1, "known-by", TEXT, "As we knew it then (default: all that is recorded)"),
    PARAM(2, "topic", TEXT, "Only of this topic"),
    CLI_OPTIONS_END,
};
static const struct bf_settings_program state_program = {
    "butterfly", "state NODE [--as-of T] [--known-by T] [options]",
    "Shows a node as it was: of each topic the newest event not after --as-of, among what was recorded by --known-by.", NULL, state_table, true};

static void print_state(const json_t *answer) {
    struct cli_table t;
    size_t i;
    json_t *ev;
    const json_t *states = json_object_get(answer, "states");
    cli_table_init(&t, cli_event_columns, cli_event_column_count);
    json_array_foreach((json_t *)(uintptr_t)states, i, ev)
        cli_event_row(&t, ev);
    cli_table_print(&t, stdout);
    cli_table_fini(&t);
    const char *as_of = cli_str(answer, "as_of"), *known_by = cli_str(answer, "known_by");
    fprintf(stderr, "as of %s, as known by %s\n", as_of != NULL ? as_of : "now", known_by != NULL ? known_by : "now");
}

int cli_state(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    struct query q = {0};
    struct cli_client c = {0};
    char **left;
    int left_count, exit_code;
    json_t *answer = NULL;
    if (!cli_load(&state_program, argc, argv, 1, 1, &q, &left, &left_count, &exit_code) ||
        (exit_code = cli_client_open(&c, &q.common)) != BF_EXIT_OK)
        goto done;
    cli_path(&c, "/v1/nodes");
    cli_segment(&c, left[0]);
    cli_tail(&c, "/state");
    cli_params(&c, state_table, &q);
    exit_code = cli_get_json(&c, &q.common, &answer);
    if (answer != NULL)
        print_state(answer);
done:
    json_decref(answer);
    cli_client_close(&c);
    bf_settings_fini(&state_program, &q);
    return exit_code;
}
