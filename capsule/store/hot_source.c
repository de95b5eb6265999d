/* A source walks one index between two keys, up or down, and says of each entry its place in the order. Also: what a query's topics are by
 * number, and how an entry becomes an event. */
#include "hot_internal.h"

#include <stdlib.h>
#include <string.h>

static struct hot_key bound(const struct hot_key *prefix, bool timed, int64_t event_time_us, int64_t recorded_at_us) {
    struct hot_key k = *prefix;
    if (timed)
        key_u64(&k, key_time(event_time_us));
    key_u64(&k, (uint64_t)recorded_at_us);
    return k;
}

static int compare_key(const MDB_val *a, const struct hot_key *b) {
    size_t len = a->mv_size < b->len ? a->mv_size : b->len;
    int c = memcmp(a->mv_data, b->bytes, len);
    return c != 0 ? c : (a->mv_size > b->len) - (a->mv_size < b->len);
}

/* Take what the cursor stands on, or end. */
static int settle(struct source *s, int rc, const MDB_val *key, const MDB_val *value) {
    s->done = true;
    if (rc == MDB_NOTFOUND)
        return MDB_SUCCESS;
    if (rc != MDB_SUCCESS)
        return rc;
    if (compare_key(key, &s->low) < 0 || compare_key(key, &s->high) > 0)
        return MDB_SUCCESS;
    const uint8_t *at = (const uint8_t *)key->mv_data + s->prefix.len;
    if (key->mv_size != s->prefix.len + (s->timed ? 16 : 8))
        return MDB_CORRUPTED;
    s->event_time_key = s->timed ? bf_get_be64(at) : 0;
    s->recorded_at_us = (int64_t)bf_get_be64(s->timed ? at + 8 : at);
    s->value = *value;
    s->done = false;
    return MDB_SUCCESS;
}

static int seek_up(struct source *s, MDB_val *key, MDB_val *value) {
    *key = key_val(&s->low);
    return mdb_cursor_get(s->cur, key, value, MDB_SET_RANGE);
}

static int seek_down(struct source *s, MDB_val *key, MDB_val *value) {
    *key = key_val(&s->high);
    int rc = mdb_cursor_get(s->cur, key, value, MDB_SET_RANGE);
    if (rc == MDB_NOTFOUND)
        return mdb_cursor_get(s->cur, key, value, MDB_LAST);
    if (rc == MDB_SUCCESS && compare_key(key, &s->high) > 0)
        return mdb_cursor_get(s->cur, key, value, MDB_PREV);
    return rc;
}

int source_open_at(struct source *s, MDB_cursor *cur, const struct hot_key *prefix, bool timed, const struct source_range *range, bool descending) {
    s->cur = cur;
    s->prefix = *prefix;
    s->timed = timed;
    s->descending = descending;
    s->done = true;
    int64_t recorded_from = range->recorded_from_us < 0 ? 0 : range->recorded_from_us;
    if (range->recorded_through_us < recorded_from || (timed && range->event_through_us < range->event_from_us))
        return MDB_SUCCESS;
    s->low = bound(prefix, timed, range->event_from_us, timed ? 0 : recorded_from);
    s->high = bound(prefix, timed, range->event_through_us, timed ? INT64_MAX : range->recorded_through_us);
    MDB_val key, value;
    int rc = descending ? seek_down(s, &key, &value) : seek_up(s, &key, &value);
    return settle(s, rc, &key, &value);
}

int source_open(struct source *s, MDB_txn *txn, MDB_dbi db, const struct hot_key *prefix, bool timed, const struct source_range *range,
                bool descending) {
    MDB_cursor *cur;
    s->cur = NULL;
    int rc = mdb_cursor_open(txn, db, &cur);
    return rc == MDB_SUCCESS ? source_open_at(s, cur, prefix, timed, range, descending) : rc;
}

int source_next(struct source *s) {
    MDB_val key, value;
    int rc = mdb_cursor_get(s->cur, &key, &value, s->descending ? MDB_PREV : MDB_NEXT);
    return settle(s, rc, &key, &value);
}

bool source_before(const struct source *a, const struct source *b, bool descending) {
    if (a->event_time_key != b->event_time_key)
        return (a->event_time_key < b->event_time_key) != descending;
    return (a->recorded_at_us < b->recorded_at_us) != descending;
}

void source_close(struct source *s) {
    if (s->cur != NULL)
        mdb_cursor_close(s->cur);
    s->cur = NULL;
}

/* ---- topics ---- */

enum bf_code topic_filter_init(struct topic_filter *f, const struct hot *h, const struct event_query *q, struct bf_err *err) {
    memset(f, 0, sizeof *f);
    f->all = q->topic_count == 0 && q->domain.data == NULL;
    f->count = atomic_load(&h->topic_count);
    if (f->all)
        return BF_OK;
    f->allowed = calloc(f->count + 1, 1);
    if (f->allowed == NULL)
        return bf_fail(err, BF_NOMEM, 0, "no memory for a filter of %u topics", f->count);
    for (uint32_t no = 0; no < f->count; no++)
        f->allowed[no] = event_query_allows_topic(q, hot_topic_name(h, no));
    return BF_OK;
}

void topic_filter_fini(struct topic_filter *f) {
    free(f->allowed);
    f->allowed = NULL;
}

/* ---- events ---- */

enum bf_code hot_event_view(struct hot *h, MDB_txn *txn, int64_t recorded_at_us, struct event *ev, struct bf_err *err) {
    struct bf_slice record;
    int rc = hot_log_get(h, txn, recorded_at_us, &record);
    if (rc != MDB_SUCCESS)
        return rc == MDB_NOTFOUND ? hot_corrupt(err, "an index names a record that is not there") : hot_fail(err, rc, "reading the log");
    return hot_event_of_record(h, recorded_at_us, record, ev, err);
}

enum bf_code hot_event_of_record(struct hot *h, int64_t recorded_at_us, struct bf_slice record, struct event *ev, struct bf_err *err) {
    struct record_peek peek;
    if (!record_peek(record, &peek) || !record_event_get(record, ev))
        return hot_corrupt(err, "an event's record");
    ev->topic = hot_topic_name(h, peek.topic_no);
    ev->recorded_at_us = recorded_at_us;
    return ev->topic.data != NULL ? BF_OK : hot_corrupt(err, "an event's topic");
}

int hot_is_replaced(struct hot *h, MDB_txn *txn, uint32_t topic_no, const struct event *ev, int64_t known_by_us, bool *replaced) {
    struct id_row row;
    *replaced = false;
    if (!hot_topic_has_revisions(h, topic_no))
        return MDB_SUCCESS;
    struct hot_key key = key_id(topic_no, &ev->id, ev->revision + 1);
    int rc = hot_get(txn, h->db[DB_IDS], &key, &row, sizeof row);
    *replaced = rc == MDB_SUCCESS && row.recorded_at_us <= known_by_us;
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}
