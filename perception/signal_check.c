#include "signal_check.h"

#include "bf_event_id.h"
#include "bf_framing.h"
#include "bf_json.h"
#include "bf_node_id.h"
#include "bf_time.h"
#include "schema_field.h"

#include <stdlib.h>
#include <string.h>

#define INGEST_PATH "vector_timestamp.ingest_ts_ms"
#define CLOCK_PATH "vector_timestamp.logical_clock"

struct signal_check {
    const struct bf_topic *topic;
    json_t *schema;
    struct bf_avro_encoder *encoder;
    int32_t schema_id;
    int64_t clock;              /* the process's own counter */
    const char *event_id_field; /* where a missing id goes; NULL: nowhere */
    bool has_ingest, has_clock, is_fast_event;
};

enum bf_code signal_check_new(const struct bf_topic *topic, const char *schema_json, struct signal_check **out, struct bf_err *err) {
    struct signal_check *sc = calloc(1, sizeof *sc);
    enum bf_code code = BF_OK;

    if (sc == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for checking signals");
    sc->topic = topic;
    code = bf_json_parse(schema_json, strlen(schema_json), &sc->schema, err);
    if (code == BF_OK) code = bf_avro_encoder_new(schema_json, &sc->encoder, err);
    if (code != BF_OK) {
        signal_check_free(sc);
        return bf_err_prepend(err, "schema of %s", topic->name);
    }
    const char *name = json_string_value(json_object_get(sc->schema, "name"));
    const char *id_field = topic->event_id_paths != NULL ? topic->event_id_paths[0] : NULL;
    sc->event_id_field = id_field != NULL && schema_field(sc->schema, id_field) == SCHEMA_FIELD_STRING ? id_field : NULL;
    sc->has_ingest = schema_field(sc->schema, INGEST_PATH) == SCHEMA_FIELD_LONG;
    sc->has_clock = schema_field(sc->schema, CLOCK_PATH) == SCHEMA_FIELD_LONG;
    sc->is_fast_event = name != NULL && strcmp(name, "RimFastEvent") == 0;
    *out = sc;
    return BF_OK;
}

void signal_check_free(struct signal_check *sc) {
    if (sc == NULL) return;
    bf_avro_encoder_free(sc->encoder);
    json_decref(sc->schema);
    free(sc);
}

void signal_check_set_schema_id(struct signal_check *sc, int32_t schema_id) { sc->schema_id = schema_id; }

const json_t *signal_check_schema(const struct signal_check *sc) { return sc->schema; }

/* The first of the paths that is there and not null. */
static json_t *first_of(const json_t *value, const char *const *paths, const char **path) {
    for (size_t i = 0; paths != NULL && paths[i] != NULL; i++) {
        json_t *found = schema_field_get(value, paths[i]);
        if (found == NULL || json_is_null(found)) continue;
        *path = paths[i];
        return found;
    }
    *path = paths != NULL && paths[0] != NULL ? paths[0] : "?";
    return NULL;
}

static enum bf_code check_node(const struct signal_check *sc, const json_t *value, struct bf_slice *key, struct bf_err *err) {
    const char *path;
    const json_t *node = first_of(value, sc->topic->node_paths, &path);

    if (node == NULL) return bf_fail(err, BF_INVALID, 0, "%s is missing", path);
    if (!json_is_string(node)) return bf_fail(err, BF_INVALID, 0, "%s is no string", path);
    *key = (struct bf_slice){json_string_value(node), json_string_length(node)};
    return bf_node_id_parse(*key, NULL, err) == BF_OK ? BF_OK : bf_err_prepend(err, "%s", path);
}

static enum bf_code check_time(const char *path, const json_t *time, int64_t unit_us, struct bf_err *err) {
    if (!json_is_integer(time)) return bf_fail(err, BF_INVALID, 0, "%s is no integer", path);
    int64_t t = json_integer_value(time);
    if (t < BF_TIME_MIN_US / unit_us || t > BF_TIME_MAX_US / unit_us) {
        return bf_fail(err, BF_INVALID, 0, "%s %lld is not within the years 0001 to 9999", path, (long long)t);
    }
    return BF_OK;
}

static enum bf_code fill_event_id(const struct signal_check *sc, json_t *value, struct bf_err *err) {
    char text[BF_UUID_TEXT_LEN + 1];
    const char *path;
    const json_t *id = first_of(value, sc->topic->event_id_paths, &path);

