/* Replay: a range of events, of any topics and nodes, merged into one total order, in any format of the streams.
 *
 * An event's cursor names the event's place and the filter, nothing else, so that the same event always carries the same bytes. It does not
 * carry known_by: who resumes by event time while data arrives gives the known_by that the first answer's header said.
 */
#include "api_replay.h"

#include <stdlib.h>
#include <string.h>

#define OFFERED (API_OFFER(API_NDJSON) | API_OFFER(API_CSV) | API_OFFER(API_AVRO) | API_OFFER(API_SSE))
#define GAP_MS_MAX INT64_C(86400000)
#define HEARTBEAT_MS 10000
#define HEARTBEAT_MS_MIN 100
#define HEARTBEAT_MS_MAX 60000

/* ---- the question ---- */

static bool read_topics(struct api_call *call, struct event_query *q) {
    for (size_t i = 0; i < bf_http_query_count(call->req); i++) {
        const char *name = NULL, *value = NULL;
        bf_http_query_at(call->req, i, &name, &value);
        if (strcmp(name, "topic") != 0) {
            continue;
        }
        if (q->topic_count == EVENT_TOPICS_MAX) {
            bf_http_problem(call->req, 400, "topic", "given more than %d times", EVENT_TOPICS_MAX);
            return false;
        }
        if (strlen(value) > BF_TOPIC_MAX || !bf_topic_is_event(value)) {
            bf_http_problem(call->req, 400, "topic", "'%.100s' is not the name of an event topic", value);
            return false;
        }
        q->topics[q->topic_count++] = bf_slice_str(value);
    }
    api_sort_topics(q);
    return true;
}

/* Offsets of one partition; absent ends are open. */
static bool read_offsets(struct api_call *call, struct event_query *q) {
    static const char *const contrary[] = {"by", "from", "to"};
    int64_t partition = 0, from = 0, to = INT64_MAX;
    for (size_t i = 0; i < sizeof(contrary) / sizeof(*contrary); i++) {
        if (bf_http_query(call->req, contrary[i])) {
            bf_http_problem(call->req, 400, contrary[i], "contradicts partition: a replay is by offsets or by time");
            return false;
        }
    }
    if (q->topic_count != 1) {
        bf_http_problem(call->req, 400, "topic", "a replay by offsets needs exactly one");
        return false;
    }
    if (!api_param_int(call, "partition", 0, INT32_MAX, &partition) || !api_param_int(call, "from_offset", 0, INT64_MAX, &from) ||
        !api_param_int(call, "to_offset", 0, INT64_MAX, &to)) {
        return false;
    }
    if (from > to) {
        bf_http_problem(call->req, 400, "to_offset", "lies before from_offset");
        return false;
    }
    q->by_partition = true;
    q->partition = (int32_t)partition;
    q->offset_from = from;
    q->offset_to = to;
    q->order = ORDER_OFFSET;
    return true;
}

static bool read_range(struct api_call *call, struct event_query *q) {
    static const char *const ways[] = {"event_time", "recorded", NULL};
    int by = 0;
    if (bf_http_query(call->req, "partition")) {
        return read_offsets(call, q);
    }
    const char *stray = bf_http_query(call->req, "from_offset") ? "from_offset" : bf_http_query(call->req, "to_offset") ? "to_offset" : NULL;
    if (stray) {
        bf_http_problem(call->req, 400, stray, "needs topic and partition");
        return false;
    }
    if (!api_param_choice(call, "by", ways, &by)) {
        return false;
    }
    bool recorded = by == 1;
    q->order = recorded ? ORDER_RECORDED : ORDER_EVENT_TIME;
    return api_param_time(call, "from", recorded ? &q->recorded_from_us : &q->from_us) &&
           api_param_time(call, "to", recorded ? &q->recorded_to_us : &q->to_us) && api_filter_ranges(call, q);
}

static bool read_nodes(struct api_call *call, struct event_query *q) {
    if (!api_param_node(call, "node", &q->node) || !api_param_prefix(call, "node_prefix", &q->node_prefix)) {
        return false;
    }
    if (q->node.data && q->node_prefix.data) {
        bf_http_problem(call->req, 400, "node_prefix", "contradicts node: give one of them");
        return false;
    }
    return true;
}

bool replay_read_question(struct api_call *call, struct event_query *q) {
    return read_topics(call, q) && read_nodes(call, q) && read_range(call, q);
}

/* ---- how it is to come ---- */

static bool wants(struct api_call *call, const char *name, bool fits, const char *what) {
    if (bf_http_query(call->req, name) && !fits) {
        bf_http_problem(call->req, 400, name, "goes only with %s", what);
        return false;
    }
    return true;
}

