/* Chunks into a real PostgreSQL: exact bytes and times, the fence, refusals, duplicates, the ledger, a cut commit. */
#include "archive_fixture.h"

#include "bf_time.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

#define TOPIC "rim.fast-path"

static void read_all(struct fixture *f, struct event_page *page) {
    struct event_query q;
    bool exhausted = false;
    event_query_init(&q);
    q.order = ORDER_RECORDED;
    event_page_init(page);
    assert_ok(archive_fetch(f->archive, &q, INT64_MAX, NULL, 100000, page, &exhausted, &err));
    assert_true(exhausted);
}

static long long rows(struct fixture *f, const char *table) {
    char sql[128];
    snprintf(sql, sizeof sql, "select count(*) from capsule.%s", table);
    return test_pg_number(f->conninfo, sql);
}

static void test_write__bytes_and_times_come_back_exactly(void **state) {
    (void)state;
    struct fixture f;
    struct event_page page;
    struct event ev[8];
    static const char raw[] = "a\0\"\\\x01\xc3\xa9\xf0\x9f\xa6\x8b";
    fixture_init(&f);
    fixture_take(&f, TOPIC, 3);
    for (int i = 0; i < 8; i++)
        ev[i] = fixture_event(&f, TOPIC, 3, 10 + i, (uint64_t)i + 1);
    ev[0].event_time_us = BF_TIME_MIN_US;
    ev[1].event_time_us = BF_TIME_MAX_US;
    ev[2].event_time_us = -1;
    ev[2].kafka_time_us = INT64_C(1717236000123457);
    ev[3].value = fixture_value(&f, raw, sizeof raw - 1, INT64_MIN);
    ev[3].trace_id = bf_slice_str("trace \xc3\xa9");
    ev[3].source_id = bf_slice_str("order-17");
    ev[3].has_cause = true;
    ev[3].cause_id = fixture_uuid(77);
    ev[3].headers = (struct bf_slice){"\0\1a\xff\xff\xff\xff", 7};
    ev[4].value = BF_SLICE_NONE; /* a tombstone */
    ev[4].schema_id = 0;
    ev[5].key = BF_SLICE_NONE;
    ev[6].key = (struct bf_slice){"", 0};
    ev[6].revision = 2;
    ev[6].id = ev[5].id;
    ev[7].value = fixture_value(&f, "u\\u0000", 7, INT64_MAX); /* a backslash and then u0000: nothing to replace */
    struct hot_chunk c = fixture_chunk(&f, ev, 8);
    assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    read_all(&f, &page);
    assert_int_equal(page.count, 8);
    for (int i = 0; i < 8; i++)
        fixture_assert_same(&page.events[i], &ev[i]);
    event_page_fini(&page);
    int64_t through = 0, newest = 0;
    assert_ok(archive_through(f.archive, &f.owner, &through, &err));
    assert_ok(archive_newest(f.archive, &newest, &err));
    assert_int_equal(through, c.through_us);
    assert_int_equal(newest, c.through_us);
    fixture_fini(&f);
}

static void test_write__analysts_see_the_payload_and_the_envelope(void **state) {
    (void)state;
    struct fixture f;
    static const char raw[] = "a\0b";
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    assert_ok(archive_schema_put(f.archive, 1, BF_SLICE_NONE, bf_slice_str(NOTE_SCHEMA), BF_SLICE_NONE, TOPIC, &err));
    struct event ev[2] = {fixture_event(&f, TOPIC, 0, 0, 1), fixture_event(&f, TOPIC, 0, 1, 2)};
    ev[0].value = fixture_value(&f, raw, 3, INT64_MAX);
    ev[1].value = fixture_value(&f, "u\\u0000", 7, 1);
    struct hot_chunk c = fixture_chunk(&f, ev, 2);
    assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    assert_int_equal(test_pg_number(f.conninfo, "select n from capsule.rim_fast_path where text = 'a' || chr(65533) || 'b'"), INT64_MAX);
    assert_int_equal(test_pg_number(f.conninfo, "select n from capsule.rim_fast_path where text = 'u\\u0000'"), 1);
    char *parts = test_pg_value(f.conninfo, "select node_type || ' ' || namespace || ' ' || local_id from capsule.events where kafka_offset = 0");
    assert_string_equal(parts, "metric test a");
    free(parts);
    assert_int_equal(test_pg_number(f.conninfo, "select length(raw) from capsule.events where kafka_offset = 0"), (long long)ev[0].value.len);
    assert_int_equal(test_pg_number(f.conninfo, "select count(*) from capsule.nodes where rim_node_id = 'rim:metric:test:a' and topics = '{rim.fast-path}'"), 1);
    fixture_fini(&f);
}

