/* Content is recognised by the SHA-256 of its text and references. The guid is public: MD5 of the text and the
 * references' parts, as Confluent's registry makes it, so that one schema has the same guid in both. */
#include "bf_json.h"
#include "registry_parts.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REFERENCES_MAX 1000 /* of one schema, those of references included */
#define REFERENCE_DEPTH_MAX 32

struct resolved {
    json_t *seen;  /* "subject\nversion" of those that are in the list or on the way */
    json_t *texts; /* strings, deepest first */
};

static enum bf_code collect(struct registry_txn *t, const json_t *references, int depth, struct resolved *r,
                            struct registry_refusal *no, struct bf_err *err);

static enum bf_code collect_one(struct registry_txn *t, const char *subject, int32_t version, int depth,
                                struct resolved *r, struct registry_refusal *no, struct bf_err *err) {
    char key[REGISTRY_SUBJECT_BYTES_MAX + 20];
    snprintf(key, sizeof key, "%s\n%d", subject, version);
    if (json_object_get(r->seen, key) != NULL) {
        return BF_OK;
    }
    if (depth > REFERENCE_DEPTH_MAX || json_object_size(r->seen) >= REFERENCES_MAX) {
        return registry_refuse(no, err, 42201, "Invalid schema: references are nested too deep or are too many");
    }
    struct registry_version v;
    json_t *schema = NULL;
    struct bf_err missing;
    if (registry_version_get(t, subject, version, &v, &missing) != BF_OK ||
        registry_schema_get(t, v.id, &schema, &missing) != BF_OK) {
        return registry_refuse(no, err, 42201,
                               "Invalid schema, details: No schema reference found for subject \"%s\" and version %d",
                               subject, version);
    }
    json_object_set_new(r->seen, key, json_true());
    enum bf_code code = collect(t, json_object_get(schema, "references"), depth + 1, r, no, err);
    if (code == BF_OK && json_array_append(r->texts, json_object_get(schema, "schema")) != 0) {
        code = bf_fail(err, BF_NOMEM, 0, "out of memory");
    }
    json_decref(schema);
    return code;
}

static enum bf_code collect(struct registry_txn *t, const json_t *references, int depth, struct resolved *r,
                            struct registry_refusal *no, struct bf_err *err) {
    for (size_t i = 0; i < json_array_size(references); i++) {
        json_t *ref = json_array_get(references, i);
        const char *subject = json_string_value(json_object_get(ref, "subject"));
        int32_t version = (int32_t)json_integer_value(json_object_get(ref, "version"));
        if (collect_one(t, subject, version, depth, r, no, err) != BF_OK) {
            return err->code;
        }
    }
    return BF_OK;
}

/* Parse text with all that its references define. */
static enum bf_code parse(struct registry_txn *t, const char *text, const json_t *references, struct avro_schema **out,
                          struct registry_refusal *no, struct bf_err *err) {
    struct resolved r = {json_object(), json_array()};
    struct avro_schema_reference *list = NULL;
    enum bf_code code = collect(t, references, 0, &r, no, err);
    if (code != BF_OK) {
        goto done;
    }
    size_t count = json_array_size(r.texts);
    list = calloc(count + 1, sizeof *list);
    if (list == NULL) {
        code = bf_fail(err, BF_NOMEM, 0, "out of memory");
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        json_t *one = json_array_get(r.texts, i);
        list[i] = (struct avro_schema_reference){json_string_value(one), json_string_length(one)};
    }
    code = avro_schema_parse(text, strlen(text), list, count, out, err);
    if (code == BF_INVALID) {
        char why[sizeof err->msg];
        memcpy(why, err->msg, sizeof why);
        code = registry_refuse(no, err, 42201, "Invalid schema of type AVRO, details: %s", why);
    }
done:
    free(list);
    json_decref(r.seen);
    json_decref(r.texts);
    return code;
}

static int by_reference(const void *a, const void *b) {
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    int order =
        strcmp(json_string_value(json_object_get(x, "subject")), json_string_value(json_object_get(y, "subject")));
    json_int_t i = json_integer_value(json_object_get(x, "version")),
               j = json_integer_value(json_object_get(y, "version"));
    return order != 0 ? order : (i > j) - (i < j);
}