static bool read_speed(struct api_call *call, double *out) {
    const char *text = bf_http_query(call->req, "speed");
    char *end = NULL;
    if (!text || strcmp(text, "max") == 0) {
        return true;
    }
    double v = strtod(text, &end);
    if (strspn(text, "0123456789.") != strlen(text) || end == text || *end || v < REPLAY_SPEED_MIN || v > REPLAY_SPEED_MAX) {
        bf_http_problem(call->req, 400, "speed", "must be a number from %g to %g, or max", REPLAY_SPEED_MIN, REPLAY_SPEED_MAX);
        return false;
    }
    *out = v;
    return true;
}

static bool read_pace(struct api_call *call, enum api_format format, struct replay_settings *s) {
    bool given;
    int64_t max_gap_ms = -1, heartbeat_ms = HEARTBEAT_MS;
    if (!api_param_bool(call, "follow", &given, &s->follow) || !read_speed(call, &s->speed) ||
        !api_param_int(call, "max_gap_ms", 0, GAP_MS_MAX, &max_gap_ms) ||
        !api_param_int(call, "heartbeat_ms", HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX, &heartbeat_ms) ||
        !wants(call, "follow", !s->follow || format == API_NDJSON || format == API_SSE, "ndjson or sse") ||
        !wants(call, "speed", s->speed <= 0 || format != API_AVRO, "ndjson, sse or csv") ||
        !wants(call, "max_gap_ms", bf_http_query(call->req, "speed") != NULL, "a speed")) {
        return false;
    }
    s->max_gap_us = max_gap_ms < 0 ? INT64_MAX : max_gap_ms * 1000;
    s->heartbeat_us = heartbeat_ms * 1000;
    return true;
}

static bool read_avro(struct api_call *call, struct api_stream_settings *out) {
    static const char *const codecs[] = {"null", "deflate", NULL}, *const records[] = {"envelope", "own", NULL};
    int codec = 1, kind = 0;
    bool avro = out->format == API_AVRO;
    if (!wants(call, "codec", avro, "format=avro") || !wants(call, "records", avro, "format=avro") ||
        !api_param_choice(call, "codec", codecs, &codec) || !api_param_choice(call, "records", records, &kind)) {
        return false;
    }
    out->deflate = codec == 1;
    out->own_records = kind == 1;
    return true;
}

/* The cursor, or what an EventSource says when it comes back: that is the newer one, since its URL stays what it was. */
static bool read_place(struct api_call *call, struct api_stream_settings *st, struct replay_settings *s) {
    enum api_cursor_kind kind = replay_has_seam(s) ? CURSOR_FOLLOW : CURSOR_REPLAY;
    const char *last = st->format == API_SSE ? bf_http_header(call->req, "Last-Event-ID") : NULL;
    struct api_place place = {0};
    st->filter = s->filter = api_seal(call, api_filter_hash(kind, &s->q));
    if (last && *last) {
        place.given = api_cursor_decode(last, kind, s->filter, &place.cursor, place.buffer);
        if (!place.given) {
            bf_http_problem(call->req, 400, "cursor", "Last-Event-ID is not a cursor of this question");
            return false;
        }
        st->resumed = last;
    } else if (!api_place_read(call, kind, s->filter, &place)) {
        return false;
    } else {
        st->resumed = bf_http_query(call->req, "cursor");
    }
    if (place.given) {
        s->have_after = true;
        s->after = (struct event_pos){place.cursor.primary, place.cursor.recorded_at_us};
        s->beyond = place.cursor.text.len > 0 ? *(const uint8_t *)place.cursor.text.data : 0;
    }
    if (place.given && replay_has_seam(s)) {
        s->q.known_by_us = place.cursor.known_by_us;
        return api_await_known(call, place.cursor.known_by_us);
    }
    return true;
}

void api_get_replay(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct replay_settings s = {0};
    struct api_stream_settings st = {0};
    struct api_known known;
    event_query_init(&s.q);
    if (!api_begin(&call, req, ctx, "topic") || !replay_read_question(&call, &s.q) ||
        !api_stream_format(&call, OFFERED, &st.format) || !read_pace(&call, st.format, &s) || !read_avro(&call, &st) ||
        !api_known_by(&call, NULL, &known)) {
        return;
    }
    s.q.known_by_us = known.known_by_us;
    if (!read_place(&call, &st, &s)) {
        return;
    }
    st.recorded_through_us = s.q.known_by_us;
    bool from_last_event = st.resumed && st.resumed != bf_http_query(req, "cursor"); /* no tag speaks of that header */
    if (!s.follow && !from_last_event && api_closed_range(&call, s.q.known_by_us, (const int64_t[]){st.format}, 1)) {
        return;
    }
    struct replay *r = replay_new(&s);
    if (!r) {
        bf_http_problem(req, 503, NULL, "out of memory");
        return;
    }
    api_stream_reply(&call, &st, &replay_ops, r);
}
