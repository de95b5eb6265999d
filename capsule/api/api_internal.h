/* What the handlers share: the call, its parameters, its answer. Private to this folder. */
#ifndef API_INTERNAL_H
#define API_INTERNAL_H

#include "api.h"
#include "api_cursor.h"
#include "bf_http.h"
#include "bf_json.h"
#include "event_json.h"

#define API_PARAM_BYTES_MAX 4096
#define API_LIMIT_DEFAULT 100
#define API_LIMIT_MAX 10000

struct api_auth;
struct bf_grant;
struct bf_tokens;

struct api {
    struct capsule *capsule;
    struct bf_http *http;
    struct api_auth *auth; /* NULL: everybody may ask everything */
};

/* What a route wants of who asks, and what is kept of its answers (api_policy.c). */
enum api_needs {
    API_OPEN = 1,     /* no token */
    API_BY_TOPIC = 2, /* topics can be limited: by its {topic} or topic= */
    API_BY_NODE = 4,  /* nodes can be limited: by its {id}, node=, node_prefix= or prefix= */
    API_BY_EVENT = 8, /* nodes can be limited, by looking at the event that was found */
    API_HISTORY = 16  /* a read of history: recorded */
};
struct api_policy {
    const char *method, *pattern;
    unsigned scope; /* enum bf_scope, one of them */
    unsigned needs; /* enum api_needs */
};
/* NULL: nobody thought about this route; nobody with a token gets an answer. */
const struct api_policy *api_policy_of(const struct bf_http_route *route);

/* Tokens from the settings' file; *out NULL without one. */
BF_MUST_CHECK enum bf_code api_auth_new(const char *path, struct api_auth **out, struct bf_err *err);
void api_auth_free(struct api_auth *auth);

/* Memory that each answering thread keeps from answer to answer. */
struct api_scratch {
    struct event_page page;
    struct bf_buf out, text;
    struct bf_tokens *tokens; /* those that the last request was judged by: its grant lies in them */
};

/* One request on its way: made by api_begin(), lives until the handler returns. */
struct api_call {
    struct api *api;
    struct capsule *capsule;
    struct bf_http_request *req;
    struct api_scratch *scratch; /* page and buffers empty */
    const struct api_policy *policy;
    const struct bf_grant *grant; /* of who asks; NULL: there are no tokens, or the route is open */
    int64_t rows;                 /* in the answer, for the log of reads; 1 unless the handler says otherwise */
    struct bf_json json;         /* onto scratch->out */
};

/* Who asks and may they; then the parameters' form (length, repetition, emptiness); `repeatable` may be NULL. False: answered already. */
bool api_begin(struct api_call *call, struct bf_http_request *req, void *ctx, const char *repeatable);

/* Does the token allow this, as far as the request alone tells? (api_auth.c) False: a 401 or 403 was sent. */
bool api_admit(struct api_call *call);
/* May they see events of this node? For API_BY_EVENT, after it was found. */
bool api_may_see_node(const struct api_call *call, struct bf_slice node);
bool api_may_see_topic(const struct api_call *call, struct bf_slice topic);

/* The log of reads (api_reads.c). Before an answer of history that is whole: false: a 503 was sent. Nothing to do for other routes. */
BF_MUST_CHECK bool api_read_record(struct api_call *call, int status, struct bf_slice body);
/* The same for a stream that begins; *id for api_read_end(), 0: not recorded. */
BF_MUST_CHECK bool api_read_begin(struct api_call *call, int64_t *id);
/* How it ended; digest may be NULL. id 0: nothing. */
void api_read_end(struct api *api, int64_t id, int64_t rows, int64_t bytes, const char *digest, bool complete);

/* Parameters. Absent leaves *out alone. False: a 400 that names the parameter was sent. */
bool api_param_time(struct api_call *call, const char *name, int64_t *out);
bool api_param_int(struct api_call *call, const char *name, int64_t least, int64_t most, int64_t *out);
bool api_param_bool(struct api_call *call, const char *name, bool *given, bool *out);
/* One of `choices` (NULL-ended); *out is its place. */
bool api_param_choice(struct api_call *call, const char *name, const char *const *choices, int *out);
bool api_param_topic(struct api_call *call, const char *name, struct bf_slice *out);
bool api_param_node(struct api_call *call, const char *name, struct bf_slice *out);
bool api_param_prefix(struct api_call *call, const char *name, struct bf_slice *out);
/* Path segments. */
bool api_path_node(struct api_call *call, struct bf_slice *out);
bool api_path_topic(struct api_call *call, struct bf_slice *out);
bool api_path_int(struct api_call *call, const char *name, int64_t least, int64_t most, int64_t *out);

/* Everything a query may say by parameters of these names that the route allows: topic, domain, node, node_prefix, from, to, recorded_from,
 * recorded_to, trace, cause, order. */
