/* The way of a request through the handlers: its thread's memory, the form of its parameters, its answer. */
#include "api_internal.h"

#include "bf_http_client.h"
#include "bf_log.h"
#include "bf_settings.h"
#include "bf_sha256.h"
#include "bf_time.h"
#include "bf_token.h"
#include "headers_pack.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUT_BYTES_MAX ((size_t)160 << 20)
#define TEXT_BYTES_MAX ((size_t)160 << 20)
#define KEEP_BYTES_MAX ((size_t)4 << 20) /* more than this is given back after an answer */
#define COPY_BYTES_MAX ((size_t)128 << 10) /* larger answers are handed over instead of copied */

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_free(void *arg) {
    struct api_scratch *s = arg;
    event_page_fini(&s->page);
    bf_buf_fini(&s->out);
    bf_buf_fini(&s->text);
    bf_tokens_unref(s->tokens);
    free(s);
}

static void scratch_key_make(void) {
    bf_assert(pthread_key_create(&scratch_key, scratch_free) == 0);
}

/* This thread's, emptied; NULL: no memory. */
static struct api_scratch *scratch_get(void) {
    pthread_once(&scratch_once, scratch_key_make);
    struct api_scratch *s = pthread_getspecific(scratch_key);
    if (!s) {
        s = calloc(1, sizeof(*s));
        if (!s || pthread_setspecific(scratch_key, s) != 0) {
            free(s);
            return NULL;
        }
        event_page_init(&s->page);
        bf_buf_init(&s->out, OUT_BYTES_MAX);
        bf_buf_init(&s->text, TEXT_BYTES_MAX);
    }
    if (s->page.bytes > KEEP_BYTES_MAX) {
        event_page_fini(&s->page);
        event_page_init(&s->page);
    }
    if (s->out.cap > KEEP_BYTES_MAX) {
        bf_buf_fini(&s->out);
        bf_buf_init(&s->out, OUT_BYTES_MAX);
    }
    event_page_clear(&s->page);
    bf_buf_clear(&s->out);
    bf_buf_clear(&s->text);
    return s;
}

static bool may_be_empty(const char *name) {
    return strcmp(name, "prefix") == 0 || strcmp(name, "node_prefix") == 0;
}

static bool check_form(struct bf_http_request *req, const char *repeatable) {
    size_t count = bf_http_query_count(req);
    for (size_t i = 0; i < count; i++) {
        const char *name = NULL, *value = NULL, *other = NULL, *ignored = NULL;
        bf_http_query_at(req, i, &name, &value);
        if (strlen(value) > API_PARAM_BYTES_MAX) {
            bf_http_problem(req, 400, name, "longer than %d bytes", API_PARAM_BYTES_MAX);
            return false;
        }
        if (!*value && !may_be_empty(name)) {
            bf_http_problem(req, 400, name, "is empty");
            return false;
        }
        if (repeatable && strcmp(name, repeatable) == 0) {
            continue;
        }
        for (size_t k = 0; k < i; k++) {
            bf_http_query_at(req, k, &other, &ignored);
            if (strcmp(name, other) == 0) {
                bf_http_problem(req, 400, name, "given more than once");
                return false;
            }
        }
    }
    return true;
}

bool api_begin(struct api_call *call, struct bf_http_request *req, void *ctx, const char *repeatable) {
    call->api = ctx;
    call->capsule = call->api->capsule;
    call->req = req;
    call->scratch = scratch_get();
    if (!call->scratch) {
        bf_http_problem(req, 503, NULL, "out of memory");
        return false;
    }
    bf_json_init(&call->json, &call->scratch->out);
    call->policy = api_policy_of(bf_http_route_of(req));
    call->grant = NULL;
    call->rows = 1;
    return api_admit(call) && check_form(req, repeatable);
}

/* ---- answers ---- */

void api_watermark_headers(struct api_call *call, int64_t recorded_through_us) {
    char text[BF_TIME_TEXT_LEN + 1];
    bf_time_format(text, recorded_through_us);
    bf_http_add_header(call->req, "Capsule-Recorded-Through", text);
    bf_time_format(text, store_archived_through(call->capsule->store));
    bf_http_add_header(call->req, "Capsule-Archived-Through", text);
}

