#include "api_digest.h"

static void hash(void *ctx) {
    struct api_digest *d = ctx;
    bf_sha256_add(&d->sha, d->data, d->len);
}

void api_digest_init(struct api_digest *d) {
    *d = (struct api_digest){0};
    bf_sha256_begin(&d->sha);
}

void api_digest_fini(struct api_digest *d) {
    bf_errand_free(d->errand);
    d->errand = NULL;
}

static void settle(struct api_digest *d) {
    if (d->errand) {
        bf_errand_wait(d->errand);
    }
}

void api_digest_add(struct api_digest *d, const void *data, size_t len) {
    settle(d);
    bf_sha256_add(&d->sha, data, len);
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

void api_digest_end(struct api_digest *d, char text[BF_SHA256_TEXT_LEN + 1]) {
    uint8_t sum[BF_SHA256_BYTES];
    settle(d);
    bf_sha256_end(&d->sha, sum);
    bf_sha256_text(text, sum);
}