bool api_filter(struct api_call *call, struct event_query *q);
bool api_filter_ranges(struct api_call *call, const struct event_query *q); /* from <= to, both pairs */
/* The hash of what a cursor is bound to: all of the query but known_by. `q` has its topics sorted. */
uint64_t api_filter_hash(enum api_cursor_kind kind, const struct event_query *q);
/* That hash under the archive's key: what cursors are sealed with. */
uint64_t api_seal(const struct api_call *call, uint64_t filter_hash);
/* Sort the topics and drop repeated ones. */
void api_sort_topics(struct event_query *q);

/* The `cursor` parameter against what the question is now; *given false when there is none. */
struct api_place {
    bool given;
    struct api_cursor cursor;
    uint8_t buffer[CURSOR_ENCODED_MAX];
};
bool api_place_read(struct api_call *call, enum api_cursor_kind kind, uint64_t filter, struct api_place *out);

/* known_by: what is asked for, cut at the recorded watermark; a page's cursor brings it along and must not contradict. */
struct api_known {
    int64_t known_by_us;
};
bool api_known_by(struct api_call *call, const struct api_place *place, struct api_known *out);
/* What was recorded by `us`, which an instance has answered for, is known here, too, within two seconds. False: it is not; answered already. */
bool api_await_known(struct api_call *call, int64_t us);

/* as_of: defaults to now, and where known_by is given to that, so that the answer is the same for ever. */
bool api_as_of(struct api_call *call, const struct api_known *known, int64_t *as_of_us);

/* Caching. A range that is closed (known_by at or below the archived watermark) has the same answer for ever: it gets a strong entity tag, made
 * from the question and not from the answer, and where the question itself names its known_by, leave to be kept. `more`: what else
 * the answer depends on beside path, parameters and known_by. True: the client has it, 304 was sent. */
BF_MUST_CHECK bool api_closed_range(struct api_call *call, int64_t known_by_us, const int64_t *more, size_t more_count);

/* Answers. The headers say the watermarks; recorded_through_us is what the body says. */
void api_watermark_headers(struct api_call *call, int64_t recorded_through_us);
/* Send scratch->out as JSON; a buffer that failed gives a 413. */
void api_reply(struct api_call *call, int status, int64_t recorded_through_us);
void api_reply_as(struct api_call *call, int status, const char *content_type);
void api_fail(struct api_call *call, const struct bf_err *err);
/* `Link: <…>; rel="next"`: this request's target with another cursor. */
void api_link_next(struct api_call *call, const char *cursor);
/* "next", "recorded_through", "complete": the end of every page. */
void api_page_end(struct api_call *call, const char *next, int64_t recorded_through_us);
void api_member_slice(struct bf_json *j, const char *key, struct bf_slice s);

/* Ids and names of nodes are not all learned from the archive yet: what needs them (lists of nodes, states, "nothing is known of it") would be wrong, and
 * a wrong answer is worse than none. True: a 503 was sent. */
bool api_rebuilding(struct api_call *call);
/* Is anything recorded of this node by then? False and *code BF_OK: no. */
enum bf_code api_node_known(struct api_call *call, struct bf_slice node, int64_t known_by_us, bool *known, struct bf_err *err);
/* Refresh the gauges that are taken when asked for. */
void api_refresh_gauges(struct api *api);
/* What keeps it from being ready, as a JSON array's values; returns how many. */
size_t api_unready_reasons(const struct capsule *c, struct bf_json *j);
/* The array of the packed headers: [{"name","value"}]. */
void api_headers_json(struct bf_json *j, struct bf_slice packed);
/* Answer with one part of a record: value, key or headers. */
void api_reply_part(struct api_call *call, struct bf_slice value, struct bf_slice key, struct bf_slice headers);

/* Per partition, for /lag, /topics and the gauges. */
struct api_lag {
    bool known;                  /* the high watermark is */
    int64_t high, messages;
    double seconds;
};
void api_lag_of(const struct capsule *c, const struct hot_partition *p, struct api_lag *out);
/* "instance": who holds it; only of a partition that another instance holds. */
void api_member_instance(struct bf_json *j, const struct store_partition *p);

/* The table of routes; method NULL ends it. */
const struct bf_http_route *api_routes(void);

/* Handlers, by file. */
bf_http_handler api_get_events, api_get_history;                          /* api_page.c */
bf_http_handler api_get_event, api_get_event_raw;                         /* api_event.c */
bf_http_handler api_get_nodes, api_get_node, api_get_state;               /* api_node.c */
bf_http_handler api_get_world;                                            /* api_world.c */
bf_http_handler api_get_replay;                                           /* api_replay.c */
bf_http_handler api_post_replays, api_get_replays, api_get_replay_job, api_pause_replay, api_resume_replay, api_cancel_replay; /* api_replays.c */
bf_http_handler api_get_topics, api_get_topic, api_get_lag;               /* api_topics.c */
bf_http_handler api_get_reads;                                            /* api_reads.c */
bf_http_handler api_get_coverage;                                         /* api_coverage.c */
bf_http_handler api_get_quarantine, api_get_poison, api_get_poison_raw;   /* api_quarantine.c */
bf_http_handler api_post_redrive;                                            /* api_redrive.c */
bf_http_handler api_get_schema, api_get_status, api_get_livez, api_get_readyz, api_get_metrics, api_get_openapi; /* api_status.c */

#endif