static void test_fence__a_lost_partition_writes_nothing(void **state) {
    (void)state;
    struct fixture f;
    struct bf_uuid other = fixture_uuid(5);
    struct bf_tp tp = {.topic = TOPIC, .partition = 1};
    struct archive_taken taken;
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    fixture_take(&f, TOPIC, 1);
    struct event ev[4] = {fixture_event(&f, TOPIC, 0, 0, 1), fixture_event(&f, TOPIC, 1, 0, 2), fixture_event(&f, TOPIC, 0, 1, 3),
                          fixture_event(&f, TOPIC, 1, 1, 4)};
    struct hot_chunk first = fixture_chunk(&f, ev, 2), second = fixture_chunk(&f, ev + 2, 2);
    assert_ok(archive_write(f.archive, &f.owner, &first, &err));
    assert_ok(archive_take(f.archive, &other, &tp, 1, &taken, &err));
    assert_memory_equal(&taken.previous_owner, &f.owner, sizeof f.owner);
    assert_int_equal(taken.epoch, taken.previous_epoch + 1);
    assert_int_equal(taken.next_offset, 1);
    struct bf_err failure = {0};
    assert_int_equal(archive_write(f.archive, &f.owner, &second, &failure), BF_BROKEN);
    assert_int_equal(failure.native, 1);
    assert_string_equal(failure.sqlstate, "");
    assert_int_equal(rows(&f, "events"), 2);
    assert_int_equal(test_pg_number(f.conninfo, "select sum(next_offset) from capsule.partition_state"), 2);
    fixture_fini(&f);
}

static void test_fence__offsets_must_follow_each_other(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    struct event ev[3] = {fixture_event(&f, TOPIC, 0, 5, 1), fixture_event(&f, TOPIC, 0, 7, 2), fixture_event(&f, TOPIC, 0, 6, 3)};
    struct hot_chunk first = fixture_chunk(&f, ev, 1), gap = fixture_chunk(&f, ev + 1, 1), next = fixture_chunk(&f, ev + 2, 1);
    assert_ok(archive_write(f.archive, &f.owner, &first, &err));
    assert_code(BF_BROKEN, archive_write(f.archive, &f.owner, &gap, &err));
    assert_ok(archive_write(f.archive, &f.owner, &next, &err));
    fixture_fini(&f);
}

/* Records of before a restart carry an older epoch of the same owner, and still count. */
static void test_fence__own_earlier_epochs_count(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    struct event ev[1] = {fixture_event(&f, TOPIC, 0, 0, 1)};
    struct hot_chunk c = fixture_chunk(&f, ev, 1);
    fixture_take(&f, TOPIC, 0);
    assert_int_equal(f.epoch, 2);
    assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    fixture_fini(&f);
}

static void test_write__the_same_chunk_again_is_no_failure_and_no_rows(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    struct event ev[2] = {fixture_event(&f, TOPIC, 0, 0, 1), fixture_event(&f, TOPIC, 0, 1, 2)};
    struct hot_chunk c = fixture_chunk(&f, ev, 2);
    assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    assert_int_equal(rows(&f, "events"), 2);
    fixture_fini(&f);
}

