/* What the files of ingest share. One thread, ingest's: ingest.c the batch, the loop and its waits; ingest_proof.c whether it is still the log that was
 * read; ingest_redrive.c quarantined records that somebody wants taken in.
 */
#ifndef INGEST_INTERNAL_H
#define INGEST_INTERNAL_H

#include "ingest.h"

#include "envelope.h"
#include "evictor.h"
#include "log_proof.h"

#include <pthread.h>

enum { INGEST_REDRIVE_HEADERS_MAX = 256 };
#define INGEST_SHORT_BELIEVED_US INT64_C(5000000) /* so long a log must seem too short before that is believed */

struct ingest_topic {
    char name[BF_TOPIC_MAX + 1];
    const struct bf_topic *way;
    struct bf_series *series[7]; /* by enum disposition; [5] revision */
    uint64_t gaps[5];            /* in the batch, by enum disposition: CONTROL and LOST */
};

struct ingest_partition {
    uint32_t topic; /* index into topics */
    int32_t partition;
    int64_t expected;
    int64_t block_ms; /* how long it waited last for a schema; 0: it does not */
    struct log_proof proof; /* on: what lies below proof.known_end is held and only compared; topic is not kept here, topics move */
    bool cutting;           /* the proof ended in a cut, which waits for the archive */
    int64_t short_since_us; /* the log seems to end before known_end since then (monotonic); 0: it does not */
};

/* What the commit's report is turned into metrics with. */
struct batch_row {
    uint32_t topic;
    int64_t kafka_time_us;
};

/* Rows in a row that count alike; count 0: none yet. */
struct rows_alike {
    struct bf_series *series;
    int64_t kafka_time_us, recorded_at_us; /* of the last of them */
    uint64_t count;
    bool stored;
};

struct ingest {
    struct capsule *c;
    pthread_t thread;
    bool running;
    struct archive *archive; /* for partitions that change hands */
    struct schema_source *schemas;
    struct envelope_settings envelope_settings;
    struct envelope envelope;
    struct hot_batch *batch;
    struct batch_row *rows;
    size_t row_count, row_capacity;
    struct ingest_topic *topics;
    size_t topic_count;
    struct ingest_partition *parts;
    size_t part_count;
    struct evictor evictor;
    struct bf_header redrive_headers[INGEST_REDRIVE_HEADERS_MAX];
    struct bf_buf redrive_names;
    struct rows_alike alike;
    struct bf_series *e2e;
    bool full, committing;
    bool gaps_pending; /* the batch holds intervals though perhaps no record */
    int64_t saved_us, reconcile_at_us, learn_at_us;
};

/* NULL: not in hand. */
struct ingest_partition *ingest_find_part(struct ingest *in, const char *topic, int32_t partition);
/* Commit what is in hand. BF_NOMEM: the store is full, the batch is kept and `full` is set. */
enum bf_code ingest_commit(struct ingest *in, struct bf_err *err);
/* The end of everything: the process stops with a reason. */
void ingest_fatal(struct ingest *in, const char *event, const struct bf_err *err, int exit_code);

/* ---- ingest_proof.c ---- */

/* The embedded broker's record for offsets that it has forgotten. */
bool ingest_is_filler(const struct bf_message *msg);
/* The log may be another one: from `low` on compare all that is held. */
void ingest_read_whole(struct ingest *in, struct ingest_partition *p, int64_t low);
/* A record below known_end: compare it. *held: nothing more is to be done with it. */
enum bf_code ingest_prove(struct ingest *in, struct ingest_partition *p, const struct bf_message *msg, bool *held, struct bf_err *err);
/* The log ends below known_end. */
enum bf_code ingest_prove_end(struct ingest *in, struct ingest_partition *p, int64_t offset, struct bf_err *err);

/* ---- ingest_redrive.c ---- */

/* One step, when nothing is in hand: a redrive is a commit of its own. */
void ingest_take_redrive(struct ingest *in);

#endif
