/* verify: what the server holds, checked from outside. For each partition the ledger's intervals must join from the first offset to the
 * next one without a hole or an overlap and add up to it; the topics' counts must be the ledger's; a replay of everything must have as many
 * events as the ledger says are stored, with the digest that the server promises.
 *
 * While events arrive, the three answers are of different moments: they are asked for again until nothing was recorded between them, and
 * when that never happens the replay (as known at the first) must lie between the two counts.
 */
#include "replay_stream.h"

#include "bf_json.h"
#include "bf_time.h"

#include <string.h>

#define ATTEMPTS 10
#define ATTEMPT_WAIT_MS 300

struct verify_options {
    struct cli_options common;
};

static const struct bf_setting table[] = {CLI_OPTION_ROWS(struct verify_options), CLI_OPTIONS_END};
static const struct bf_settings_program program = {
    "butterfly", "verify [options]",
    "Proves that what is held is complete: the ledger has no holes, the counts agree, and a replay of everything has the promised count and digest.",
    "Exit code 0 only if all of it is so.", table, false};

struct findings {
    struct cli_client *c;
    int64_t partitions, offsets, stored, topics_events;
    int64_t totals[5];
    char recorded_through[32];
    struct bf_buf faults; /* a line each */
};

static const char *const dispositions[5] = {"stored", "duplicate", "quarantined", "control", "lost-before-read"};

static int disposition_index(const char *name) {
    for (int i = 0; name != NULL && i < 5; i++)
        if (strcmp(dispositions[i], name) == 0)
            return i;
    return -1;
}

/* One partition's intervals, end to end. */
static void check_partition(struct findings *f, const json_t *partition) {
    const char *topic = cli_str(partition, "topic");
    int64_t number = cli_int(partition, "partition", -1), next = cli_int(partition, "next_offset", -1);
    int64_t at = cli_int(partition, "first_offset", -1), sums[5] = {0};
    size_t i;
    json_t *interval;
    int64_t first = at;
    if (topic == NULL || number < 0 || next < 0 || at < 0) {
        bf_buf_puts(&f->faults, "the coverage answer is not what was expected\n");
        return;
    }
    json_array_foreach(json_object_get(partition, "intervals"), i, interval) {
        int64_t from = cli_int(interval, "from", -1), to = cli_int(interval, "to", -1);
        int d = disposition_index(cli_str(interval, "disposition"));
        if (from != at || to <= from || d < 0)
            bf_buf_printf(&f->faults, "%s/%lld: the ledger has [%lld, %lld) where offset %lld should begin\n", topic, (long long)number,
                          (long long)from, (long long)to, (long long)at);
        if (d >= 0)
            sums[d] += to - from;
        at = to;
    }
    if (at != next)
        bf_buf_printf(&f->faults, "%s/%lld: the ledger ends at %lld, but the next offset is %lld\n", topic, (long long)number, (long long)at,
                      (long long)next);
    for (int d = 0; d < 5; d++) {
        f->totals[d] += sums[d];
        if (cli_int(json_object_get(partition, "totals"), dispositions[d], -1) != sums[d])
            bf_buf_printf(&f->faults, "%s/%lld: the server's total of %s is not the intervals' %lld\n", topic, (long long)number, dispositions[d],
                          (long long)sums[d]);
    }
    f->partitions++;
    f->offsets += next - first;
}

/* Ask for a JSON answer of `path`; its recorded_through goes to dst. */
static int ask(struct findings *f, const char *path, json_t **out, char through[32]) {
    static const struct cli_options quiet = {.json = false};
    cli_path(f->c, path);
    int exit_code = cli_get_json(f->c, &quiet, out);
    const char *text = cli_str(*out, "recorded_through");
    snprintf(through, 32, "%s", text != NULL ? text : "");
    return exit_code;
}

/* Ledger and counts of one moment, if nothing is recorded meanwhile. */
static int take_stock(struct findings *f, bool *still) {
    json_t *coverage = NULL, *topics = NULL, *after = NULL, *row;
    char through_topics[32], through_after[32];
    size_t i;
    bf_buf_clear(&f->faults);
    memset(f->totals, 0, sizeof f->totals);
    f->partitions = f->offsets = f->topics_events = 0;
    int exit_code = ask(f, "/v1/coverage", &coverage, f->recorded_through);
    if (exit_code == BF_EXIT_OK)
        exit_code = ask(f, "/v1/topics", &topics, through_topics);
    if (exit_code == BF_EXIT_OK)
        exit_code = ask(f, "/v1/status", &after, through_after);
    json_array_foreach(json_object_get(coverage, "coverage"), i, row)
        check_partition(f, row);
    json_array_foreach(json_object_get(topics, "topics"), i, row)
        f->topics_events += cli_int(row, "events", 0);
    f->stored = f->totals[0];
    *still = exit_code == BF_EXIT_OK && strcmp(f->recorded_through, through_after) == 0;
    json_decref(coverage);
    json_decref(topics);
    json_decref(after);
    return exit_code;
}