/* Another instance recorded the same ids: same content is a duplicate, other content the next revision; nothing vanishes. */
static void test_write__ids_that_are_there_go_through_staging(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    fixture_take(&f, TOPIC, 1);
    struct event ev[2] = {fixture_event(&f, TOPIC, 0, 0, 1), fixture_event(&f, TOPIC, 0, 1, 2)}, again[3];
    struct hot_chunk c = fixture_chunk(&f, ev, 2);
    assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    again[0] = ev[0];
    again[1] = ev[1];
    again[1].value = fixture_value(&f, "other", 5, 9);
    again[2] = fixture_event(&f, TOPIC, 1, 2, 3);
    for (int i = 0; i < 2; i++) {
        again[i].partition = 1;
        again[i].offset = i;
        again[i].recorded_at_us += 1000;
    }
    again[2].recorded_at_us += 1000;
    c = fixture_chunk(&f, again, 3);
    assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    assert_int_equal(rows(&f, "events"), 4);
    assert_int_equal(test_pg_number(f.conninfo, "select count(*) from capsule.duplicates where kafka_partition = 1 and kafka_offset = 0"), 1);
    assert_int_equal(test_pg_number(f.conninfo, "select revision from capsule.events where kafka_partition = 1 and kafka_offset = 1"), 2);
    assert_int_equal(test_pg_number(f.conninfo, "select count(*) from capsule.current_events"), 3);
    again[0] = fixture_event(&f, TOPIC, 1, 3, 4);
    again[1] = ev[1];
    again[1].partition = 1;
    again[1].offset = 4;
    again[1].recorded_at_us = again[0].recorded_at_us + 1;
    again[2] = fixture_event(&f, TOPIC, 1, 5, 5);
    c = fixture_chunk(&f, again, 3);
    assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    assert_int_equal(rows(&f, "events"), 6);
    /* The hot store said stored of all of them. */
    assert_int_equal(test_pg_number(f.conninfo, "select count(*) from capsule.coverage where kafka_partition = 1 and (from_offset, to_offset, disposition) in"
                                                " ((0, 1, 'duplicate'), (1, 4, 'stored'), (4, 5, 'duplicate'), (5, 6, 'stored'))"), 4);
    assert_int_equal(test_pg_number(f.conninfo, "select count(*) from capsule.coverage where kafka_partition = 1"), 4);
    fixture_fini(&f);
}

static void test_write__a_refused_row_is_named(void **state) {
    (void)state;
    struct fixture f;
    struct event ev[50];
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    for (int i = 0; i < 50; i++)
        ev[i] = fixture_event(&f, TOPIC, 0, i, (uint64_t)i + 1);
    struct hot_chunk c = fixture_chunk(&f, ev, 50);
    /* nothing of ours is refused any more, so the database gets a rule of its own */
    test_pg_run(f.conninfo, "alter table capsule.events add constraint no_31 check (kafka_offset <> 31)");
    struct bf_err failure = {0};
    enum bf_code code = archive_write(f.archive, &f.owner, &c, &failure);
    assert_int_equal(rows(&f, "events"), 0);
    assert_int_equal(code, BF_REJECTED);
    assert_int_equal(failure.native, 31);
    assert_string_equal(failure.sqlstate, "23514");
    fixture_fini(&f);
}

/* Retention drops partitions while an archiver remembers them: the same chunk goes in at the next try, with its partition made anew. */
static void test_write__a_partition_that_was_dropped_is_made_again(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    struct event ev[2] = {fixture_event(&f, TOPIC, 0, 0, 1), fixture_event(&f, TOPIC, 0, 1, 2)};
    struct hot_chunk first = fixture_chunk(&f, ev, 1), second = fixture_chunk(&f, ev + 1, 1);
    assert_ok(archive_write(f.archive, &f.owner, &first, &err));
    test_pg_run(f.conninfo, "drop table capsule.events_rim_fast_path_p20240601;"
                            " delete from capsule.event_partitions where event_table = 'events_rim_fast_path_p20240601'");
    assert_code(BF_AGAIN, archive_write(f.archive, &f.owner, &second, &err));
    assert_ok(archive_write(f.archive, &f.owner, &second, &err));
    assert_int_equal(rows(&f, "events"), 1);
    fixture_fini(&f);
}

static void test_ledger__neighbours_of_one_disposition_become_one(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    fixture_take(&f, TOPIC, 1);
    static const struct {
        int64_t from, to;
        enum disposition d;
    } steps[] = {{0, 5, DISPOSITION_STORED}, {5, 9, DISPOSITION_STORED}, {9, 10, DISPOSITION_CONTROL}, {10, 12, DISPOSITION_CONTROL},
                 {12, 13, DISPOSITION_LOST}, {13, 14, DISPOSITION_STORED}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct interval iv[4];
        struct hot_chunk_partition parts[2];
        struct hot_chunk c = {.intervals = iv, .interval_count = 4, .partitions = parts, .partition_count = 2, .through_us = 1000 + (int64_t)i};
        int64_t mid = (steps[i].from + steps[i].to) / 2;
        size_t n = 0;
        for (int half = 0; half < 2; half++) /* as several commits give them: partitions side by side */
            for (int p = 0; p < 2; p++) {
                int64_t from = half ? mid : steps[i].from, to = half ? steps[i].to : mid;
                if (from < to)
                    iv[n++] = (struct interval){bf_slice_str(TOPIC), p, from, to, steps[i].d};
            }
        c.interval_count = n;
        for (int p = 0; p < 2; p++)
            parts[p] = (struct hot_chunk_partition){bf_slice_str(TOPIC), p, 1, steps[i].from, steps[i].to};
        assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    }
    char *all = test_pg_value(f.conninfo, "select string_agg(kafka_partition || ':' || from_offset || '-' || to_offset || ' ' || disposition, ', '"
                                          " order by kafka_partition, from_offset) from capsule.coverage");
    assert_string_equal(all, "0:0-9 stored, 0:9-12 control, 0:12-13 lost-before-read, 0:13-14 stored, "
                             "1:0-9 stored, 1:9-12 control, 1:12-13 lost-before-read, 1:13-14 stored");
    free(all);
    fixture_fini(&f);
}

