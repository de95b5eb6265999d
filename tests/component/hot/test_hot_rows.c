/* One rule of the hot store at a time: identity, clocks, offsets, what the archive teaches, forgetting, notes, schemas. */
#include "rows_fixture.h"

#include "bf_sha256.h"
#include "bf_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- identity ---- */

static void test_ids__the_same_content_is_a_duplicate_and_another_a_revision(void **state) {
    struct fixture *f = *state;
    struct event_query q;
    add(f, 0, 0, 1, 100, "a");
    add(f, 0, 1, 1, 100, "a"); /* within the batch */
    add(f, 0, 2, 1, 100, "b");
    commit(f);
    assert_int_equal(f->result.stored, 2);
    assert_int_equal(f->result.duplicates, 1);
    assert_int_equal(f->result.revisions, 1);
    add(f, 1, 0, 1, 100, "b");
    add(f, 1, 1, 1, 100, "a"); /* what an older revision said counts as new */
    commit(f);
    assert_int_equal(f->result.stored, 1);
    assert_int_equal(f->result.duplicates, 1);
    event_query_init(&q);
    q.has_id = true;
    q.id = uuid_of(1);
    q.order = ORDER_RECORDED;
    fetch(f, &q);
    assert_int_equal(f->page.count, 3);
    assert_int_equal(f->page.events[2].revision, 3);
    assert_memory_equal(f->page.events[2].value.data, "a", 1);
}

static void test_ids__an_id_counts_within_its_topic(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct event other = plain_event("plato.decision", 0, 0, 1, NODE, 100, "a");
    add(f, 0, 0, 1, 100, "a");
    assert_ok(hot_batch_event(f->b, &other, &err));
    commit(f);
    assert_int_equal(f->result.stored, 2);
}

static void test_ids__absent_and_empty_are_different_contents(void **state) {
    (void)state;
    uint8_t a[16], b[16];
    struct event ev = plain_event(TOPIC, 0, 0, 1, NODE, 1, "");
    hot_content_hash(&ev, a);
    ev.value = BF_SLICE_NONE;
    hot_content_hash(&ev, b);
    assert_memory_not_equal(a, b, sizeof a);
    ev.offset = 77; /* coordinates and headers do not count */
    ev.headers = text("\0\1h\0\0\0\1x");
    hot_content_hash(&ev, a);
    assert_memory_equal(a, b, sizeof a);
}

/* However large, and however it is put together: what is kept in stores of years ago must fit. SHA-256 over each part with its length before it. */
static void test_ids__a_content_s_hash_is_the_same_on_both_ways(void **state) {
    (void)state;
    static char value[3000];
    memset(value, 'v', sizeof value);
    for (size_t len = 900; len < 1100; len++) {
        struct event ev = plain_event(TOPIC, 0, 0, 1, NODE, 77, "");
        uint8_t hash[16], sum[BF_SHA256_BYTES], number[8];
        struct bf_sha256 sha;
        ev.value = (struct bf_slice){value, len};
        hot_content_hash(&ev, hash);
        bf_sha256_begin(&sha);
        struct bf_slice parts[] = {ev.key, ev.value, ev.node_id};
        for (size_t i = 0; i < 3; i++) {
            bf_put_be64(number, parts[i].data == NULL ? UINT64_MAX : parts[i].len);
            bf_sha256_add(&sha, number, sizeof number);
            bf_sha256_add(&sha, parts[i].data, parts[i].len);
        }
        bf_put_be64(number, 77);
        bf_sha256_add(&sha, number, sizeof number);
        bf_sha256_end(&sha, sum);
        assert_memory_equal(hash, sum, sizeof hash);
    }
}

static void test_ids__an_evicted_id_is_still_recognised(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    size_t evicted;
    uint32_t revision;
    int64_t recorded_at_us;
    add(f, 0, 0, 1, 100, "a");
    commit(f);
    assert_ok(hot_evict(f->h, f->result.recorded_through_us, 10, &evicted, &err));
    assert_int_equal(evicted, 1);
    add(f, 0, 1, 1, 100, "a");
    add(f, 0, 2, 1, 900, "a");
    commit(f);
    assert_int_equal(f->result.duplicates, 1);
    assert_int_equal(f->result.revisions, 1);
    struct bf_uuid id = uuid_of(1);
    assert_ok(hot_id_newest(f->h, text(TOPIC), &id, INT64_MAX, &revision, &recorded_at_us, &err));
    assert_int_equal(revision, 2);
    assert_ok(hot_id_newest(f->h, text(TOPIC), &id, recorded_at_us - 1, &revision, &recorded_at_us, &err));
    assert_int_equal(revision, 1);
    assert_code(BF_NOT_FOUND, hot_id_newest(f->h, text(TOPIC), &id, recorded_at_us - 1, &revision, &recorded_at_us, &err));
    id = uuid_of(2);
    assert_code(BF_NOT_FOUND, hot_id_newest(f->h, text(TOPIC), &id, INT64_MAX, &revision, &recorded_at_us, &err));
}