/* Normal form of references: by subject and version, each once. */
static enum bf_code sort_references(json_t **references, struct bf_err *err) {
    size_t count = json_array_size(*references);
    json_t **list = calloc(count + 1, sizeof(json_t *));
    json_t *sorted = json_array();
    for (size_t i = 0; i < count && list != NULL; i++) {
        list[i] = json_array_get(*references, i);
    }
    if (list == NULL || sorted == NULL) {
        free(list);
        json_decref(sorted);
        return bf_fail(err, BF_NOMEM, 0, "out of memory");
    }
    qsort(list, count, sizeof(json_t *), by_reference);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || !json_equal(list[i], list[i - 1])) {
            json_array_append(sorted, list[i]);
        }
    }
    free(list);
    json_decref(*references);
    *references = sorted;
    return BF_OK;
}

/* Check the request's references and take over name, subject and version of each; version -1 becomes the newest one's
 * number. */
static enum bf_code read_references(struct registry_txn *t, const json_t *given, json_t *into,
                                    struct registry_refusal *no, struct bf_err *err) {
    if (given != NULL && !json_is_null(given) && !json_is_array(given)) {
        return registry_refuse(no, err, 42201, "Invalid schema: \"references\" is not an array");
    }
    for (size_t i = 0; i < json_array_size(given); i++) {
        const json_t *ref = json_array_get(given, i);
        const char *name = json_string_value(json_object_get(ref, "name"));
        const char *subject = json_string_value(json_object_get(ref, "subject"));
        json_int_t version = json_integer_value(json_object_get(ref, "version"));
        if (name == NULL || subject == NULL || strlen(subject) > REGISTRY_SUBJECT_BYTES_MAX || version < -1 ||
            version == 0 || version > INT32_MAX) {
            return registry_refuse(no, err, 42201,
                                   "Invalid schema: reference %zu needs \"name\", \"subject\" and \"version\"", i + 1);
        }
        if (version == -1) {
            struct registry_version v;
            if (registry_find_version(t, subject, 0, false, &v, no, err) != BF_OK) {
                return err->code != BF_INVALID
                           ? err->code
                           : registry_refuse(no, err, 42201,
                                             "Invalid schema, details: No schema reference found for "
                                             "subject \"%s\" and version -1",
                                             subject);
            }
            version = v.version;
        }
        json_array_append_new(into, json_pack("{s:s, s:s, s:I}", "name", name, "subject", subject, "version", version));
    }
    return BF_OK;
}

enum bf_code registry_content_digest(struct registry_content *c, struct bf_err *err) {
    EVP_MD_CTX *sha = EVP_MD_CTX_new(), *md5 = EVP_MD_CTX_new();
    bool ok = sha != NULL && md5 != NULL && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1 &&
              EVP_DigestInit_ex(md5, EVP_md5(), NULL) == 1 &&
              EVP_DigestUpdate(sha, c->text.data, c->text.len + 1) == 1 &&
              EVP_DigestUpdate(md5, c->text.data, c->text.len) == 1;
    for (size_t i = 0; i < json_array_size(c->references) && ok; i++) {
        json_t *ref = json_array_get(c->references, i);
        const char *name = json_string_value(json_object_get(ref, "name"));
        const char *subject = json_string_value(json_object_get(ref, "subject"));
        uint8_t version[4];
        bf_put_be32(version, (uint32_t)json_integer_value(json_object_get(ref, "version")));
        ok = EVP_DigestUpdate(sha, name, strlen(name) + 1) == 1 &&
             EVP_DigestUpdate(sha, subject, strlen(subject) + 1) == 1 &&
             EVP_DigestUpdate(sha, version, sizeof version) == 1 && EVP_DigestUpdate(md5, name, strlen(name)) == 1 &&
             EVP_DigestUpdate(md5, subject, strlen(subject)) == 1 &&
             EVP_DigestUpdate(md5, version, sizeof version) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(sha, c->digest, NULL) == 1 && EVP_DigestFinal_ex(md5, c->guid, NULL) == 1;
    EVP_MD_CTX_free(sha);
    EVP_MD_CTX_free(md5);
    return ok ? BF_OK : bf_fail(err, BF_NOMEM, 0, "cannot compute a digest");
}

void registry_guid_text(const uint8_t guid[16], char dst[37]) {
    size_t n = 0;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            dst[n++] = '-';
        }
        n += (size_t)snprintf(dst + n, 37 - n, "%02x", guid[i]);
    }
}

