/* What must survive: kill -9 in the middle of commits, a machine that ended, a second owner, a full map, readers beside the writer. */
#include "hot_fixture.h"
#include "hot_internal.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOPIC "rim.fast-path"
#define BATCH 50
#define PARTITIONS 2

static const char *node_of(int64_t offset) {
    return model_nodes[offset % MODEL_NODES];
}

/* The next BATCH offsets of each partition; ids and contents follow from the offsets. */
static enum bf_code commit_next(struct hot_batch *b, int64_t from, struct bf_err *err) {
    struct hot_commit_result result;
    enum bf_code code = BF_OK;
    for (int32_t p = 0; p < PARTITIONS && hot_batch_count(b) < (size_t)PARTITIONS * BATCH; p++) {
        for (int64_t o = from; code == BF_OK && o < from + BATCH; o++) {
            struct event ev = plain_event(TOPIC, p, o, (uint64_t)(o * PARTITIONS + p), node_of(o), o * 1000, "a value of some length");
            ev.has_cause = o % 5 == 0;
            ev.trace_id = o % 3 == 0 ? text("trace") : BF_SLICE_NONE;
            code = hot_batch_event(b, &ev, err);
        }
    }
    return code == BF_OK ? hot_batch_commit(b, &result, NULL, NULL, err) : code;
}

static int64_t next_offset(struct hot *h, int32_t partition) {
    struct bf_err err;
    struct hot_partition p;
    enum bf_code code = hot_partition(h, text(TOPIC), partition, &p, &err);
    if (code == BF_NOT_FOUND)
        return 0;
    assert_ok(code);
    return p.next_offset;
}

/* ---- kill -9 ---- */

/* In the child: commit for ever and say after each commit how far it came. Exits only by a signal or a failure. */
_Noreturn static void child_commits(const char *dir, int out) {
    struct bf_err err;
    struct hot *h = NULL;
    struct hot_batch *b = NULL;
    struct hot_partition p = {.next_offset = 0};
    struct hot_settings settings = {.dir = dir, .map_bytes_max = FIXTURE_MAP_BYTES, .cluster_id = "test"};
    if (hot_open(&settings, &h, &err) != BF_OK || hot_batch_new(h, &b, &err) != BF_OK)
        _exit(1);
    if (hot_partition(h, text(TOPIC), 0, &p, &err) == BF_NOT_FOUND)
        p.next_offset = 0;
    for (int64_t at = p.next_offset;; at += BATCH) {
        if (commit_next(b, at, &err) != BF_OK)
            _exit(2);
        int64_t done = at + BATCH;
        if (write(out, &done, sizeof done) != sizeof done)
            _exit(3);
    }
}

static int64_t run_and_kill(const char *dir, int commits, long more_us) {
    int ends[2], status;
    int64_t acknowledged = 0, done;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        child_commits(dir, ends[1]);
    }
    close(ends[1]);
    for (int i = 0; i < commits && read(ends[0], &done, sizeof done) == sizeof done; i++)
        acknowledged = done;
    usleep((useconds_t)more_us);
    kill(child, SIGKILL);
    while (read(ends[0], &done, sizeof done) == sizeof done)
        acknowledged = done;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    return acknowledged;
}

static void check_whole(struct hot *h, int64_t offsets) {
    struct bf_err err;
    struct event_query q;
    struct event_page page;
    bool exhausted;
    int64_t hot_from;
    assert_ok(hot_check(h, &err));
    event_page_init(&page);
    for (int32_t p = 0; p < PARTITIONS; p++) {
        assert_int_equal(next_offset(h, p), offsets);
        event_query_init(&q);
        q.topics[q.topic_count++] = text(TOPIC);
        q.by_partition = true;
        q.partition = p;
        q.order = ORDER_OFFSET;
        event_page_clear(&page);
        assert_ok(hot_fetch(h, &q, NULL, (size_t)offsets + 1, &page, &exhausted, &hot_from, &err));
        assert_int_equal(page.count, offsets);
        for (int64_t o = 0; o < offsets; o++) {
            struct bf_uuid id = uuid_of((uint64_t)(o * PARTITIONS + p));
            assert_int_equal(page.events[o].offset, o);
            assert_memory_equal(&page.events[o].id, &id, sizeof id);
        }
    }
    event_page_fini(&page);
}