/* ---- clocks and waiting ---- */

static void test_clock__goes_beyond_what_was_reserved_and_never_back(void **state) {
    struct fixture *f = *state;
    int64_t reserved = bf_time_now_us() + 3600000000;
    hot_reserve_clock(f->h, reserved);
    hot_reserve_clock(f->h, 5);
    add(f, 0, 0, 1, 100, "a");
    commit(f);
    assert_true(f->result.recorded_through_us > reserved);
    int64_t through = f->result.recorded_through_us;
    reopen(f);
    add(f, 0, 1, 2, 100, "a");
    commit(f);
    assert_true(f->result.recorded_through_us > through);
}

static int64_t dated_through(const struct hot *h) {
    struct hot_watermarks w;
    hot_watermarks(h, &w);
    return w.dated_through_us;
}

static void test_dated__is_the_latest_event_time_of_all_that_is_known(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct hot_known_id known = {.topic = text(TOPIC), .node_id = text("rim:metric:test:other"), .id = uuid_of(9), .revision = 1, .recorded_at_us = 50,
                                 .event_time_us = 900};
    assert_true(dated_through(f->h) == INT64_MIN);
    add(f, 0, 0, 1, 700, "a");
    add(f, 0, 1, 2, 300, "b");
    commit(f);
    assert_int_equal(dated_through(f->h), 700);
    add(f, 0, 2, 3, 500, "c");
    commit(f);
    assert_int_equal(dated_through(f->h), 700);
    reopen(f);
    assert_int_equal(dated_through(f->h), 700);
    assert_ok(hot_learn_ids(f->h, &known, 1, &err)); /* only the archive has it */
    assert_ok(hot_set_hot_from(f->h, 51, &err));
    assert_int_equal(dated_through(f->h), 900);
    reopen(f);
    assert_int_equal(dated_through(f->h), 900);
    MDB_txn *txn; /* a store from before this was noted */
    struct hot_key row = {.len = 0};
    key_raw(&row, "dated_through", strlen("dated_through"));
    assert_ok(hot_write_begin(f->h, &txn, &err));
    assert_int_equal(hot_del(txn, f->h->db[DB_META], &row), MDB_SUCCESS);
    assert_ok(hot_write_end(f->h, txn, BF_OK, &(struct hot_publish){0}, &err));
    reopen(f);
    assert_int_equal(dated_through(f->h), 900);
    assert_ok(hot_check(f->h, &err));
}

static void test_wait__returns_when_something_newer_is_committed(void **state) {
    struct fixture *f = *state;
    assert_false(hot_wait_newer(f->h, 0, 20));
    add(f, 0, 0, 1, 100, "a");
    commit(f);
    assert_true(hot_wait_newer(f->h, 0, 0));
    assert_false(hot_wait_newer(f->h, f->result.recorded_through_us, 1));
}

/* ---- offsets ---- */

static void test_offsets__descending_is_refused_and_changes_nothing(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    add(f, 0, 5, 1, 100, "a");
    struct event back = plain_event(TOPIC, 0, 5, 2, NODE, 100, "b");
    assert_code(BF_INVALID, hot_batch_event(f->b, &back, &err));
    commit(f);
    assert_int_equal(f->result.stored, 1);
    assert_code(BF_INVALID, hot_batch_event(f->b, &back, &err)); /* the store remembers, too */
    struct interval gap = {text(TOPIC), 0, 5, 9, DISPOSITION_CONTROL};
    assert_code(BF_INVALID, hot_batch_gap(f->b, &gap, &err));
    gap.from = 6;
    gap.disposition = DISPOSITION_STORED;
    assert_code(BF_INVALID, hot_batch_gap(f->b, &gap, &err));
}

