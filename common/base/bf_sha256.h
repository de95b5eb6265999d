/* SHA-256 (FIPS 180-4) by libcrypto, with its state on the caller's stack. libcrypto's other interfaces look the algorithm up by name under a lock and
 * allocate, each time: 1 to 2 us, as much as hashing an event. Cannot fail. One thread at a time for each state. */
#ifndef BF_SHA256_H
#define BF_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define BF_SHA256_BYTES 32
#define BF_SHA256_TEXT_LEN ((size_t)(7 + 2 * BF_SHA256_BYTES)) /* "sha256:" and hexadecimal digits */

struct bf_sha256 {
    uint64_t state[16];
};

void bf_sha256_begin(struct bf_sha256 *sha);
void bf_sha256_add(struct bf_sha256 *sha, const void *data, size_t len); /* data may be NULL when len is 0 */
void bf_sha256_end(struct bf_sha256 *sha, uint8_t sum[BF_SHA256_BYTES]);

void bf_sha256_of(const void *data, size_t len, uint8_t sum[BF_SHA256_BYTES]); /* all in one */
void bf_sha256_text(char dst[BF_SHA256_TEXT_LEN + 1], const uint8_t sum[BF_SHA256_BYTES]);

#endif
