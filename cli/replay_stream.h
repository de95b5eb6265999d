/* Reading a replay to its end: whole lines go on, the trailer's count and digest are checked, and a stream that was cut is taken up again
 * at the cursor of its last whole line, without a gap or a repeat.
 *
 * Because what is asked again must be the same question, callers give a `known_by` (see replay_pin_known_by).
 */
#ifndef REPLAY_STREAM_H
#define REPLAY_STREAM_H

#include "cli.h"

struct replay_request {
    const char *path;          /* "/v1/replay" or "/v1/state" */
    const char *const *params; /* name, value, name, value …, NULL; without cursor */
    const char *cursor;        /* where to begin; NULL: at the start */
    int resumes_max;           /* cuts in a row without a new line that are borne */
    bool quiet;                /* no word about cuts */
    bool flush;                /* `out` is read while this runs */
    void (*on_event)(void *ctx, const char *line, size_t len); /* each line without its newline; may be NULL */
    void *ctx;
    FILE *out; /* event lines as they came; NULL: nowhere */
};

struct replay_result {
    uint64_t count, bytes;
    int resumed;           /* how often it was cut */
    bool ended;            /* the trailer came */
    bool complete;         /* the trailer came, and its count and digest fit */
    bool server_complete;  /* the trailer's own "complete" */
    char digest[72];       /* over all event lines, "sha256:…" */
    char recorded_through[32];
    struct bf_buf trailer; /* for the whole output, without newline; empty when there is none */
    struct bf_buf cursor;  /* of the last whole line, or the trailer's next; empty at the very start */
};

/* Runs until complete, failed or out of patience; prints errors; returns the exit code. Always fini the result. */
int replay_run(struct cli_client *c, const struct replay_request *request, struct replay_result *result);
void replay_result_fini(struct replay_result *result);

/* The server's recorded_through now, as known_by; dst empty when it has nothing yet. */
int replay_pin_known_by(struct cli_client *c, char dst[32]);

#endif
