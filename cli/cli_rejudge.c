/* rejudge: ask PLATO to judge a decision again, from the reflex, the policies and the knowledge of then. */
#include "cli.h"

#include "bf_json.h"

#include <stdlib.h>
#include <string.h>

struct rejudge {
    struct cli_options common;
    char *plato;
};

static const struct bf_setting table[] = {
    CLI_OPTION_ROWS(struct rejudge),
    {"plato", BF_SETTING_STRING, offsetof(struct rejudge, plato), NULL, 0, 0, false, false, NULL,
     "PLATO's address; without it, the one in the folder's endpoints.json"},
    CLI_OPTIONS_END,
};
static const struct bf_settings_program program = {
    "butterfly", "rejudge DECISION --dir D [options]",
    "Judges a decision again: its reflex, the policies of the version it names, the world as of the reflex and as known then.",
    "Exit code 0 only if the new judgement has the very bytes of the one that is kept, 1 if it differs.", table, true};

/* The address goes where all commands take theirs from. */
static bool find_plato(struct rejudge *r) {
    struct bf_err err;
    struct bf_buf url;
    bool found = r->plato != NULL;
    bf_buf_init(&url, 4096);
    if (found)
        bf_buf_puts(&url, r->plato);
    else if (r->common.dir == NULL)
        cli_error("give --dir D or --plato URL");
    else if (cli_endpoint(r->common.dir, "plato", &url, &err) != BF_OK)
        cli_error("%s", err.msg);
    else
        found = true;
    bf_buf_putc(&url, '\0');
    if (found) {
        free(r->common.url);
        free(r->common.dir);
        r->common.dir = NULL;
        r->common.url = strdup(url.data);
    }
    bf_buf_fini(&url);
    return found && r->common.url != NULL;
}

static void print_judgements(const json_t *answer) {
    static const struct cli_column columns[] = {{"", false}, {"VERDICT", false}, {"POLICY", false}, {"REASON", false}, {"EVIDENCE", false}};
    static const char *const which[] = {"kept", "again"}, *const keys[] = {"verdict", "policy", "reason"};
    struct cli_table t;
    cli_table_init(&t, columns, 5);
    for (size_t i = 0; i < 2; i++) {
        const json_t *judgement = json_object_get(answer, which[i]);
        char *evidence = json_dumps(json_object_get(judgement, "evidence"), JSON_COMPACT | JSON_ENCODE_ANY);
        cli_cell(&t, which[i]);
        for (size_t k = 0; k < 3; k++)
            cli_cell_json(&t, json_object_get(judgement, keys[k]));
        cli_cell(&t, evidence);
        free(evidence);
    }
    cli_table_print(&t, stdout);
    cli_table_fini(&t);
}

static int ask(struct rejudge *r, struct cli_client *c, const char *id) {
    struct bf_err err;
    json_t *answer = NULL;
    cli_path(c, "/v1/decisions");
    cli_segment(c, id);
    cli_tail(c, "/rejudge");
    int exit_code = cli_get(c);
    if (exit_code == BF_EXIT_OK && bf_json_parse(c->answer.data, c->answer.len, &answer, &err) != BF_OK)
        exit_code = BF_EXIT_INTERNAL;
    if (exit_code != BF_EXIT_OK)
        return exit_code;
    bool same = json_is_true(json_object_get(answer, "same"));
    if (r->common.json) {
        printf("%.*s\n", (int)c->answer.len, c->answer.data);
    } else {
        print_judgements(answer);
        fflush(stdout);
        const char *version = cli_str(answer, "policy_version");
        fprintf(stderr, "%s, by the policies of version %.12s\n", same ? "the same, byte for byte" : "DIFFERENT", version != NULL ? version : "?");
    }
    json_decref(answer);
    return same ? BF_EXIT_OK : BF_EXIT_FAILED;
}

int cli_rejudge(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    struct rejudge r = {0};
    struct cli_client c = {0};
    char **left;
    int left_count, exit_code;
    if (cli_load(&program, argc, argv, 1, 1, &r, &left, &left_count, &exit_code)) {
        exit_code = find_plato(&r) ? cli_client_open(&c, &r.common) : BF_EXIT_USAGE;
        if (exit_code == BF_EXIT_OK)
            exit_code = ask(&r, &c, left[0]);
    }
    cli_client_close(&c);
    bf_settings_fini(&program, &r);
    return exit_code;
}
