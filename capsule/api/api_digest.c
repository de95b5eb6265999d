#include "api_digest.h"

#include "bf_errand.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct api_digest {
    EVP_MD_CTX *ctx;
    struct bf_errand *errand; /* NULL: not yet */
    /* the errand's while it is under way */
    const void *data;
    size_t len;
    bool failed;
};

static void hash(void *ctx) {
    struct api_digest *d = ctx;
    d->failed = EVP_DigestUpdate(d->ctx, d->data, d->len) != 1 || d->failed;
}

enum bf_code api_digest_new(struct api_digest **out, struct bf_err *err) {
    struct api_digest *d = calloc(1, sizeof(*d));
    if (!d) {
        return bf_fail(err, BF_NOMEM, 0, "no memory for a digest");
    }
    d->ctx = EVP_MD_CTX_new();
    if (!d->ctx || EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) != 1) {
        api_digest_free(d);
        return bf_fail(err, BF_NOMEM, 0, "no memory for a digest");
    }
    *out = d;
    return BF_OK;
}

void api_digest_free(struct api_digest *d) {
    if (!d) {
        return;
    }
    bf_errand_free(d->errand);
    EVP_MD_CTX_free(d->ctx);
    free(d);
}

static void settle(struct api_digest *d) {
    if (d->errand) {
        bf_errand_wait(d->errand);
    }
}

void api_digest_add(struct api_digest *d, const void *data, size_t len) {
    if (len == 0) {
        return;
    }
    settle(d);
    d->data = data;
    d->len = len;
    hash(d);
}

void api_digest_begin(struct api_digest *d, const void *data, size_t len) {
    struct bf_err ignored;
    if (!d->errand && bf_errand_new(hash, d, &d->errand, &ignored) != BF_OK) {
        api_digest_add(d, data, len);
        return;
    }
    settle(d);
    d->data = data;
    d->len = len;
    bf_errand_begin(d->errand);
}

enum bf_code api_digest_finish(struct api_digest *d, char text[API_DIGEST_TEXT_MAX], struct bf_err *err) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    settle(d);
    if (d->failed || EVP_DigestFinal_ex(d->ctx, sum, &len) != 1 || len != 32) {
        return bf_fail(err, BF_BROKEN, 0, "SHA-256 failed");
    }
    strcpy(text, "sha256:");
    for (unsigned i = 0; i < len; i++) {
        snprintf(text + 7 + 2 * i, 3, "%02x", sum[i]);
    }
    return BF_OK;
}