static void test_partition__is_stated_before_its_records(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct hot_partition p;
    assert_code(BF_NOT_FOUND, hot_partition(f->h, text(TOPIC), 2, &p, &err));
    assert_ok(hot_batch_partition(f->b, text(TOPIC), 2, 7, 40, &err));
    commit(f);
    assert_ok(hot_partition(f->h, text(TOPIC), 2, &p, &err));
    assert_int_equal(p.epoch, 7);
    assert_int_equal(p.next_offset, 40);
    add(f, 2, 40, 1, 100, "a");
    assert_code(BF_INVALID, hot_batch_partition(f->b, text(TOPIC), 2, 8, 41, &err));
    commit(f);
    assert_ok(hot_batch_partition(f->b, text(TOPIC), 2, 8, 40, &err)); /* records of 40 are here: not again */
    assert_code(BF_INVALID, hot_batch_commit(f->b, &f->result, NULL, NULL, &err));
    assert_ok(hot_batch_partition(f->b, text(TOPIC), 2, 8, -1, &err));
    assert_ok(hot_batch_partition(f->b, text(TOPIC), 2, 8, 41, &err));
    commit(f);
    assert_ok(hot_partition(f->h, text(TOPIC), 2, &p, &err));
    assert_int_equal(p.epoch, 8);
    assert_int_equal(p.events, 1);
    assert_int_equal(p.first_offset, 40);
    assert_int_equal(p.newest_event_time_us, 100);
}

static void test_chunk__ends_where_an_epoch_or_an_offset_jumps(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct hot_chunk chunk = {0};
    add(f, 0, 0, 1, 100, "a");
    commit(f);
    add(f, 0, 1, 2, 100, "a");
    commit(f);
    int64_t first = f->result.recorded_through_us;
    assert_ok(hot_batch_partition(f->b, text(TOPIC), 0, 3, 2, &err));
    add(f, 0, 2, 3, 100, "a");
    commit(f);
    int64_t second = f->result.recorded_through_us;
    assert_ok(hot_batch_partition(f->b, text(TOPIC), 0, 3, 50, &err));
    commit(f);
    assert_ok(hot_chunk_read(f->h, 0, 1000, 1000000, &chunk, &err));
    assert_int_equal(chunk.through_us, first);
    assert_int_equal(chunk.event_count, 2);
    assert_int_equal(chunk.kind_count, 1);
    assert_int_equal(chunk.partitions[0].offset_before, -1);
    assert_int_equal(chunk.partitions[0].offset_after, 2);
    assert_int_equal(chunk.interval_count, 1);
    assert_int_equal(chunk.intervals[0].to, 2);
    assert_ok(hot_chunk_read(f->h, first, 1000, 1000000, &chunk, &err));
    assert_int_equal(chunk.through_us, second);
    assert_int_equal(chunk.partitions[0].epoch, 3);
    assert_int_equal(chunk.partitions[0].offset_before, 2);
    assert_ok(hot_chunk_read(f->h, second, 1000, 1000000, &chunk, &err));
    assert_int_equal(chunk.event_count, 0);
    assert_int_equal(chunk.kind_count, 0);
    assert_int_equal(chunk.partitions[0].offset_before, 50);
    assert_code(BF_NOT_FOUND, hot_chunk_read(f->h, chunk.through_us, 1000, 1000000, &chunk, &err));
    hot_chunk_fini(&chunk);
}

static void test_chunk__knows_the_kinds_of_its_events(void **state) {
    (void)state;
    struct hot_chunk chunk = {0};
    struct event evs[5];
    for (int i = 0; i < 5; i++) {
        evs[i] = (struct event){.topic = bf_slice_str(i == 2 ? "b" : "a"), .schema_id = i < 3 ? 1 : 7, .revision = 1, .event_time_us = 100 - 10 * i};
        assert_true(hot_chunk_count(&chunk, &evs[i]));
    }
    evs[0].revision = 2;
    evs[0].event_time_us = 500;
    assert_true(hot_chunk_count(&chunk, &evs[0]));
    assert_int_equal(chunk.kind_count, 3);
    assert_int_equal(chunk.kinds[0].first_time_us, 90);
    assert_int_equal(chunk.kinds[0].last_time_us, 500);
    assert_int_equal(chunk.kinds[1].topic.len, 1);
    assert_memory_equal(chunk.kinds[1].topic.data, "b", 1);
    assert_int_equal(chunk.kinds[2].schema_id, 7);
    assert_int_equal(chunk.kinds[2].first_time_us, 60);
    assert_int_equal(chunk.kinds[2].last_time_us, 70);
    assert_int_equal(chunk.revised, 1);
    hot_chunk_fini(&chunk);
}

