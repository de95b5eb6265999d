#include "replay_stream.h"

#include "bf_json.h"
#include "bf_sha256.h"
#include "bf_time.h"

#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX ((size_t)64 << 20)
#define RESUME_WAIT_MS 500

/* One GET of the stream: `segment` digests what this answer holds, because its trailer speaks of that alone. */
struct reader {
    const struct replay_request *request;
    struct replay_result *result;
    struct bf_sha256 whole, segment;
    uint64_t segment_count;
    struct bf_buf partial, last; /* an unfinished line; the last whole event line */
    struct bf_buf trailer;
    bool write_failed, line_too_long;
};

static bool is_trailer(const char *line, size_t len) {
    static const char mark[] = "{\"end\":true";
    return len >= sizeof mark - 1 && memcmp(line, mark, sizeof mark - 1) == 0;
}

/* A sign of life, part of what is digested and nothing else. */
static bool is_heartbeat(const char *line, size_t len) {
    static const char mark[] = "{\"heartbeat\":true";
    return len >= sizeof mark - 1 && memcmp(line, mark, sizeof mark - 1) == 0;
}

/* `line` with its newline. */
static void take_line(struct reader *r, const char *line, size_t len) {
    if (is_trailer(line, len)) {
        bf_buf_clear(&r->trailer);
        bf_buf_append(&r->trailer, line, len - 1);
        return;
    }
    bf_sha256_add(&r->whole, line, len);
    bf_sha256_add(&r->segment, line, len);
    if (is_heartbeat(line, len))
        return;
    r->segment_count++;
    r->result->count++;
    r->result->bytes += len;
    bf_buf_clear(&r->last);
    bf_buf_append(&r->last, line, len - 1);
    if (r->request->out != NULL && fwrite(line, 1, len, r->request->out) != len)
        r->write_failed = true;
    if (r->request->on_event != NULL)
        r->request->on_event(r->request->ctx, line, len - 1);
}

static bool sink(void *ctx, const char *data, size_t len) {
    struct reader *r = ctx;
    while (len > 0 && !r->write_failed) {
        const char *newline = memchr(data, '\n', len);
        size_t n = newline != NULL ? (size_t)(newline - data) + 1 : len;
        if (newline != NULL && r->partial.len == 0) {
            take_line(r, data, n);
        } else {
            bf_buf_append(&r->partial, data, n);
            if (r->partial.failed) {
                r->line_too_long = true;
                return false;
            }
            if (newline != NULL) {
                take_line(r, r->partial.data, r->partial.len);
                bf_buf_clear(&r->partial);
            }
        }
        data += n;
        len -= n;
    }
    if (r->request->flush && fflush(r->request->out) != 0)
        r->write_failed = true;
    return !r->write_failed;
}

/* Of what was added so far; more may follow. */
static void hex_digest(const struct bf_sha256 *sha, char dst[BF_SHA256_TEXT_LEN + 1]) {
    uint8_t sum[BF_SHA256_BYTES];
    struct bf_sha256 copy = *sha;
    bf_sha256_end(&copy, sum);
    bf_sha256_text(dst, sum);
}

/* The last whole line's cursor; false when it has none. */
static bool remember_cursor(struct reader *r) {
    struct bf_err err;
    json_t *line = NULL;
    if (r->last.len == 0)
        return true;
    const char *cursor = NULL;
    if (bf_json_parse(r->last.data, r->last.len, &line, &err) == BF_OK)
        cursor = cli_str(line, "cursor");
    if (cursor != NULL) {
        bf_buf_clear(&r->result->cursor);
        bf_buf_puts(&r->result->cursor, cursor);
        bf_buf_putc(&r->result->cursor, '\0');
    }
    json_decref(line);
    return cursor != NULL;
}

/* Count and digest of the trailer against what came; then the trailer as it holds for everything that was written. */
static int check_trailer(struct reader *r) {
    struct bf_err err;
    struct replay_result *result = r->result;
    json_t *t = NULL;
    char digest[72];
    int exit_code = BF_EXIT_FAILED;
    result->ended = true;
    if (bf_json_parse(r->trailer.data, r->trailer.len, &t, &err) != BF_OK) {
        cli_error("the stream's last line is broken: %s", err.msg);
        goto done;
    }
    hex_digest(&r->segment, digest);
    hex_digest(&r->whole, result->digest);
    int64_t count = cli_int(t, "count", -1);
    const char *told = cli_str(t, "digest"), *next = cli_str(t, "next"), *through = cli_str(t, "recorded_through");
    if (count < 0 || (uint64_t)count != r->segment_count) {
        cli_error("the stream says that it has %lld events, but %llu came", (long long)count, (unsigned long long)r->segment_count);
        goto done;
    }
    if (told == NULL || strcmp(told, digest) != 0) {
        cli_error("the stream's digest is %s, but what came has %s", told != NULL ? told : "missing", digest);
        goto done;
    }
    if (next != NULL) {
        bf_buf_clear(&result->cursor);
        bf_buf_puts(&result->cursor, next);
        bf_buf_putc(&result->cursor, '\0');
    }
    if (through != NULL)
        snprintf(result->recorded_through, sizeof result->recorded_through, "%s", through);
    if (result->resumed > 0) {
        json_object_set_new(t, "count", json_integer((json_int_t)result->count));
        json_object_set_new(t, "digest", json_string(result->digest));
        char *text = json_dumps(t, JSON_COMPACT);
        bf_buf_puts(&result->trailer, text != NULL ? text : "");
        free(text);
    } else {
        bf_buf_append(&result->trailer, r->trailer.data, r->trailer.len);
    }
    result->server_complete = !json_is_false(json_object_get(t, "complete"));
    result->complete = true;
    exit_code = BF_EXIT_OK;
done:
    json_decref(t);
    return exit_code;
}

