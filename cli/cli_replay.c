/* replay: a range of events in order, to standard output as NDJSON, or into a file as NDJSON, CSV or Avro; incomplete is an error. */
#include "replay_file.h"
#include "replay_stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { REPLAY_PARAMS = 12, LIST_VALUES_MAX = 256, PARAM_TO = 5, PARAM_KNOWN_BY = 6, PARAM_MAX_GAP = 11 };

struct replay_options {
    struct cli_options common;
    char *params[REPLAY_PARAMS];
    char *output, *format, *cursor;
    int64_t resumes_max;
    bool trailer, follow, force;
};

#define PARAM(index, key, type, help)                                                                                  \
    { key, type, offsetof(struct replay_options, params) + (index) * sizeof(char *), NULL, 0, 0, false, false, NULL, help }
#define TEXT BF_SETTING_STRING
#define F(name) offsetof(struct replay_options, name)

/* The first REPLAY_PARAMS rows behind the common ones are query parameters. */
static const struct bf_setting table[] = {
    CLI_OPTION_ROWS(struct replay_options),
    PARAM(0, "topic", BF_SETTING_LIST, "Only of these topics"),
    PARAM(1, "node", TEXT, "Only of this node"),
    PARAM(2, "node-prefix", TEXT, "Only of nodes whose id begins so"),
    PARAM(3, "by", TEXT, "The order and what --from and --to mean: event_time (the default) or recorded"),
    PARAM(4, "from", TEXT, "From here on"),
    PARAM(PARAM_TO, "to", TEXT, "Before this; or, when it ends in .ndjson, .csv or .avro, the file to write, as with --output"),
    PARAM(PARAM_KNOWN_BY, "known-by", TEXT, "Only what was recorded by then (default: what is recorded now)"),
    PARAM(7, "partition", TEXT, "With one --topic: only this partition, in offset order"),
    PARAM(8, "from-offset", TEXT, "With --partition: from this offset on"),
    PARAM(9, "to-offset", TEXT, "With --partition: before this offset"),
    PARAM(10, "speed", TEXT, "So many times as fast as the events' own clock, 0.1 to 1000 (default: as fast as possible)"),
    PARAM(PARAM_MAX_GAP, "max-gap-ms", TEXT, "With --speed: never wait longer than this between two events"),
    {"follow", BF_SETTING_BOOL, F(follow), "false", 0, 0, false, false, NULL,
     "History, then what is recorded from now on, until Ctrl-C; to standard output only"},
    {"cursor", BF_SETTING_STRING, F(cursor), NULL, 0, 0, false, false, NULL, "Go on behind this event; to standard output only"},
    {"output", BF_SETTING_STRING, F(output), NULL, 0, 0, false, false, NULL,
     "Write into this file; it appears under its name only when complete (before: FILE.part). The same command again goes on where it was cut"},
    {"format", BF_SETTING_STRING, F(format), NULL, 0, 0, false, false, NULL,
     "Of the file: ndjson, csv or avro (default: by the file's name, else ndjson)"},
    {"force", BF_SETTING_BOOL, F(force), "false", 0, 0, false, false, NULL, "Begin anew whatever lies in FILE.part"},
    {"trailer", BF_SETTING_BOOL, F(trailer), "true", 0, 0, false, false, NULL,
     "NDJSON: write the last line with count and digest too (--no-trailer: only events)"},
    {"resumes", BF_SETTING_INT, F(resumes_max), "20", 0, 1000000, false, false, NULL,
     "How often in a row a cut stream is taken up again without getting further"},
    CLI_OPTIONS_END,
};
static const struct bf_settings_program program = {
    "butterfly", "replay [options]",
    "Replays a range of events in one stated order, to standard output as NDJSON or into a file. Count and digest are checked; a stream that\n"
    "is cut is taken up again where it ended.",
    "Exit code 1 when the replay is incomplete or differs from its digest.", table, false};

/* name, value pairs of what was given; the lists' values are cut apart in place. */
static size_t collect(struct replay_options *o, const char *known_by, const char **pairs, size_t max) {
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
    return n;
}

/* Trailer, and out with it. */
static int finish_output(const struct replay_options *o, const struct replay_result *result) {
    if (o->trailer) {
        fwrite(result->trailer.data, 1, result->trailer.len, stdout);
        fputc('\n', stdout);
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_error("the output cannot be written: %s", strerror(errno));
        return BF_EXIT_FAILED;
    }
    return BF_EXIT_OK;
}

static int replay_to_file(struct replay_options *o, struct cli_client *c) {
    const char *pairs[2 * (LIST_VALUES_MAX + REPLAY_PARAMS)];
    struct replay_file_request request = {.params = pairs, .known_by = o->params[PARAM_KNOWN_BY], .path = o->output,
                                          .resumes_max = (int)o->resumes_max, .trailer = o->trailer, .force = o->force};
    if (o->follow || o->cursor) {
        cli_error("%s: goes to standard output only", o->follow ? "follow" : "cursor");
        return BF_EXIT_USAGE;
    }
    if (!replay_format_of(o->format ? o->format : o->output, &request.format) && o->format) {
        cli_error("format: '%s' is none of ndjson, csv, avro", o->format);
        return BF_EXIT_USAGE;
    }
    o->params[PARAM_KNOWN_BY] = NULL;
    collect(o, "", pairs, sizeof pairs / sizeof pairs[0]);
    int exit_code = replay_into_file(c, &request);
    o->params[PARAM_KNOWN_BY] = (char *)(uintptr_t)request.known_by; /* to be freed */
    return exit_code;
}

/* --to names a moment or a file. */
static void tell_to(struct replay_options *o) {
    enum replay_format format;
    char *to = o->params[PARAM_TO];
    if (!to || o->output || !strchr(to, '.') || !replay_format_of(to, &format))
        return;
    o->output = to;
    o->params[PARAM_TO] = NULL;
}

static int replay_to_stdout(struct replay_options *o, struct cli_client *c) {
    const char *pairs[2 * (LIST_VALUES_MAX + REPLAY_PARAMS) + 2];
    char known_by[32] = "";
    bool pin = !o->follow && o->params[PARAM_KNOWN_BY] == NULL;
    int exit_code = pin ? replay_pin_known_by(c, known_by) : BF_EXIT_OK;
    if (exit_code != BF_EXIT_OK)
        return exit_code;
    size_t n = collect(o, known_by, pairs, sizeof pairs / sizeof pairs[0] - 2);
    if (o->follow) {
        pairs[n++] = "follow";
        pairs[n++] = "1";
        pairs[n] = NULL;
    }
    struct replay_result result;
    struct replay_request request = {.path = "/v1/replay", .params = pairs, .cursor = o->cursor, .resumes_max = (int)o->resumes_max,
                                     .flush = o->follow || o->params[PARAM_MAX_GAP - 1], .out = stdout};
    exit_code = replay_run(c, &request, &result);
    if (exit_code == BF_EXIT_OK)
        exit_code = finish_output(o, &result);
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
    char **left;
    int left_count, exit_code;
    if (cli_load(&program, argc, argv, 0, 0, &o, &left, &left_count, &exit_code)) {
        tell_to(&o);
        exit_code = cli_client_open(&c, &o.common);
        if (exit_code == BF_EXIT_OK)
            exit_code = o.output ? replay_to_file(&o, &c) : replay_to_stdout(&o, &c);
        cli_client_close(&c);
    }
    bf_settings_fini(&program, &o);
    return exit_code;
}
