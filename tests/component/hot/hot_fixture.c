#include "hot_fixture.h"

#include "bf_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- store ---- */

void fixture_assert_code(enum bf_code expected, enum bf_code code, const struct bf_err *err, const char *file, int line) {
    if (code != expected)
        print_error("%s instead of %s: %s (%s:%d)\n", bf_code_name(code), bf_code_name(expected), code == BF_OK ? "" : err->msg,
                    code == BF_OK ? "" : err->file, code == BF_OK ? 0 : err->line);
    _assert_int_equal(code, expected, file, line);
}

char *fixture_dir(void) {
    char path[] = "/tmp/bf-hot-XXXXXX";
    assert_non_null(mkdtemp(path));
    return strdup(path);
}

void fixture_dir_remove(char *dir) {
    struct bf_err err;
    assert_ok(hot_destroy(dir, &err));
    char lock[300];
    snprintf(lock, sizeof lock, "%s/lock", dir);
    unlink(lock);
    assert_int_equal(rmdir(dir), 0);
    free(dir);
}

size_t fixture_node_run_min = 20;

struct hot *fixture_open(const char *dir, int64_t map_bytes) {
    struct bf_err err;
    struct hot *h = NULL;
    struct hot_settings settings = {
        .dir = dir, .map_bytes_max = map_bytes, .cluster_id = "test", .node_run_min = fixture_node_run_min, .node_merge_pairs = 2};
    assert_ok(hot_open(&settings, &h, &err));
    return h;
}

/* ---- making things up ---- */

