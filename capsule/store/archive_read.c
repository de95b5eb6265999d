/* Questions about events. The SQL is put together from constant conditions; every value is a bound parameter. The one thing that is no parameter
 * is a topic's table, whose name comes from the archive's own catalogue: read by itself, a table cut by event time gives its rows in that order
 * partition by partition, where the parent of all topics would have to merge every partition of every topic.
 */
#include "archive_internal.h"

#include "bf_json.h"
#include "bf_node_id.h"
#include "bf_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES_MAX ((size_t)64 << 20) /* then a page ends early; there is more */

#define EVENT_SELECT                                                                                                             \
    "select e.event_id, e.revision, e.topic, e.kafka_partition, e.kafka_offset, e.rim_node_id, e.event_time, e.kafka_time, e.recorded_at," \
    " e.schema_id, e.trace_id, e.cause_id, e.source_id, e.\"key\", e.headers, e.raw, e.redriven from "

static void event_from_row(const PGresult *r, struct event *ev) {
    memset(ev, 0, sizeof *ev);
    pg_uuid(r, 0, 0, &ev->id);
    ev->revision = (uint32_t)pg_int4(r, 0, 1);
    ev->topic = pg_bytes(r, 0, 2);
    ev->partition = pg_int4(r, 0, 3);
    ev->offset = pg_int8(r, 0, 4);
    ev->node_id = pg_bytes(r, 0, 5);
    ev->event_time_us = pg_time(r, 0, 6);
    ev->kafka_time_us = pg_time(r, 0, 7);
    ev->recorded_at_us = pg_time(r, 0, 8);
    ev->schema_id = pg_int4(r, 0, 9);
    ev->trace_id = pg_bytes(r, 0, 10);
    ev->has_cause = pg_uuid(r, 0, 11, &ev->cause_id);
    ev->source_id = pg_bytes(r, 0, 12);
    ev->key = pg_bytes(r, 0, 13);
    ev->headers = pg_bytes(r, 0, 14);
    ev->value = pg_bytes(r, 0, 15);
    ev->redriven = !PQgetisnull(r, 0, 16);
}

#define ALIKE_MAX 8 /* rows of one place that are looked at beyond a page; there are as many as instances that record */

struct filling {
    struct event_page *page;
    enum event_order order;
    size_t limit, bytes_max, added;
    bool more; /* there was a row beyond the limits */
};

static enum bf_code fill(void *ctx, const PGresult *r, struct bf_err *err) {
    struct filling *f = ctx;
    struct event ev;
    bool full = f->added >= f->limit || (f->added > 0 && f->page->bytes > f->bytes_max);
    if (f->more) /* the query's last rows: cancelling, which is a connection of its own, would save nothing */
        return f->added < f->limit ? BF_CANCELLED : BF_OK;
    event_from_row(r, &ev);
    if (full && !event_page_ends_with(f->page, &ev, f->order)) {
        f->more = true;
        return f->added < f->limit ? BF_CANCELLED : BF_OK;
    }
    f->added++;
    return event_page_add(f->page, &ev, err);
}

/* ---- topics' tables ---- */

static void copy_text(char *dst, size_t bytes, struct bf_slice s) {
    snprintf(dst, bytes, "%.*s", (int)s.len, s.data ? (const char *)s.data : "");
}

enum bf_code archive_tables_load(struct archive *a, struct bf_err *err) {
    PGresult *r = NULL;
    params_clear(&a->params);
    enum bf_code code = archive_exec_kept(a, "select topic, domain, event_table::text from capsule.topics order by topic", "reading the topics", &r, err);
    if (code != BF_OK)
        return code;
    size_t n;
    struct archive_table *all = archive_rows_room(r, sizeof *all, &n, err);
    if (!all)
        return err->code;
    for (size_t i = 0; i < n; i++) {
        copy_text(all[i].topic, sizeof all[i].topic, pg_bytes(r, (int)i, 0));
        copy_text(all[i].domain, sizeof all[i].domain, pg_bytes(r, (int)i, 1));
        copy_text(all[i].table, sizeof all[i].table, pg_bytes(r, (int)i, 2));
    }
    PQclear(r);
    free(a->tables);
    a->tables = all;
    a->table_count = n;
    return BF_OK;
}

static bool topic_asked(const struct event_query *q, const struct archive_table *t) {
    if (q->domain.data && !bf_slice_eq(q->domain, bf_slice_str(t->domain)))
        return false;
    for (size_t i = 0; i < q->topic_count; i++)
        if (bf_slice_eq(q->topics[i], bf_slice_str(t->topic)))
            return true;
    return q->topic_count == 0;
}

