/* Parameters: each is checked by itself, then against the others; every complaint names the parameter. */
#include "api_internal.h"

#include "bf_node_id.h"
#include "bf_time.h"
#include "bf_topics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool api_param_time(struct api_call *call, const char *name, int64_t *out) {
    const char *text = bf_http_query(call->req, name);
    struct bf_err err;
    int64_t t = 0;
    if (!text) {
        return true;
    }
    if (bf_time_parse(text, &t, &err) != BF_OK) {
        bf_http_problem(call->req, 400, name, "%s", err.msg);
        return false;
    }
    if (t < BF_TIME_MIN_US || t > BF_TIME_MAX_US) {
        bf_http_problem(call->req, 400, name, "lies outside the years 0001 to 9999");
        return false;
    }
    *out = t;
    return true;
}

static bool whole_number(struct api_call *call, const char *name, const char *text, int64_t least, int64_t most, int64_t *out) {
    char *end = NULL;
    size_t digits = strspn(text + (*text == '-'), "0123456789");
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (digits == 0 || *end || errno || v < least || v > most) {
        bf_http_problem(call->req, 400, name, "must be a whole number from %lld to %lld", (long long)least, (long long)most);
        return false;
    }
    *out = v;
    return true;
}

bool api_param_int(struct api_call *call, const char *name, int64_t least, int64_t most, int64_t *out) {
    const char *text = bf_http_query(call->req, name);
    return !text || whole_number(call, name, text, least, most, out);
}

bool api_path_int(struct api_call *call, const char *name, int64_t least, int64_t most, int64_t *out) {
    return whole_number(call, name, bf_http_path(call->req, name), least, most, out);
}

bool api_param_bool(struct api_call *call, const char *name, bool *given, bool *out) {
    const char *text = bf_http_query(call->req, name);
    *given = text != NULL;
    if (!text) {
        return true;
    }
    bool yes = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
    if (!yes && strcmp(text, "false") != 0 && strcmp(text, "0") != 0) {
        bf_http_problem(call->req, 400, name, "must be true or false");
        return false;
    }
    *out = yes;
    return true;
}

bool api_param_choice(struct api_call *call, const char *name, const char *const *choices, int *out) {
    const char *text = bf_http_query(call->req, name);
    char list[256] = "";
    if (!text) {
        return true;
    }
    for (int i = 0; choices[i]; i++) {
        if (strcmp(choices[i], text) == 0) {
            *out = i;
            return true;
        }
        strncat(list, i > 0 ? ", " : "", sizeof(list) - strlen(list) - 1);
        strncat(list, choices[i], sizeof(list) - strlen(list) - 1);
    }
    bf_http_problem(call->req, 400, name, "must be one of: %s", list);
    return false;
}

static bool topic_text(struct api_call *call, const char *name, const char *text, struct bf_slice *out) {
    if (strlen(text) > BF_TOPIC_MAX || !bf_topic_is_event(text)) {
        bf_http_problem(call->req, 400, name, "is not the name of an event topic ({domain}.{event-type}, not *.dlq, not replay.*)");
        return false;
    }
    *out = bf_slice_str(text);
    return true;
}

bool api_param_topic(struct api_call *call, const char *name, struct bf_slice *out) {
    const char *text = bf_http_query(call->req, name);
    return !text || topic_text(call, name, text, out);
}

bool api_path_topic(struct api_call *call, struct bf_slice *out) {
    return topic_text(call, "topic", bf_http_path(call->req, "topic"), out);
}

static bool node_text(struct api_call *call, const char *name, const char *text, struct bf_slice *out) {
    struct bf_err err;
    if (bf_node_id_parse(bf_slice_str(text), NULL, &err) != BF_OK) {
        bf_http_problem(call->req, 400, name, "%s", err.msg);
        return false;
    }
    *out = bf_slice_str(text);
    return true;
}

bool api_param_node(struct api_call *call, const char *name, struct bf_slice *out) {
    const char *text = bf_http_query(call->req, name);
    return !text || node_text(call, name, text, out);
}

bool api_path_node(struct api_call *call, struct bf_slice *out) {
    return node_text(call, "id", bf_http_path(call->req, "id"), out);
}