    if (id != NULL) {
        if (!json_is_string(id)) return bf_fail(err, BF_INVALID, 0, "%s is no string", path);
        if (json_string_length(id) == 0) return bf_fail(err, BF_INVALID, 0, "%s is empty", path);
        if (json_string_length(id) > SIGNAL_EVENT_ID_MAX) {
            return bf_fail(err, BF_INVALID, 0, "%s is longer than %d bytes", path, SIGNAL_EVENT_ID_MAX);
        }
        return BF_OK;
    }
    if (sc->event_id_field == NULL) return BF_OK;
    struct bf_uuid made = bf_uuid_v7();
    bf_uuid_format(text, &made);
    return schema_field_set(value, sc->event_id_field, json_string(text)) == 0
               ? BF_OK
               : bf_fail(err, BF_INVALID, 0, "%s cannot be set", sc->event_id_field);
}

static enum bf_code fill_clocks(struct signal_check *sc, json_t *value, struct bf_err *err) {
    const json_t *vector = json_object_get(value, "vector_timestamp");

    if (!json_is_object(vector)) return BF_OK; /* the schema has its say */
    const json_t *ingest = schema_field_get(value, INGEST_PATH);
    if (sc->has_ingest && ingest == NULL) (void)schema_field_set(value, INGEST_PATH, json_integer(bf_time_now_us() / 1000));
    else if (sc->has_ingest && check_time(INGEST_PATH, ingest, 1000, err) != BF_OK) return err->code;
    if (sc->has_clock && schema_field_get(value, CLOCK_PATH) == NULL) {
        (void)schema_field_set(value, CLOCK_PATH, json_integer(++sc->clock));
    }
    return BF_OK;
}

static enum bf_code check_stress(const json_t *value, struct bf_err *err) {
    const json_t *stress = json_object_get(value, "stress");

    if (json_is_string(stress)) { /* the encoder would take NaN and the infinities so */
        return bf_fail(err, BF_INVALID, 0, "stress \"%.32s\" is not within 0 to 1", json_string_value(stress));
    }
    if (!json_is_number(stress)) return BF_OK;
    double v = json_number_value(stress);
    return v >= 0.0 && v <= 1.0 ? BF_OK : bf_fail(err, BF_INVALID, 0, "stress %g is not within 0 to 1", v);
}

static enum bf_code complete(struct signal_check *sc, json_t *value, struct bf_slice *key, struct bf_err *err) {
    const char *path;
    enum bf_code code = check_node(sc, value, key, err);

    if (code == BF_OK) code = fill_event_id(sc, value, err);
    const json_t *time = first_of(value, sc->topic->event_time_paths, &path);
    if (code == BF_OK && time != NULL) code = check_time(path, time, sc->topic->event_time_unit_us, err);
    if (code == BF_OK && time == NULL && sc->is_fast_event) code = bf_fail(err, BF_INVALID, 0, "%s is missing", path);
    if (code == BF_OK) code = fill_clocks(sc, value, err);
    if (code == BF_OK && sc->is_fast_event) code = check_stress(value, err);
    return code;
}

enum bf_code signal_check_encode(struct signal_check *sc, json_t *value, struct bf_buf *framed, struct bf_slice *key,
                                 struct bf_err *err) {
    uint8_t frame[BF_FRAME_BYTES];

    if (!json_is_object(value)) return bf_fail(err, BF_INVALID, 0, "it is no JSON object");
    enum bf_code code = complete(sc, value, key, err);
    if (code != BF_OK) return code;
    bf_buf_clear(framed);
    bf_frame_put(frame, sc->schema_id);
    bf_buf_append(framed, frame, sizeof frame);
    code = bf_avro_encode(sc->encoder, value, framed, err);
    if (framed->failed) code = bf_fail(err, BF_INVALID, 0, "it is larger than %zu bytes", framed->max);
    return code;
}
