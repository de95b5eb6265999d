/* The map of ids, alone and as the hot store uses it: what it must never do is not to know an id that is stored. */
#include "bf_failpoint.h"
#include "hot_fixture.h"
#include "hot_internal.h"
#include "id_map.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOPIC "rim.fast-path"
#define NODE "rim:entity:finance:EURUSD"
#define PATH_BYTES 512
#define SEED_AT 24 /* of the file: what the hashes begin with */

static const struct bf_uuid owner = {{1}};

struct fixture {
    char *dir, path[PATH_BYTES];
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    f->dir = fixture_dir();
    snprintf(f->path, sizeof f->path, "%s/ids.map", f->dir);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    fixture_dir_remove(f->dir);
    free(f);
    return 0;
}

static struct id_map *open_map(const struct fixture *f, const struct bf_uuid *whose, const char *boot, bool expect_fresh) {
    struct bf_err err;
    struct id_map *m = NULL;
    bool fresh;
    assert_ok(id_map_open(f->path, whose, boot, &m, &fresh, &err));
    assert_int_equal(fresh, expect_fresh);
    id_map_filled(m);
    return m;
}

static void put_numbers(struct id_map *m, uint64_t from, uint64_t to) {
    for (uint64_t n = from; n < to; n++) {
        struct bf_uuid id = uuid_of(n);
        assert_int_equal(id_map_put(m, id_map_hash(m, 7, &id), (int64_t)n + 1), 0);
    }
}

static bool has_number(struct id_map *m, uint64_t n) {
    int64_t hits[ID_MAP_HITS_MAX];
    struct bf_uuid id = uuid_of(n);
    size_t count = id_map_find(m, id_map_hash(m, 7, &id), hits);
    for (size_t i = 0; i < count; i++) {
        if (hits[i] == (int64_t)n + 1)
            return true;
    }
    return false;
}

/* ---- alone ---- */

#define MANY 400000

static void test_map__knows_all_that_was_put_and_nothing_else(void **state) {
    struct fixture *f = *state;
    struct id_map *m = open_map(f, &owner, "boot", true);
    int64_t hits[ID_MAP_HITS_MAX];
    put_numbers(m, 0, MANY);
    assert_int_equal(id_map_slots(m), MANY);
    assert_in_range(id_map_bytes(m) / MANY, 16, 48);
    id_map_close(m, false);
    m = open_map(f, &owner, "boot", false); /* killed: the kernel has the pages */
    for (uint64_t n = 0; n < MANY; n++)
        assert_true(has_number(m, n));
    size_t strangers = 0;
    for (uint64_t n = MANY; n < 2 * MANY; n++) {
        struct bf_uuid id = uuid_of(n);
        strangers += id_map_find(m, id_map_hash(m, 7, &id), hits);
    }
    assert_int_equal(strangers, 0);
    id_map_close(m, true);
}

static void test_map__equal_hashes_are_all_found_and_one_of_them_can_be_moved(void **state) {
    struct id_map *m = open_map(*state, &owner, "boot", true);
    int64_t hits[ID_MAP_HITS_MAX];
    for (int64_t at = 1; at <= 3; at++)
        assert_int_equal(id_map_put(m, 42, at * 100), 0);
    id_map_move(m, 42, 200, 201);
    id_map_move(m, 42, 999, 1); /* nobody's */
    assert_int_equal(id_map_find(m, 42, hits), 3);
    assert_true(hits[0] == 100 && hits[1] == 201 && hits[2] == 300);
    id_map_close(m, false);
}

