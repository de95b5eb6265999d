/* bench_produce_latency: how long from handing a message to the producer until a consumer has it, by rate and linger. One process, so one clock; the
 * message carries when it was handed over. Paced evenly; a message that is late because the producer blocked counts from when it was due. */
#include "bf_kafka.h"
#include "bf_log.h"
#include "bf_settings.h"
#include "bf_stop.h"
#include "bf_time.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct latency_settings {
    char *bootstrap, *topic, *linger;
    int64_t rate, seconds, bytes, partitions;
};

#define F(name) offsetof(struct latency_settings, name)
static const struct bf_setting table[] = {
    {"bootstrap", BF_SETTING_STRING, F(bootstrap), "127.0.0.1:9092", 0, 0, false, false, NULL, "Kafka brokers"},
    {"topic", BF_SETTING_STRING, F(topic), "bench.latency", 0, 0, false, false, NULL, "Where to; made when it is not there"},
    {"partitions", BF_SETTING_INT, F(partitions), "12", 1, 1000, false, false, NULL, "Of the topic, when it is made"},
    {"linger", BF_SETTING_STRING, F(linger), "adaptive", 0, 0, false, false, NULL, "Milliseconds, or adaptive"},
    {"rate", BF_SETTING_INT, F(rate), "1000", 1, 10000000, false, false, "messages/s", "Evenly"},
    {"seconds", BF_SETTING_INT, F(seconds), "5", 1, 3600, false, false, "s", "How long"},
    {"bytes", BF_SETTING_INT, F(bytes), "220", 16, 100000, false, false, "bytes", "Of each message"},
    {NULL, 0, 0, NULL, 0, 0, false, false, NULL, NULL},
};

static const struct bf_settings_program program = {
    .name = "bench_produce_latency", .usage = "[options]", .about = "Latency from produce to consume, by rate and linger.", .table = table};

struct latency {
    struct latency_settings s;
    int64_t run, total;
    double *ms;
    atomic_llong seen;
    atomic_bool ready, give_up;
    int64_t failed;
};

static enum bf_code assigned(void *ctx, struct bf_tp *tps, size_t count, struct bf_err *err) {
    struct latency *l = ctx;
    (void)err;
    for (size_t i = 0; i < count; i++) tps[i].offset = BF_CONSUMER_EARLIEST;
    atomic_store(&l->ready, count > 0);
    return BF_OK;
}

static void revoked(void *ctx, const struct bf_tp *tps, size_t count, bool lost) { (void)ctx, (void)tps, (void)count, (void)lost; }

static void *consume(void *ctx) {
    struct latency *l = ctx;
    struct bf_consumer *c = NULL;
    struct bf_err err = {0};
    const struct bf_message *msg;
    char group[64];
    const char *const topics[] = {l->s.topic, NULL};
    snprintf(group, sizeof group, "bench-latency-%" PRId64, l->run);
    struct bf_consumer_settings settings = {.bootstrap = l->s.bootstrap, .group = group, .client_id = "bench", .topics = topics,
                                            .extra = "fetch.wait.max.ms=10\nfetch.error.backoff.ms=0",
                                            .calls = {.assigned = assigned, .revoked = revoked, .ctx = l}};
    if (bf_consumer_open(&settings, &c, &err) != BF_OK) bf_log_err(BF_LOG_ERROR, "no_consumer", &err, "group=%s", group);
    while (c != NULL && atomic_load(&l->seen) < l->total && !atomic_load(&l->give_up)) {
        int64_t stamp[2];
        if (bf_consumer_poll(c, 20, &msg, &err) != BF_OK || msg->value.len < sizeof stamp) continue;
        memcpy(stamp, msg->value.data, sizeof stamp);
        if (stamp[1] != l->run) continue; /* of an earlier run */
        l->ms[atomic_load(&l->seen)] = (double)(bf_time_monotonic_us() - stamp[0]) / 1000;
        atomic_fetch_add(&l->seen, 1);
    }
    bf_consumer_close(c);
    return NULL;
}

static void delivered(void *ctx, void *opaque, enum bf_code code, const struct bf_err *err, int32_t partition, int64_t offset) {
    struct latency *l = ctx;
    (void)opaque, (void)err, (void)partition, (void)offset;
    l->failed += code != BF_OK;
}

static enum bf_code produce(struct latency *l, struct bf_producer *p, struct bf_err *err) {
    char *value = calloc(1, (size_t)l->s.bytes), key[64];
    enum bf_code code = value != NULL ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory");
    int64_t started = bf_time_monotonic_us();

