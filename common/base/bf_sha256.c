#define OPENSSL_API_COMPAT 10100 /* the interface that needs no look-up */
#include "bf_sha256.h"

#include <openssl/sha.h>
#include <string.h>

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct bf_sha256) && _Alignof(SHA256_CTX) <= _Alignof(struct bf_sha256), "libcrypto's state fits");

static SHA256_CTX *ctx_of(struct bf_sha256 *sha) {
    return (SHA256_CTX *)(void *)sha->state;
}

void bf_sha256_begin(struct bf_sha256 *sha) {
    SHA256_Init(ctx_of(sha));
}

void bf_sha256_add(struct bf_sha256 *sha, const void *data, size_t len) {
    if (len > 0) {
        SHA256_Update(ctx_of(sha), data, len);
    }
}

void bf_sha256_end(struct bf_sha256 *sha, uint8_t sum[BF_SHA256_BYTES]) {
    SHA256_Final(sum, ctx_of(sha));
}

void bf_sha256_of(const void *data, size_t len, uint8_t sum[BF_SHA256_BYTES]) {
    struct bf_sha256 sha;
    bf_sha256_begin(&sha);
    bf_sha256_add(&sha, data, len);
    bf_sha256_end(&sha, sum);
}

void bf_sha256_text(char dst[BF_SHA256_TEXT_LEN + 1], const uint8_t sum[BF_SHA256_BYTES]) {
    static const char hex[] = "0123456789abcdef";
    memcpy(dst, "sha256:", 7);
    for (size_t i = 0; i < BF_SHA256_BYTES; i++) {
        dst[7 + 2 * i] = hex[sum[i] >> 4];
        dst[8 + 2 * i] = hex[sum[i] & 15];
    }
    dst[BF_SHA256_TEXT_LEN] = '\0';
}
