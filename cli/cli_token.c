/* butterfly token new: the only moment at which a token's text exists. */
#include "cli.h"

#include "bf_token.h"

#include <string.h>

struct token_options {
    char *name, *scopes, *topics, *nodes;
    bool json;
};

#define F(field) offsetof(struct token_options, field)
static const struct bf_setting table[] = {
    {"name", BF_SETTING_STRING, F(name), NULL, 0, 0, true, false, NULL, "Whose it is: stands beside every read that it does"},
    {"scopes", BF_SETTING_STRING, F(scopes), "read", 0, 0, false, false, NULL, "Some of read,audit,replay,admin"},
    {"topics", BF_SETTING_STRING, F(topics), NULL, 0, 0, false, false, NULL, "Only these topics, comma-separated; all without it"},
    {"node-prefix", BF_SETTING_STRING, F(nodes), NULL, 0, 0, false, false, NULL,
     "Only nodes whose id begins so, comma-separated; all without it"},
    {"json", BF_SETTING_BOOL, F(json), "false", 0, 0, false, false, NULL, "Print {\"token\",\"line\"}"},
    CLI_OPTIONS_END};
static const struct bf_settings_program program = {
    "butterfly", "token new --name NAME [options]",
    "Draws a bearer token and prints it, once, with the line that belongs into the server's tokens-file (chmod 600; SIGHUP reads it\n"
    "again). The file holds only a hash: who loses the token needs a new one. To take one back, delete its line.",
    NULL, table, true};

static void print(const struct token_options *o, const char *token, const char *line) {
    if (o->json) {
        printf("{\"token\":\"%s\",\"line\":\"%s\"}\n", token, line); /* neither can hold what JSON would escape */
        return;
    }
    printf("token: %s\nline:  %s\n", token, line);
}

int cli_token(const struct cli_command *cmd, int argc, char **argv) {
    struct token_options o = {0};
    struct bf_err err;
    struct bf_buf line;
    char **left, token[BF_TOKEN_TEXT_LEN + 1];
    int left_count, exit_code;
    (void)cmd;
    bf_buf_init(&line, 65536);
    if (cli_load(&program, argc, argv, 1, 1, &o, &left, &left_count, &exit_code)) {
        if (strcmp(left[0], "new") != 0) {
            cli_error("usage: butterfly %s (see --help)", program.usage);
            exit_code = BF_EXIT_USAGE;
        } else if (bf_token_new(o.name, o.scopes, o.topics, o.nodes, token, &line, &err) != BF_OK) {
            cli_error("%s", err.msg);
            exit_code = BF_EXIT_SETTINGS;
        } else {
            print(&o, token, line.data);
        }
    }
    bf_buf_fini(&line);
    bf_settings_fini(&program, &o);
    return exit_code;
}
