#include "check.h"

#include "bf_metrics.h"

#include <pthread.h>
#include <string.h>

static const double buckets[] = {0.1, 1, 0};
static const struct bf_metric_def defs[] = {
    {"records_total", "Records \\ taken\nin.", BF_METRIC_COUNTER, {"topic", "disposition"}, NULL},
    {"bytes", "Bytes.", BF_METRIC_GAUGE, {0}, NULL},
    {"seconds", "Time.", BF_METRIC_HISTOGRAM, {"stage"}, buckets},
    {"untouched_total", "Nothing.", BF_METRIC_COUNTER, {0}, NULL},
};

static struct bf_metrics *fresh(void) {
    struct bf_metrics *m = NULL;
    struct bf_err err;
    assert_int_equal(bf_metrics_new(defs, COUNT(defs), &m, &err), BF_OK);
    return m;
}

static void test_metrics__render_as_prometheus_reads_them(void **state) {
    (void)state;
    struct bf_metrics *m = fresh();
    struct bf_buf out;
    bf_buf_init(&out, 1 << 20);
    bf_series_add(bf_metrics_series(m, 0, "a\"b\\c\nd", "stored", NULL), 3);
    bf_series_set(bf_metrics_series(m, 1, NULL, NULL, NULL), 2.5);
    struct bf_series *h = bf_metrics_series(m, 2, "x", NULL, NULL);
    bf_series_observe(h, 0.1, 1);
    bf_series_observe(h, 0.5, 2);
    bf_series_observe(h, 7, 1);
    bf_metrics_render(m, &out);
    bf_buf_putc(&out, '\0');
    assert_string_equal(out.data, "# HELP records_total Records \\\\ taken\\nin.\n# TYPE records_total counter\n"
                                  "records_total{topic=\"a\\\"b\\\\c\\nd\",disposition=\"stored\"} 3\n"
                                  "# HELP bytes Bytes.\n# TYPE bytes gauge\nbytes 2.5\n"
                                  "# HELP seconds Time.\n# TYPE seconds histogram\n"
                                  "seconds_bucket{stage=\"x\",le=\"0.1\"} 1\nseconds_bucket{stage=\"x\",le=\"1.0\"} 3\n"
                                  "seconds_bucket{stage=\"x\",le=\"+Inf\"} 4\nseconds_sum{stage=\"x\"} 8.1\nseconds_count{stage=\"x\"} 4\n"
                                  "# HELP untouched_total Nothing.\n# TYPE untouched_total counter\n");
    assert_true(bf_series_value(h) == 4);
    bf_buf_fini(&out);
    bf_metrics_free(m);
}

static void test_metrics__the_same_labels_are_the_same_series(void **state) {
    (void)state;
    struct bf_metrics *m = fresh();
    struct bf_series *a = bf_metrics_series(m, 0, "t", "stored", NULL);
    assert_ptr_equal(a, bf_metrics_series(m, 0, "t", "stored", NULL));
    assert_ptr_not_equal(a, bf_metrics_series(m, 0, "t", "duplicate", NULL));
    assert_ptr_not_equal(a, bf_metrics_series(m, 0, "t", NULL, NULL));
    bf_metrics_free(m);
}

static void *count_up(void *ctx) {
    struct bf_metrics *m = ctx;
    for (int i = 0; i < 20000; i++) {
        char topic[8];
        snprintf(topic, sizeof topic, "t%d", i % 7);
        bf_series_add(bf_metrics_series(m, 0, topic, "stored", NULL), 1);
        bf_series_observe(bf_metrics_series(m, 2, "s", NULL, NULL), 1, 1);
    }
    return NULL;
}

static void test_metrics__threads_lose_nothing(void **state) {
    (void)state;
    struct bf_metrics *m = fresh();
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, m), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    double total = 0;
    for (int i = 0; i < 7; i++) {
        char topic[8];
        snprintf(topic, sizeof topic, "t%d", i);
        total += bf_series_value(bf_metrics_series(m, 0, topic, "stored", NULL));
    }
    assert_true(total == 80000);
    struct bf_buf out;
    bf_buf_init(&out, 1 << 20);
    bf_metrics_render(m, &out);
    bf_buf_putc(&out, '\0');
    assert_non_null(strstr(out.data, "seconds_sum{stage=\"s\"} 80000.0\n"));
    bf_buf_fini(&out);
    bf_metrics_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics__render_as_prometheus_reads_them),
        cmocka_unit_test(test_metrics__the_same_labels_are_the_same_series),
        cmocka_unit_test(test_metrics__threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