static void content_init(struct registry_content *c) {
    *c = (struct registry_content){.references = json_array()};
    bf_buf_init(&c->text, AVRO_SCHEMA_BYTES_MAX * 4);
}

enum bf_code registry_content_read(struct registry_txn *t, const json_t *request, bool normalize,
                                   struct registry_content *c, struct registry_refusal *no, struct bf_err *err) {
    content_init(c);
    const char *type = json_string_value(json_object_get(request, "schemaType"));
    const char *text = json_string_value(json_object_get(request, "schema"));
    if (type != NULL && strcmp(type, "AVRO") != 0) {
        return registry_refuse(no, err, 42201, "Invalid schema type %s: this registry keeps AVRO", type);
    }
    static const char *const unsupported[] = {"ruleSet", "metadata"};
    for (size_t i = 0; i < 2; i++) {
        json_t *value = json_object_get(request, unsupported[i]);
        if (value != NULL && !json_is_null(value) && json_object_size(value) > 0) {
            return registry_refuse(no, err, 42201, "Invalid schema: \"%s\" is not supported by this registry",
                                   unsupported[i]);
        }
    }
    if (text == NULL || text[0] == '\0') {
        return registry_refuse(no, err, 42201, "Empty schema");
    }
    if (c->references == NULL) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory");
    }
    enum bf_code code = read_references(t, json_object_get(request, "references"), c->references, no, err);
    if (code == BF_OK && normalize) {
        code = sort_references(&c->references, err);
    }
    if (code == BF_OK) {
        code = parse(t, text, c->references, &c->schema, no, err);
    }
    if (code != BF_OK) {
        return code;
    }
    avro_schema_write(c->schema, normalize, &c->text);
    bf_buf_putc(&c->text, '\0');
    if (c->text.failed) {
        return registry_refuse(no, err, 42201, "Invalid schema: its values are nested too deep or it is too large");
    }
    c->text.len--;
    return registry_content_digest(c, err);
}

enum bf_code registry_content_load_text(struct registry_txn *t, int32_t id, struct registry_content *c,
                                        struct bf_err *err) {
    json_t *stored = NULL;
    content_init(c);
    if (registry_schema_get(t, id, &stored, err) != BF_OK) {
        return err->code;
    }
    json_t *text = json_object_get(stored, "schema"), *references = json_object_get(stored, "references");
    if (references != NULL) {
        json_decref(c->references);
        c->references = json_incref(references);
    }
    bf_buf_append(&c->text, json_string_value(text), json_string_length(text) + 1);
    json_decref(stored);
    if (c->text.failed) {
        return bf_fail(err, BF_NOMEM, 0, "out of memory");
    }
    c->text.len--;
    return registry_content_digest(c, err);
}

enum bf_code registry_content_load(struct registry_txn *t, int32_t id, struct registry_content *c, struct bf_err *err) {
    struct registry_refusal no;
    if (registry_content_load_text(t, id, c, err) != BF_OK) {
        return err->code;
    }
    registry_refusal_init(&no);
    enum bf_code code = parse(t, c->text.data, c->references, &c->schema, &no, err);
    if (code == BF_INVALID) {
        code = bf_fail(err, BF_REJECTED, 0, "stored schema %d: %.*s", id, (int)no.message.len, no.message.data);
    }
    registry_refusal_fini(&no);
    return code;
}

void registry_content_fini(struct registry_content *c) {
    avro_schema_free(c->schema);
    bf_buf_fini(&c->text);
    json_decref(c->references);
}
