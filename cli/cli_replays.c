/* replays: replays into Kafka: begin one, see them, pause, resume, cancel. */
#include "cli.h"

#include "bf_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct replays {
    struct cli_options common;
    char *topic, *node, *node_prefix, *by, *from, *to, *known_by, *partition, *from_offset, *to_offset, *partitions, *rate;
    bool dry_run;
};

#define TEXT(key, member, help) {key, BF_SETTING_STRING, offsetof(struct replays, member), NULL, 0, 0, false, false, NULL, help}

/* All behind the common ones are query parameters of `start`; --dry-run, the last, is put there by hand. */
static const struct bf_setting table[] = {
    CLI_OPTION_ROWS(struct replays),
    {"topic", BF_SETTING_LIST, offsetof(struct replays, topic), NULL, 0, 0, false, false, NULL, "start: only of these topics"},
    TEXT("node", node, "start: only of this node"),
    TEXT("node-prefix", node_prefix, "start: only of nodes whose id begins so"),
    TEXT("by", by, "start: the order and what --from and --to mean: event_time (the default) or recorded"),
    TEXT("from", from, "start: from here on"),
    TEXT("to", to, "start: before this"),
    TEXT("known-by", known_by, "start: only what was recorded by then"),
    TEXT("partition", partition, "start: with one --topic: only this partition, in offset order"),
    TEXT("from-offset", from_offset, "start: with --partition: from this offset on"),
    TEXT("to-offset", to_offset, "start: with --partition: before this offset"),
    TEXT("partitions", partitions, "start: of the target topic, when the job makes it (default 1, which keeps the whole order)"),
    TEXT("rate", rate, "start: events a second at most (default: as fast as possible)"),
    {"dry-run", BF_SETTING_BOOL, offsetof(struct replays, dry_run), "false", 0, 0, false, false, NULL, "start: count what would be sent, and send nothing"},
    CLI_OPTIONS_END,
};
static const struct bf_settings_program program = {
    "butterfly", "replays [list | start NAME | show ID | pause ID | resume ID | cancel ID] [options]",
    "Replays into Kafka: a job sends a range of events into the topic replay.NAME, each of them once however often the server is killed.",
    "Without an action: list.", table, true};

static void print_jobs(json_t *answer) {
    static const struct cli_column columns[] = {{"ID", false},   {"TOPIC", false},     {"STATE", false},   {"SENT", true},
                                                {"DONE", true}, {"ETA S", true}, {"CREATED", false}, {"DETAIL", false}};
    json_t *jobs = json_object_get(answer, "replays"), *one = jobs ? NULL : json_pack("[O]", answer), *job;
    struct cli_table t;
    size_t i;
    cli_table_init(&t, columns, sizeof columns / sizeof columns[0]);
    json_array_foreach(jobs ? jobs : one, i, job) {
        char done[16];
        snprintf(done, sizeof done, "%.0f %%", 100 * json_number_value(json_object_get(job, "progress")));
        cli_cell_json(&t, json_object_get(job, "id"));
        cli_cell_json(&t, json_object_get(job, "topic"));
        cli_cell_json(&t, json_object_get(job, "state"));
        cli_cell_json(&t, json_object_get(job, "events_sent"));
        cli_cell(&t, done);
        cli_cell_json(&t, json_object_get(job, "eta_seconds"));
        cli_cell_json(&t, json_object_get(job, "created_at"));
        cli_cell_json(&t, json_object_get(job, "detail"));
    }
    cli_table_print(&t, stdout);
    cli_table_fini(&t);
    json_decref(one);
}

static int print_answer(const struct cli_client *c, const struct replays *r) {
    struct bf_err err;
    json_t *answer = NULL;
    if (r->common.json) {
        fwrite(c->answer.data, 1, c->answer.len, stdout);
        return BF_EXIT_OK;
    }
    if (bf_json_parse(c->answer.data, c->answer.len, &answer, &err) != BF_OK) {
        cli_error("the answer is broken: %s", err.msg);
        return BF_EXIT_FAILED;
    }
    if (json_object_get(answer, "dry_run"))
        printf("%lld events, %lld bytes would go into %s\n", (long long)cli_int(answer, "events", 0), (long long)cli_int(answer, "bytes", 0),
               cli_str(answer, "topic"));
    else
        print_jobs(answer);
    json_decref(answer);
    return BF_EXIT_OK;
}

static int ask(struct cli_client *c, const char *method, const struct replays *r) {
    struct bf_err err;
    bf_buf_putc(&c->url, '\0');
    enum bf_code code = bf_http_call(c->http, method, c->url.data, NULL, BF_SLICE_NONE, &c->status, &c->answer, &err);
    if (code != BF_OK) {
        cli_error("%s", err.msg);
        return cli_exit_of(code);
    }
    return c->status >= 300 ? cli_problem(c->status, c->answer.data, c->answer.len) : print_answer(c, r);
}

static int act(struct cli_client *c, const struct replays *r, const char *action, const char *what) {
    bool start = strcmp(action, "start") == 0, moves = false;
    static const char *const moving[] = {"pause", "resume", "cancel"};
    for (size_t i = 0; i < 3; i++)
        moves = moves || strcmp(action, moving[i]) == 0;
    cli_path(c, "/v1/replays");
    if (strcmp(action, "list") == 0 && !what)
        return ask(c, "GET", r);
    if (!what || !(start || moves || strcmp(action, "show") == 0)) {
        cli_error("say: list, start NAME, show ID, pause ID, resume ID or cancel ID");
        return BF_EXIT_USAGE;
    }
    if (start) {
        struct bf_setting params[sizeof table / sizeof table[0]];
        memcpy(params, table, sizeof table);
        params[sizeof table / sizeof table[0] - 2] = params[sizeof table / sizeof table[0] - 1]; /* without --dry-run */
        cli_params(c, params, r);
        cli_param(c, "name", what);
        cli_param(c, "dry_run", r->dry_run ? "true" : NULL);
        return ask(c, "POST", r);
    }
    cli_segment(c, what);
    if (moves)
        cli_segment(c, action);
    return ask(c, moves ? "POST" : "GET", r);
}

int cli_replays(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    struct replays r = {0};
    struct cli_client c = {0};
    char **left;
    int left_count, exit_code;
    if (!cli_load(&program, argc, argv, 0, 2, &r, &left, &left_count, &exit_code))
        goto done;
    exit_code = cli_client_open(&c, &r.common);
    if (exit_code == BF_EXIT_OK)
        exit_code = act(&c, &r, left_count > 0 ? left[0] : "list", left_count > 1 ? left[1] : NULL);
done:
    cli_client_close(&c);
    bf_settings_fini(&program, &r);
    return exit_code;
}