static void test_map__is_believed_only_by_its_owner_and_only_when_nothing_can_be_missing(void **state) {
    struct fixture *f = *state;
    const struct bf_uuid other = {{2}};
    struct id_map *m = open_map(f, &owner, "boot 1", true);
    put_numbers(m, 0, 10000);
    id_map_close(m, true);
    m = open_map(f, &owner, "boot 2", false); /* closed in order: good in another boot */
    assert_true(has_number(m, 9999));
    id_map_close(m, false);
    m = open_map(f, &owner, "boot 3", true); /* it was open when boot 2 ended */
    assert_false(has_number(m, 9999));
    put_numbers(m, 0, 10000);
    id_map_close(m, true);
    m = open_map(f, &other, "boot 3", true);
    put_numbers(m, 0, 10000);
    id_map_close(m, true);
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(truncate(f->path, st.st_size - 14 * 65536), 0); /* two segments are left */
    m = open_map(f, &other, "boot 3", true);
    id_map_close(m, true);
    int fd = open(f->path, O_WRONLY);
    assert_int_equal(pwrite(fd, "garbage", 7, 0), 7);
    close(fd);
    id_map_close(open_map(f, &other, "boot 3", true), true);
}

/* The child puts numbers for ever and says how far it is; killed, and in the end in the middle of a split. */
static uint64_t put_until_killed(const struct fixture *f, uint64_t from, const char *failpoints, useconds_t after_us) {
    int ends[2], status;
    uint64_t told = from, said;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct bf_err err;
        struct id_map *m;
        bool fresh;
        close(ends[0]);
        setenv("BF_FAILPOINTS", failpoints, 1);
        if (!bf_failpoints_init() || id_map_open(f->path, &owner, "boot", &m, &fresh, &err) != BF_OK || (fresh && from > 0))
            _exit(1);
        id_map_filled(m);
        for (uint64_t n = from;; n++) {
            struct bf_uuid id = uuid_of(n);
            uint64_t done = n + 1;
            if (id_map_put(m, id_map_hash(m, 7, &id), (int64_t)n + 1) != 0 || (n % 64 == 63 && write(ends[1], &done, sizeof done) < 0))
                _exit(2);
        }
    }
    close(ends[1]);
    if (after_us > 0) {
        usleep(after_us);
        kill(child, SIGKILL);
    }
    while (read(ends[0], &said, sizeof said) == sizeof said)
        told = said;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return told;
}

static void test_kill__loses_nothing_that_was_put_not_even_in_a_split(void **state) {
    struct fixture *f = *state;
    uint64_t seed = 20261130, at = 0, in_split = 0;
    for (int i = 0; i < 60; i++) {
        bool split = i % 2 == 0;
        char failpoints[64] = "";
        if (split)
            snprintf(failpoints, sizeof failpoints, "ids.in-split=kill@%d", (int)rnd_below(&seed, 4) + 1);
        at = put_until_killed(f, at, failpoints, split ? 0 : (useconds_t)rnd_below(&seed, 3000) + 500);
        in_split += split;
        struct id_map *m = open_map(f, &owner, "boot", false);
        for (uint64_t n = 0; n < at; n++)
            assert_true(has_number(m, n));
        id_map_close(m, false);
    }
    assert_int_equal(in_split, 30);
    assert_in_range(at, 50000, 100000000);
}

struct reader {
    struct id_map *m;
    atomic_uint_least64_t *put;
    atomic_bool *stop;
    atomic_uint_least64_t missed, looked;
};

static void *read_beside(void *arg) {
    struct reader *r = arg;
    uint64_t seed = 99;
    while (!atomic_load(r->stop)) {
        uint64_t there = atomic_load(r->put);
        if (there == 0)
            continue;
        atomic_fetch_add(&r->missed, !has_number(r->m, (uint64_t)rnd_below(&seed, (int64_t)there)));
        atomic_fetch_add(&r->looked, 1);
    }
    return NULL;
}

static void test_readers__miss_nothing_while_segments_are_split(void **state) {
    struct id_map *m = open_map(*state, &owner, "boot", true);
    atomic_uint_least64_t put = 0;
    atomic_bool stop = false;
    struct reader r = {.m = m, .put = &put, .stop = &stop};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_beside, &r), 0);
    for (uint64_t n = 0; n < MANY; n += 1000) {
        put_numbers(m, n, n + 1000);
        atomic_store(&put, n + 1000);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&r.missed), 0);
    assert_true(atomic_load(&r.looked) > 0);
    id_map_close(m, false);
}