/* ---- from the archive ---- */

static void test_learn__is_idempotent_and_makes_ids_known(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct hot_node_topic topics[2];
    size_t count;
    struct event ev = plain_event(TOPIC, 0, 0, 1, NODE, 100, "a");
    struct hot_known_id known = {.topic = text(TOPIC), .node_id = text(NODE), .id = uuid_of(1), .revision = 4, .recorded_at_us = 5000,
                                 .event_time_us = 100};
    struct interval held[] = {{text(TOPIC), 0, 10, 20, DISPOSITION_STORED}, {text(TOPIC), 0, 0, 10, DISPOSITION_STORED},
                              {text(TOPIC), 0, 20, 25, DISPOSITION_CONTROL}};
    hot_content_hash(&ev, known.content_hash);
    for (int i = 0; i < 2; i++) {
        assert_ok(hot_learn_ids(f->h, &known, 1, &err));
        assert_ok(hot_learn_intervals(f->h, held, 3, &err));
        assert_ok(hot_set_hot_from(f->h, 5001, &err));
    }
    assert_ok(hot_check(f->h, &err));
    assert_ok(hot_node(f->h, text(NODE), topics, 2, &count, &err));
    assert_int_equal(topics[0].events, 1);
    struct hot_partition p;
    assert_ok(hot_partition(f->h, text(TOPIC), 0, &p, &err));
    assert_int_equal(p.by_disposition[DISPOSITION_STORED], 20);
    assert_int_equal(p.by_disposition[DISPOSITION_CONTROL], 5);
    assert_int_equal(p.next_offset, 25);
    struct interval out[4];
    assert_ok(hot_coverage(f->h, text(TOPIC), 0, 0, 4, out, &count, &err));
    assert_int_equal(count, 2);
    assert_int_equal(out[0].to, 20);
    add(f, 0, 25, 1, 100, "a");
    add(f, 0, 26, 1, 100, "b");
    commit(f);
    assert_int_equal(f->result.duplicates, 1);
    assert_int_equal(f->result.revisions, 1);
    assert_true(f->result.recorded_through_us > 5001);
    struct hot_watermarks w;
    hot_watermarks(f->h, &w);
    assert_int_equal(w.hot_from_us, 5001);
}

