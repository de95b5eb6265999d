/* Decoding never crosses a separator: a %2F inside a segment stays inside it. */
#include "bf_http_target.h"

#include "bf_json.h"

#include <stdio.h>
#include <string.h>

static int hex(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Decode raw[0, len) to *space, NUL-terminated, and move *space behind it. */
static enum bf_code decode(const char *raw, size_t len, char **space, const char **out, struct bf_err *err) {
    char *p = *space;
    for (size_t i = 0; i < len; i++) {
        char c = raw[i];
        if (c == '%') {
            int hi = i + 2 < len ? hex(raw[i + 1]) : -1;
            int lo = i + 2 < len ? hex(raw[i + 2]) : -1;
            if (hi < 0 || lo < 0) {
                return bf_fail(err, BF_INVALID, 0, "a %% in the request target is not followed by two hexadecimal digits");
            }
            c = (char)(hi << 4 | lo);
            i += 2;
            if (c == '\0') {
                return bf_fail(err, BF_INVALID, 0, "%%00 is not allowed in the request target");
            }
        }
        *p++ = c;
    }
    if (!bf_utf8_valid(*space, (size_t)(p - *space))) {
        return bf_fail(err, BF_INVALID, 0, "the request target is not valid UTF-8");
    }
    *p++ = '\0';
    *out = *space;
    *space = p;
    return BF_OK;
}

static enum bf_code parse_path(const char *raw, size_t len, char **space, struct bf_target *out, struct bf_err *err) {
    for (size_t from = 1; from <= len;) { /* raw[0] is the slash */
        const char *slash = memchr(raw + from, '/', len - from);
        size_t end = slash != NULL ? (size_t)(slash - raw) : len;
        if (out->segment_count == BF_TARGET_SEGMENTS_MAX) {
            return bf_fail(err, BF_NOMEM, 0, "the path has more than %d segments", BF_TARGET_SEGMENTS_MAX);
        }
        enum bf_code code = decode(raw + from, end - from, space, &out->segments[out->segment_count++], err);
        if (code != BF_OK) {
            return code;
        }
        from = end + 1;
    }
    return BF_OK;
}

static enum bf_code parse_parameter(const char *raw, size_t len, char **space, struct bf_target *out, struct bf_err *err) {
    if (len == 0) {
        return BF_OK;
    }
    if (out->query_count == BF_TARGET_QUERY_MAX) {
        return bf_fail(err, BF_NOMEM, 0, "more than %d query parameters", BF_TARGET_QUERY_MAX);
    }
    const char *eq = memchr(raw, '=', len);
    size_t name_len = eq != NULL ? (size_t)(eq - raw) : len;
    const char *name, *value = "";
    enum bf_code code = decode(raw, name_len, space, &name, err);
    if (code == BF_OK && eq != NULL) {
        code = decode(eq + 1, len - name_len - 1, space, &value, err);
    }
    if (code == BF_OK) {
        out->query[out->query_count].name = name;
        out->query[out->query_count++].value = value;
    }
    return code;
}

static enum bf_code parse_query(const char *raw, char **space, struct bf_target *out, struct bf_err *err) {
    while (*raw != '\0') {
        size_t len = strcspn(raw, "&");
        enum bf_code code = parse_parameter(raw, len, space, out, err);
        if (code != BF_OK) {
            return code;
        }
        raw += len + (raw[len] == '&' ? 1 : 0);
    }
    return BF_OK;
}

enum bf_code bf_target_parse(const char *raw, char *space, struct bf_target *out, struct bf_err *err) {
    out->segment_count = out->query_count = 0;
    for (const char *p = raw; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c <= 0x20 || c == 0x7f || c == '#') {
            return bf_fail(err, BF_INVALID, 0, "the request target has a character that is not allowed (0x%02x)", c);
        }
    }
    if (strncmp(raw, "http://", 7) == 0) { /* absolute form */
        raw += 7 + strcspn(raw + 7, "/?");
    }
    size_t path_len = strcspn(raw, "?");
    if (raw[0] != '/') {
        return bf_fail(err, BF_INVALID, 0, "the request target does not begin with a slash");
    }
    enum bf_code code = parse_path(raw, path_len, &space, out, err);
    if (code == BF_OK && raw[path_len] == '?') {
        code = parse_query(raw + path_len + 1, &space, out, err);
    }
    return code;
}

/* The next segment of a pattern: its start in *p (behind the slash), its length; moves *p to the next slash or the end. */
static const char *pattern_segment(const char **p, size_t *len) {
    const char *from = *p + 1;
    *len = strcspn(from, "/");
    *p = from + *len;
    return from;
}

/* 0: no match; else a rank: earlier literal segments weigh more. */
static uint64_t match(const char *pattern, const struct bf_target *t) {
    uint64_t rank = 1;
    const char *p = pattern;
    for (size_t i = 0; i < t->segment_count; i++) {
        const char *segment = t->segments[i];
        if (*p++ != '/') {
            return 0;
        }
        bool any = *p == '{';
        if (any) {
            p += strcspn(p, "/");
        } else {
            for (; *p != '/' && *p != '\0' && *p == *segment; p++, segment++) { /* a slash in the segment was %2F */
            }
        }
        if (any ? *segment == '\0' : *segment != '\0' || (*p != '/' && *p != '\0')) {
            return 0;
        }
        rank = rank << 1 | (any ? 0 : 1);
    }
    return *p == '\0' ? rank : 0;
}

static void add_allowed(char *allow, size_t allow_bytes, const char *method) {
    const char *found = strstr(allow, method);
    size_t len = strlen(method), at = strlen(allow);
    if (found != NULL && (found[len] == '\0' || found[len] == ',')) {
        return;
    }
    snprintf(allow + at, allow_bytes - at, "%s%s%s", at > 0 ? ", " : "", method, strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

const struct bf_http_route *bf_target_route(const struct bf_http_route *routes, const char *method,
                                            const struct bf_target *target, char *allow, size_t allow_bytes) {
    const struct bf_http_route *best = NULL;
    uint64_t best_rank = 0;
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    allow[0] = '\0';
    for (const struct bf_http_route *r = routes; r->method != NULL; r++) {
        uint64_t rank = match(r->pattern, target);
        if (rank > best_rank && strcmp(r->method, wanted) == 0) {
            best = r;
            best_rank = rank;
        }
    }
    for (const struct bf_http_route *r = routes; best == NULL && r->method != NULL; r++) {
        if (match(r->pattern, target) > 0) {
            add_allowed(allow, allow_bytes, r->method);
        }
    }
    return best;
}

const char *bf_target_path(const struct bf_target *target, const char *pattern, const char *name) {
    const char *p = pattern;
    size_t name_len = strlen(name);
    for (size_t i = 0; i < target->segment_count && *p == '/'; i++) {
        size_t len;
        const char *segment = pattern_segment(&p, &len);
        if (len == name_len + 2 && segment[0] == '{' && memcmp(segment + 1, name, name_len) == 0) {
            return target->segments[i];
        }
    }
    return NULL;
}

const char *bf_target_unknown(const struct bf_target *target, const struct bf_http_route *route) {
    for (size_t i = 0; route->params != NULL && i < target->query_count; i++) {
        const char *const *known = route->params;
        while (*known != NULL && strcmp(*known, target->query[i].name) != 0) {
            known++;
        }
        if (*known == NULL) {
            return target->query[i].name;
        }
    }
    return NULL;
}
