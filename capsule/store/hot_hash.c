/* SHA-256 and not something faster: whoever can send events must not be able to make another content look the same. */
#include "hot_hash.h"

#include "bf_sha256.h"
#include "hot.h"

#include <string.h>

#define TOGETHER 1024 /* so much is put together first: a call for each part costs more than copying a small event */

/* Each part is preceded by its length (all ones when absent), so that no two contents share their bytes. */
static uint8_t *put_part(uint8_t *to, struct bf_slice part) {
    bf_put_be64(to, part.data == NULL ? UINT64_MAX : part.len);
    if (part.len > 0)
        memcpy(to + 8, part.data, part.len);
    return to + 8 + part.len;
}

static void add_part(struct bf_sha256 *sha, struct bf_slice part) {
    uint8_t len[8];
    bf_put_be64(len, part.data == NULL ? UINT64_MAX : part.len);
    bf_sha256_add(sha, len, sizeof len);
    bf_sha256_add(sha, part.data, part.len);
}

void hot_content_hash(const struct event *ev, uint8_t hash[16]) {
    uint8_t together[TOGETHER], event_time[8], sum[BF_SHA256_BYTES];
    bf_put_be64(event_time, (uint64_t)ev->event_time_us);
    if (ev->key.len < TOGETHER && ev->value.len < TOGETHER && 32 + ev->key.len + ev->value.len + ev->node_id.len <= TOGETHER) {
        uint8_t *end = put_part(put_part(put_part(together, ev->key), ev->value), ev->node_id);
        memcpy(end, event_time, sizeof event_time);
        bf_sha256_of(together, (size_t)(end - together) + sizeof event_time, sum);
    } else {
        struct bf_sha256 sha;
        bf_sha256_begin(&sha);
        add_part(&sha, ev->key);
        add_part(&sha, ev->value);
        add_part(&sha, ev->node_id);
        bf_sha256_add(&sha, event_time, sizeof event_time);
        bf_sha256_end(&sha, sum);
    }
    memcpy(hash, sum, 16);
}

void hot_trace_hash(struct bf_slice trace, uint8_t hash[16]) {
    uint8_t sum[BF_SHA256_BYTES];
    bf_sha256_of(trace.data, trace.len, sum);
    memcpy(hash, sum, 16);
}
