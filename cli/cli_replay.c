/* replay: a range of events in order, as NDJSON, to standard output or into a file; incomplete is an error. */
#include "replay_stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { REPLAY_PARAMS = 10, LIST_VALUES_MAX = 256, PARAM_KNOWN_BY = 6 };

struct replay_options {
    struct cli_options common;
    char *params[REPLAY_PARAMS];
    char *output, *cursor;
    int64_t resumes_max;
    bool trailer;
};

#define PARAM(index, key, type, help)                                                                                  \
    { key, type, offsetof(struct replay_options, params) + (index) * sizeof(char *), NULL, 0, 0, false, false, NULL, help }
#define TEXT BF_SETTING_STRING

/* The first REPLAY_PARAMS rows behind the common ones are query parameters. */
static const struct bf_setting table[] = {
    CLI_OPTION_ROWS(struct replay_options),
    PARAM(0, "topic", BF_SETTING_LIST, "Only of these topics"),
    PARAM(1, "node", TEXT, "Only of this node"),
    PARAM(2, "node-prefix", TEXT, "Only of nodes whose id begins so"),
    PARAM(3, "by", TEXT, "The order and what --from and --to mean: event_time (the default) or recorded"),
    PARAM(4, "from", TEXT, "From here on"),
    PARAM(5, "to", TEXT, "Before this"),
    PARAM(PARAM_KNOWN_BY, "known-by", TEXT, "Only what was recorded by then (default: what is recorded now)"),
    PARAM(7, "partition", TEXT, "With one --topic: only this partition, in offset order"),
    PARAM(8, "from-offset", TEXT, "With --partition: from this offset on"),
    PARAM(9, "to-offset", TEXT, "With --partition: before this offset"),
    {"cursor", BF_SETTING_STRING, offsetof(struct replay_options, cursor), NULL, 0, 0, false, false, NULL, "Go on behind this event"},
    {"output", BF_SETTING_STRING, offsetof(struct replay_options, output), NULL, 0, 0, false, false, NULL,
     "Write into this file; it appears under its name only when complete (before: FILE.part)"},
    {"trailer", BF_SETTING_BOOL, offsetof(struct replay_options, trailer), "true", 0, 0, false, false, NULL,
     "Write the last line with count and digest too (--no-trailer: only events)"},
    {"resumes", BF_SETTING_INT, offsetof(struct replay_options, resumes_max), "20", 0, 1000000, false, false, NULL,
     "How often in a row a cut stream is taken up again without getting further"},
    CLI_OPTIONS_END,
};
static const struct bf_settings_program program = {
    "butterfly", "replay [options]",
    "Replays a range of events in one stated order, as NDJSON. Count and digest of the last line are checked; a stream that is cut is\n"
    "taken up again where it ended.",
    "Exit code 1 when the replay is incomplete or differs from its digest.", table, false};

/* name, value pairs of what was given; the lists' values are cut apart in place. */
static void collect(struct replay_options *o, const char *known_by, const char **pairs, size_t max) {
    static char names[REPLAY_PARAMS][32];
    size_t n = 0;
    for (size_t i = 0; i < REPLAY_PARAMS; i++) {
        const struct bf_setting *s = &table[CLI_OPTION_COUNT + i];
        char *rest = o->params[i];
        for (size_t k = 0; k <= strlen(s->key); k++)
            names[i][k] = s->key[k] == '-' ? '_' : s->key[k];
        if (i == PARAM_KNOWN_BY && rest == NULL && known_by[0] != '\0') {
            pairs[n++] = names[i];
            pairs[n++] = known_by;
        }
        while (rest != NULL && n + 4 < max) {
            pairs[n++] = names[i];
            pairs[n++] = s->type == BF_SETTING_LIST ? strsep(&rest, "\n") : rest;
            if (s->type != BF_SETTING_LIST)
                break;
        }
    }
    pairs[n] = NULL;
}

static FILE *open_output(const char *path, char *part, size_t part_bytes) {
    if (path == NULL)
        return stdout;
    if ((size_t)snprintf(part, part_bytes, "%s.part", path) >= part_bytes) {
        cli_error("output: the name is too long");
        return NULL;
    }
    FILE *f = fopen(part, "w");
    if (f == NULL)
        cli_error("output: %s: %s", part, strerror(errno));
    return f;
}

/* Trailer, durable, under its name. */
static int finish_output(FILE *f, const struct replay_options *o, const char *part, const struct replay_result *result) {
    if (o->trailer) {
        fwrite(result->trailer.data, 1, result->trailer.len, f);
        fputc('\n', f);
    }
    if (fflush(f) != 0 || ferror(f) || (f != stdout && (fsync(fileno(f)) != 0 || rename(part, o->output) != 0))) {
        cli_error("the output cannot be written: %s", strerror(errno));
        return BF_EXIT_FAILED;
    }
    return BF_EXIT_OK;
}

static int replay(struct replay_options *o, struct cli_client *c, FILE *f, const char *part) {
    const char *pairs[2 * (LIST_VALUES_MAX + REPLAY_PARAMS)];
    char known_by[32] = "";
    int exit_code = o->params[PARAM_KNOWN_BY] != NULL ? BF_EXIT_OK : replay_pin_known_by(c, known_by);
    if (exit_code != BF_EXIT_OK)
        return exit_code;
    collect(o, known_by, pairs, sizeof pairs / sizeof pairs[0]);
    struct replay_result result;
    struct replay_request request = {.path = "/v1/replay", .params = pairs, .cursor = o->cursor, .resumes_max = (int)o->resumes_max,
                                     .out = f};
    exit_code = replay_run(c, &request, &result);
    if (exit_code == BF_EXIT_OK)
        exit_code = finish_output(f, o, part, &result);
    if (exit_code == BF_EXIT_OK && !result.server_complete)
        exit_code = BF_EXIT_FAILED;
    fprintf(stderr, "%s: %llu events, %llu bytes", exit_code == BF_EXIT_OK ? "complete" : "incomplete",
            (unsigned long long)result.count, (unsigned long long)result.bytes);
    if (result.complete)
        fprintf(stderr, ", digest %s matches", result.digest);
    if (result.resumed > 0)
        fprintf(stderr, ", taken up again %d times", result.resumed);
    fputc('\n', stderr);
    if (exit_code != BF_EXIT_OK && !result.ended && result.cursor.len > 0)
        fprintf(stderr, "go on with: --cursor %s\n", result.cursor.data);
    replay_result_fini(&result);
    return exit_code;
}

int cli_replay(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    struct replay_options o = {0};
    struct cli_client c = {0};
    char **left, part[4096] = "";
    int left_count, exit_code;
    FILE *f = NULL;
    if (!cli_load(&program, argc, argv, 0, 0, &o, &left, &left_count, &exit_code))
        goto done;
    exit_code = cli_client_open(&c, &o.common);
    if (exit_code != BF_EXIT_OK)
        goto done;
    f = open_output(o.output, part, sizeof part);
    exit_code = f == NULL ? BF_EXIT_USAGE : replay(&o, &c, f, part);
done:
    if (f != NULL && f != stdout)
        fclose(f);
    cli_client_close(&c);
    bf_settings_fini(&program, &o);
    return exit_code;
}
