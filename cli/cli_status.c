/* status: what runs, how far it is, how well. Exit code 0 only if all is well: every program of the folder is alive, the server is ready,
 * no dependency is away, and nothing was lost before it was read. */
#include "cli.h"
#include "process.h"

#include "bf_json.h"

#include <stdlib.h>
#include <string.h>

struct status_options {
    struct cli_options common;
};

static const struct bf_setting table[] = {CLI_OPTION_ROWS(struct status_options), CLI_OPTIONS_END};
static const struct bf_settings_program program = {
    "butterfly", "status [--dir D] [options]", "Shows what runs, how far it is and how well.",
    "Exit code 0 only if all is well, 1 if something is not, 4 if the server does not answer.", table, false};

/* Names of dead programs are appended to `dead`. With print the table of programs is shown. */
static int check_programs(const char *dir, bool print, struct bf_buf *dead) {
    static const struct cli_column columns[] = {{"PROGRAM", false}, {"PID", true}, {"STATE", false}};
    struct bf_err err;
    struct bf_buf path;
    struct cli_table t;
    json_t *root = NULL, *pid;
    const char *name;
    char *real = realpath(dir, NULL);
    bf_buf_init(&path, 8192);
    bf_buf_printf(&path, "%s/endpoints.json", dir);
    bf_buf_putc(&path, '\0');
    enum bf_code code = path.failed ? bf_fail(&err, BF_INVALID, 0, "the folder's name is too long") : bf_json_load_file(path.data, &root, &err);
    bf_buf_fini(&path);
    if (real == NULL || code != BF_OK) {
        cli_error("nothing runs in %s: %s", dir, real == NULL ? "there is no such folder" : err.msg);
        free(real);
        return BF_EXIT_DEPENDENCY;
    }
    cli_table_init(&t, columns, 3);
    json_object_foreach(json_object_get(root, "pids"), name, pid) {
        char proc[64];
        snprintf(proc, sizeof proc, "/proc/%lld", (long long)json_integer_value(pid));
        bool supervisor = strcmp(name, "supervisor") == 0;
        FILE *alive = supervisor ? fopen(proc, "r") : NULL;
        bool runs = supervisor ? alive != NULL : process_is_ours((pid_t)json_integer_value(pid), real);
        if (alive != NULL)
            fclose(alive);
        cli_cell(&t, name);
        cli_cell_json(&t, pid);
        cli_cell(&t, runs ? "runs" : "DEAD");
        if (!runs)
            bf_buf_printf(dead, "%s%s", dead->len > 0 ? ", " : "", name);
    }
    if (print)
        cli_table_print(&t, stdout);
    cli_table_fini(&t);
    json_decref(root);
    free(real);
    return BF_EXIT_OK;
}

/* What is not well, one line each onto `ills`. */
static void find_ills(const json_t *status, struct bf_buf *ills) {
    const char *name;
    json_t *value;
    size_t i;
    json_array_foreach(json_object_get(status, "reasons"), i, value)
        bf_buf_printf(ills, "not ready: %s\n", json_string_value(value) != NULL ? json_string_value(value) : "?");
    if (!json_is_true(json_object_get(status, "ready")) && json_array_size(json_object_get(status, "reasons")) == 0)
        bf_buf_puts(ills, "not ready\n");
    json_object_foreach(json_object_get(status, "dependencies"), name, value)
        if (json_string_value(value) == NULL || strcmp(json_string_value(value), "up") != 0)
            bf_buf_printf(ills, "dependency %s is away\n", name);
    json_array_foreach(json_object_get(status, "instances"), i, value)
        if (json_is_true(json_object_get(value, "paused")))
            bf_buf_puts(ills, "reading is paused: the hot store is full and waits for the archive\n");
    int64_t lost = cli_int(json_object_get(status, "counts"), "lost-before-read", 0);
    if (lost > 0)
        bf_buf_printf(ills, "%lld records were lost before they could be read (see 'butterfly coverage')\n", (long long)lost);
}

static void print_facts(const json_t *status) {
    static const char *const keys[] = {"instance", "version", "started_at", "recorded_through", "archived_through", "hot_from", "lag_messages",
                                       "partitions"};
    static const struct cli_column columns[] = {{"CAPSULE", false}, {"", false}};
    struct cli_table t;
    const char *name;
    json_t *value;
    cli_table_init(&t, columns, 2);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        cli_cell(&t, keys[i]);
        cli_cell_json(&t, json_object_get(status, keys[i]));
    }
    json_object_foreach(json_object_get(status, "counts"), name, value) {
        cli_cell(&t, name);
        cli_cell_json(&t, value);
    }
    json_object_foreach(json_object_get(status, "dependencies"), name, value) {
        cli_cell(&t, name);
        cli_cell_json(&t, value);
    }
    cli_table_print(&t, stdout);
    cli_table_fini(&t);
}

static int ask(const struct status_options *o, struct cli_client *c) {
    struct bf_buf dead, ills;
    struct bf_err err;
    json_t *status = NULL;
    int exit_code = BF_EXIT_OK;
    bf_buf_init(&dead, 1 << 16);
    bf_buf_init(&ills, 1 << 16);
    if (o->common.dir != NULL)
        exit_code = check_programs(o->common.dir, !o->common.json, &dead);
    if (exit_code == BF_EXIT_OK)
        exit_code = cli_client_open(c, &o->common);
    if (exit_code != BF_EXIT_OK)
        goto done;
    cli_path(c, "/v1/status");
    exit_code = cli_get_json(c, &o->common, &status);
    if (exit_code == BF_EXIT_OK && status == NULL && bf_json_parse(c->answer.data, c->answer.len, &status, &err) != BF_OK)
        exit_code = BF_EXIT_INTERNAL;
    if (exit_code != BF_EXIT_OK)
        goto done;
    if (!o->common.json) {
        if (o->common.dir != NULL)
            putchar('\n');
        print_facts(status);
    }
    if (dead.len > 0)
        bf_buf_printf(&ills, "not running: %.*s\n", (int)dead.len, dead.data);
    find_ills(status, &ills);
    bf_buf_putc(&ills, '\0');
    fflush(stdout);
    fprintf(stderr, "%s", ills.len > 1 ? ills.data : "all is well\n");
    exit_code = ills.len > 1 ? BF_EXIT_FAILED : BF_EXIT_OK;
done:
    json_decref(status);
    bf_buf_fini(&dead);
    bf_buf_fini(&ills);
    return exit_code;
}

int cli_status(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    struct status_options o = {0};
    struct cli_client c = {0};
    char **left;
    int left_count, exit_code;
    if (cli_load(&program, argc, argv, 0, 0, &o, &left, &left_count, &exit_code))
        exit_code = ask(&o, &c);
    cli_client_close(&c);
    bf_settings_fini(&program, &o);
    return exit_code;
}
