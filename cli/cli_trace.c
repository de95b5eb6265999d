/* trace: up from an event to what began it all, then down again to everything that came of that, as a tree.
 *
 * Bounded in depth and number, so that data which refers in circles ends, too. */
#include "cli.h"

#include "bf_json.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 32, EVENTS_MAX = 10000, PAGE_LIMIT = 1000 };

struct trace {
    struct cli_options common;
    char *topic;
    struct cli_client client;
    size_t events; /* fetched so far */
    bool cut;      /* a bound was reached */
};

static const struct bf_setting table[] = {
    CLI_OPTION_ROWS(struct trace),
    {"topic", BF_SETTING_STRING, offsetof(struct trace, topic), NULL, 0, 0, false, false, NULL, "Which topic's, when several hold this id"},
    CLI_OPTIONS_END,
};
static const struct bf_settings_program program = {
    "butterfly", "trace ID [options]", "Shows what an event was caused by and all that it led to: signal, reflexes, decisions.",
    "With --json the tree: each event with a list \"caused\".", table, true};

static int fetch(struct trace *t, json_t **out) {
    struct bf_err err;
    int exit_code = cli_get(&t->client);
    if (exit_code == BF_EXIT_OK && bf_json_parse(t->client.answer.data, t->client.answer.len, out, &err) != BF_OK) {
        cli_error("the server's answer is no JSON: %s", err.msg);
        exit_code = BF_EXIT_INTERNAL;
    }
    return exit_code;
}

static int get_event(struct trace *t, const char *id, const char *topic, json_t **out) {
    cli_path(&t->client, "/v1/events");
    cli_segment(&t->client, id);
    cli_param(&t->client, "topic", topic);
    return fetch(t, out);
}

/* From the event to the one that nothing caused, or whose cause is not held here. Takes *event, gives the root. */
static int climb(struct trace *t, json_t **event) {
    for (int depth = 0; depth < DEPTH_MAX; depth++) {
        const char *cause = cli_str(*event, "cause_id"), *topic = cli_str(json_object_get(*event, "payload"), "cause_topic");
        json_t *above = NULL;
        if (cause == NULL)
            return BF_EXIT_OK;
        int exit_code = get_event(t, cause, topic, &above);
        if (exit_code != BF_EXIT_OK)
            return t->client.status == 404 ? BF_EXIT_OK : exit_code;
        json_decref(*event);
        *event = above;
    }
    t->cut = true;
    return BF_EXIT_OK;
}

static int page(struct trace *t, const char *id, const char *cursor, json_t **out) {
    cli_path(&t->client, "/v1/events");
    cli_param(&t->client, "cause", id);
    cli_param(&t->client, "order", "asc");
    cli_param(&t->client, "limit", "1000");
    cli_param(&t->client, "cursor", cursor);
    return fetch(t, out);
}

/* All events that this one caused; the newest revision of each. */
static int children(struct trace *t, const char *id, json_t *caused) {
    json_t *answer = NULL, *ev;
    size_t i;
    int exit_code = page(t, id, NULL, &answer);
    while (exit_code == BF_EXIT_OK) {
        json_array_foreach(json_object_get(answer, "events"), i, ev) {
            if (++t->events > EVENTS_MAX)
                t->cut = true;
            else
                json_array_append(caused, ev);
        }
        char *next = cli_str(answer, "next") != NULL && !t->cut ? strdup(cli_str(answer, "next")) : NULL;
        json_decref(answer);
        answer = NULL;
        if (next == NULL)
            break;
        exit_code = page(t, id, next, &answer);
        free(next);
    }
    json_decref(answer);
    return exit_code;
}

/* Hang what it caused below it, and so on. */
static int descend(struct trace *t, json_t *event, int depth) {
    const char *id = cli_str(event, "event_id");
    json_t *caused = json_array(), *ev;
    size_t i;
    json_object_del(event, "revisions");
    json_object_del(event, "seen");
    json_object_set_new(event, "caused", caused);
    if (depth >= DEPTH_MAX || id == NULL) {
        t->cut = true;
        return BF_EXIT_OK;
    }
    int exit_code = children(t, id, caused);
    json_array_foreach(caused, i, ev)
        if (exit_code == BF_EXIT_OK && !t->cut)
            exit_code = descend(t, ev, depth + 1);
    return exit_code;
}

/* ---- for people ---- */

static void add_rows(struct cli_table *rows, const json_t *event, const char *asked, struct bf_buf *indent) {
    const char *id = cli_str(event, "event_id"), *topic = cli_str(event, "topic");
    const json_t *caused = json_object_get(event, "caused");
    struct bf_buf cell;
    size_t i, depth = indent->len;
    json_t *ev;
    bf_buf_init(&cell, 1 << 20);
    bf_buf_printf(&cell, "%.*s%s%s", (int)indent->len, indent->data != NULL ? indent->data : "", topic != NULL ? topic : "?",
                  id != NULL && strcmp(id, asked) == 0 ? " *" : "");
    bf_buf_putc(&cell, '\0');
    cli_cell(rows, cell.data);
    cli_cell(rows, id);
    cli_cell_json(rows, json_object_get(event, "event_time"));
    bf_buf_clear(&cell);
    cli_summary(json_object_get(event, "payload"), &cell);
    bf_buf_putc(&cell, '\0');
    cli_cell(rows, cell.failed ? "(too long)" : cell.data);
    bf_buf_fini(&cell);
    bf_buf_puts(indent, "  ");
    json_array_foreach((json_t *)(uintptr_t)caused, i, ev)
        add_rows(rows, ev, asked, indent);
    indent->len = depth;
}

static void print_tree(const json_t *root, const char *asked) {
    static const struct cli_column columns[] = {{"TOPIC", false}, {"EVENT ID", false}, {"EVENT TIME", false}, {"PAYLOAD", false}};
    struct cli_table rows;
    struct bf_buf indent;
    bf_buf_init(&indent, 4096);
    cli_table_init(&rows, columns, 4);
    add_rows(&rows, root, asked, &indent);
    cli_table_print(&rows, stdout);
    cli_table_fini(&rows);
    bf_buf_fini(&indent);
}

static int show(struct trace *t, const char *id) {
    json_t *root = NULL;
    char asked[64];
    int exit_code = get_event(t, id, t->topic, &root);
    if (exit_code != BF_EXIT_OK)
        return exit_code;
    snprintf(asked, sizeof asked, "%s", cli_str(root, "event_id") != NULL ? cli_str(root, "event_id") : "");
    exit_code = climb(t, &root);
    if (exit_code == BF_EXIT_OK)
        exit_code = descend(t, root, 0);
    if (exit_code == BF_EXIT_OK && t->common.json) {
        json_dumpf(root, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
        putchar('\n');
    } else if (exit_code == BF_EXIT_OK) {
        print_tree(root, asked);
    }
    if (t->cut)
        fprintf(stderr, "cut: more than %d events, or deeper than %d\n", EVENTS_MAX, DEPTH_MAX);
    json_decref(root);
    return exit_code == BF_EXIT_OK && t->cut ? BF_EXIT_FAILED : exit_code;
}

int cli_trace(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    struct trace t = {0};
    char **left;
    int left_count, exit_code;
    if (cli_load(&program, argc, argv, 1, 1, &t, &left, &left_count, &exit_code) && (exit_code = cli_client_open(&t.client, &t.common)) == BF_EXIT_OK)
        exit_code = show(&t, left[0]);
    cli_client_close(&t.client);
    bf_settings_fini(&program, &t);
    return exit_code;
}
