/* bench_reflex_latency: how long from handing a signal to the producer until its answer is consumed; one signal in `share` is answered. The answerer is
 * ODYSSEY, started beside this program, or (--bare) a thread here that does nothing but consume a signal and send its bytes on, with the same producer
 * settings. One process measures, so one clock; late for being blocked counts from when it was due. What is due within a millisecond is sent at its
 * beginning: waking up for each of 10,000 signals a second took a tenth of this machine from what is measured. */
#include "bf_avro_encode.h"
#include "bf_framing.h"
#include "bf_kafka.h"
#include "bf_log.h"
#include "bf_registry.h"
#include "bf_settings.h"
#include "bf_stop.h"
#include "bf_time.h"
#include "bf_topics.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct latency_settings {
    char *bootstrap, *registry, *schemas_dir;
    int64_t rate, seconds, share, nodes, transaction_ms;
    bool bare;
};

#define F(name) offsetof(struct latency_settings, name)
static const struct bf_setting table[] = {
    {"bootstrap", BF_SETTING_STRING, F(bootstrap), "127.0.0.1:9092", 0, 0, false, false, NULL, "Kafka brokers"},
    {"registry", BF_SETTING_STRING, F(registry), "http://127.0.0.1:8081", 0, 0, false, false, NULL, "Schema registry"},
    {"schemas-dir", BF_SETTING_STRING, F(schemas_dir), "schemas", 0, 0, false, false, NULL, "Folder of topics.json"},
    {"rate", BF_SETTING_INT, F(rate), "1000", 1, 10000000, false, false, "signals/s", "Evenly, by the millisecond"},
    {"seconds", BF_SETTING_INT, F(seconds), "10", 1, 3600, false, false, "s", "How long"},
    {"share", BF_SETTING_INT, F(share), "10", 1, 1000000, false, false, "signals", "One in so many is answered"},
    {"nodes", BF_SETTING_INT, F(nodes), "5000", 1, 1000000, false, false, "nodes", "Different ones"},
    {"transaction", BF_SETTING_INT, F(transaction_ms), "0", 0, 10000, false, false, "ms", "With --bare: answers go out in transactions of so long, with an offset; 0: none"},
    {"bare", BF_SETTING_BOOL, F(bare), "false", 0, 0, false, false, NULL, "Answer here, without ODYSSEY"},
    {NULL, 0, 0, NULL, 0, 0, false, false, NULL, NULL},
};
static const struct bf_settings_program program = {
    .name = "bench_reflex_latency", .usage = "[options]", .about = "Latency from signal to reflex, by rate.", .table = table};

#define SIGNAL_TOPIC "rim.fast-path"
#define REFLEX_TOPIC "odyssey.reflex"
#define BARE_IN "bench.signal"
#define BARE_OUT "bench.answer"
#define HOT 2e9 /* the price that is answered: the bench's rule says so */

struct latency {
    struct latency_settings s;
    struct bf_topics *topics;
    const char *in, *out;
    int64_t total, wanted, run;
    double *ms;
    int64_t *due_us; /* of each signal */
    atomic_llong seen;
    atomic_int ready;
    atomic_bool done;
};

/* A reader of one topic from its end; `take` for each message. */
struct reader {
    struct latency *l;
    const char *topic, *group;
    void (*take)(struct latency *l, void *ctx, const struct bf_message *msg); /* NULL: nothing came for 20 ms */
    void *ctx;
    struct bf_consumer *consumer;
};

static enum bf_code assigned(void *ctx, struct bf_tp *tps, size_t count, struct bf_err *err) {
    struct reader *r = ctx;
    for (size_t i = 0; i < count; i++) {
        int64_t low, high;
        enum bf_code code = bf_consumer_query_watermarks(r->consumer, tps[i].topic, tps[i].partition, 5000, &low, &high, err);
        if (code != BF_OK) return code;
        tps[i].offset = high;
    }
    if (count > 0) atomic_fetch_add(&r->l->ready, 1);
    return BF_OK;
}