bool api_param_prefix(struct api_call *call, const char *name, struct bf_slice *out) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_:-";
    const char *text = bf_http_query(call->req, name);
    if (!text || !*text) {
        return true;
    }
    if (strlen(text) > BF_NODE_ID_MAX || text[strspn(text, allowed)] != '\0' ||
        strncmp(text, "rim:", strlen(text) < 4 ? strlen(text) : 4) != 0) {
        bf_http_problem(call->req, 400, name, "no rim_node_id begins so (rim:{nodeType}:{namespace}:{localId}, at most %d characters)",
                        BF_NODE_ID_MAX);
        return false;
    }
    *out = bf_slice_str(text);
    return true;
}

static bool param_domain(struct api_call *call, struct bf_slice *out) {
    const char *text = bf_http_query(call->req, "domain");
    char topic[BF_TOPIC_MAX + 1];
    if (!text) {
        return true;
    }
    int len = snprintf(topic, sizeof(topic), "%s.x", text);
    if (len >= (int)sizeof(topic) || !bf_topic_is_event(topic)) {
        bf_http_problem(call->req, 400, "domain", "is not the first part of an event topic ([a-z0-9]+(-[a-z0-9]+)*)");
        return false;
    }
    *out = bf_slice_str(text);
    return true;
}

static bool param_cause(struct api_call *call, struct event_query *q) {
    const char *text = bf_http_query(call->req, "cause");
    if (text) {
        q->cause = bf_event_id_from_text(bf_slice_str(text), NULL);
        q->has_cause = true;
    }
    return true;
}

static bool consistent(struct api_call *call, const struct event_query *q) {
    if (q->node.data && q->node_prefix.data) {
        bf_http_problem(call->req, 400, "node_prefix", "contradicts node: give one of them");
        return false;
    }
    if (q->domain.data && q->topic_count == 1) {
        struct bf_slice topic = q->topics[0];
        if (topic.len <= q->domain.len || memcmp(topic.data, q->domain.data, q->domain.len) != 0 ||
            ((const char *)topic.data)[q->domain.len] != '.') {
            bf_http_problem(call->req, 400, "domain", "contradicts topic, which is of another domain");
            return false;
        }
    }
    return true;
}

bool api_filter_ranges(struct api_call *call, const struct event_query *q) {
    if (q->from_us > q->to_us) {
        bf_http_problem(call->req, 400, "to", "lies before from");
        return false;
    }
    if (q->recorded_from_us > q->recorded_to_us) {
        bf_http_problem(call->req, 400, bf_http_query(call->req, "recorded_to") ? "recorded_to" : "to", "lies before its beginning");
        return false;
    }
    return true;
}

bool api_filter(struct api_call *call, struct event_query *q) {
    static const char *const orders[] = {"asc", "desc", NULL};
    struct bf_slice topic = BF_SLICE_NONE;
    int order = q->descending ? 1 : 0;
    if (!api_param_topic(call, "topic", &topic) || !param_domain(call, &q->domain) || !api_param_node(call, "node", &q->node) ||
        !api_param_prefix(call, "node_prefix", &q->node_prefix) || !api_param_time(call, "from", &q->from_us) ||
        !api_param_time(call, "to", &q->to_us) || !api_param_time(call, "recorded_from", &q->recorded_from_us) ||
        !api_param_time(call, "recorded_to", &q->recorded_to_us) || !param_cause(call, q) ||
        !api_param_choice(call, "order", orders, &order)) {
        return false;
    }
    if (topic.data) {
        q->topics[0] = topic;
        q->topic_count = 1;
    }
    q->trace = bf_slice_str(bf_http_query(call->req, "trace"));
    q->descending = order == 1;
    return consistent(call, q) && api_filter_ranges(call, q);
}

