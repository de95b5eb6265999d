/* Certificate and key: read once at start; libmicrohttpd wants their text. */
#include "bf_http_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEM_BYTES_MAX 1048576

static enum bf_code read_pem(const char *path, char **out, struct bf_err *err) {
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return bf_fail(err, BF_INVALID, errno, "%s: %s", path, strerror(errno));
    }
    char *text = malloc(PEM_BYTES_MAX + 1);
    size_t len = text != NULL ? fread(text, 1, PEM_BYTES_MAX + 1, f) : 0;
    fclose(f);
    if (text == NULL || len > PEM_BYTES_MAX) {
        free(text);
        return bf_fail(err, BF_INVALID, 0, "%s: larger than %d bytes", path, PEM_BYTES_MAX);
    }
    text[len] = '\0';
    if (strstr(text, "-----BEGIN ") == NULL) {
        free(text);
        return bf_fail(err, BF_INVALID, 0, "%s: not in PEM", path);
    }
    *out = text;
    return BF_OK;
}

enum bf_code bf_http_tls_load(struct bf_http *h, struct bf_err *err) {
    const struct bf_http_settings *s = &h->settings;
    if (s->tls_cert == NULL && s->tls_key == NULL) {
        return BF_OK;
    }
    if (s->tls_cert == NULL || s->tls_key == NULL) {
        return bf_fail(err, BF_INVALID, 0, "TLS needs a certificate and its key");
    }
    enum bf_code code = read_pem(s->tls_cert, &h->tls_cert, err);
    return code == BF_OK ? read_pem(s->tls_key, &h->tls_key, err) : code;
}