static void *read_on(void *ctx) {
    struct reader *r = ctx;
    const struct bf_message *msg;
    struct bf_err err = {0};
    char group[96];
    const char *const topics[] = {r->topic, NULL};
    snprintf(group, sizeof group, "%s-%" PRId64, r->group, r->l->run);
    const struct bf_consumer_settings settings = {.bootstrap = r->l->s.bootstrap, .group = group, .client_id = r->group, .topics = topics,
                                                  .calls = {.assigned = assigned, .ctx = r}};
    if (bf_consumer_open(&settings, &r->consumer, &err) != BF_OK) bf_log_err(BF_LOG_ERROR, "no_consumer", &err, "topic=%s", r->topic);
    while (r->consumer != NULL && !atomic_load(&r->l->done))
        if (bf_consumer_poll(r->consumer, 20, &msg, &err) != BF_OK) r->take(r->l, r->ctx, NULL);
        else if (msg->value.data != NULL) r->take(r->l, r->ctx, msg);
    bf_consumer_close(r->consumer);
    return NULL;
}

/* Which signal an answer belongs to: signals to be answered go round the nodes, and the answers of a node come in order. */
struct answers {
    int32_t *next; /* by node: how many answers were seen */
};

static int64_t node_of_key(struct bf_slice key) {
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)(key.len < 63 ? key.len : 63), (const char *)key.data);
    const char *n = strrchr(text, 'L');
    return n != NULL ? strtoll(n + 1, NULL, 10) : -1;
}

static void take_answer(struct latency *l, void *ctx, const struct bf_message *msg) {
    struct answers *a = ctx;
    if (msg == NULL) return;
    int64_t node = node_of_key(msg->key), now_us = bf_time_monotonic_us();
    if (node < 0 || node >= l->s.nodes) return;
    int64_t number = (node + (int64_t)a->next[node]++ * l->s.nodes) * l->s.share;
    if (number >= l->total) return;
    l->ms[atomic_load(&l->seen)] = (double)(now_us - l->due_us[number]) / 1000;
    atomic_fetch_add(&l->seen, 1);
}

struct echo {
    struct bf_producer *producer;
    int64_t count, begun_us; /* begun_us: of the open transaction; 0: none is */
};

static void end_transaction(struct latency *l, struct echo *e) {
    struct bf_err err;
    if (bf_txn_commit(e->producer, "bench-reflex", l->in, e->count, "", 10000, &err) != BF_OK) bf_log_err(BF_LOG_ERROR, "not_committed", &err, "count=%" PRId64, e->count);
    e->begun_us = 0;
}

static void begin_transaction(struct echo *e) {
    struct bf_err err;
    if (bf_txn_begin(e->producer, &err) != BF_OK) bf_log_err(BF_LOG_ERROR, "not_begun", &err, "count=%" PRId64, e->count);
    e->begun_us = bf_time_monotonic_us();
}

static void take_signal(struct latency *l, void *ctx, const struct bf_message *msg) {
    struct echo *e = ctx;
    struct bf_err err;
    if (e->begun_us != 0 && (msg == NULL || bf_time_monotonic_us() - e->begun_us >= l->s.transaction_ms * 1000)) end_transaction(l, e);
    if (msg == NULL) return;
    const char *value = msg->value.data;
    if (value[msg->value.len - 1] == 'H') { /* to be answered */
        if (l->s.transaction_ms > 0 && e->begun_us == 0) begin_transaction(e);
        while (bf_producer_send(e->producer, l->out, -1, msg->key, msg->value, NULL, 0, 0, NULL, &err) == BF_AGAIN) (void)bf_producer_poll(e->producer, 1);
    }
    if (++e->count % 64 == 0) (void)bf_producer_poll(e->producer, 0);
}

/* ---- signals ---- */

struct maker {
    struct bf_avro_encoder *encoder;
    int32_t schema_id;
    struct bf_buf value;
};

