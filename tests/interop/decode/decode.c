/* Our decoder's side of the differential test: reads lines of schema, bytes in hex and the JSON they must become; exit 1 when one differs.
 * Every prefix of a message and some damaged copies of it are decoded too: whatever they are, they must come back with an answer. */
#include "bf_avro.h"
#include "bf_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIFFERENCES_SHOWN 5

static size_t from_hex(const char *hex, uint8_t *dst) {
    size_t n = 0;
    for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
        unsigned byte = 0;
        sscanf(hex, "%2x", &byte);
        dst[n++] = (uint8_t)byte;
    }
    return n;
}

/* Copies on the heap, as long as they are: a read beyond one is seen by the address sanitizer. */
static void decode_damaged(const struct bf_avro *a, const uint8_t *bytes, size_t len, struct bf_buf *json) {
    static uint32_t x = 1;
    for (size_t i = 0; i < len && i < 64; i++) {
        struct bf_err err;
        x = x * 1664525u + 1013904223u;
        size_t keep = i % 2 == 0 ? i : len;
        uint8_t *copy = malloc(keep > 0 ? keep : 1);
        memcpy(copy, bytes, keep);
        if (keep == len) {
            copy[(x >> 8) % len] ^= (uint8_t)(1u << (x >> 29));
        }
        bf_buf_clear(json);
        if (bf_avro_decode(a, (struct bf_slice){copy, keep}, NULL, json, NULL, &err) != BF_OK && (json->len != 0 || err.msg[0] == '\0')) {
            printf("a refusal leaves JSON or has no reason\n");
            exit(1);
        }
        free(copy);
    }
}

static bool same(const struct bf_avro *a, const uint8_t *bytes, size_t len, const char *want, struct bf_buf *json) {
    struct bf_err err = {0};
    bf_buf_clear(json);
    enum bf_code code = bf_avro_decode(a, (struct bf_slice){bytes, len}, NULL, json, NULL, &err);
    bool equal = code == BF_OK && json->len == strlen(want) && memcmp(json->data, want, json->len) == 0;
    if (!equal) {
        printf("  ours:   %s%.*s\n  oracle: %s\n", err.msg, (int)json->len, json->len > 0 ? json->data : "", want);
    }
    return equal && bf_avro_decode(a, (struct bf_slice){bytes, len}, NULL, NULL, NULL, &err) == BF_OK;
}

int main(void) {
    char *line = NULL, *last = strdup("");
    size_t room = 0;
    ssize_t got;
    int pairs = 0, schemas = 0, differ = 0;
    struct bf_avro *a = NULL;
    struct bf_buf json;
    bf_buf_init(&json, 64 << 20);
    while ((got = getline(&line, &room, stdin)) > 0 && differ < DIFFERENCES_SHOWN) {
        line[strcspn(line, "\n")] = '\0';
        char *hex = strchr(line, '\t'), *want = hex != NULL ? strchr(hex + 1, '\t') : NULL;
        if (want == NULL) {
            printf("no pair: %s\n", line);
            return 1;
        }
        *hex++ = *want++ = '\0';
        if (strcmp(line, last) != 0) {
            struct bf_err err;
            bf_avro_free(a);
            a = NULL;
            free(last);
            last = strdup(line);
            schemas++;
            if (bf_avro_compile(line, strlen(line), NULL, 0, NULL, 0, &a, &err) != BF_OK) {
                printf("%s\n  is refused: %s\n", line, err.msg);
                return 1;
            }
        }
        uint8_t *bytes = malloc(strlen(hex) / 2 + 1);
        size_t len = from_hex(hex, bytes);
        if (!same(a, bytes, len, want, &json)) {
            printf("%s\n  of %s\n", line, hex);
            differ++;
        }
        decode_damaged(a, bytes, len, &json);
        free(bytes);
        pairs++;
    }
    printf("%d pairs of %d schemas, %d differ\n", pairs, schemas, differ);
    bf_avro_free(a);
    bf_buf_fini(&json);
    free(line);
    free(last);
    return differ > 0 || pairs == 0;
}