/* ---- in the store ---- */

static struct hot_commit_result commit_ids(struct hot *h, int64_t offset, const struct bf_uuid *ids, size_t count, const char *value) {
    struct bf_err err;
    struct hot_batch *b;
    struct hot_commit_result result;
    assert_ok(hot_batch_new(h, &b, &err));
    for (size_t i = 0; i < count; i++) {
        struct event ev = plain_event(TOPIC, 0, offset + (int64_t)i, 0, NODE, 100, value);
        ev.id = ids[i];
        assert_ok(hot_batch_event(b, &ev, &err));
    }
    assert_ok(hot_batch_commit(b, &result, NULL, NULL, &err));
    hot_batch_free(b);
    assert_ok(hot_check(h, &err));
    return result;
}

static void numbers(struct bf_uuid *ids, size_t count) {
    for (size_t i = 0; i < count; i++)
        ids[i] = uuid_of(i + 1);
}

static void copy_file(const char *from, const char *to) {
    char command[2 * PATH_BYTES + 16];
    snprintf(command, sizeof command, "cp '%s' '%s'", from, to);
    assert_int_equal(system(command), 0);
}

#define SOME 5000

static void test_store__makes_a_map_that_is_deleted_or_too_old_from_its_log(void **state) {
    struct fixture *f = *state;
    static struct bf_uuid ids[2 * SOME];
    char aside[PATH_BYTES + 8];
    size_t evicted;
    struct bf_err err;
    numbers(ids, 2 * SOME);
    snprintf(aside, sizeof aside, "%s.old", f->path);
    struct hot *h = fixture_open(f->dir, FIXTURE_MAP_BYTES);
    assert_int_equal(commit_ids(h, 0, ids, SOME, "a").stored, SOME);
    hot_close(h);
    copy_file(f->path, aside);
    h = fixture_open(f->dir, FIXTURE_MAP_BYTES);
    assert_int_equal(commit_ids(h, SOME, ids + SOME, SOME, "a").stored, SOME);
    assert_int_equal(commit_ids(h, 2 * SOME, ids, 10, "b").revisions, 10);
    assert_ok(hot_evict(h, INT64_MAX, SOME / 2, &evicted, &err));
    hot_close(h);
    copy_file(aside, f->path);
    h = fixture_open(f->dir, FIXTURE_MAP_BYTES);
    assert_ok(hot_check(h, &err));
    assert_int_equal(commit_ids(h, 2 * SOME + 10, ids + 10, 2 * SOME - 10, "a").duplicates, 2 * SOME - 10);
    hot_close(h);
    assert_int_equal(unlink(f->path), 0);
    h = fixture_open(f->dir, FIXTURE_MAP_BYTES);
    assert_ok(hot_check(h, &err));
    assert_int_equal(commit_ids(h, 4 * SOME, ids, 10, "b").duplicates, 10);
    assert_int_equal(commit_ids(h, 4 * SOME + 10, ids, 10, "a").revisions, 10); /* the third: the second was b */
    hot_close(h);
    assert_int_equal(unlink(aside), 0);
}