static enum bf_code make(struct latency *l, struct maker *m, int64_t number, const char *node, struct bf_slice *value, struct bf_err *err) {
    uint8_t frame[BF_FRAME_BYTES];
    char id[64];
    bool hot = number % l->s.share == 0;
    snprintf(id, sizeof id, "bench-%" PRId64 "-%" PRId64, l->run, number);
    json_t *json = json_pack("{s:s, s:s, s:{s:I, s:I}, s:f, s:f, s:{s:s}}", "rim_node_id", node, "event_id", id, "vector_timestamp", "event_ts_ms",
                             (json_int_t)(bf_time_now_us() / 1000), "ingest_ts_ms", (json_int_t)0, "price", hot ? HOT : 1.0, "stress", 0.1, "metadata", "venue",
                             "a bench of signals and of the reflexes that they lead to");
    bf_buf_clear(&m->value);
    bf_frame_put(frame, m->schema_id);
    bf_buf_append(&m->value, frame, sizeof frame);
    enum bf_code code = bf_avro_encode(m->encoder, json, &m->value, err);
    json_decref(json);
    if (l->s.bare) bf_buf_putc(&m->value, hot ? 'H' : '-');
    *value = (struct bf_slice){m->value.data, m->value.len};
    return code;
}

static void wait_until(struct bf_producer *p, int64_t due_us) {
    for (int64_t now_us; (now_us = bf_time_monotonic_us()) < due_us;) {
        if (due_us - now_us > 1500) (void)bf_producer_poll(p, 1);
        else nanosleep(&(struct timespec){0, (due_us - now_us) * 1000}, NULL);
    }
}

static enum bf_code produce(struct latency *l, struct maker *m, struct bf_producer *p, struct bf_err *err) {
    int64_t begun_us = bf_time_monotonic_us() + 100000;
    enum bf_code code = BF_OK;
    for (int64_t i = 0; i < l->total && code == BF_OK && !bf_stop_requested(); i++) {
        char node[64];
        struct bf_slice value;
        /* Answered signals go round the nodes L, the others round as many others. */
        int len = i % l->s.share == 0 ? snprintf(node, sizeof node, "rim:metric:bench:L%" PRId64, i / l->s.share % l->s.nodes)
                                      : snprintf(node, sizeof node, "rim:metric:bench:q%" PRId64, i * 7919 % l->s.nodes);
        code = make(l, m, i, node, &value, err);
        l->due_us[i] = begun_us + (int64_t)((double)i * 1e3 / (double)l->s.rate) * 1000;
        wait_until(p, l->due_us[i]);
        while (code == BF_OK && (code = bf_producer_send(p, l->in, -1, (struct bf_slice){node, (size_t)len}, value, NULL, 0, 0, NULL, err)) == BF_AGAIN) {
            (void)bf_producer_poll(p, 1);
            code = BF_OK;
        }
        if (i % 64 == 0) (void)bf_producer_poll(p, 0);
    }
    return code == BF_OK ? bf_producer_flush(p, 30000, err) : code;
}

static enum bf_code open_producer(struct latency *l, const char *topic, struct bf_producer **p, struct bf_err *err) {
    const char *transactional_id = topic == l->out && l->s.transaction_ms > 0 ? "bench-reflex" : NULL;
    const struct bf_producer_settings settings = {.bootstrap = l->s.bootstrap, .client_id = "bench-reflex", .linger_ms = BF_LINGER_ADAPTIVE,
                                                  .transactional_id = transactional_id};
    enum bf_code code = bf_producer_open(&settings, p, err);
    if (code == BF_OK && transactional_id != NULL) code = bf_txn_init(*p, 10000, err);
    return code == BF_OK ? bf_producer_warm(*p, topic, 10000, err) : code;
}