static bool all_known(const struct archive *a, const struct event_query *q) {
    for (size_t i = 0; i < q->topic_count; i++) {
        size_t k = 0;
        while (k < a->table_count && !bf_slice_eq(q->topics[i], bf_slice_str(a->tables[k].topic)))
            k++;
        if (k == a->table_count)
            return false;
    }
    return q->topic_count > 0;
}

/* The topics that the question is about, into `asked` (room for table_count). A topic never goes, so what is remembered holds; one that is not
 * remembered may have come since. */
static enum bf_code asked_topics(struct archive *a, const struct event_query *q, const struct archive_table ***out, size_t *count,
                                 struct bf_err *err) {
    enum bf_code code = all_known(a, q) ? BF_OK : archive_tables_load(a, err);
    if (code != BF_OK)
        return code;
    const struct archive_table **asked = calloc(a->table_count + 1, sizeof *asked);
    if (!asked)
        return bf_fail(err, BF_NOMEM, 0, "no memory for %zu topics", a->table_count);
    *count = 0;
    for (size_t i = 0; i < a->table_count; i++)
        if (topic_asked(q, &a->tables[i]))
            asked[(*count)++] = &a->tables[i];
    *out = asked;
    return BF_OK;
}

/* ---- conditions: each begins with "and" ---- */

static void where_slot(struct archive *a, const char *condition, int number) {
    bf_buf_printf(&a->sql, " and %s $%d", condition, number);
}

/* Text that no column can hold matches nothing, and must not become an error. */
static bool storable(struct bf_slice s) {
    return bf_utf8_valid(s.data, s.len) && (s.len == 0 || !memchr(s.data, 0, s.len));
}

static bool askable(const struct event_query *q) {
    return (!q->node.data || storable(q->node)) && (!q->node_prefix.data || storable(q->node_prefix)) && (!q->trace.data || storable(q->trace));
}

static void where_prefix(struct archive *a, const char *column, struct bf_slice prefix) {
    int number = params_text(&a->params, prefix);
    bf_buf_printf(&a->sql, " and %s >= $%d and starts_with(%s, $%d)", column, number, column, number);
    if (prefix.len > 0 && prefix.len <= BF_NODE_ID_MAX && ((const unsigned char *)prefix.data)[prefix.len - 1] < 0x7e) {
        char upper[BF_NODE_ID_MAX];
        memcpy(upper, prefix.data, prefix.len);
        upper[prefix.len - 1]++;
        bf_buf_printf(&a->sql, " and %s < $%d", column, params_text(&a->params, (struct bf_slice){upper, prefix.len}));
    }
}

static void where_times(struct archive *a, const struct event_query *q, int64_t below_us) {
    int64_t below = q->recorded_to_us < below_us ? q->recorded_to_us : below_us;
    if (q->known_by_us < INT64_MAX && q->known_by_us + 1 < below)
        below = q->known_by_us + 1;
    if (q->from_us > BF_TIME_MIN_US)
        where_slot(a, "e.event_time >=", params_time(&a->params, q->from_us));
    if (q->to_us <= BF_TIME_MAX_US)
        where_slot(a, "e.event_time <", params_time(&a->params, q->to_us));
    if (q->recorded_from_us > BF_TIME_MIN_US)
        where_slot(a, "e.recorded_at >=", params_time(&a->params, q->recorded_from_us));
    if (below <= BF_TIME_MAX_US)
        where_slot(a, "e.recorded_at <", params_time(&a->params, below));
}

static void where_what(struct archive *a, const struct event_query *q) {
    if (q->node.data)
        where_slot(a, "e.rim_node_id =", params_text(&a->params, q->node));
    if (q->node_prefix.data && q->node_prefix.len > 0)
        where_prefix(a, "e.rim_node_id", q->node_prefix);
    if (q->by_partition) {
        where_slot(a, "e.kafka_partition =", params_int4(&a->params, q->partition));
        where_slot(a, "e.kafka_offset >=", params_int8(&a->params, q->offset_from));
        where_slot(a, "e.kafka_offset <", params_int8(&a->params, q->offset_to));
    }
}