static enum bf_code count_intervals(void *ctx, const struct interval *iv, size_t count, struct bf_err *err) {
    (void)err;
    for (size_t i = 0; i < count; i++)
        *(int64_t *)ctx += iv[i].to - iv[i].from;
    return BF_OK;
}

static enum bf_code count_ids(void *ctx, const struct hot_known_id *ids, size_t count, struct bf_err *err) {
    (void)err;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(ids[i].topic.len, strlen(TOPIC));
        assert_memory_equal(ids[i].node_id.data, "rim:metric:test:a", ids[i].node_id.len);
    }
    *(size_t *)ctx += count;
    return BF_OK;
}

static void test_ledger__duplicates_quarantine_and_ids_read_back(void **state) {
    (void)state;
    struct fixture f;
    struct event *ev = calloc(12000, sizeof *ev);
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    for (int i = 0; i < 12000; i++)
        ev[i] = fixture_event(&f, TOPIC, 0, i, (uint64_t)i + 1);
    struct hot_chunk c = fixture_chunk(&f, ev, 12000);
    struct duplicate d[2] = {{bf_slice_str(TOPIC), ev[3].id, 1, 0, 12000, 50000000, c.through_us + 1},
                             {bf_slice_str(TOPIC), ev[3].id, 1, 0, 12001, 60000000, c.through_us + 2}};
    struct poison p[2] = {{.topic = bf_slice_str(TOPIC), .partition = 0, .offset = 12002, .kafka_time_us = 1, .recorded_at_us = c.through_us + 3,
                           .reason = POISON_AVRO, .schema_id = 1, .detail = bf_slice_str("bad \xff byte"), .key = {"k\0", 2}, .value = {"\0\1\2", 3}},
                          {.topic = bf_slice_str(TOPIC), .partition = 0, .offset = 12003, .kafka_time_us = 1, .recorded_at_us = c.through_us + 4,
                           .reason = POISON_FRAMING}};
    c.duplicates = d;
    c.duplicate_count = 2;
    c.poisons = p;
    c.poison_count = 2;
    c.partitions[0].offset_after = 12004;
    c.through_us += 4;
    assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    struct duplicate seen[4];
    size_t n = 0, ids = 0;
    int64_t offsets = 0;
    assert_ok(archive_duplicates(f.archive, bf_slice_str(TOPIC), &ev[3].id, INT64_MAX, 4, seen, &n, &err));
    assert_int_equal(n, 2);
    assert_int_equal(seen[1].offset, 12001);
    assert_int_equal(seen[1].kafka_time_us, 60000000);
    assert_ok(archive_duplicates(f.archive, bf_slice_str(TOPIC), &ev[3].id, c.through_us - 2, 4, seen, &n, &err));
    assert_int_equal(n, 1);
    struct poison_query q;
    struct poison *got = NULL;
    poison_query_init(&q);
    assert_ok(archive_quarantine(f.archive, &q, 10, &got, &n, &err));
    assert_int_equal(n, 2);
    assert_int_equal(got[0].reason, POISON_AVRO);
    assert_true(bf_slice_eq(got[0].detail, bf_slice_str("bad ? byte")));
    assert_true(bf_slice_eq(got[0].key, p[0].key));
    assert_true(bf_slice_eq(got[0].value, p[0].value));
    assert_null(got[1].value.data);
    assert_int_equal(got[1].schema_id, 0);
    poison_free(got, n);
    q.has_partition = q.has_reason = q.has_redriven = true;
    q.offset = 12003;
    q.reason = POISON_FRAMING;
    assert_ok(archive_quarantine(f.archive, &q, 10, &got, &n, &err));
    assert_int_equal(n, 1);
    poison_free(got, n);
    q.redriven = true;
    assert_ok(archive_quarantine(f.archive, &q, 10, &got, &n, &err));
    assert_int_equal(n, 0);
    poison_free(got, n);
    assert_ok(archive_ids_each(f.archive, BF_SLICE_NONE, 0, count_ids, &ids, &err));
    assert_int_equal(ids, 12000);
    assert_ok(archive_ids_each(f.archive, bf_slice_str(TOPIC), 0, count_ids, &ids, &err));
    assert_ok(archive_ids_each(f.archive, bf_slice_str(TOPIC), 1, count_ids, &ids, &err));
    assert_int_equal(ids, 24000);
    assert_ok(archive_intervals_each(f.archive, bf_slice_str(TOPIC), 0, count_intervals, &offsets, &err));
    assert_int_equal(offsets, 12000);
    free(ev);
    fixture_fini(&f);
}

