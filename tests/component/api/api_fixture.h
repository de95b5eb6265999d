/* A CAPSULE without its loops: a real hot store in a temporary folder, a real server on a free port, a client, and a model of what was put in. */
#ifndef API_FIXTURE_H
#define API_FIXTURE_H

#include "api.h"
#include "bf_avro_encode.h"
#include "bf_http_client.h"
#include "bf_json.h"

#include <jansson.h>
#include <pthread.h>

#define FAST "rim.fast-path"
#define REFLEX "odyssey.reflex"
#define SCHEMA_FAST 1
#define SCHEMA_REFLEX 2
#define EURUSD "rim:metric:finance:EURUSD"

/* What the test knows of one record put in. */
struct told {
    char topic[64], node[256], id[40];
    struct bf_uuid uuid;
    int32_t partition;
    int64_t offset, event_time_us, recorded_at_us;
    uint32_t revision;
    enum disposition disposition;
    double price;
    char trace[32], cause[40];
};

struct fx {
    char dir[64], conninfo[512];
    struct capsule_settings settings;
    struct capsule capsule;
    struct bf_topics *topics;
    struct api *api;
    struct hot_batch *batch;
    struct bf_avro_encoder *encode_fast, *encode_reflex;
    struct bf_http_client *client;
    struct bf_buf body, url; /* the last answer; its status is `status` */
    int status;
    struct told *told; /* in the order added; those of the open batch have recorded_at_us 0 */
    size_t told_count, told_capacity, committed;
    int64_t next_offset[2][16]; /* FAST, REFLEX */
    struct bf_err err;
};

/* conninfo NULL: an archive that is away (nothing listens there). */
void fx_open(struct fx *f, const char *conninfo);
/* The same, but only for who has a token of this file. */
void fx_open_guarded(struct fx *f, const char *conninfo, const char *tokens_file);
void fx_close(struct fx *f);
/* Lose the hot store: without a server from here on, an empty new one in the same place, and another instance. */
void fx_lose_hot(struct fx *f);

/* Add one event; id may be NULL (then derived). trace, cause may be NULL. A later one with the same id and another content is a revision. */
struct told *fx_put(struct fx *f, const char *topic, int32_t partition, const char *node, const char *id, int64_t event_time_us, double price,
                    const char *trace, const char *cause);
void fx_commit(struct fx *f);
/* Poison; a gap of `count` offsets. */
void fx_put_poison(struct fx *f, const char *topic, int32_t partition, enum poison_reason reason, int32_t schema_id);
void fx_put_gap(struct fx *f, const char *topic, int32_t partition, int64_t count, enum disposition d);
/* n random events over some nodes, topics and times, in commits of random size; deterministic by seed. */
void fx_fill(struct fx *f, size_t n, unsigned seed);
/* rim:metric:test:N000 … N016: those that fx_fill uses. */
const char *fx_node(size_t i);
/* The highest recorded_at of what was committed (within a commit records are grouped by partition). */
int64_t fx_newest(const struct fx *f);

/* GET; the format makes the path and query. Returns the status; the body is NUL-terminated. */
int fx_get(struct fx *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* GET, 200 expected, parsed; the caller decrefs. */
json_t *fx_json(struct fx *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* GET and expect a problem with this status and pointer (NULL: none), in application/problem+json. */
void fx_problem(struct fx *f, int status, const char *pointer, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
const char *fx_str(const json_t *obj, const char *key);
int64_t fx_time(const json_t *obj, const char *key);

/* Does this event of an answer say what was put in? */
void fx_check_event(const json_t *ev, const struct told *t);
/* Is told[i] replaced by a revision known by then? */
bool fx_replaced(const struct fx *f, size_t i, int64_t known_by_us);
/* What the state of a node in a topic must be, by looking at everything: the newest in (event_time, recorded_at) that no revision known by then
 * replaces; NULL: none. */
const struct told *fx_state_of(const struct fx *f, const char *node, const char *topic, int64_t as_of_us, int64_t known_by_us);

/* Follow `next` from this path (with its query) to the end; calls each() for every event; returns how many. */
size_t fx_pages(struct fx *f, const char *path, void (*each)(void *ctx, const json_t *ev), void *ctx);
#endif