/* Row comparison follows the index; the plain one beside it lets partitions be left out. */
static void where_after(struct archive *a, const struct event_query *q, const struct event_pos *after) {
    const char *beyond = q->descending ? "<" : ">";
    if (!after)
        return;
    if (q->order == ORDER_RECORDED) {
        bf_buf_printf(&a->sql, " and e.recorded_at %s $%d", beyond, params_time(&a->params, after->recorded_at_us));
    } else if (q->order == ORDER_OFFSET) {
        bf_buf_printf(&a->sql, " and e.kafka_offset %s $%d", beyond, params_int8(&a->params, after->primary));
    } else {
        int primary = params_time(&a->params, after->primary), recorded = params_time(&a->params, after->recorded_at_us);
        bf_buf_printf(&a->sql, " and e.event_time %s= $%d and (e.event_time, e.recorded_at) %s ($%d, $%d)", beyond, primary, beyond, primary,
                      recorded);
    }
}

static void order_by(struct archive *a, const struct event_query *q, size_t limit) {
    const char *way = q->descending ? " desc" : "";
    bf_buf_puts(&a->sql, " order by ");
    switch (q->order) {
    case ORDER_RECORDED: bf_buf_printf(&a->sql, "e.recorded_at%s", way); break;
    case ORDER_OFFSET: bf_buf_printf(&a->sql, "e.kafka_partition%s, e.kafka_offset%s", way, way); break;
    case ORDER_EVENT_TIME: bf_buf_printf(&a->sql, "e.event_time%s, e.recorded_at%s", way, way); break;
    }
    bf_buf_printf(&a->sql, " limit $%d", params_int8(&a->params, (int64_t)limit));
}

/* An id, a trace or a cause picks few rows by an index of its own. They are picked first, behind a fence: a planner that has no statistics yet would
 * walk the index of all that was recorded as well (37 ms in place of 0.1 at 300,000 rows). */
static void from_table(struct archive *a, const struct event_query *q, const char *table) {
    bool few = q->has_id || q->has_cause || q->trace.data != NULL;
    bf_buf_printf(&a->sql, few ? "(select e.* from capsule.%s e where true" : "capsule.%s e where true", table);
    if (q->trace.data)
        where_slot(a, "e.trace_id =", params_text(&a->params, q->trace));
    if (q->has_cause)
        where_slot(a, "e.cause_id =", params_uuid(&a->params, &q->cause));
    if (q->has_id)
        where_slot(a, "e.event_id =", params_uuid(&a->params, &q->id));
    if (few)
        bf_buf_puts(&a->sql, " offset 0) e where true");
}

static enum bf_code from_tables(struct archive *a, const struct event_query *q, const struct archive_table **asked, size_t count,
                                struct bf_err *err) {
    if (count == 1) {
        char *table = PQescapeIdentifier(a->pg, asked[0]->table, strlen(asked[0]->table));
        if (!table)
            return archive_fail(a, NULL, "quoting a table's name", err);
        from_table(a, q, table);
        PQfreemem(table);
        return BF_OK;
    }
    from_table(a, q, "events");
    if (count == a->table_count)
        return BF_OK;
    int number = params_array(&a->params, PG_TEXT_ARRAY);
    for (size_t i = 0; i < count; i++)
        params_array_text(&a->params, bf_slice_str(asked[i]->topic));
    params_array_end(&a->params);
    bf_buf_printf(&a->sql, " and e.topic = any ($%d)", number);
    return BF_OK;
}

/* Whatever the values are: few rows by an index, or a node's in the order of its own. A prefix or a range may be all there is, or nothing. */
static bool plan_lasts(const struct event_query *q) {
    return q->has_id || q->has_cause || q->trace.data || (q->node.data && q->order == ORDER_EVENT_TIME);
}

static bool nothing_to_ask(const struct event_query *q) {
    return !askable(q) || q->from_us > BF_TIME_MAX_US || q->to_us <= BF_TIME_MIN_US || q->from_us >= q->to_us ||
           q->recorded_from_us >= q->recorded_to_us || (q->by_partition && q->offset_from >= q->offset_to);
}