static enum bf_code prepare(struct latency *l, struct maker *m, struct bf_err *err) {
    struct bf_registry *registry = NULL;
    enum bf_code code = bf_topics_load(l->s.schemas_dir, &l->topics, err);
    const char *schema = code == BF_OK ? bf_topics_find(l->topics, SIGNAL_TOPIC)->schema_json : NULL;
    if (code == BF_OK) code = bf_avro_encoder_new(schema, &m->encoder, err);
    if (code == BF_OK) code = bf_registry_new(l->s.registry, 5000, &registry, err);
    if (code == BF_OK) code = bf_registry_register(registry, SIGNAL_TOPIC "-value", schema, &m->schema_id, err);
    for (int i = 0; i < 2 && code == BF_OK; i++) {
        const char *topic = i == 0 ? l->in : l->out;
        const struct bf_topic *as = bf_topics_find(l->topics, i == 0 ? SIGNAL_TOPIC : REFLEX_TOPIC);
        code = bf_kafka_create_topic(l->s.bootstrap, topic, as->partitions, 0, 10000, err);
        if (code == BF_EXISTS) code = BF_OK;
    }
    bf_registry_free(registry);
    return code;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void tell(struct latency *l) {
    size_t n = (size_t)atomic_load(&l->seen);
    qsort(l->ms, n, sizeof *l->ms, compare);
    if (n > 0)
        printf("answerer=%s transaction_ms=%" PRId64 " rate=%" PRId64 " answers=%zu missed=%" PRId64 " p50_ms=%.2f p99_ms=%.2f max_ms=%.2f\n", l->s.bare ? "bare" : "odyssey", l->s.transaction_ms, l->s.rate, n,
               l->wanted - (int64_t)n, l->ms[n / 2], l->ms[n * 99 / 100], l->ms[n - 1]);
    else printf("answerer=%s rate=%" PRId64 " answers=0\n", l->s.bare ? "bare" : "odyssey", l->s.rate);
}

static void nap_ms(int64_t ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static int run(struct latency *l) {
    struct bf_err err = {0};
    struct maker m = {0};
    struct bf_producer *signals = NULL;
    struct echo echo = {0};
    pthread_t answer_thread, echo_thread;
    l->run = bf_time_now_us();
    l->in = l->s.bare ? BARE_IN : SIGNAL_TOPIC;
    l->out = l->s.bare ? BARE_OUT : REFLEX_TOPIC;
    l->total = l->s.rate * l->s.seconds;
    l->wanted = (l->total + l->s.share - 1) / l->s.share;
    l->ms = calloc((size_t)l->wanted + 1, sizeof *l->ms);
    l->due_us = calloc((size_t)l->total, sizeof *l->due_us);
    struct answers answers = {calloc((size_t)l->s.nodes, sizeof *answers.next)};
    bf_assert(l->ms != NULL && l->due_us != NULL && answers.next != NULL);
    bf_buf_init(&m.value, 1 << 20);
    enum bf_code code = prepare(l, &m, &err);
    if (code == BF_OK) code = open_producer(l, l->in, &signals, &err);
    if (code == BF_OK) code = open_producer(l, l->out, &echo.producer, &err);
    struct reader reading = {l, l->out, "bench-answers", take_answer, &answers, NULL}, echoing = {l, l->in, "bench-echo", take_signal, &echo, NULL};
    if (code == BF_OK) {
        bf_assert(pthread_create(&answer_thread, NULL, read_on, &reading) == 0);
        if (l->s.bare) bf_assert(pthread_create(&echo_thread, NULL, read_on, &echoing) == 0);
        for (int i = 0; i < 300 && atomic_load(&l->ready) < (l->s.bare ? 2 : 1); i++) nap_ms(100);
        nap_ms(1000);
        code = produce(l, &m, signals, &err);
        for (int i = 0; i < 100 && atomic_load(&l->seen) < l->wanted; i++) nap_ms(100);
        atomic_store(&l->done, true);
        pthread_join(answer_thread, NULL);
        if (l->s.bare) pthread_join(echo_thread, NULL);
        tell(l);
    }
    if (code != BF_OK) bf_log_err(BF_LOG_ERROR, "failed", &err, "rate=%" PRId64, l->s.rate);
    bf_producer_close(signals);
    bf_producer_close(echo.producer);
    bf_avro_encoder_free(m.encoder);
    bf_buf_fini(&m.value);
    bf_topics_free(l->topics);
    free(answers.next);
    free(l->due_us);
    free(l->ms);
    return code == BF_OK && atomic_load(&l->seen) == l->wanted ? BF_EXIT_OK : BF_EXIT_FAILED;
}

int main(int argc, char **argv) {
    static struct latency l;
    struct bf_err err;
    char **rest;
    int rest_count, exit_code = 0;
    bf_log_init("bench_reflex_latency", BF_LOG_INFO);
    enum bf_code code = bf_settings_load(&program, argc, argv, &l.s, &rest, &rest_count, &exit_code, &err);
    if (code == BF_OK) exit_code = bf_stop_install(&err) == BF_OK ? run(&l) : BF_EXIT_INTERNAL;
    else if (code != BF_CANCELLED) fprintf(stderr, "bench_reflex_latency: %s\n", err.msg);
    bf_settings_fini(&program, &l.s);
    return exit_code;
}