/* Killed while the map is made anew, at each third of the way: in the log, among what is evicted, among later revisions. */
static void test_store__is_right_after_a_kill_while_the_map_is_made_anew(void **state) {
    struct fixture *f = *state;
    static struct bf_uuid ids[300];
    static const int moments[] = {1, 150, 260, 299, 305};
    struct bf_err err;
    size_t evicted;
    numbers(ids, 300);
    struct hot *h = fixture_open(f->dir, FIXTURE_MAP_BYTES);
    commit_ids(h, 0, ids, 300, "a");
    commit_ids(h, 300, ids, 10, "b");
    assert_ok(hot_evict(h, INT64_MAX, 60, &evicted, &err));
    hot_close(h);
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
        int status;
        assert_int_equal(unlink(f->path), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            char failpoints[64];
            struct hot_settings settings = {.dir = f->dir, .map_bytes_max = FIXTURE_MAP_BYTES, .cluster_id = "test"};
            snprintf(failpoints, sizeof failpoints, "ids.in-rebuild=kill@%d", moments[i]);
            setenv("BF_FAILPOINTS", failpoints, 1);
            _exit(bf_failpoints_init() && hot_open(&settings, &h, &err) == BF_OK);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        h = fixture_open(f->dir, FIXTURE_MAP_BYTES);
        assert_ok(hot_check(h, &err));
        hot_close(h);
    }
}

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 33) * UINT64_C(0xff51afd7ed558ccd);
    x = (x ^ x >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

/* Another id with the hash of `id` in this store. */
static struct bf_uuid colliding(const struct fixture *f, const struct bf_uuid *id, uint64_t other_high) {
    uint64_t seed, high, low;
    struct bf_uuid other;
    int fd = open(f->path, O_RDONLY);
    assert_int_equal(pread(fd, &seed, sizeof seed, SEED_AT), sizeof seed);
    close(fd);
    memcpy(&high, id->b, 8);
    memcpy(&low, id->b + 8, 8);
    low = mix(high ^ seed) + low - mix(other_high ^ seed);
    memcpy(other.b, &other_high, 8);
    memcpy(other.b + 8, &low, 8);
    return other;
}

static size_t fetch_id(struct hot *h, const struct bf_uuid *id) {
    struct bf_err err;
    struct event_query q;
    struct event_page page;
    bool exhausted;
    int64_t hot_from_us;
    event_query_init(&q);
    q.has_id = true;
    q.id = *id;
    q.order = ORDER_RECORDED;
    event_page_init(&page);
    assert_ok(hot_fetch(h, &q, NULL, 100, &page, &exhausted, &hot_from_us, &err));
    size_t count = page.count;
    for (size_t i = 0; i < count; i++)
        assert_memory_equal(&page.events[i].id, id, sizeof *id);
    event_page_fini(&page);
    return count;
}

static void test_store__keeps_ids_apart_whose_hashes_are_equal(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct bf_uuid ids[3] = {uuid_of(2)};
    size_t evicted;
    struct hot *h = fixture_open(f->dir, FIXTURE_MAP_BYTES);
    ids[1] = colliding(f, &ids[0], UINT64_C(0x0123456789abcdef));
    ids[2] = colliding(f, &ids[0], UINT64_C(0xfedcba9876543210));
    assert_int_equal(id_map_hash(h->ids, 0, &ids[0]), id_map_hash(h->ids, 0, &ids[1]));
    struct hot_commit_result r = commit_ids(h, 0, ids, 2, "a"); /* in one batch */
    assert_int_equal(r.stored, 2);
    assert_int_equal(r.revisions, 0);
    r = commit_ids(h, 2, ids, 3, "a"); /* and one more in a later one */
    assert_int_equal(r.stored, 1);
    assert_int_equal(r.duplicates, 2);
    assert_int_equal(commit_ids(h, 5, ids + 1, 1, "b").revisions, 1);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(fetch_id(h, &ids[i]), i == 1 ? 2 : 1);
    assert_ok(hot_evict(h, INT64_MAX, 2, &evicted, &err));
    assert_ok(hot_check(h, &err));
    r = commit_ids(h, 6, ids, 3, "a"); /* the middle one goes back to its first content: a revision */
    assert_int_equal(r.duplicates, 2);
    assert_int_equal(r.revisions, 1);
    hot_close(h);
}

static void expect_known(struct hot *h, const struct bf_uuid *ids, size_t count, int64_t at_us) {
    struct bf_err err;
    assert_ok(hot_check(h, &err));
    for (size_t i = 0; i < count; i++) {
        uint32_t revision = 0;
        int64_t recorded_at_us = 0;
        assert_ok(hot_id_newest(h, text(TOPIC), &ids[i], INT64_MAX, &revision, &recorded_at_us, &err));
        assert_int_equal(revision, 1);
        assert_int_equal(recorded_at_us, at_us);
    }
}

/* Instances have clocks of their own: what one learns of the others may bear the moment of a record of its own, or of a third one's. */
static void test_store__tells_apart_what_instances_recorded_at_one_moment(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct bf_uuid ids[4];
    uint32_t revision;
    int64_t at_us;
    size_t evicted;
    numbers(ids, 4);
    struct hot *h = fixture_open(f->dir, FIXTURE_MAP_BYTES);
    commit_ids(h, 0, ids, 1, "a");
    assert_ok(hot_id_newest(h, text(TOPIC), &ids[0], INT64_MAX, &revision, &at_us, &err));
    struct hot_known_id known[3];
    for (size_t i = 0; i < 3; i++)
        known[i] = (struct hot_known_id){.topic = text(TOPIC), .node_id = text(NODE), .id = ids[i + 1], .revision = 1, .recorded_at_us = at_us,
                                         .event_time_us = 1, .content_hash = {(uint8_t)i}};
    assert_ok(hot_set_hot_from(h, at_us, &err));
    assert_ok(hot_learn_ids(h, known, 3, &err));
    expect_known(h, ids, 4, at_us);
    assert_ok(hot_evict(h, INT64_MAX, 1, &evicted, &err));
    assert_int_equal(evicted, 1);
    expect_known(h, ids, 4, at_us);
    hot_close(h);
    assert_int_equal(unlink(f->path), 0);
    h = fixture_open(f->dir, FIXTURE_MAP_BYTES);
    expect_known(h, ids, 4, at_us);
    hot_close(h);
}

static void test_store__learns_revisions_in_any_order(void **state) {
    struct fixture *f = *state;
    struct bf_err err;
    struct bf_uuid id = uuid_of(5);
    struct hot *h = fixture_open(f->dir, FIXTURE_MAP_BYTES);
    struct hot_known_id known = {.topic = text(TOPIC), .node_id = text(NODE), .id = id, .event_time_us = 1, .content_hash = {9}};
    assert_ok(hot_set_hot_from(h, 2000, &err)); /* as after a rebuild */
    for (int round = 0; round < 2; round++) {
        for (uint32_t revision = 3; revision > 0; revision--) {
            known.revision = revision;
            known.recorded_at_us = 1000 + revision;
            assert_ok(hot_learn_ids(h, &known, 1, &err));
            assert_ok(hot_check(h, &err));
        }
    }
    uint32_t newest;
    int64_t at;
    assert_ok(hot_id_newest(h, text(TOPIC), &id, INT64_MAX, &newest, &at, &err));
    assert_int_equal(newest, 3);
    assert_ok(hot_id_newest(h, text(TOPIC), &id, 1001, &newest, &at, &err));
    assert_true(newest == 1 && at == 1001);
    assert_code(BF_NOT_FOUND, hot_id_newest(h, text(TOPIC), &id, 1000, &newest, &at, &err));
    struct hot_commit_result r = commit_ids(h, 0, &id, 1, "new");
    assert_int_equal(r.revisions, 1);
    assert_ok(hot_id_newest(h, text(TOPIC), &id, INT64_MAX, &newest, &at, &err));
    assert_int_equal(newest, 4);
    hot_close(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_map__knows_all_that_was_put_and_nothing_else, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map__equal_hashes_are_all_found_and_one_of_them_can_be_moved, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map__is_believed_only_by_its_owner_and_only_when_nothing_can_be_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill__loses_nothing_that_was_put_not_even_in_a_split, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readers__miss_nothing_while_segments_are_split, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store__makes_a_map_that_is_deleted_or_too_old_from_its_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store__is_right_after_a_kill_while_the_map_is_made_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store__keeps_ids_apart_whose_hashes_are_equal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store__tells_apart_what_instances_recorded_at_one_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store__learns_revisions_in_any_order, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
