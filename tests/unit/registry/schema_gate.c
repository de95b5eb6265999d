#include "schema_gate.h"

#include "avro_compat.h"
#include "bf_json.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gate {
    const char *dir;
    struct bf_buf *complaints;
    size_t count, compared, released;
};

static bool load(const struct gate *g, const char *name, struct bf_buf *into) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", g->dir, name);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        return false;
    }
    size_t n;
    do {
        n = bf_buf_reserve(into, 65536) ? fread(into->data + into->len, 1, 65536, f) : 0;
        into->len += n;
    } while (n > 0);
    fclose(f);
    return !into->failed;
}

static struct avro_schema *load_schema(struct gate *g, const char *name) {
    struct bf_buf text;
    struct bf_err err;
    struct avro_schema *s = NULL;
    bf_buf_init(&text, AVRO_SCHEMA_BYTES_MAX);
    if (!load(g, name, &text)) {
        g->count++;
        bf_buf_printf(g->complaints, "%s: cannot be read\n", name);
    } else if (avro_schema_parse(text.data, text.len, NULL, 0, &s, &err) != BF_OK) {
        g->count++;
        bf_buf_printf(g->complaints, "%s: %s\n", name, err.msg);
    }
    bf_buf_fini(&text);
    return s;
}

static enum bf_code compare(struct gate *g, const char *newer, const char *older, struct bf_err *err) {
    struct avro_schema *reader = load_schema(g, newer), *writer = load_schema(g, older);
    struct avro_compat result = {0};
    enum bf_code code = BF_OK;
    if (reader != NULL && writer != NULL) {
        code = avro_compat_check(reader, writer, &result, err);
        g->compared++;
    }
    for (size_t i = 0; i < result.count; i++) {
        g->count++;
        bf_buf_printf(g->complaints, "%s cannot read what %s wrote: %s at %s: %s\n", newer, older,
                      avro_conflict_name(result.conflicts[i].kind), result.conflicts[i].path,
                      result.conflicts[i].detail);
    }
    avro_compat_fini(&result);
    avro_schema_free(reader);
    avro_schema_free(writer);
    return code;
}

static bool exists(const struct gate *g, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", g->dir, name);
    FILE *f = fopen(path, "r");
    if (f != NULL) {
        fclose(f);
    }
    return f != NULL;
}

static enum bf_code check_topic(struct gate *g, const char *topic, const char *file, struct bf_err *err) {
    char name[512], before[512] = "";
    enum bf_code code = BF_OK;
    for (int n = 1; code == BF_OK; n++) {
        snprintf(name, sizeof name, "released/%s.%d.avsc", topic, n);
        if (!exists(g, name)) {
            break;
        }
        g->released++;
        code = n > 1 ? compare(g, name, before, err) : BF_OK;
        memcpy(before, name, sizeof before);
    }
    if (code == BF_OK && before[0] != '\0') {
        return compare(g, file, before, err);
    }
    avro_schema_free(load_schema(g, file));
    return code;
}

/* Lines as sha256sum writes them. */
static void check_sums(struct gate *g) {
    struct bf_buf sums;
    size_t listed = 0;
    bf_buf_init(&sums, 1 << 20);
    if (!load(g, "released/SHA256SUMS", &sums) && g->released > 0) {
        g->count++;
        bf_buf_puts(g->complaints, "released/SHA256SUMS: cannot be read\n");
    }
    bf_buf_putc(&sums, '\0');
    for (char *save = NULL, *line = strtok_r(sums.data, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char hex[65] = "", name[300] = "", path[320], got[65];
        unsigned char digest[32];
        struct bf_buf text;
        if (sscanf(line, "%64s %299s", hex, name) != 2) {
            continue;
        }
        listed++;
        bf_buf_init(&text, AVRO_SCHEMA_BYTES_MAX);
        snprintf(path, sizeof path, "released/%s", name);
        bool ok = load(g, path, &text) && EVP_Digest(text.data, text.len, digest, NULL, EVP_sha256(), NULL) == 1;
        for (size_t i = 0; i < sizeof digest && ok; i++) {
            snprintf(got + 2 * i, 3, "%02x", digest[i]);
        }
        if (!ok || strcmp(got, hex) != 0) {
            g->count++;
            bf_buf_printf(g->complaints, "%s: a released schema was changed or is gone\n", path);
        }
        bf_buf_fini(&text);
    }
    if (listed != g->released) {
        g->count++;
        bf_buf_printf(g->complaints, "released/: %zu schemas, but SHA256SUMS names %zu\n", g->released, listed);
    }
    bf_buf_fini(&sums);
}

enum bf_code schema_gate_check(const char *dir, struct bf_buf *complaints, size_t *count, size_t *compared,
                               struct bf_err *err) {
    struct gate g = {.dir = dir, .complaints = complaints};
    char path[4096];
    json_t *catalogue = NULL;
    snprintf(path, sizeof path, "%s/topics.json", dir);
    enum bf_code code = bf_json_load_file(path, &catalogue, err);
    json_t *topics = json_object_get(catalogue, "topics");
    for (size_t i = 0; i < json_array_size(topics) && code == BF_OK; i++) {
        json_t *one = json_array_get(topics, i);
        const char *topic = json_string_value(json_object_get(one, "topic")),
                   *file = json_string_value(json_object_get(one, "schema"));
        if (topic != NULL && file != NULL) {
            code = check_topic(&g, topic, file, err);
        }
    }
    if (code == BF_OK) {
        check_sums(&g);
        *count = g.count;
        *compared = g.compared;
    }
    json_decref(catalogue);
    return code;
}