static int compare_slices(const void *a, const void *b) {
    const struct bf_slice *x = a, *y = b;
    int c = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

void api_sort_topics(struct event_query *q) {
    size_t kept = 0;
    if (q->topic_count > 1) {
        qsort(q->topics, q->topic_count, sizeof(*q->topics), compare_slices);
    }
    for (size_t i = 0; i < q->topic_count; i++) {
        if (kept == 0 || !bf_slice_eq(q->topics[kept - 1], q->topics[i])) {
            q->topics[kept++] = q->topics[i];
        }
    }
    q->topic_count = kept;
}

static uint64_t hash_slice(uint64_t h, struct bf_slice s) {
    return s.data ? api_cursor_hash(h + 1, s.data, s.len) : api_cursor_hash(h, "", 0);
}

static uint64_t hash_int(uint64_t h, int64_t v) {
    uint8_t bytes[8];
    bf_put_be64(bytes, (uint64_t)v);
    return api_cursor_hash(h, bytes, sizeof(bytes));
}

uint64_t api_filter_hash(enum api_cursor_kind kind, const struct event_query *q) {
    uint64_t h = hash_int(0, (int64_t)kind);
    h = hash_int(h, (int64_t)q->topic_count);
    for (size_t i = 0; i < q->topic_count; i++) {
        h = hash_slice(h, q->topics[i]);
    }
    h = hash_slice(hash_slice(hash_slice(hash_slice(h, q->domain), q->node), q->node_prefix), q->trace);
    h = hash_int(hash_int(h, q->from_us), q->to_us);
    h = hash_int(hash_int(h, q->recorded_from_us), q->recorded_to_us);
    h = q->has_cause ? api_cursor_hash(h, q->cause.b, sizeof(q->cause.b)) : hash_int(h, 0);
    h = hash_int(hash_int(h, q->by_partition), q->partition);
    h = hash_int(hash_int(h, q->offset_from), q->offset_to);
    return hash_int(hash_int(h, (int64_t)q->order), q->descending);
}

uint64_t api_seal(const struct api_call *call, uint64_t filter_hash) {
    uint8_t bytes[8];
    bf_put_be64(bytes, filter_hash);
    return api_siphash(call->capsule->cursor_key, bytes, sizeof(bytes));
}

bool api_place_read(struct api_call *call, enum api_cursor_kind kind, uint64_t filter, struct api_place *out) {
    const char *text = bf_http_query(call->req, "cursor");
    out->given = text != NULL;
    if (text && !api_cursor_decode(text, kind, filter, &out->cursor, out->buffer)) {
        bf_http_problem(call->req, 400, "cursor", "is not a cursor of this question: altered, or made by another filter or order");
        return false;
    }
    return true;
}

#define KNOWN_WAIT_MS 2000
#define KNOWN_AHEAD_US INT64_C(1000000) /* so far ahead another instance's clock may be; what is asked for beyond it is the future, and cut */

/* Among others an instance learns within a second what all have archived. What another one answered for, or this one before they came, is waited for. */
static bool is_known(struct api_call *call, int64_t us) {
    struct store *store = call->capsule->store;
    return !store_is_shared(store) || store_recorded_through(store) >= us || store_wait_newer(store, us - 1, KNOWN_WAIT_MS);
}

bool api_await_known(struct api_call *call, int64_t us) {
    if (is_known(call, us)) {
        return true;
    }
    bf_http_add_header(call->req, "Retry-After", "1");
    bf_http_problem(call->req, 503, NULL, "what was recorded by known_by is not all archived yet");
    return false;
}

bool api_known_by(struct api_call *call, const struct api_place *place, struct api_known *out) {
    int64_t asked = INT64_MAX;
    if (!api_param_time(call, "known_by", &asked)) {
        return false;
    }
    if (place && place->given) {
        /* A later one is what the first page may have cut at the watermark; the cursor must not tell, or it would change the page's bytes. */
        if (asked < place->cursor.known_by_us) {
            bf_http_problem(call->req, 400, "known_by", "contradicts the cursor, which was made for a later one");
            return false;
        }
        out->known_by_us = place->cursor.known_by_us;
        return api_await_known(call, out->known_by_us);
    }
    if (asked == INT64_MAX) {
        (void)is_known(call, store_alone_through(call->capsule->store));
    } else if (asked <= bf_time_now_us() + KNOWN_AHEAD_US && !api_await_known(call, asked)) {
        return false;
    }
    int64_t through = store_recorded_through(call->capsule->store);
    out->known_by_us = asked > through ? through : asked;
    return true;
}