void api_reply_as(struct api_call *call, int status, const char *content_type) {
    struct bf_buf *out = &call->scratch->out;
    if (out->failed) {
        bf_http_problem(call->req, 413, NULL, "the answer is larger than %zu bytes: ask for less at a time", out->max);
    } else if (!api_read_record(call, status, (struct bf_slice){out->data, out->len})) {
        return;
    } else if (out->len <= COPY_BYTES_MAX) {
        bf_http_reply(call->req, status, content_type, out->data, out->len);
    } else {
        bf_http_reply_take(call->req, status, content_type, out);
        bf_buf_fini(out);
        bf_buf_init(out, OUT_BYTES_MAX);
    }
}

void api_reply(struct api_call *call, int status, int64_t recorded_through_us) {
    api_watermark_headers(call, recorded_through_us);
    bf_buf_putc(&call->scratch->out, '\n');
    api_reply_as(call, status, "application/json");
}

/* What a dependency says of itself (hosts, ports, SQL) is for the log; a full disk of clients' retries is not. */
void api_fail(struct api_call *call, const struct bf_err *err) {
    if (err->code != BF_AGAIN) {
        bf_http_problem_err(call->req, err, NULL);
        return;
    }
    bf_log_err(BF_LOG_DEBUG, "answer_needs_archive", err, "route=%s", bf_http_route_of(call->req)->pattern);
    bf_http_add_header(call->req, "Retry-After", "1");
    bf_http_problem(call->req, 503, NULL, "the archive is needed for this answer and does not answer now");
}

/* ---- caching ---- */

#define FOREVER "private, max-age=31536000, immutable"
#define ASK_AGAIN "private, no-cache"

static void put_part(struct bf_buf *out, const char *text) {
    bf_buf_append(out, text, strlen(text) + 1);
}

static void put_number(struct bf_buf *out, int64_t v) {
    uint8_t bytes[8];
    bf_put_be64(bytes, (uint64_t)v);
    bf_buf_append(out, bytes, sizeof(bytes));
}

/* The question in one piece. known_by is left out as it was written: what was made of it comes with the numbers. */
static void write_question(struct api_call *call, int64_t known_by_us, const int64_t *more, size_t more_count, struct bf_buf *out) {
    const char *target = bf_http_target(call->req);
    put_part(out, BF_VERSION);
    bf_buf_append(out, target, strcspn(target, "?"));
    bf_buf_putc(out, '\0');
    for (size_t i = 0; i < bf_http_query_count(call->req); i++) {
        const char *name = NULL, *value = NULL;
        bf_http_query_at(call->req, i, &name, &value);
        if (strcmp(name, "known_by") != 0) {
            put_part(out, name);
            put_part(out, value);
        }
    }
    put_number(out, known_by_us);
    for (size_t i = 0; i < more_count; i++) {
        put_number(out, more[i]);
    }
}

bool api_closed_range(struct api_call *call, int64_t known_by_us, const int64_t *more, size_t more_count) {
    struct bf_buf *question = &call->scratch->text;
    uint8_t sum[BF_SHA256_BYTES];
    char tag[33];
    bool closed = known_by_us <= store_archived_through(call->capsule->store);
    bool named = bf_http_query(call->req, "known_by") || bf_http_query(call->req, "cursor");
    if (!closed) {
        bf_http_add_header(call->req, "Cache-Control", ASK_AGAIN);
        return false;
    }
    bf_buf_clear(question);
    write_question(call, known_by_us, more, more_count, question);
    if (question->failed) {
        return false;
    }
    bf_sha256_of(question->data, question->len, sum);
    for (unsigned i = 0; i < 16; i++) {
        static const char hex[] = "0123456789abcdef";
        tag[2 * i] = hex[sum[i] >> 4];
        tag[2 * i + 1] = hex[sum[i] & 15];
    }
    tag[32] = '\0';
    bf_http_add_header(call->req, "Cache-Control", named ? FOREVER : ASK_AGAIN);
    if (!bf_http_etag(call->req, tag)) {
        return false;
    }
    call->rows = 0;
    return api_read_record(call, 304, BF_SLICE_NONE); /* true: nothing was shown, so that a log that is full does not matter here */
}