static void test_partitions__times_of_any_year_stay_few(void **state) {
    (void)state;
    struct fixture f;
    struct event *ev = calloc(6000, sizeof *ev);
    uint64_t seed = 7;
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    for (int i = 0; i < 6000; i++) {
        ev[i] = fixture_event(&f, TOPIC, 0, i, (uint64_t)i + 1);
        ev[i].event_time_us = BF_TIME_MIN_US + (int64_t)(fixture_random(&seed) % (uint64_t)(BF_TIME_MAX_US - BF_TIME_MIN_US));
    }
    struct hot_chunk c = fixture_chunk(&f, ev, 6000);
    assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    assert_int_equal(rows(&f, "events"), 6000);
    assert_in_range(rows(&f, "event_partitions"), 100, 1000);
    free(ev);
    fixture_fini(&f);
}

/* ---- a commit whose answer never comes ---- */

/* Between us and the server: once told to, it cuts both sides right after the client's COMMIT went by (or right before). */
struct proxy {
    int listener, port, server_port;
    atomic_int cut; /* 1: swallow the commit; 2: let the server have it, drop the answer */
    atomic_bool stop;
    pthread_t thread;
};

static int connect_port(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static bool relay(struct proxy *p, int from, int to, bool from_client) {
    char buffer[65536];
    ssize_t n = read(from, buffer, sizeof buffer);
    if (n <= 0)
        return false;
    if (from_client && atomic_load(&p->cut) && memmem(buffer, (size_t)n, "commit", 6)) {
        if (atomic_exchange(&p->cut, 0) == 2) {
            (void)!write(to, buffer, (size_t)n);
            struct pollfd answer = {.fd = to, .events = POLLIN}; /* it is committed once the server answers */
            poll(&answer, 1, 10000);
        }
        return false;
    }
    for (ssize_t at = 0, m; at < n; at += m)
        if ((m = write(to, buffer + at, (size_t)(n - at))) <= 0)
            return false;
    return true;
}

static void *run_proxy(void *arg) {
    struct proxy *p = arg;
    while (!atomic_load(&p->stop)) {
        struct pollfd wait = {.fd = p->listener, .events = POLLIN};
        if (poll(&wait, 1, 50) <= 0)
            continue;
        int client = accept(p->listener, NULL, NULL), server = connect_port(p->server_port);
        struct pollfd both[2] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
        bool open = true;
        while (open && !atomic_load(&p->stop)) {
            if (poll(both, 2, 50) <= 0)
                continue;
            if (both[0].revents)
                open = relay(p, client, server, true);
            if (open && both[1].revents)
                open = relay(p, server, client, false);
        }
        close(client);
        close(server);
    }
    return NULL;
}

static void proxy_start(struct proxy *p, const char *conninfo) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof any;
    memset(p, 0, sizeof *p);
    p->server_port = atoi(strstr(conninfo, "port=") + 5);
    p->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(listen(p->listener, 8), 0);
    getsockname(p->listener, (struct sockaddr *)&any, &len);
    p->port = ntohs(any.sin_port);
    assert_int_equal(pthread_create(&p->thread, NULL, run_proxy, p), 0);
}

static void proxy_stop(struct proxy *p) {
    atomic_store(&p->stop, true);
    pthread_join(p->thread, NULL);
    close(p->listener);
}

