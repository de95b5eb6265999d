/* A replay into a file that goes on where it was cut: by the network, by the server's end, by this program's.
 *
 * What has come lies in FILE.part, the question (with the known_by that was fixed when it began) in FILE.part.question. The same command again cuts
 * FILE.part back to whole events, asks behind the last of them, and ends with the bytes that an uninterrupted run would have. FILE appears when all of it is
 * there: what each answer brought has been held against the digest and count that the server gave for it.
 */
#ifndef REPLAY_FILE_H
#define REPLAY_FILE_H

#include "cli.h"
#include "replay_units.h"

struct replay_file_request {
    const char *const *params; /* of /v1/replay: name, value, …, NULL; without format, cursor and known_by */
    const char *known_by;      /* NULL: what is recorded when it begins */
    enum replay_format format;
    const char *path;
    int resumes_max; /* cuts in a row without a whole event more that are borne */
    bool trailer;    /* NDJSON: keep the end's line */
    bool force;      /* what lies in FILE.part is of no interest */
};

/* Prints progress (on a terminal), errors and the summary; returns the exit code. */
int replay_into_file(struct cli_client *c, const struct replay_file_request *request);
/* "ndjson", "csv", "avro", also as what a file's name ends with (jsonl, too). */
bool replay_format_of(const char *name, enum replay_format *out);

#endif
