/* One pass, left to right; the message names the first part that is wrong. */
#include "bf_node_id.h"

#include <stdbool.h>
#include <string.h>

#define SPACE_MAX 64
#define LOCAL_MAX 128

static const char *const node_types[] = {"entity", "region",   "market", "actor",  "system",
                                         "event",  "scope",    "relation", "metric", "signal"};

static bool is_space_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

static bool is_local_char(char c) {
    return is_space_char(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_node_type(struct bf_slice s) {
    for (size_t i = 0; i < sizeof(node_types) / sizeof(node_types[0]); i++)
        if (strlen(node_types[i]) == s.len && memcmp(node_types[i], s.data, s.len) == 0)
            return true;
    return false;
}

/* What lies before the next colon; false when there is none. */
static bool take_part(const char **p, const char *end, struct bf_slice *part) {
    const char *colon = memchr(*p, ':', (size_t)(end - *p));
    if (colon == NULL)
        return false;
    *part = (struct bf_slice){*p, (size_t)(colon - *p)};
    *p = colon + 1;
    return true;
}

static enum bf_code check_part(struct bf_slice s, const char *what, size_t max, bool (*fits)(char), const char *set,
                               struct bf_err *err) {
    const char *p = s.data;
    if (s.len == 0)
        return bf_fail(err, BF_INVALID, 0, "rim_node_id: %s is empty", what);
    if (s.len > max)
        return bf_fail(err, BF_INVALID, 0, "rim_node_id: %s has %zu characters, at most %zu are allowed", what, s.len, max);
    for (size_t i = 0; i < s.len; i++)
        if (!fits(p[i]))
            return bf_fail(err, BF_INVALID, 0, "rim_node_id: %s has byte 0x%02x at %zu, allowed is %s", what,
                           (unsigned)(unsigned char)p[i], i, set);
    return BF_OK;
}

enum bf_code bf_node_id_parse(struct bf_slice text, struct bf_node_id *out, struct bf_err *err) {
    struct bf_node_id id;
    struct bf_slice scheme;
    const char *p = text.data;
    if (p == NULL || text.len == 0)
        return bf_fail(err, BF_INVALID, 0, "rim_node_id: is empty");
    if (text.len > BF_NODE_ID_MAX)
        return bf_fail(err, BF_INVALID, 0, "rim_node_id: has %zu characters, at most %d are allowed", text.len, BF_NODE_ID_MAX);
    const char *end = p + text.len;
    if (!take_part(&p, end, &scheme) || scheme.len != 3 || memcmp(scheme.data, "rim", 3) != 0)
        return bf_fail(err, BF_INVALID, 0, "rim_node_id: does not begin with rim:");
    if (!take_part(&p, end, &id.type) || !take_part(&p, end, &id.space))
        return bf_fail(err, BF_INVALID, 0, "rim_node_id: has fewer than the four parts rim:{nodeType}:{namespace}:{localId}");
    id.local = (struct bf_slice){p, (size_t)(end - p)};
    if (!is_node_type(id.type))
        return bf_fail(err, BF_INVALID, 0,
                       "rim_node_id: nodeType is none of entity, region, market, actor, system, event, scope, relation, "
                       "metric, signal");
    enum bf_code code = check_part(id.space, "namespace", SPACE_MAX, is_space_char, "[a-z0-9-]", err);
    if (code == BF_OK)
        code = check_part(id.local, "localId", LOCAL_MAX, is_local_char, "[A-Za-z0-9_-]", err);
    if (code == BF_OK && out != NULL)
        *out = id;
    return code;
}
