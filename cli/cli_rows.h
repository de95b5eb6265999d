/* Commands that ask one route and show its list as a table: a settings row behind the common ones is a query parameter. */
#ifndef CLI_ROWS_H
#define CLI_ROWS_H

#include "cli.h"

enum { CLI_ROWS_PARAMS_MAX = 8 };
struct cli_rows_query {
    struct cli_options common;
    char *params[CLI_ROWS_PARAMS_MAX];
    bool raw;
};

#define CLI_ROWS_PARAM(index, key, help)                                                                               \
    { key, BF_SETTING_STRING, offsetof(struct cli_rows_query, params) + (index) * sizeof(char *), NULL, 0, 0, false, false, NULL, help }
/* Bytes in place of JSON, from the route's "/raw". */
#define CLI_ROWS_RAW(help)                                                                                             \
    { "raw", BF_SETTING_BOOL, offsetof(struct cli_rows_query, raw), "false", 0, 0, false, false, NULL, help }

struct cli_rows_command {
    const struct bf_settings_program *program; /* its table begins with CLI_OPTION_ROWS(struct cli_rows_query) */
    const char *path;
    int positional_least, positional_most; /* they become segments of the path; all of them or none */
    void (*print)(const json_t *answer, bool one); /* one: there were positionals */
    bool post;
};

int cli_rows_run(const struct cli_rows_command *command, int argc, char **argv);
/* Rows of members by name; "a.b" looks into member a. */
void cli_rows_print(const json_t *list, const struct cli_column *columns, const char *const *keys, size_t count);
/* The members of one object, but for lists. */
void cli_rows_print_fields(const json_t *object);

#endif