    for (int64_t i = 0; code == BF_OK && i < l->total && !bf_stop_requested(); i++) {
        int64_t due = started + (int64_t)((double)i * 1e6 / (double)l->s.rate), now;
        while ((now = bf_time_monotonic_us()) < due) {
            if (due - now > 1500) (void)bf_producer_poll(p, 1);
            else nanosleep(&(struct timespec){0, (due - now) * 1000}, NULL);
        }
        int64_t stamp[2] = {due, l->run};
        memcpy(value, stamp, sizeof stamp);
        int len = snprintf(key, sizeof key, "rim:entity:bench:L%05" PRId64, i * 7919 % 5000);
        while ((code = bf_producer_send(p, l->s.topic, -1, (struct bf_slice){key, (size_t)len}, (struct bf_slice){value, (size_t)l->s.bytes}, NULL, 0,
                                        0, NULL, err)) == BF_AGAIN) {
            (void)bf_producer_poll(p, 1);
        }
        if (i % 64 == 0) (void)bf_producer_poll(p, 0);
    }
    if (code == BF_OK) code = bf_producer_flush(p, 30000, err);
    free(value);
    return code;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum bf_code open_producer(struct latency *l, struct bf_producer **p, struct bf_err *err) {
    bool adaptive = strcmp(l->s.linger, "adaptive") == 0;
    const struct bf_producer_settings settings = {.bootstrap = l->s.bootstrap, .client_id = "bench-latency", .delivered = delivered, .ctx = l,
                                                  .linger_ms = adaptive ? BF_LINGER_ADAPTIVE : strtol(l->s.linger, NULL, 10)};
    enum bf_code code = bf_kafka_create_topic(l->s.bootstrap, l->s.topic, (int)l->s.partitions, 0, 10000, err);
    if (code == BF_EXISTS) code = BF_OK;
    if (code == BF_OK) code = bf_producer_open(&settings, p, err);
    if (code == BF_OK) code = bf_producer_warm(*p, l->s.topic, 10000, err);
    return code;
}

static int run(struct latency *l) {
    struct bf_err err = {0};
    struct bf_producer *p = NULL;
    pthread_t consumer;
    enum bf_code code = open_producer(l, &p, &err);

    l->run = bf_time_now_us();
    l->total = l->s.rate * l->s.seconds;
    l->ms = calloc((size_t)l->total, sizeof *l->ms);
    if (code == BF_OK && l->ms != NULL && pthread_create(&consumer, NULL, consume, l) == 0) {
        for (int i = 0; i < 300 && !atomic_load(&l->ready); i++) nanosleep(&(struct timespec){0, 100000000}, NULL);
        nanosleep(&(struct timespec){1, 0}, NULL);
        code = produce(l, p, &err);
        for (int i = 0; i < 100 && atomic_load(&l->seen) < l->total; i++) nanosleep(&(struct timespec){0, 100000000}, NULL);
        atomic_store(&l->give_up, true);
        pthread_join(consumer, NULL);
    }
    if (code != BF_OK) bf_log_err(BF_LOG_ERROR, "failed", &err, "rate=%" PRId64, l->s.rate);
    size_t n = (size_t)atomic_load(&l->seen);
    qsort(l->ms, n, sizeof *l->ms, compare);
    if (n > 0) {
        printf("rate=%" PRId64 " linger=%s messages=%zu missed=%" PRId64 " p50_ms=%.2f p99_ms=%.2f max_ms=%.2f\n", l->s.rate, l->s.linger, n,
               l->total - (int64_t)n, l->ms[n / 2], l->ms[n * 99 / 100], l->ms[n - 1]);
    }
    bf_producer_close(p);
    free(l->ms);
    return code == BF_OK && n == (size_t)l->total && l->failed == 0 ? BF_EXIT_OK : BF_EXIT_FAILED;
}

int main(int argc, char **argv) {
    static struct latency l;
    struct bf_err err;
    char **rest;
    int rest_count, exit_code = 0;
    bf_log_init("bench_produce_latency", BF_LOG_INFO);
    enum bf_code code = bf_settings_load(&program, argc, argv, &l.s, &rest, &rest_count, &exit_code, &err);
    if (code == BF_OK) exit_code = bf_stop_install(&err) == BF_OK ? run(&l) : BF_EXIT_INTERNAL;
    else if (code != BF_CANCELLED) fprintf(stderr, "bench_produce_latency: %s\n", err.msg);
    bf_settings_fini(&program, &l.s);
    return exit_code;
}
