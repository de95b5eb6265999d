/* world: every node as it was, as a table, or as the server's NDJSON with its count and digest checked. */
#include "replay_stream.h"

#include "bf_json.h"
#include "bf_time.h"

#include <string.h>

struct world_options {
    struct cli_options common;
    char *as_of, *known_by, *topic, *prefix;
};

#define ROW(key, field, help)                                                                                          \
    { key, BF_SETTING_STRING, offsetof(struct world_options, field), NULL, 0, 0, false, false, NULL, help }

static const struct bf_setting table[] = {
    CLI_OPTION_ROWS(struct world_options),
    ROW("as-of", as_of, "What was true then (default: known-by)"),
    ROW("known-by", known_by, "As we knew it then (default: all that is recorded)"),
    ROW("topic", topic, "Only of this topic"),
    ROW("prefix", prefix, "Only nodes whose id begins so"),
    CLI_OPTIONS_END,
};
static const struct bf_settings_program program = {
    "butterfly", "world [--as-of T] [--known-by T] [options]", "Shows every node as it was at a moment, as known by another. With --json: NDJSON.",
    NULL, table, false};

struct rows {
    struct cli_table *table;
    bool broken;
};

static void on_event(void *ctx, const char *line, size_t len) {
    struct rows *rows = ctx;
    struct bf_err err;
    json_t *ev = NULL;
    if (bf_json_parse(line, len, &ev, &err) == BF_OK)
        cli_event_row(rows->table, ev);
    else
        rows->broken = true;
    json_decref(ev);
}

static int ask(const struct world_options *o, struct cli_client *c) {
    char now[BF_TIME_TEXT_LEN + 1], known_by[32] = "";
    int exit_code = o->known_by != NULL ? BF_EXIT_OK : replay_pin_known_by(c, known_by);
    if (exit_code != BF_EXIT_OK)
        return exit_code;
    bf_time_format(now, bf_time_now_us());
    const char *const params[] = {"as_of",    o->as_of != NULL ? o->as_of : now,
                                  "known_by", o->known_by != NULL ? o->known_by : known_by[0] != '\0' ? known_by : NULL,
                                  "topic",    o->topic,
                                  "prefix",   o->prefix,
                                  "format",   "ndjson",
                                  NULL};
    struct cli_table t;
    struct rows rows = {&t, false};
    cli_table_init(&t, cli_event_columns, cli_event_column_count);
    struct replay_request request = {.path = "/v1/state", .params = params, .resumes_max = 5, .ctx = &rows};
    if (o->common.json)
        request.out = stdout;
    else
        request.on_event = on_event;
    struct replay_result result;
    exit_code = replay_run(c, &request, &result);
    if (exit_code == BF_EXIT_OK && o->common.json) {
        fwrite(result.trailer.data, 1, result.trailer.len, stdout);
        putchar('\n');
    } else if (exit_code == BF_EXIT_OK) {
        cli_table_print(&t, stdout);
        fprintf(stderr, "%llu rows as of %s, as known by %s\n", (unsigned long long)result.count, o->as_of != NULL ? o->as_of : now,
                result.recorded_through);
    }
    if (rows.broken) {
        cli_error("the server's answer is not what was expected");
        exit_code = BF_EXIT_INTERNAL;
    }
    cli_table_fini(&t);
    replay_result_fini(&result);
    return exit_code;
}

int cli_world(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    struct world_options o = {0};
    struct cli_client c = {0};
    char **left;
    int left_count, exit_code;
    if (cli_load(&program, argc, argv, 0, 0, &o, &left, &left_count, &exit_code) &&
        (exit_code = cli_client_open(&c, &o.common)) == BF_EXIT_OK)
        exit_code = ask(&o, &c);
    cli_client_close(&c);
    bf_settings_fini(&program, &o);
    return exit_code;
}