static void test_kill__nothing_committed_is_lost_and_no_commit_is_half_there(void **state) {
    (void)state;
    char *dir = fixture_dir();
    uint64_t seed = 77;
    for (int round = 0; round < 15; round++) {
        int64_t acknowledged = run_and_kill(dir, 1 + (int)rnd_below(&seed, 4), rnd_below(&seed, 4000));
        struct hot *h = fixture_open(dir, FIXTURE_MAP_BYTES);
        int64_t offsets = next_offset(h, 0);
        assert_true(offsets >= acknowledged);
        assert_int_equal(offsets % BATCH, 0);
        check_whole(h, offsets);
        hot_close(h);
    }
    fixture_dir_remove(dir);
}

/* ---- how it was left ---- */

static void write_mark(const char *dir, const char *mark) {
    char path[300];
    snprintf(path, sizeof path, "%s/mark", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(mark, file);
    fclose(file);
}

static void test_open__an_unclean_end_of_the_machine_is_refused_and_can_be_destroyed(void **state) {
    (void)state;
    struct bf_err err;
    char *dir = fixture_dir();
    struct hot *h = fixture_open(dir, FIXTURE_MAP_BYTES);
    struct bf_uuid instance = hot_instance_id(h);
    struct hot_settings settings = {.dir = dir, .map_bytes_max = FIXTURE_MAP_BYTES, .cluster_id = "test"};
    hot_close(h);
    write_mark(dir, "open 11111111-2222-3333-4444-555555555555\n");
    assert_code(BF_REJECTED, hot_open(&settings, &h, &err));
    assert_code(BF_REJECTED, hot_open(&settings, &h, &err)); /* asking does not cure it */
    assert_ok(hot_destroy(dir, &err));
    h = fixture_open(dir, FIXTURE_MAP_BYTES);
    struct bf_uuid fresh = hot_instance_id(h);
    assert_memory_not_equal(&instance, &fresh, sizeof instance);
    hot_close(h);
    fixture_dir_remove(dir);
}

static void test_open__a_store_that_syncs_each_commit_needs_no_clean_end(void **state) {
    (void)state;
    struct bf_err err;
    char *dir = fixture_dir();
    char path[300], mark[64] = "";
    struct hot *h = NULL;
    struct hot_batch *b = NULL;
    struct hot_settings settings = {.dir = dir, .map_bytes_max = FIXTURE_MAP_BYTES, .cluster_id = "test", .sync_every_commit = true};
    assert_ok(hot_open(&settings, &h, &err));
    assert_ok(hot_batch_new(h, &b, &err));
    assert_ok(commit_next(b, 0, &err));
    snprintf(path, sizeof path, "%s/mark", dir);
    FILE *file = fopen(path, "r");
    assert_non_null(fgets(mark, sizeof mark, file));
    fclose(file);
    assert_string_equal(mark, "synced\n");
    hot_batch_free(b);
    hot_close(h);
    fixture_dir_remove(dir);
}

static void test_open__a_second_owner_and_another_cluster_are_refused(void **state) {
    (void)state;
    struct bf_err err;
    char *dir = fixture_dir();
    struct hot *h = fixture_open(dir, FIXTURE_MAP_BYTES), *second = NULL;
    struct hot_settings settings = {.dir = dir, .map_bytes_max = FIXTURE_MAP_BYTES, .cluster_id = "test"};
    assert_code(BF_BROKEN, hot_open(&settings, &second, &err));
    assert_non_null(strstr(err.msg, "in use"));
    assert_code(BF_BROKEN, hot_destroy(dir, &err));
    hot_close(h);
    settings.cluster_id = "another";
    assert_code(BF_BROKEN, hot_open(&settings, &second, &err));
    assert_non_null(strstr(err.msg, "cluster"));
    settings.cluster_id = "test";
    settings.map_bytes_max = 1000;
    assert_code(BF_INVALID, hot_open(&settings, &second, &err));
    fixture_dir_remove(dir);
}

/* ---- a full map ---- */

static void test_full__the_batch_is_kept_and_goes_in_once_there_is_room(void **state) {
    (void)state;
    struct bf_err err;
    struct hot_batch *b = NULL;
    struct hot_watermarks w;
    char *dir = fixture_dir();
    struct hot *h = fixture_open(dir, (int64_t)4 << 20);
    int64_t at = 0;
    int full = 0;
    assert_ok(hot_batch_new(h, &b, &err));
    for (int commits = 0; full < 5 && commits < 10000; commits++) {
        enum bf_code code = commit_next(b, at, &err);
        if (code == BF_OK) {
            at += BATCH;
            continue;
        }
        assert_code(BF_NOMEM, code);
        full++;
        assert_int_equal(hot_batch_count(b), PARTITIONS * BATCH);
        assert_int_equal(next_offset(h, 1), at);
        assert_ok(hot_check(h, &err));
        hot_watermarks(h, &w);
        assert_true(w.bytes_used <= w.bytes_max);
        size_t evicted = 0;
        assert_ok(hot_evict(h, w.recorded_through_us, (size_t)w.log_records / 2, &evicted, &err));
        assert_true(evicted > 0);
        assert_ok(hot_check(h, &err));
    }
    assert_int_equal(full, 5);
    hot_batch_free(b);
    hot_close(h);
    fixture_dir_remove(dir);
}

/* ---- readers beside the writer ---- */

#define READ_OFFSETS (BATCH * 60)

struct follower {
    struct hot *h;
    enum event_order order;
    size_t seen;
    bool ok;
};

/* Follow one order page by page until everything has come; what comes must be the next each time. */
static void *follow(void *ctx) {
    struct follower *f = ctx;
    struct bf_err err;
    struct event_query q;
    struct event_page page;
    struct event_pos after;
    event_page_init(&page);
    event_query_init(&q);
    q.order = f->order;
    q.topics[q.topic_count++] = text(TOPIC);
    q.by_partition = true;
    q.partition = 1;
    f->ok = true;
    while (f->ok && f->seen < READ_OFFSETS) {
        bool exhausted;
        int64_t hot_from;
        event_page_clear(&page);
        f->ok = hot_fetch(f->h, &q, f->seen > 0 ? &after : NULL, 37, &page, &exhausted, &hot_from, &err) == BF_OK;
        for (size_t i = 0; i < page.count; i++)
            f->ok = f->ok && page.events[i].offset == (int64_t)f->seen++ && page.events[i].value.len == 22;
        if (page.count > 0)
            after = event_pos_of(&page.events[page.count - 1], f->order);
        if (exhausted)
            hot_wait_newer(f->h, page.count > 0 ? page.events[page.count - 1].recorded_at_us : 0, 5);
    }
    event_page_fini(&page);
    return NULL;
}

/* Ask for the state of nodes all the while: it must never go back in time. */
static void *watch_state(void *ctx) {
    struct follower *f = ctx;
    struct bf_err err;
    struct event_query q;
    struct event_page page;
    int64_t newest = INT64_MIN, hot_from;
    event_query_init(&q);
    event_page_init(&page);
    f->ok = true;
    while (f->ok && newest < (READ_OFFSETS - MODEL_NODES) * 1000) {
        event_page_clear(&page);
        f->ok = hot_state(f->h, text(node_of(0)), &q, INT64_MAX, &page, &hot_from, &err) == BF_OK && page.count <= 1;
        if (page.count == 0)
            continue;
        f->ok = f->ok && page.events[0].event_time_us >= newest;
        newest = page.events[0].event_time_us;
    }
    event_page_fini(&page);
    return NULL;
}

static void test_readers__see_whole_commits_in_order_while_the_writer_works(void **state) {
    (void)state;
    struct bf_err err;
    struct hot_batch *b = NULL;
    char *dir = fixture_dir();
    struct hot *h = fixture_open(dir, FIXTURE_MAP_BYTES);
    struct follower followers[4] = {{.h = h, .order = ORDER_RECORDED}, {.h = h, .order = ORDER_EVENT_TIME}, {.h = h, .order = ORDER_OFFSET}, {.h = h}};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < 3 ? follow : watch_state, &followers[i]), 0);
    assert_ok(hot_batch_new(h, &b, &err));
    for (int64_t at = 0; at < READ_OFFSETS; at += BATCH)
        assert_ok(commit_next(b, at, &err));
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(followers[i].ok);
    }
    hot_batch_free(b);
    hot_close(h);
    fixture_dir_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill__nothing_committed_is_lost_and_no_commit_is_half_there),
        cmocka_unit_test(test_open__an_unclean_end_of_the_machine_is_refused_and_can_be_destroyed),
        cmocka_unit_test(test_open__a_store_that_syncs_each_commit_needs_no_clean_end),
        cmocka_unit_test(test_open__a_second_owner_and_another_cluster_are_refused),
        cmocka_unit_test(test_full__the_batch_is_kept_and_goes_in_once_there_is_room),
        cmocka_unit_test(test_readers__see_whole_commits_in_order_while_the_writer_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