static void test_learn__an_interval_replaces_what_it_overlaps(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct interval out[8];
    size_t count;
    struct interval first = {text(TOPIC), 0, 0, 100, DISPOSITION_QUARANTINED}, middle = {text(TOPIC), 0, 40, 50, DISPOSITION_STORED};
    assert_ok(hot_learn_intervals(f->h, &first, 1, &err));
    assert_ok(hot_learn_intervals(f->h, &middle, 1, &err));
    assert_ok(hot_check(f->h, &err));
    assert_ok(hot_coverage(f->h, text(TOPIC), 0, 0, 8, out, &count, &err));
    assert_int_equal(count, 3);
    assert_int_equal(out[1].from, 40);
    assert_int_equal(out[2].from, 50);
    assert_int_equal(out[2].disposition, DISPOSITION_QUARANTINED);
    middle = (struct interval){text(TOPIC), 0, 30, 60, DISPOSITION_QUARANTINED};
    assert_ok(hot_learn_intervals(f->h, &middle, 1, &err));
    assert_ok(hot_check(f->h, &err));
    assert_ok(hot_coverage(f->h, text(TOPIC), 0, 0, 8, out, &count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(out[0].to, 100);
}

/* ---- forgetting ---- */

static void test_forget__a_partition_goes_back_to_what_is_archived(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct event_query q;
    struct hot_partition p;
    struct hot_chunk chunk = {0};
    add(f, 0, 0, 1, 100, "a");
    add(f, 1, 0, 2, 100, "a");
    commit(f);
    int64_t archived = f->result.recorded_through_us;
    add(f, 0, 1, 3, 100, "a");
    add(f, 1, 1, 4, 100, "a");
    add(f, 1, 2, 1, 100, "a"); /* duplicate of partition 0's */
    commit(f);
    struct poison poison = {.topic = text(TOPIC), .partition = 1, .offset = 3, .value = text("x")};
    struct interval gap = {text(TOPIC), 1, 4, 9, DISPOSITION_LOST};
    assert_ok(hot_batch_poison(f->b, &poison, &err));
    assert_ok(hot_batch_gap(f->b, &gap, &err));
    commit(f);
    assert_ok(hot_forget_partition(f->h, text(TOPIC), 1, archived, &err));
    assert_ok(hot_check(f->h, &err));
    assert_ok(hot_partition(f->h, text(TOPIC), 1, &p, &err));
    assert_int_equal(p.next_offset, 1);
    assert_int_equal(p.events, 1);
    assert_int_equal(p.by_disposition[DISPOSITION_LOST], 0);
    event_query_init(&q);
    fetch(f, &q);
    assert_int_equal(f->page.count, 3);
    assert_ok(hot_chunk_read(f->h, archived, 1000, 1000000, &chunk, &err));
    assert_int_equal(chunk.event_count, 1);
    assert_int_equal(chunk.duplicate_count + chunk.poison_count, 0);
    assert_int_equal(chunk.partition_count, 1);
    assert_int_equal(chunk.partitions[0].partition, 0);
    hot_chunk_fini(&chunk);
    add(f, 1, 1, 4, 100, "a"); /* recorded again, here or elsewhere */
    commit(f);
    assert_int_equal(f->result.stored, 1);
    assert_ok(hot_forget_partition(f->h, text("no.topic"), 1, archived, &err));
}

static void test_evict__takes_the_oldest_and_leaves_counts(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct event_query q;
    struct hot_watermarks w;
    struct hot_node_topic topics[2];
    size_t evicted, count;
    for (int i = 0; i < 10; i++)
        add(f, 0, i, (uint64_t)i, 100 - i, "a");
    commit(f);
    int64_t through = f->result.recorded_through_us;
    hot_watermarks(f->h, &w);
    assert_int_equal(w.hot_from_us, 0);
    assert_ok(hot_evict(f->h, through, 4, &evicted, &err));
    assert_int_equal(evicted, 4);
    assert_ok(hot_check(f->h, &err));
    event_query_init(&q);
    q.order = ORDER_RECORDED;
    fetch(f, &q);
    assert_int_equal(f->page.count, 6);
    assert_int_equal(f->page.events[0].offset, 4);
    assert_int_equal(f->hot_from_us, f->page.events[0].recorded_at_us);
    assert_ok(hot_evict(f->h, 5, 100, &evicted, &err));
    assert_int_equal(evicted, 0);
    assert_ok(hot_evict(f->h, through, 100, &evicted, &err));
    assert_int_equal(evicted, 6);
    assert_ok(hot_node(f->h, text(NODE), topics, 2, &count, &err));
    assert_int_equal(topics[0].events, 10);
    hot_watermarks(f->h, &w);
    assert_int_equal(w.log_records, 0);
}

/* ---- names, notes, schemas, quarantine ---- */

static void test_nodes__come_in_byte_order_by_prefix_and_page(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct bf_buf names;
    size_t count;
    const char *const nodes[] = {"rim:a:x:2", "rim:a:x:10", "rim:a:x:1", "rim:b:x:1"};
    for (int i = 0; i < 4; i++) {
        struct event ev = plain_event(TOPIC, 0, i, (uint64_t)i, nodes[i], 1, "a");
        assert_ok(hot_batch_event(f->b, &ev, &err));
    }
    commit(f);
    bf_buf_init(&names, 1000);
    assert_ok(hot_nodes(f->h, text("rim:a"), BF_SLICE_NONE, 2, &names, &count, &err));
    assert_int_equal(count, 2);
    assert_memory_equal(names.data, "rim:a:x:1\0rim:a:x:10", 21);
    assert_ok(hot_nodes(f->h, text("rim:a"), text("rim:a:x:10"), 5, &names, &count, &err));
    assert_int_equal(count, 1);
    assert_string_equal(names.data, "rim:a:x:2");
    assert_ok(hot_nodes(f->h, BF_SLICE_NONE, BF_SLICE_NONE, 10, &names, &count, &err));
    assert_int_equal(count, 4);
    assert_ok(hot_nodes(f->h, text("rim:b"), text("rim:a"), 10, &names, &count, &err));
    assert_int_equal(count, 1);
    assert_ok(hot_nodes(f->h, text("rim:a"), text("rim:b"), 10, &names, &count, &err));
    assert_int_equal(count, 0);
    bf_buf_fini(&names);
}

static void test_notes__survive_a_reopen_once_committed_or_synced(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    hot_note_set(f->h, "dlq", 17);
    assert_int_equal(hot_note_get(f->h, "dlq", 0), 17);
    assert_int_equal(hot_note_get(f->h, "other", -1), -1);
    assert_ok(hot_sync(f->h, &err));
    reopen(f);
    assert_int_equal(hot_note_get(f->h, "dlq", 0), 17);
}

static void test_schemas__are_kept_whole(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct bf_buf type, schema, refs;
    int32_t *ids;
    size_t count;
    bf_buf_init(&type, 100);
    bf_buf_init(&schema, 100);
    bf_buf_init(&refs, 100);
    assert_code(BF_NOT_FOUND, hot_schema_get(f->h, 3, &type, &schema, &refs, &err));
    assert_ok(hot_schema_put(f->h, 3, text("AVRO"), text("\"string\""), text("[]"), &err));
    assert_ok(hot_schema_put(f->h, 1, text("AVRO"), text("\"int\""), BF_SLICE_NONE, &err));
    assert_ok(hot_schema_get(f->h, 3, &type, &schema, &refs, &err));
    assert_int_equal(schema.len, 8);
    assert_memory_equal(schema.data, "\"string\"", 8);
    assert_memory_equal(refs.data, "[]", 2);
    assert_ok(hot_schema_ids(f->h, &ids, &count, &err));
    assert_int_equal(count, 2);
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[1], 3);
    free(ids);
    bf_buf_fini(&type);
    bf_buf_fini(&schema);
    bf_buf_fini(&refs);
}

static void test_fetch__a_question_without_sense_is_refused(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct event_query q;
    bool exhausted;
    event_query_init(&q);
    q.order = ORDER_OFFSET;
    assert_code(BF_INVALID, hot_fetch(f->h, &q, NULL, 10, &f->page, &exhausted, &f->hot_from_us, &err));
    q.by_partition = true;
    assert_code(BF_INVALID, hot_fetch(f->h, &q, NULL, 10, &f->page, &exhausted, &f->hot_from_us, &err));
}

static void test_big__a_value_of_16_mib_comes_back_whole(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct event_query q;
    size_t len = (size_t)16 << 20;
    char *value = malloc(len);
    memset(value, 'x', len);
    struct event ev = plain_event(TOPIC, 0, 0, 1, NODE, 1, "");
    ev.value = (struct bf_slice){value, len};
    assert_ok(hot_batch_event(f->b, &ev, &err));
    commit(f);
    event_query_init(&q);
    fetch(f, &q);
    assert_int_equal(f->page.count, 1);
    assert_int_equal(f->page.events[0].value.len, len);
    assert_memory_equal(f->page.events[0].value.data, value, len);
    free(value);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_ids__the_same_content_is_a_duplicate_and_another_a_revision),
        TEST(test_ids__an_id_counts_within_its_topic),
        TEST(test_ids__absent_and_empty_are_different_contents),
        TEST(test_ids__a_content_s_hash_is_the_same_on_both_ways),
        TEST(test_ids__an_evicted_id_is_still_recognised),
        TEST(test_clock__goes_beyond_what_was_reserved_and_never_back),
        TEST(test_wait__returns_when_something_newer_is_committed),
        TEST(test_offsets__descending_is_refused_and_changes_nothing),
        TEST(test_partition__is_stated_before_its_records),
        TEST(test_chunk__ends_where_an_epoch_or_an_offset_jumps),
        TEST(test_chunk__knows_the_kinds_of_its_events),
        TEST(test_learn__is_idempotent_and_makes_ids_known),
        TEST(test_learn__an_interval_replaces_what_it_overlaps),
        TEST(test_forget__a_partition_goes_back_to_what_is_archived),
        TEST(test_evict__takes_the_oldest_and_leaves_counts),
        TEST(test_nodes__come_in_byte_order_by_prefix_and_page),
        TEST(test_dated__is_the_latest_event_time_of_all_that_is_known),
        TEST(test_notes__survive_a_reopen_once_committed_or_synced),
        TEST(test_schemas__are_kept_whole),
        TEST(test_fetch__a_question_without_sense_is_refused),
        TEST(test_big__a_value_of_16_mib_comes_back_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