void api_link_next(struct api_call *call, const char *cursor) {
    struct bf_buf *link = &call->scratch->text;
    const char *target = bf_http_target(call->req);
    size_t path = strcspn(target, "?");
    bf_buf_clear(link);
    bf_buf_putc(link, '<');
    bf_buf_append(link, target, path);
    char separator = '?';
    for (size_t i = 0; i < bf_http_query_count(call->req); i++) {
        const char *name = NULL, *value = NULL;
        bf_http_query_at(call->req, i, &name, &value);
        if (strcmp(name, "cursor") == 0) {
            continue;
        }
        bf_buf_putc(link, separator);
        bf_url_encode(link, name);
        bf_buf_putc(link, '=');
        bf_url_encode(link, value);
        separator = '&';
    }
    bf_buf_printf(link, "%ccursor=%s>; rel=\"next\"", separator, cursor);
    bf_buf_putc(link, '\0');
    if (!link->failed) {
        bf_http_add_header(call->req, "Link", link->data);
    }
}

void api_page_end(struct api_call *call, const char *next, int64_t recorded_through_us) {
    bf_json_key(&call->json, "next");
    bf_json_string(&call->json, next);
    bf_json_member_time(&call->json, "recorded_through", recorded_through_us);
    bf_json_member_bool(&call->json, "complete", true);
    if (next) {
        api_link_next(call, next);
    }
}

void api_member_slice(struct bf_json *j, const char *key, struct bf_slice s) {
    bf_json_key(j, key);
    bf_json_string_n(j, s.data, s.len);
}

void api_headers_json(struct bf_json *j, struct bf_slice packed) {
    struct bf_slice name, value;
    size_t at = 0;
    bf_json_array(j);
    while (packed.data && headers_next(packed, &at, &name, &value)) {
        bf_json_object(j);
        bf_json_key(j, "name");
        if (bf_utf8_valid(name.data, name.len)) {
            bf_json_string_n(j, name.data, name.len);
        } else {
            bf_json_base64(j, name.data, name.len);
            bf_json_member_bool(j, "name_is_base64", true);
        }
        bf_json_key(j, "value");
        if (value.data) {
            bf_json_base64(j, value.data, value.len);
        } else {
            bf_json_null(j);
        }
        bf_json_object_end(j);
    }
    bf_json_array_end(j);
}

void api_reply_part(struct api_call *call, struct bf_slice value, struct bf_slice key, struct bf_slice headers) {
    static const char *const parts[] = {"value", "key", "headers", NULL};
    int part = 0;
    if (!api_param_choice(call, "part", parts, &part)) {
        return;
    }
    if (part == 2) {
        api_headers_json(&call->json, headers);
        api_reply_as(call, 200, "application/json");
        return;
    }
    struct bf_slice bytes = part == 1 ? key : value;
    if (!api_read_record(call, bytes.data ? 200 : 204, bytes)) {
        return;
    }
    if (!bytes.data) { /* null is not the same as empty */
        bf_http_reply(call->req, 204, NULL, NULL, 0);
        return;
    }
    bf_http_reply(call->req, 200, "application/octet-stream", bytes.data, bytes.len);
}

bool api_rebuilding(struct api_call *call) {
    if (!atomic_load(&call->capsule->rebuilding)) {
        return false;
    }
    bf_http_add_header(call->req, "Retry-After", "1");
    bf_http_problem(call->req, 503, NULL, "what this answer needs is being rebuilt from the archive: %lld events so far",
                    (long long)atomic_load(&call->capsule->rebuilt_ids));
    return true;
}

enum bf_code api_node_known(struct api_call *call, struct bf_slice node, int64_t known_by_us, bool *known, struct bf_err *err) {
    struct hot_node_topic topics[EVENT_TOPICS_MAX];
    size_t count = 0;
    enum bf_code code = store_node(call->capsule->store, node, topics, EVENT_TOPICS_MAX, &count, err);
    if (code == BF_NOT_FOUND) {
        *known = false;
        return BF_OK;
    }
    if (code != BF_OK) {
        return code;
    }
    struct event_query q;
    event_query_init(&q);
    q.node = node;
    q.known_by_us = known_by_us;
    struct event_page page;
    bool exhausted = false;
    event_page_init(&page);
    code = store_fetch(call->capsule->store, &q, NULL, 1, &page, &exhausted, err);
    if (code == BF_OK) {
        *known = page.count > 0;
    }
    event_page_fini(&page);
    return code;
}