enum bf_code archive_fetch(struct archive *a, const struct event_query *q, int64_t below_us, const struct event_pos *after, size_t limit,
                           struct event_page *page, bool *exhausted, struct bf_err *err) {
    const struct archive_table **asked = NULL;
    struct filling f = {.page = page, .order = q->order, .limit = limit, .bytes_max = page->bytes + PAGE_BYTES_MAX};
    size_t count = 0;
    if (limit == 0 || nothing_to_ask(q)) {
        *exhausted = limit > 0;
        return BF_OK;
    }
    enum bf_code code = asked_topics(a, q, &asked, &count, err);
    if (code == BF_OK && count > 0) {
        params_clear(&a->params);
        bf_buf_clear(&a->sql);
        bf_buf_puts(&a->sql, EVENT_SELECT);
        if ((code = archive_ready(a, err)) == BF_OK)
            code = from_tables(a, q, asked, count, err);
        if (code == BF_OK) {
            where_what(a, q);
            where_times(a, q, below_us);
            where_after(a, q, after);
            order_by(a, q, limit < SIZE_MAX - ALIKE_MAX ? limit + ALIKE_MAX : limit);
            bf_buf_putc(&a->sql, 0);
            code = a->sql.failed   ? bf_fail(err, BF_NOMEM, 0, "no memory for a query")
                   : plan_lasts(q) ? archive_stream_kept(a, a->sql.data, "reading events", fill, &f, err)
                                   : archive_stream(a, a->sql.data, "reading events", fill, &f, err);
        }
    }
    if (code == BF_OK) {
        size_t start = page->count - f.added;
        bool cut = event_page_end_between(page, start, limit, q->order);
        event_page_order_alike(page, start, q->order, q->descending);
        *exhausted = !f.more && !cut;
    }
    free(asked);
    return code;
}

/* ---- the world ---- */

/* Names of the next nodes in byte order, one more than asked for: its presence says that there are more. */
static enum bf_code next_nodes(struct archive *a, const struct event_query *q, const struct archive_table **asked, size_t count,
                               struct bf_slice after_node, size_t limit, PGresult **out, struct bf_err *err) {
    params_clear(&a->params);
    bf_buf_clear(&a->sql);
    bf_buf_puts(&a->sql, "select e.rim_node_id from capsule.node_topics e where true");
    if (after_node.data)
        where_slot(a, "e.rim_node_id >", params_text(&a->params, after_node));
    if (q->node.data)
        where_slot(a, "e.rim_node_id =", params_text(&a->params, q->node));
    if (q->node_prefix.data && q->node_prefix.len > 0)
        where_prefix(a, "e.rim_node_id", q->node_prefix);
    if (count < a->table_count) {
        int number = params_array(&a->params, PG_TEXT_ARRAY);
        for (size_t i = 0; i < count; i++)
            params_array_text(&a->params, bf_slice_str(asked[i]->topic));
        params_array_end(&a->params);
        bf_buf_printf(&a->sql, " and e.topic = any ($%d)", number);
    }
    bf_buf_printf(&a->sql, " group by e.rim_node_id order by e.rim_node_id limit $%d", params_int8(&a->params, (int64_t)limit + 1));
    bf_buf_putc(&a->sql, 0);
    if (a->sql.failed)
        return bf_fail(err, BF_NOMEM, 0, "no memory for a query");
    return archive_exec(a, a->sql.data, "reading nodes", out, err);
}

struct world {
    struct archive *a;
    const struct event_query *q;
    const struct archive_table **asked;
    size_t topic_count;
    int64_t as_of_us, below_us;
    struct event_page *page;
    size_t start;
};

/* The nodes from first to last are all that were asked for: names that a prefix picks lie together. */
static enum bf_code state_between(struct world *w, struct bf_slice first, struct bf_slice last, struct bf_err *err) {
    struct params *p = &w->a->params;
    struct filling f = {.page = w->page, .limit = SIZE_MAX, .bytes_max = SIZE_MAX};
    params_clear(p);
    params_array(p, PG_TEXT_ARRAY);
    for (size_t i = 0; i < w->topic_count; i++)
        params_array_text(p, bf_slice_str(w->asked[i]->topic));
    params_array_end(p);
    params_text(p, first);
    params_text(p, last);
    params_time(p, w->as_of_us);
    params_time(p, w->q->known_by_us);
    params_time(p, w->below_us);
    return archive_stream(w->a, EVENT_SELECT "capsule.state_of($1, $2, $3, $4, $5, $6) e order by e.rim_node_id, e.topic", "reading the state",
                          fill, &f, err);
}

/* Distinct nodes in the page from `start` on; rows of a node lie together. */
static size_t nodes_in(const struct event_page *page, size_t start) {
    size_t n = 0;
    for (size_t i = start; i < page->count; i++)
        n += i == start || !bf_slice_eq(page->events[i].node_id, page->events[i - 1].node_id);
    return n;
}

