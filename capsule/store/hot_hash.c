/* SHA-256 and not something faster: whoever can send events must not be able to make another content look the same. The one-call interface
 * of libcrypto allocates for each digest, so the context lives on the stack here. */
#define OPENSSL_API_COMPAT 10100
#include "hot_hash.h"
#include "hot.h"

#include <openssl/sha.h>
#include <string.h>

/* Each part is preceded by its length (all ones when absent), so that no two contents share their bytes. */
static void add_part(SHA256_CTX *sha, struct bf_slice part) {
    uint8_t len[8];
    bf_put_be64(len, part.data == NULL ? UINT64_MAX : part.len);
    SHA256_Update(sha, len, sizeof len);
    if (part.len > 0)
        SHA256_Update(sha, part.data, part.len);
}

void hot_content_hash(const struct event *ev, uint8_t hash[16]) {
    uint8_t event_time[8], digest[SHA256_DIGEST_LENGTH];
    SHA256_CTX sha;
    SHA256_Init(&sha);
    add_part(&sha, ev->key);
    add_part(&sha, ev->value);
    add_part(&sha, ev->node_id);
    bf_put_be64(event_time, (uint64_t)ev->event_time_us);
    SHA256_Update(&sha, event_time, sizeof event_time);
    SHA256_Final(digest, &sha);
    memcpy(hash, digest, 16);
}

void hot_trace_hash(struct bf_slice trace, uint8_t hash[16]) {
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256(trace.data, trace.len, digest);
    memcpy(hash, digest, 16);
}