static int check_replay(struct findings *f, bool still, struct replay_result *result) {
    const char *const params[] = {"known_by", f->recorded_through, NULL};
    struct replay_request request = {.path = "/v1/replay", .params = params, .resumes_max = 20};
    int exit_code = replay_run(f->c, &request, result);
    if (exit_code != BF_EXIT_OK) {
        bf_buf_puts(&f->faults, "the replay of everything did not end well\n");
        return exit_code == BF_EXIT_DEPENDENCY ? exit_code : BF_EXIT_OK; /* the fault is noted */
    }
    if (still ? (int64_t)result->count != f->stored : (int64_t)result->count > f->stored)
        bf_buf_printf(&f->faults, "a replay of everything has %llu events, the ledger says that %lld are stored\n",
                      (unsigned long long)result->count, (long long)f->stored);
    if (still && f->topics_events != f->stored)
        bf_buf_printf(&f->faults, "the topics' counts add up to %lld, the ledger's to %lld\n", (long long)f->topics_events, (long long)f->stored);
    return BF_EXIT_OK;
}

static void print_json(const struct findings *f, const struct replay_result *replay, bool still) {
    struct bf_buf out;
    struct bf_json j;
    bf_buf_init(&out, 1 << 20);
    bf_json_init(&j, &out);
    bf_json_object(&j);
    bf_json_member_bool(&j, "ok", f->faults.len == 0);
    bf_json_member_bool(&j, "still", still);
    bf_json_member_int(&j, "partitions", f->partitions);
    bf_json_member_int(&j, "offsets", f->offsets);
    for (int d = 0; d < 5; d++)
        bf_json_member_int(&j, dispositions[d], f->totals[d]);
    bf_json_member_int(&j, "replayed", (int64_t)replay->count);
    bf_json_member_string(&j, "digest", replay->digest);
    bf_json_member_string(&j, "recorded_through", f->recorded_through);
    bf_json_key(&j, "faults");
    bf_json_array(&j);
    for (const char *p = f->faults.data, *end = p + f->faults.len; p != NULL && p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        bf_json_string_n(&j, p, (size_t)(newline - p));
        p = newline + 1;
    }
    bf_json_array_end(&j);
    bf_json_object_end(&j);
    printf("%.*s\n", (int)out.len, out.data);
    bf_buf_fini(&out);
}

static void print_report(struct findings *f, const struct replay_result *replay, bool still) {
    printf("ledger    %lld offsets in %lld partitions:", (long long)f->offsets, (long long)f->partitions);
    for (int d = 0; d < 5; d++)
        printf(" %lld %s%s", (long long)f->totals[d], dispositions[d], d < 4 ? "," : "\n");
    printf("replay    %llu events, %llu bytes%s%s\n", (unsigned long long)replay->count, (unsigned long long)replay->bytes,
           replay->complete ? ", digest " : ", INCOMPLETE", replay->complete ? replay->digest : "");
    printf("as known  %s%s\n", f->recorded_through, still ? "" : " (events kept arriving: the counts were only bounded)");
    bf_buf_putc(&f->faults, '\0');
    if (f->faults.len > 1)
        printf("FAULTS\n%s", f->faults.data);
    else
        printf("complete: every offset is accounted for, and everything stored can be replayed\n");
}

static int verify(const struct verify_options *o, struct cli_client *c) {
    struct findings f = {.c = c};
    struct replay_result result = {0};
    bool still = false;
    int exit_code = BF_EXIT_OK;
    bf_buf_init(&f.faults, 1 << 20);
    for (int attempt = 0; exit_code == BF_EXIT_OK && !still && attempt < ATTEMPTS; attempt++) {
        if (attempt > 0)
            bf_sleep_ms(ATTEMPT_WAIT_MS);
        exit_code = take_stock(&f, &still);
    }
    if (exit_code == BF_EXIT_OK)
        exit_code = check_replay(&f, still, &result);
    if (exit_code == BF_EXIT_OK) {
        exit_code = f.faults.len == 0 ? BF_EXIT_OK : BF_EXIT_FAILED;
        if (o->common.json)
            print_json(&f, &result, still);
        else
            print_report(&f, &result, still);
    }
    replay_result_fini(&result);
    bf_buf_fini(&f.faults);
    return exit_code;
}

int cli_verify(const struct cli_command *cmd, int argc, char **argv) {
    (void)cmd;
    struct verify_options o = {0};
    struct cli_client c = {0};
    char **left;
    int left_count, exit_code;
    if (cli_load(&program, argc, argv, 0, 0, &o, &left, &left_count, &exit_code) &&
        (exit_code = cli_client_open(&c, &o.common)) == BF_EXIT_OK)
        exit_code = verify(&o, &c);
    cli_client_close(&c);
    bf_settings_fini(&program, &o);
    return exit_code;
}
