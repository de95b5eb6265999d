/* butterfly: the command line for people. This file only knows the list of commands; each has its own table of options. */
#include "cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const struct cli_command commands[] = {
    {"up", "start everything in a folder and keep it running", cli_up},
    {"down", "stop what runs in a folder, in order; nothing is lost", cli_down},
    {"status", "what runs, how far it is, how well", cli_status},
    {"event", "one event with all its revisions and where it was seen", cli_event},
    {"history", "what happened at a node, newest first", cli_listing},
    {"state", "a node as it was at a moment, as known by another", cli_state},
    {"world", "every node as it was at a moment", cli_world},
    {"search", "events by topic, node, time, trace or cause", cli_listing},
    {"trace", "what an event was caused by, and all that it led to", cli_trace},
    {"rejudge", "judge one of PLATO's decisions again, and compare", cli_rejudge},
    {"replay", "a range of events in order, with count and digest checked", cli_replay},
    {"replays", "replays into Kafka: start, show, pause, resume, cancel", cli_replays},
    {"nodes", "the nodes that are known, and what is held of one", cli_nodes},
    {"topics", "the topics held, and how much of them", cli_topics},
    {"coverage", "what became of every offset of a partition", cli_coverage},
    {"lag", "how far behind Kafka the server is", cli_lag},
    {"quarantine", "records that could not be taken in, and why", cli_quarantine},
    {"schema", "a schema that a value was written with", cli_schema},
    {"reads", "who read what of history", cli_reads},
    {"token", "draw a bearer token for the server's tokens-file", cli_token},
    {"verify", "prove that what is held is complete: ledger, counts, digest", cli_verify},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void print_help(FILE *out) {
    fputs("usage: butterfly COMMAND [options]\n\n"
          "Runs BUTTERFLY on one machine and asks it questions.\n\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-11s %s\n", commands[i].name, commands[i].about);
    fputs("\n'butterfly COMMAND --help' tells a command's options. Times are UTC: RFC 3339, a date, or microseconds since 1970.\n"
          "Exit codes: 0 ok, 1 the answer is no (not found, not well, incomplete), 2 usage, 3 settings, 4 a dependency is\n"
          "missing (the server does not answer), 5 local state is corrupt, 70 internal.\n",
          out);
}

/* The list of commands as a page for man(1) or docs/. */
static int print_page(const char *question) {
    static const struct bf_setting none[] = {CLI_OPTIONS_END};
    char nothing, *text = NULL, *argv[] = {(char *)"butterfly", (char *)(uintptr_t)question, NULL}, **left;
    size_t len = 0;
    int left_count, exit_code = BF_EXIT_INTERNAL;
    FILE *f = open_memstream(&text, &len);
    struct bf_err err;
    if (f == NULL)
        return BF_EXIT_INTERNAL;
    print_help(f);
    if (fclose(f) == 0) {
        const struct bf_settings_program program = {"butterfly", "COMMAND [options]", "Runs BUTTERFLY on one machine and asks it questions.", text,
                                                    none, false};
        enum bf_code code = bf_settings_load(&program, 2, argv, &nothing, &left, &left_count, &exit_code, &err);
        if (code == BF_INVALID)
            cli_error("%s", err.msg);
    }
    free(text);
    return exit_code;
}

/* --check-config and --dump-config without a command: the options that all queries share. */
static int run_common(int argc, char **argv) {
    struct holder {
        struct cli_options common;
    } o = {0};
    static const struct bf_setting table[] = {CLI_OPTION_ROWS(struct holder), CLI_OPTIONS_END};
    static const struct bf_settings_program program = {
        "butterfly", "COMMAND [options]", "The options that all queries share; see 'butterfly help' for the commands.", NULL, table, false};
    char **left;
    int left_count, exit_code;
    if (cli_load(&program, argc, argv, 0, 0, &o, &left, &left_count, &exit_code)) {
        print_help(stderr);
        exit_code = BF_EXIT_USAGE;
    }
    bf_settings_fini(&program, &o);
    return exit_code;
}

static const struct cli_command *find(const char *name) {
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_DFL); /* `butterfly replay | head` ends quietly */
    if (argc < 2) {
        print_help(stderr);
        return BF_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || (strcmp(argv[1], "help") == 0 && argc == 2)) {
        print_help(stdout);
        return BF_EXIT_OK;
    }
    if (strncmp(argv[1], "--help-", 7) == 0)
        return print_page(argv[1]);
    if (argv[1][0] == '-')
        return run_common(argc, argv);
    bool help = strcmp(argv[1], "help") == 0;
    const struct cli_command *cmd = find(argv[help ? 2 : 1]);
    if (cmd == NULL) {
        cli_error("there is no command '%s' (see 'butterfly help')", argv[help ? 2 : 1]);
        return BF_EXIT_USAGE;
    }
    if (help) {
        char *help_argv[] = {argv[0], (char *)"--help", NULL};
        return cmd->run(cmd, 2, help_argv);
    }
    argv[1] = argv[0];
    int exit_code = cmd->run(cmd, argc - 1, argv + 1);
    if (fflush(stdout) != 0 && exit_code == BF_EXIT_OK) {
        cli_error("standard output cannot be written");
        exit_code = BF_EXIT_FAILED;
    }
    return exit_code;
}
