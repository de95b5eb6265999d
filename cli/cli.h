/* What the subcommands of `butterfly` share: common options, a client for CAPSULE's HTTP API, tables, exit codes.
 *
 * A command is a function from its arguments to an exit code; it prints its own errors, one clear line each. Single-threaded.
 */
#ifndef CLI_H
#define CLI_H

#include "bf_buf.h"
#include "bf_err.h"
#include "bf_http_client.h"
#include "bf_settings.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct cli_command {
    const char *name, *about; /* about: for the list of commands */
    int (*run)(const struct cli_command *cmd, int argc, char **argv); /* argv[0] is the program's name */
};

int cli_event(const struct cli_command *cmd, int argc, char **argv);
int cli_listing(const struct cli_command *cmd, int argc, char **argv); /* history, search */
int cli_state(const struct cli_command *cmd, int argc, char **argv);
int cli_world(const struct cli_command *cmd, int argc, char **argv);
int cli_topics(const struct cli_command *cmd, int argc, char **argv);
int cli_nodes(const struct cli_command *cmd, int argc, char **argv);
int cli_reads(const struct cli_command *cmd, int argc, char **argv);
int cli_schema(const struct cli_command *cmd, int argc, char **argv);
int cli_coverage(const struct cli_command *cmd, int argc, char **argv);
int cli_lag(const struct cli_command *cmd, int argc, char **argv);
int cli_quarantine(const struct cli_command *cmd, int argc, char **argv);
int cli_status(const struct cli_command *cmd, int argc, char **argv);
int cli_replay(const struct cli_command *cmd, int argc, char **argv);
int cli_replays(const struct cli_command *cmd, int argc, char **argv);
int cli_verify(const struct cli_command *cmd, int argc, char **argv);
int cli_token(const struct cli_command *cmd, int argc, char **argv);
int cli_trace(const struct cli_command *cmd, int argc, char **argv);
int cli_rejudge(const struct cli_command *cmd, int argc, char **argv);
int cli_up(const struct cli_command *cmd, int argc, char **argv);
int cli_down(const struct cli_command *cmd, int argc, char **argv);

/* ---- options ---- */

struct cli_options {
    char *dir, *url, *token, *ca;
    bool json;
    int64_t timeout_ms;
};

/* First rows of every query command's settings table; `type` has a member `struct cli_options common`. */
#define CLI_OPTION_ROWS(type)                                                                                          \
    {"dir", BF_SETTING_STRING, offsetof(type, common.dir), NULL, 0, 0, false, false, NULL,                             \
     "Folder given to 'butterfly up': the server's address is read from its endpoints.json"},                          \
    {"url", BF_SETTING_STRING, offsetof(type, common.url), NULL, 0, 0, false, false, NULL,                             \
     "The server's address; without --url and --dir: http://127.0.0.1:8480"},                                          \
    {"token", BF_SETTING_STRING, offsetof(type, common.token), NULL, 0, 0, false, true, NULL,                          \
     "Bearer token, where the server wants one; others cannot see it in BUTTERFLY_TOKEN"},                             \
    {"ca", BF_SETTING_STRING, offsetof(type, common.ca), NULL, 0, 0, false, false, NULL,                               \
     "Certificates (PEM) to trust for an https address, in place of the system's"},                                    \
    {"json", BF_SETTING_BOOL, offsetof(type, common.json), "false", 0, 0, false, false, NULL,                          \
     "Print the server's JSON instead of a table"},                                                                    \
    {"timeout", BF_SETTING_MS, offsetof(type, common.timeout_ms), "60s", 1, INT64_C(86400000), false, false, "ms",                   \
     "Give up when the server is silent for so long"}
#define CLI_OPTION_COUNT 6
#define CLI_OPTIONS_END                                                                                                \
    { NULL, BF_SETTING_STRING, 0, NULL, 0, 0, false, false, NULL, NULL }

/* Load options and exactly `least` to `most` positional arguments into *left. False: leave with *exit_code (the reason is printed). */
bool cli_load(const struct bf_settings_program *program, int argc, char **argv, int least, int most, void *into, char ***left,
              int *left_count, int *exit_code);

/* ---- talking to the server ---- */

struct cli_client {
    bool post; /* POST in place of GET */
    struct bf_http_client *http;
    struct bf_buf base, url, answer; /* base: "http://host:port" */
    bool has_query;
    int status;
};

/* Both print the reason and return the exit code when it is not BF_EXIT_OK. */
int cli_client_open(struct cli_client *c, const struct cli_options *o);
/* GET what was built; BF_EXIT_OK only for status 200. */
int cli_get(struct cli_client *c);
/* As cli_get, then parse; the caller owns *out (json_decref). With o->json the body is printed and *out stays NULL. */
int cli_get_json(struct cli_client *c, const struct cli_options *o, json_t **out);
void cli_client_close(struct cli_client *c);

void cli_path(struct cli_client *c, const char *path);       /* begin a new URL */
void cli_segment(struct cli_client *c, const char *segment); /* append "/" and the encoded segment */
void cli_tail(struct cli_client *c, const char *path);       /* append as it is */
void cli_param(struct cli_client *c, const char *name, const char *value); /* NULL value: nothing */
/* Every row of `table` behind the common ones is a query parameter of the same name (dashes as underscores, lists repeated). */
void cli_params(struct cli_client *c, const struct bf_setting *table, const void *values);

/* Print a problem+json (or whatever came) as one line; the exit code that its status stands for. */
int cli_problem(int status, const char *body, size_t len);
/* "error: …" on stderr. */
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int cli_exit_of(enum bf_code code);

/* ---- endpoints.json ---- */

/* Address `name` ("http", "registry", …) from DIR/endpoints.json into out. */
BF_MUST_CHECK enum bf_code cli_endpoint(const char *dir, const char *name, struct bf_buf *out, struct bf_err *err);

/* ---- people's output ---- */

struct cli_column {
    const char *title;
    bool right; /* numbers */
};

struct cli_table {
    const struct cli_column *columns;
    size_t column_count, cell_count;
    struct bf_buf text; /* the cells, NUL-ended, row by row */
};

void cli_table_init(struct cli_table *t, const struct cli_column *columns, size_t count);
void cli_table_fini(struct cli_table *t);
void cli_cell(struct cli_table *t, const char *text); /* NULL: "-"; control characters become '?' */
void cli_cell_int(struct cli_table *t, int64_t v);
void cli_cell_json(struct cli_table *t, const json_t *v); /* strings bare, times without empty fractions, absent "-" */
void cli_table_print(const struct cli_table *t, FILE *out);

/* Text without control characters (terminal escapes in payloads must not reach a terminal). */
void cli_print_clean(FILE *out, const char *text);
/* One line of a payload: its members that are not null, without node, ids and clocks. */
void cli_summary(const json_t *payload, struct bf_buf *out);
/* Rows for a list of events. */
extern const struct cli_column cli_event_columns[];
extern const size_t cli_event_column_count;
void cli_event_row(struct cli_table *t, const json_t *event);

int64_t cli_int(const json_t *object, const char *key, int64_t deflt);
const char *cli_str(const json_t *object, const char *key); /* NULL when absent or no string */

#endif