static void cut_commit(int how) {
    struct fixture f;
    struct proxy p;
    char conninfo[1400];
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    proxy_start(&p, f.conninfo);
    snprintf(conninfo, sizeof conninfo, "%s port=%d", f.conninfo, p.port);
    archive_close(f.archive);
    char *direct = f.conninfo;
    f.conninfo = conninfo;
    f.archive = fixture_archive(&f, false);
    f.conninfo = direct;
    struct event ev[3] = {fixture_event(&f, TOPIC, 0, 0, 1), fixture_event(&f, TOPIC, 0, 1, 2), fixture_event(&f, TOPIC, 0, 2, 3)};
    struct hot_chunk c = fixture_chunk(&f, ev, 2), next = fixture_chunk(&f, ev + 2, 1);
    struct bf_err failure = {0};
    atomic_store(&p.cut, how);
    enum bf_code code = archive_write(f.archive, &f.owner, &c, &failure);
    assert_int_equal(atomic_load(&p.cut), 0); /* it was cut */
    if (how == 1) { /* nothing was committed: the caller is told, and tries again */
        assert_int_equal(code, BF_AGAIN);
        assert_int_equal(rows(&f, "events"), 0);
        assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    } else {
        assert_int_equal(code, BF_OK);
    }
    assert_int_equal(rows(&f, "events"), 2);
    assert_ok(archive_write(f.archive, &f.owner, &next, &err));
    assert_int_equal(rows(&f, "events"), 3);
    archive_close(f.archive);
    f.archive = NULL;
    proxy_stop(&p);
    fixture_fini(&f);
}

static void test_commit__cut_before_the_server_had_it(void **state) {
    (void)state;
    cut_commit(1);
}

static void test_commit__cut_before_the_answer_came(void **state) {
    (void)state;
    cut_commit(2);
}

static void test_outage__a_killed_backend_is_an_outage_and_is_got_over(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_take(&f, TOPIC, 0);
    struct event ev[1] = {fixture_event(&f, TOPIC, 0, 0, 1)};
    struct hot_chunk c = fixture_chunk(&f, ev, 1);
    test_pg_run(f.conninfo, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'test' and datname = current_database()");
    assert_code(BF_AGAIN, archive_write(f.archive, &f.owner, &c, &err));
    assert_ok(archive_write(f.archive, &f.owner, &c, &err));
    assert_int_equal(rows(&f, "events"), 1);
    fixture_fini(&f);
}

static void test_outage__nobody_listening_is_an_outage(void **state) {
    (void)state;
    struct archive *a = NULL;
    const struct archive_settings settings = {.conninfo = "host=127.0.0.1 port=1 dbname=x user=x", .connect_timeout_ms = 1000};
    assert_ok(archive_open(&settings, &a, &err));
    assert_code(BF_AGAIN, archive_ping(a, &err));
    archive_close(a);
    a = NULL;
    const struct archive_settings wrong = {.conninfo = "host=127.0.0.1 port"};
    assert_code(BF_INVALID, archive_open(&wrong, &a, &err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write__bytes_and_times_come_back_exactly),
        cmocka_unit_test(test_write__analysts_see_the_payload_and_the_envelope),
        cmocka_unit_test(test_fence__a_lost_partition_writes_nothing),
        cmocka_unit_test(test_fence__offsets_must_follow_each_other),
        cmocka_unit_test(test_fence__own_earlier_epochs_count),
        cmocka_unit_test(test_write__the_same_chunk_again_is_no_failure_and_no_rows),
        cmocka_unit_test(test_write__ids_that_are_there_go_through_staging),
        cmocka_unit_test(test_write__a_refused_row_is_named),
        cmocka_unit_test(test_write__a_partition_that_was_dropped_is_made_again),
        cmocka_unit_test(test_ledger__neighbours_of_one_disposition_become_one),
        cmocka_unit_test(test_ledger__duplicates_quarantine_and_ids_read_back),
        cmocka_unit_test(test_partitions__times_of_any_year_stay_few),
        cmocka_unit_test(test_commit__cut_before_the_server_had_it),
        cmocka_unit_test(test_commit__cut_before_the_answer_came),
        cmocka_unit_test(test_outage__a_killed_backend_is_an_outage_and_is_got_over),
        cmocka_unit_test(test_outage__nobody_listening_is_an_outage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