static void build_url(struct cli_client *c, const struct reader *r) {
    cli_path(c, r->request->path);
    for (const char *const *p = r->request->params; p != NULL && p[0] != NULL; p += 2)
        cli_param(c, p[0], p[1]);
    if (r->result->cursor.len > 0)
        cli_param(c, "cursor", r->result->cursor.data);
    bf_buf_putc(&c->url, '\0');
}

/* One GET. BF_AGAIN: it was cut, or the server is away. */
static enum bf_code read_once(struct cli_client *c, struct reader *r, int *exit_code, struct bf_err *err) {
    bf_sha256_begin(&r->segment);
    r->segment_count = 0;
    bf_buf_clear(&r->partial);
    bf_buf_clear(&r->trailer);
    bf_buf_clear(&c->answer);
    build_url(c, r);
    *exit_code = BF_EXIT_FAILED;
    enum bf_code code = bf_http_get_stream(c->http, c->url.data, &c->status, &c->answer, sink, r, err);
    if (r->write_failed)
        return bf_fail(err, BF_BROKEN, 0, "the output cannot be written");
    if (r->line_too_long)
        return bf_fail(err, BF_BROKEN, 0, "a line of the answer is longer than %zu bytes", LINE_BYTES_MAX);
    if (code == BF_OK && c->status == 503)
        return bf_fail(err, BF_AGAIN, 0, "the server is busy (HTTP status 503)");
    if (code == BF_OK && c->status != 200) {
        *exit_code = cli_problem(c->status, c->answer.data, c->answer.len);
        return bf_fail(err, BF_CANCELLED, 0, "refused");
    }
    if (!remember_cursor(r))
        return bf_fail(err, BF_BROKEN, 0, "a line of the stream has no cursor");
    if (code == BF_OK && r->trailer.len == 0)
        return bf_fail(err, BF_AGAIN, 0, "the stream ended without its last line");
    return code;
}

static int run(struct cli_client *c, struct reader *r) {
    const struct replay_request *request = r->request;
    struct bf_err err;
    for (int fruitless = 0;;) {
        int exit_code;
        uint64_t before = r->result->count;
        enum bf_code code = read_once(c, r, &exit_code, &err);
        if (code == BF_OK)
            return check_trailer(r);
        if (code == BF_CANCELLED)
            return exit_code;
        fruitless = r->result->count > before ? 0 : fruitless + 1;
        if (code != BF_AGAIN || fruitless > request->resumes_max) {
            cli_error("%s", err.msg);
            return code == BF_AGAIN && r->result->count == 0 ? BF_EXIT_DEPENDENCY : BF_EXIT_FAILED;
        }
        r->result->resumed++;
        if (!request->quiet)
            fprintf(stderr, "cut after %llu events (%s): going on\n", (unsigned long long)r->result->count, err.msg);
        bf_sleep_ms(RESUME_WAIT_MS);
    }
}

int replay_run(struct cli_client *c, const struct replay_request *request, struct replay_result *result) {
    memset(result, 0, sizeof *result);
    struct reader r = {.request = request, .result = result};
    bf_sha256_begin(&r.whole);
    bf_buf_init(&r.partial, LINE_BYTES_MAX);
    bf_buf_init(&r.last, LINE_BYTES_MAX);
    bf_buf_init(&r.trailer, LINE_BYTES_MAX);
    bf_buf_init(&result->trailer, LINE_BYTES_MAX);
    bf_buf_init(&result->cursor, 64 << 10);
    if (request->cursor != NULL) {
        bf_buf_puts(&result->cursor, request->cursor);
        bf_buf_putc(&result->cursor, '\0');
    }
    int exit_code = run(c, &r);
    bf_buf_fini(&r.partial);
    bf_buf_fini(&r.last);
    bf_buf_fini(&r.trailer);
    return exit_code;
}

void replay_result_fini(struct replay_result *result) {
    bf_buf_fini(&result->trailer);
    bf_buf_fini(&result->cursor);
}

int replay_pin_known_by(struct cli_client *c, char dst[32]) {
    static const struct cli_options as_json = {.json = false};
    json_t *status = NULL;
    dst[0] = '\0';
    cli_path(c, "/v1/status");
    int exit_code = cli_get_json(c, &as_json, &status);
    const char *through = cli_str(status, "recorded_through");
    if (through != NULL)
        snprintf(dst, 32, "%s", through);
    json_decref(status);
    return exit_code;
}
