#include "cli_rows.h"

#include <string.h>

void cli_rows_print(const json_t *list, const struct cli_column *columns, const char *const *keys, size_t count) {
    struct cli_table t;
    size_t i;
    json_t *row;
    cli_table_init(&t, columns, count);
    json_array_foreach((json_t *)(uintptr_t)list, i, row)
        for (size_t k = 0; k < count; k++) {
            const char *dot = strchr(keys[k], '.');
            char outer[64];
            snprintf(outer, sizeof outer, "%.*s", dot != NULL ? (int)(dot - keys[k]) : 0, keys[k]);
            cli_cell_json(&t, dot != NULL ? json_object_get(json_object_get(row, outer), dot + 1) : json_object_get(row, keys[k]));
        }
    cli_table_print(&t, stdout);
    cli_table_fini(&t);
}

void cli_rows_print_fields(const json_t *object) {
    static const struct cli_column columns[] = {{"FIELD", false}, {"VALUE", false}};
    struct cli_table t;
    const char *key;
    json_t *value;
    cli_table_init(&t, columns, 2);
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        if (json_is_array(value))
            continue;
        cli_cell(&t, key);
        cli_cell_json(&t, value);
    }
    cli_table_print(&t, stdout);
    cli_table_fini(&t);
}

static int ask(const struct cli_rows_command *command, struct cli_client *c, const struct cli_rows_query *q, char **left, int left_count) {
    json_t *answer = NULL;
    int exit_code;
    c->post = command->post;
    cli_path(c, command->path);
    for (int i = 0; i < left_count; i++)
        cli_segment(c, left[i]);
    if (q->raw)
        cli_tail(c, "/raw");
    cli_params(c, command->program->table, q);
    if (q->raw) {
        exit_code = cli_get(c);
        if (exit_code == BF_EXIT_OK && fwrite(c->answer.data, 1, c->answer.len, stdout) != c->answer.len)
            exit_code = BF_EXIT_FAILED;
        return exit_code;
    }
    exit_code = cli_get_json(c, &q->common, &answer);
    if (answer != NULL)
        command->print(answer, left_count > 0);
    json_decref(answer);
    return exit_code;
}

int cli_rows_run(const struct cli_rows_command *command, int argc, char **argv) {
    struct cli_rows_query q = {0};
    struct cli_client c = {0};
    char **left;
    int left_count = 0, exit_code;
    if (cli_load(command->program, argc, argv, command->positional_least, command->positional_most, &q, &left, &left_count, &exit_code)) {
        if (left_count != 0 && left_count != command->positional_most) {
            cli_error("give all of them or none: %s", command->program->usage);
            exit_code = BF_EXIT_USAGE;
        } else if (q.raw && left_count == 0) {
            cli_error("raw: needs one record");
            exit_code = BF_EXIT_USAGE;
        } else if ((exit_code = cli_client_open(&c, &q.common)) == BF_EXIT_OK) {
            exit_code = ask(command, &c, &q, left, left_count);
        }
    }
    cli_client_close(&c);
    bf_settings_fini(command->program, &q);
    return exit_code;
}