uint64_t rnd(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

int64_t rnd_below(uint64_t *state, int64_t n) {
    return (int64_t)((rnd(state) >> 16) % (uint64_t)n);
}

struct bf_slice text(const char *s) {
    return bf_slice_str(s);
}

struct bf_uuid uuid_of(uint64_t n) {
    struct bf_uuid id = {{0}};
    bf_put_be64(id.b, n * UINT64_C(0x9E3779B97F4A7C15));
    bf_put_be64(id.b + 8, n);
    return id;
}

struct event plain_event(const char *topic, int32_t partition, int64_t offset, uint64_t id, const char *node, int64_t event_time_us,
                         const char *value) {
    return (struct event){
        .topic = text(topic),
        .partition = partition,
        .offset = offset,
        .id = uuid_of(id),
        .node_id = text(node),
        .event_time_us = event_time_us,
        .kafka_time_us = event_time_us + 7,
        .schema_id = 1,
        .key = text(node),
        .value = text(value),
    };
}

const char *const model_topics[MODEL_TOPICS] = {"rim.fast-path", "odyssey.reflex", "rim.slow-path"};
const char *const model_nodes[MODEL_NODES] = {
    "rim:entity:finance:EURUSD", "rim:entity:finance:EUR", "rim:entity:finance:GBPUSD", "rim:entity:fin:A",      "rim:entity:fin:B",
    "rim:metric:finance:EURJPY", "rim:metric:finance:E",   "rim:market:x:1",            "rim:market:x:10",       "rim:market:x:2",
    "rim:signal:a:zz",           "rim:actor:m:n",
};
static const char *const traces[] = {"trace-1", "trace-2", "a-trace-with-a-longer-name-than-sixteen-bytes", ""};
static const char *const values[] = {"", "v", "value two", "a value that is a good deal longer than the others are, to vary the size"};

#define PICK(state, array) ((array)[rnd_below((state), (int64_t)(sizeof(array) / sizeof(array)[0]))])
#define IDS 400
#define CAUSES 10
#define TIME_STEPS 50

static int64_t some_time(uint64_t *s) {
    return (rnd_below(s, TIME_STEPS) - TIME_STEPS / 4) * 1000; /* before 1970, too; many alike */
}

static struct event some_event(uint64_t *s) {
    struct event ev = plain_event(model_topics[0], 0, 0, (uint64_t)rnd_below(s, IDS), PICK(s, model_nodes), some_time(s), PICK(s, values));
    ev.kafka_time_us = 1000000 + rnd_below(s, 1000);
    ev.schema_id = (int32_t)rnd_below(s, 3);
    if (rnd_below(s, 4) == 0)
        ev.trace_id = text(PICK(s, traces));
    if ((ev.has_cause = rnd_below(s, 4) == 0))
        ev.cause_id = uuid_of((uint64_t)rnd_below(s, CAUSES));
    if (rnd_below(s, 5) == 0)
        ev.source_id = text("order-17");
    if (rnd_below(s, 6) == 0)
        ev.key = rnd_below(s, 2) == 0 ? BF_SLICE_NONE : text("another key");
    if (rnd_below(s, 8) == 0)
        ev.value = BF_SLICE_NONE;
    if (rnd_below(s, 3) == 0)
        ev.headers = (struct bf_slice){"\0\1h\0\0\0\1x", 8};
    return ev;
}

/* ---- the model ---- */

void model_init(struct model *m, uint64_t seed) {
    memset(m, 0, sizeof *m);
    memset(m->coverage, -1, sizeof m->coverage);
    m->seed = seed * 2 + 1;
    m->capacity = 1 << 15;
    m->events = calloc(m->capacity, sizeof *m->events);
    m->duplicates = calloc(m->capacity, sizeof *m->duplicates);
    m->poisons = calloc(m->capacity, sizeof *m->poisons);
}

void model_fini(struct model *m) {
    arena_fini(&m->arena);
    free(m->events);
    free(m->duplicates);
    free(m->poisons);
}

/* What was added, in the order added; recorded order puts the partitions one after another as each was first named. */
struct added {
    bool is_poison;
    int topic, partition, rank; /* rank: of the partition in the batch */
    struct event ev;
    struct poison poison;
    enum disposition disposition;
    uint32_t revision;
    int64_t recorded_at_us;
};
struct batch_model {
    struct added *list;
    size_t count, told;
    int rank[MODEL_TOPICS][MODEL_PARTITIONS], ranks;
    uint64_t gaps[2];
};

static void told(void *ctx, size_t index, enum disposition d, uint32_t revision, int64_t recorded_at_us) {
    struct batch_model *bm = ctx;
    assert_int_equal(index, bm->told++);
    bm->list[index].disposition = d;
    bm->list[index].revision = revision;
    bm->list[index].recorded_at_us = recorded_at_us;
}

static void add_gap(struct model *m, struct hot_batch *b, struct batch_model *bm, int t, int p) {
    struct bf_err err;
    bool lost = rnd_below(&m->seed, 3) == 0;
    int64_t n = 1 + rnd_below(&m->seed, 4);
    struct interval gap = {text(model_topics[t]), p, m->next[t][p], m->next[t][p] + n, lost ? DISPOSITION_LOST : DISPOSITION_CONTROL};
    assert_ok(hot_batch_gap(b, &gap, &err));
    for (int64_t o = gap.from; o < gap.to; o++)
        m->coverage[t][p][o] = (int8_t)gap.disposition;
    m->next[t][p] = gap.to;
    bm->gaps[lost] += (uint64_t)n;
}

static void add_record(struct model *m, struct hot_batch *b, struct batch_model *bm, int t, int p) {
    struct bf_err err;
    uint64_t *s = &m->seed;
    struct added *a = &bm->list[bm->count++];
    *a = (struct added){.topic = t, .partition = p, .rank = bm->rank[t][p], .is_poison = rnd_below(s, 12) == 0};
    int64_t offset = m->next[t][p]++;
    if (a->is_poison) {
        a->poison = (struct poison){.topic = text(model_topics[t]), .partition = p, .offset = offset,
                                    .kafka_time_us = rnd_below(s, 1000), .reason = (enum poison_reason)rnd_below(s, 7),
                                    .schema_id = (int32_t)rnd_below(s, 3), .detail = text("why"), .key = text("k"),
                                    .value = text(PICK(s, values)), .redriven_at_us = rnd_below(s, 3) == 0 ? 5 : 0};
        assert_ok(hot_batch_poison(b, &a->poison, &err));
    } else {
        a->ev = some_event(s);
        a->ev.topic = text(model_topics[t]);
        a->ev.partition = p;
        a->ev.offset = offset;
        assert_ok(hot_batch_event(b, &a->ev, &err));
    }
}

static bool same_content(const struct event *a, const struct event *b) {
    return bf_slice_eq(a->key, b->key) && (a->key.data == NULL) == (b->key.data == NULL) && bf_slice_eq(a->value, b->value) &&
           (a->value.data == NULL) == (b->value.data == NULL) && bf_slice_eq(a->node_id, b->node_id) && a->event_time_us == b->event_time_us;
}

static const struct event *newest_revision(const struct model *m, const struct event *ev) {
    for (size_t i = m->event_count; i-- > 0;) {
        if (memcmp(&m->events[i].id, &ev->id, sizeof ev->id) == 0 && bf_slice_eq(m->events[i].topic, ev->topic))
            return &m->events[i];
    }
    return NULL;
}

static void keep_event(struct model *m, struct added *a) {
    const struct event *newest = newest_revision(m, &a->ev);
    bool duplicate = newest != NULL && same_content(newest, &a->ev);
    assert_int_equal(a->disposition, duplicate ? DISPOSITION_DUPLICATE : DISPOSITION_STORED);
    if (duplicate) {
        assert_int_equal(a->revision, newest->revision);
        m->duplicates[m->duplicate_count++] = (struct duplicate){a->ev.topic, a->ev.id, a->revision, a->ev.partition, a->ev.offset,
                                                                 a->ev.kafka_time_us, a->recorded_at_us};
        return;
    }
    assert_int_equal(a->revision, newest == NULL ? 1 : newest->revision + 1);
    a->ev.revision = a->revision;
    a->ev.recorded_at_us = a->recorded_at_us;
    m->events[m->event_count++] = a->ev;
}

static void keep(struct model *m, struct added *a) {
    if (a->is_poison) {
        assert_int_equal(a->disposition, DISPOSITION_QUARANTINED);
        a->poison.recorded_at_us = a->recorded_at_us;
        m->poisons[m->poison_count++] = a->poison;
    } else {
        keep_event(m, a);
    }
    m->coverage[a->topic][a->partition][a->is_poison ? a->poison.offset : a->ev.offset] = (int8_t)a->disposition;
    assert_true(m->event_count < m->capacity && m->duplicate_count < m->capacity && m->poison_count < m->capacity);
}

static void check_result(const struct batch_model *bm, const struct hot_commit_result *r, int64_t last_us) {
    uint64_t by[5] = {0}, revisions = 0;
    for (size_t i = 0; i < bm->count; i++) {
        by[bm->list[i].disposition]++;
        revisions += bm->list[i].disposition == DISPOSITION_STORED && bm->list[i].revision > 1;
    }
    assert_int_equal(r->stored, by[DISPOSITION_STORED]);
    assert_int_equal(r->revisions, revisions);
    assert_int_equal(r->duplicates, by[DISPOSITION_DUPLICATE]);
    assert_int_equal(r->quarantined, by[DISPOSITION_QUARANTINED]);
    assert_int_equal(r->control, bm->gaps[0]);
    assert_int_equal(r->lost, bm->gaps[1]);
    assert_true(r->recorded_through_us >= last_us);
}

void model_batch(struct model *m, struct hot *h, size_t size) {
    struct bf_err err;
    struct hot_batch *b = NULL;
    struct hot_commit_result result;
    struct batch_model bm = {.list = calloc(size + 1, sizeof *bm.list)};
    memset(bm.rank, -1, sizeof bm.rank);
    assert_ok(hot_batch_new(h, &b, &err));
    for (size_t i = 0; i < size; i++) {
        int t = (int)rnd_below(&m->seed, MODEL_TOPICS), p = (int)rnd_below(&m->seed, MODEL_PARTITIONS);
        assert_true(m->next[t][p] < MODEL_OFFSETS - 8);
        if (bm.rank[t][p] < 0)
            bm.rank[t][p] = bm.ranks++;
        if (rnd_below(&m->seed, 15) == 0)
            add_gap(m, b, &bm, t, p);
        else
            add_record(m, b, &bm, t, p);
    }
    assert_int_equal(hot_batch_count(b), bm.count);
    assert_ok(hot_batch_commit(b, &result, told, &bm, &err));
    assert_int_equal(bm.told, bm.count);
    int64_t last_us = 0;
    for (int rank = 0; rank < bm.ranks; rank++) {
        for (size_t i = 0; i < bm.count; i++) {
            if (bm.list[i].rank != rank)
                continue;
            assert_true(bm.list[i].recorded_at_us > last_us);
            last_us = bm.list[i].recorded_at_us;
            keep(m, &bm.list[i]);
        }
    }
    check_result(&bm, &result, last_us);
    hot_batch_free(b);
    free(bm.list);
}

void model_question(struct model *m, struct event_query *q) {
    uint64_t *s = &m->seed;
    event_query_init(q);
    int64_t newest = m->event_count > 0 ? m->events[m->event_count - 1].recorded_at_us : 1;
    int64_t oldest = m->event_count > 0 ? m->events[0].recorded_at_us : 0, span = newest - oldest + 2;
    switch (rnd_below(s, 4)) {
    case 0: q->topics[q->topic_count++] = text(PICK(s, model_topics)); break;
    case 1: q->topics[q->topic_count++] = text("rim.slow-path"), q->topics[q->topic_count++] = text("no.such-topic"); break;
    default: break;
    }
    if (rnd_below(s, 6) == 0)
        q->domain = text(rnd_below(s, 3) == 0 ? "ri" : "rim");
    if (rnd_below(s, 3) == 0)
        q->node = text(PICK(s, model_nodes));
    if (rnd_below(s, 4) == 0)
        q->node_prefix = text(rnd_below(s, 2) == 0 ? "rim:entity:fin" : "rim:m");
    if (rnd_below(s, 3) == 0)
        q->from_us = some_time(s);
    if (rnd_below(s, 3) == 0)
        q->to_us = some_time(s) + rnd_below(s, 3);
    if (rnd_below(s, 5) == 0)
        q->recorded_from_us = oldest + rnd_below(s, span);
    if (rnd_below(s, 5) == 0)
        q->recorded_to_us = oldest + rnd_below(s, span);
    if (rnd_below(s, 3) == 0)
        q->known_by_us = oldest + rnd_below(s, span);
    if (rnd_below(s, 6) == 0)
        q->trace = text(PICK(s, traces));
    if ((q->has_cause = rnd_below(s, 6) == 0))
        q->cause = uuid_of((uint64_t)rnd_below(s, CAUSES));
    if ((q->has_id = rnd_below(s, 8) == 0))
        q->id = uuid_of((uint64_t)rnd_below(s, IDS));
    if (rnd_below(s, 4) == 0) {
        q->by_partition = true;
        q->partition = (int32_t)rnd_below(s, MODEL_PARTITIONS + 1);
        q->topic_count = 1;
        q->topics[0] = text(PICK(s, model_topics));
        if (rnd_below(s, 2) == 0)
            q->offset_from = rnd_below(s, 200);
        if (rnd_below(s, 2) == 0)
            q->offset_to = rnd_below(s, 400);
    }
    q->order = rnd_below(s, 2) == 0 ? ORDER_RECORDED : ORDER_EVENT_TIME;
    if (q->by_partition && rnd_below(s, 2) == 0)
        q->order = ORDER_OFFSET;
    q->descending = rnd_below(s, 2) == 0;
}

static void assert_same_slice(struct bf_slice a, struct bf_slice b) {
    assert_int_equal(a.data == NULL, b.data == NULL);
    assert_int_equal(a.len, b.len);
    if (a.len > 0)
        assert_memory_equal(a.data, b.data, a.len);
}

void assert_same_event(const struct event *a, const struct event *b) {
    assert_int_equal(a->recorded_at_us, b->recorded_at_us);
    assert_memory_equal(&a->id, &b->id, sizeof a->id);
    assert_int_equal(a->revision, b->revision);
    assert_int_equal(a->partition, b->partition);
    assert_int_equal(a->offset, b->offset);
    assert_int_equal(a->event_time_us, b->event_time_us);
    assert_int_equal(a->kafka_time_us, b->kafka_time_us);
    assert_int_equal(a->schema_id, b->schema_id);
    assert_int_equal(a->has_cause, b->has_cause);
    if (a->has_cause)
        assert_memory_equal(&a->cause_id, &b->cause_id, sizeof a->cause_id);
    assert_same_slice(a->topic, b->topic);
    assert_same_slice(a->node_id, b->node_id);
    assert_same_slice(a->trace_id, b->trace_id);
    assert_same_slice(a->source_id, b->source_id);
    assert_same_slice(a->key, b->key);
    assert_same_slice(a->value, b->value);
    assert_same_slice(a->headers, b->headers);
}