/* Nodes without a row as of then do not count towards the limit: so a page that does not end the world always moves on. */
static enum bf_code world_pages(struct world *w, struct bf_slice after_node, size_t limit_nodes, bool *exhausted, struct bf_err *err) {
    char at[BF_NODE_ID_MAX + 1];
    struct bf_slice after = after_node;
    for (size_t left = limit_nodes; left > 0; left = limit_nodes - nodes_in(w->page, w->start)) {
        PGresult *r = NULL;
        enum bf_code code = next_nodes(w->a, w->q, w->asked, w->topic_count, after, left, &r, err);
        if (code != BF_OK)
            return code;
        size_t found = (size_t)PQntuples(r), used = found > left ? left : found;
        struct bf_slice last = used > 0 ? pg_bytes(r, (int)used - 1, 0) : BF_SLICE_NONE;
        if (last.len > BF_NODE_ID_MAX)
            code = bf_fail(err, BF_BROKEN, 0, "a node id of %zu bytes in the archive", last.len);
        if (code == BF_OK && used > 0)
            code = state_between(w, pg_bytes(r, 0, 0), last, err);
        if (code == BF_OK && used > 0) {
            memcpy(at, last.data, last.len);
            after = (struct bf_slice){at, last.len};
        }
        PQclear(r);
        if (code != BF_OK)
            return code;
        if (found <= left) {
            *exhausted = true;
            return BF_OK;
        }
    }
    *exhausted = false;
    return BF_OK;
}

enum bf_code archive_world(struct archive *a, const struct event_query *q, int64_t as_of_us, int64_t below_us, struct bf_slice after_node,
                           size_t limit_nodes, struct event_page *page, bool *exhausted, struct bf_err *err) {
    struct world w = {.a = a, .q = q, .as_of_us = as_of_us, .below_us = below_us, .page = page, .start = page->count};
    if (!askable(q) || (after_node.data && !storable(after_node))) {
        *exhausted = true;
        return BF_OK;
    }
    enum bf_code code = asked_topics(a, q, &w.asked, &w.topic_count, err);
    if (code == BF_OK && w.topic_count > 0)
        code = world_pages(&w, after_node, limit_nodes, exhausted, err);
    else if (code == BF_OK)
        *exhausted = true;
    free(w.asked);
    return code;
}

/* ---- nodes ---- */

enum bf_code archive_node_names(struct archive *a, struct bf_slice prefix, struct bf_slice after, size_t limit, struct bf_buf *names, size_t *count,
                                struct bf_err *err) {
    struct event_query q;
    PGresult *r = NULL;
    event_query_init(&q);
    q.node_prefix = prefix;
    bf_buf_clear(names);
    *count = 0;
    if (!askable(&q) || (after.data && !storable(after)))
        return BF_OK;
    enum bf_code code = next_nodes(a, &q, NULL, a->table_count, after, limit, &r, err);
    for (int row = 0; code == BF_OK && row < PQntuples(r) && *count < limit; row++, ++*count) {
        struct bf_slice name = pg_bytes(r, row, 0);
        bf_buf_append(names, name.data, name.len);
        bf_buf_putc(names, '\0');
    }
    PQclear(r);
    return code == BF_OK && names->failed ? bf_fail(err, BF_NOMEM, 0, "no memory for the names of %zu nodes", *count) : code;
}

enum bf_code archive_node(struct archive *a, struct bf_slice node, struct hot_node_topic *topics, size_t topics_max, size_t *count,
                          struct bf_err *err) {
    PGresult *r = NULL;
    *count = 0;
    if (!storable(node))
        return bf_fail(err, BF_NOT_FOUND, 0, "nothing is known of node %.*s", (int)node.len, (const char *)node.data);
    params_clear(&a->params);
    params_text(&a->params, node);
    enum bf_code code = archive_exec_kept(a,
                                          "select topic, count(*), min(event_time), max(event_time) from capsule.events where rim_node_id = $1"
                                          " group by topic order by topic",
                                          "reading a node", &r, err);
    for (int row = 0; code == BF_OK && row < PQntuples(r) && *count < topics_max; row++) {
        struct hot_node_topic *t = &topics[(*count)++];
        *t = (struct hot_node_topic){.events = (uint64_t)pg_int8(r, row, 1), .first_event_time_us = pg_time(r, row, 2),
                                     .last_event_time_us = pg_time(r, row, 3)};
        copy_text(t->topic, sizeof t->topic, pg_bytes(r, row, 0));
    }
    if (code == BF_OK && PQntuples(r) == 0)
        code = bf_fail(err, BF_NOT_FOUND, 0, "nothing is known of node %.*s", (int)node.len, (const char *)node.data);
    PQclear(r);
    return code;
}
