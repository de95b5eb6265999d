/* Only the canonical text of a cursor is accepted: base64 leaves unused bits in the last character, and those count as altered, too. */
#include "api_cursor.h"

#include <string.h>

#define VERSION 2
#define FIXED_BYTES 26 /* version, kind, three integers */
#define SUM_BYTES 8

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

uint64_t api_cursor_hash(uint64_t seed, const void *data, size_t len) {
    const uint8_t *p = data;
    uint64_t h = seed ^ UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++) {
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    }
    h ^= len;
    h = (h ^ (h >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ (h >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ (h >> 33);
}

/* ---- the MAC ---- */

static inline uint64_t rotate(uint64_t v, int n) {
    return (v << n) | (v >> (64 - n));
}

static inline __attribute__((always_inline)) void sip_round(uint64_t v[4]) { /* inline, so that v lies in registers */
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static inline __attribute__((always_inline)) void sip_word(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

static uint64_t little_endian(const uint8_t *p, size_t len) {
    uint64_t word = 0;
    memcpy(&word, p, len); /* of this machine's order, which bf_buf.h asserts */
    return word;
}

uint64_t api_siphash(const uint8_t key[CURSOR_KEY_BYTES], const void *data, size_t len) {
    const uint8_t *p = data;
    uint64_t k0 = little_endian(key, 8), k1 = little_endian(key + 8, 8);
    uint64_t v[4] = {k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d), k0 ^ UINT64_C(0x6c7967656e657261),
                     k1 ^ UINT64_C(0x7465646279746573)};
    size_t left = len;
    for (; left >= 8; left -= 8, p += 8) {
        sip_word(v, little_endian(p, 8));
    }
    sip_word(v, little_endian(p, left) | (uint64_t)len << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++) {
        sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint64_t mac(uint64_t seal, const uint8_t *raw, size_t len) {
    uint8_t key[CURSOR_KEY_BYTES];
    bf_put_be64(key, seal);
    bf_put_be64(key + 8, ~seal);
    return api_siphash(key, raw, len);
}

/* ---- base64url ---- */

static size_t encode64(const uint8_t *src, size_t len, char *dst) {
    size_t n = 0, i = 0;
    uint32_t bits = 0;
    int have = 0;
    for (; i + 3 <= len; i += 3, n += 4) {
        bits = (uint32_t)src[i] << 16 | (uint32_t)src[i + 1] << 8 | src[i + 2];
        dst[n] = alphabet[bits >> 18];
        dst[n + 1] = alphabet[bits >> 12 & 63];
        dst[n + 2] = alphabet[bits >> 6 & 63];
        dst[n + 3] = alphabet[bits & 63];
    }
    for (; i < len; i++) {
        bits = (bits << 8) | src[i];
        for (have += 8; have >= 6; have -= 6) {
            dst[n++] = alphabet[(bits >> (have - 6)) & 63];
        }
    }
    if (have > 0) {
        dst[n++] = alphabet[(bits << (6 - have)) & 63];
    }
    dst[n] = '\0';
    return n;
}

static int digit64(char c) {
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* False when a character is foreign. */
static bool decode64(const char *src, size_t len, uint8_t *dst, size_t *bytes) {
    uint32_t bits = 0;
    int have = 0;
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int d = digit64(src[i]);
        if (d < 0) {
            return false;
        }
        bits = (bits << 6) | (uint32_t)d;
        have += 6;
        if (have >= 8) {
            have -= 8;
            dst[n++] = (uint8_t)(bits >> have);
        }
    }
    *bytes = n;
    return true;
}

size_t api_cursor_encode(const struct api_cursor *c, uint64_t seal, char dst[CURSOR_ENCODED_MAX]) {
    uint8_t raw[FIXED_BYTES + CURSOR_TEXT_MAX + SUM_BYTES];
    size_t text = c->text.len < CURSOR_TEXT_MAX ? c->text.len : CURSOR_TEXT_MAX;
    raw[0] = VERSION;
    raw[1] = (uint8_t)c->kind;
    bf_put_be64(raw + 2, (uint64_t)c->primary);
    bf_put_be64(raw + 10, (uint64_t)c->recorded_at_us);
    bf_put_be64(raw + 18, (uint64_t)c->known_by_us);
    if (text > 0) {
        memcpy(raw + FIXED_BYTES, c->text.data, text);
    }
    size_t len = FIXED_BYTES + text;
    bf_put_be64(raw + len, mac(seal, raw, len));
    return encode64(raw, len + SUM_BYTES, dst);
}

bool api_cursor_decode(const char *encoded, enum api_cursor_kind kind, uint64_t seal, struct api_cursor *out,
                       uint8_t buffer[CURSOR_ENCODED_MAX]) {
    char again[CURSOR_ENCODED_MAX];
    size_t len = strlen(encoded), bytes = 0;
    if (len >= CURSOR_ENCODED_MAX - 1 || !decode64(encoded, len, buffer, &bytes) || bytes < FIXED_BYTES + SUM_BYTES) {
        return false;
    }
    if (encode64(buffer, bytes, again) != len || memcmp(again, encoded, len) != 0) {
        return false;
    }
    size_t body = bytes - SUM_BYTES;
    if (buffer[0] != VERSION || buffer[1] != (uint8_t)kind || body - FIXED_BYTES > CURSOR_TEXT_MAX ||
        bf_get_be64(buffer + body) != mac(seal, buffer, body)) {
        return false;
    }
    out->kind = kind;
    out->primary = (int64_t)bf_get_be64(buffer + 2);
    out->recorded_at_us = (int64_t)bf_get_be64(buffer + 10);
    out->known_by_us = (int64_t)bf_get_be64(buffer + 18);
    out->text = (struct bf_slice){buffer + FIXED_BYTES, body - FIXED_BYTES};
    return true;
}
