/* Two ways to the same bytes: text that is in order goes straight to Avro (bf_avro_text); whatever that way does not take goes through jansson and
 * avro-c, and only there it is said what is wrong. */
#include "signal_check.h"

#include "bf_avro_encode.h"
#include "bf_avro_text.h"
#include "bf_event_id.h"

#include "bf_framing.h"
#include "bf_json.h"
#include "bf_time.h"
#include "schema_field.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define INGEST_PATH "vector_timestamp.ingest_ts_ms"
#define CLOCK_PATH "vector_timestamp.logical_clock"
#define FRAMED_BYTES_MAX (20u << 20)
#define PLACES_MAX 8

/* Slots of bf_avro_text, in the order in which they are looked at; ended by -1. */
struct places {
    int nodes[PLACES_MAX + 1], ids[PLACES_MAX + 1], times[PLACES_MAX + 1];
    int ingest, clock, stress; /* -1: the schema has none */
};

struct signal_check {
    const struct bf_topic *topic;
    const char *schema_json; /* borrowed */
    json_t *schema;
    struct bf_avro_encoder *encoder;
    struct bf_avro_text *text; /* NULL: the schema is not for the short way */
    struct places places;
    int32_t schema_id;
    const char *event_id_field; /* where a missing id goes; NULL: nowhere */
    bool has_ingest, has_clock, is_fast_event;
};

static atomic_llong process_clock;

/* ---- life ---- */

void signal_init(struct signal *s) {
    s->key_len = 0;
    bf_buf_init(&s->framed, FRAMED_BYTES_MAX);
}

void signal_fini(struct signal *s) { bf_buf_fini(&s->framed); }

static void find_places(const struct bf_avro_text *text, const char *const *paths, int slots[PLACES_MAX + 1]) {
    size_t n = 0;
    for (size_t i = 0; paths != NULL && paths[i] != NULL && n < PLACES_MAX; i++) {
        slots[n] = bf_avro_text_slot(text, paths[i]);
        n += slots[n] >= 0;
    }
    slots[n] = -1;
}

static enum bf_code open_text(struct signal_check *sc, const char *schema_json, struct bf_err *err) {
    enum bf_code code = bf_avro_text_new(schema_json, &sc->text, err);

    if (code == BF_NOT_FOUND) return BF_OK;
    if (code != BF_OK) return code;
    find_places(sc->text, sc->topic->node_paths, sc->places.nodes);
    find_places(sc->text, sc->topic->event_id_paths, sc->places.ids);
    find_places(sc->text, sc->topic->event_time_paths, sc->places.times);
    sc->places.ingest = sc->has_ingest ? bf_avro_text_slot(sc->text, INGEST_PATH) : -1;
    sc->places.clock = sc->has_clock ? bf_avro_text_slot(sc->text, CLOCK_PATH) : -1;
    sc->places.stress = sc->is_fast_event ? bf_avro_text_slot(sc->text, "stress") : -1;
    return BF_OK;
}

enum bf_code signal_check_new(const struct bf_topic *topic, const char *schema_json, struct signal_check **out, struct bf_err *err) {
    struct signal_check *sc = calloc(1, sizeof *sc);
    enum bf_code code = BF_OK;

    if (sc == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for checking signals");
    sc->topic = topic;
    sc->schema_json = schema_json;
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
    code = open_text(sc, schema_json, err);
    if (code != BF_OK) {
        signal_check_free(sc);
        return code;
    }
    *out = sc;
    return BF_OK;
}

void signal_check_free(struct signal_check *sc) {
    if (sc == NULL) return;
    bf_avro_text_free(sc->text);
    bf_avro_encoder_free(sc->encoder);
    json_decref(sc->schema);
    free(sc);
}

enum bf_code signal_check_copy(const struct signal_check *sc, struct signal_check **out, struct bf_err *err) {
    enum bf_code code = signal_check_new(sc->topic, sc->schema_json, out, err);
    if (code == BF_OK) (*out)->schema_id = sc->schema_id;
    return code;
}

void signal_check_set_schema_id(struct signal_check *sc, int32_t schema_id) { sc->schema_id = schema_id; }

const json_t *signal_check_schema(const struct signal_check *sc) { return sc->schema; }

/* ---- filling in ---- */

static int64_t ingest_of(const struct signal_origin *origin) { return origin != NULL ? origin->ingest_ts_ms : bf_time_now_us() / 1000; }
static int64_t clock_of(const struct signal_origin *origin) {
    return origin != NULL ? origin->logical_clock : (int64_t)atomic_fetch_add(&process_clock, 1) + 1;
}
/* Borrowed from the origin or from `text`. */
static struct bf_slice id_of(const struct signal_origin *origin, char text[BF_UUID_TEXT_LEN + 1]) {
    if (origin != NULL) return origin->event_id;
    struct bf_uuid made = bf_uuid_v7();
    bf_uuid_format(text, &made);
    return (struct bf_slice){text, BF_UUID_TEXT_LEN};
}

/* ---- the long way ---- */

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
    enum bf_code code = bf_node_id_parse(*key, NULL, err); /* names itself rim_node_id */
    return code == BF_OK || strcmp(path, "rim_node_id") == 0 ? code : bf_err_prepend(err, "%s", path);
}

static enum bf_code check_time(const char *path, const json_t *time, int64_t unit_us, struct bf_err *err) {
    if (!json_is_integer(time)) return bf_fail(err, BF_INVALID, 0, "%s is no integer", path);
    int64_t t = json_integer_value(time);
    if (t < BF_TIME_MIN_US / unit_us || t > BF_TIME_MAX_US / unit_us) {
        return bf_fail(err, BF_INVALID, 0, "%s %lld is not within the years 0001 to 9999", path, (long long)t);
    }
    return BF_OK;
}

static enum bf_code fill_event_id(const struct signal_check *sc, json_t *value, const struct signal_origin *origin, struct bf_err *err) {
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
    struct bf_slice made = id_of(origin, text);
    return schema_field_set(value, sc->event_id_field, json_stringn(made.data, made.len)) == 0
               ? BF_OK
               : bf_fail(err, BF_INVALID, 0, "%s cannot be set", sc->event_id_field);
}

static enum bf_code fill_clocks(const struct signal_check *sc, json_t *value, const struct signal_origin *origin, struct bf_err *err) {
    const json_t *vector = json_object_get(value, "vector_timestamp");

    if (!json_is_object(vector)) return BF_OK; /* the schema has its say */
    const json_t *ingest = schema_field_get(value, INGEST_PATH);
    if (sc->has_ingest && ingest == NULL) (void)schema_field_set(value, INGEST_PATH, json_integer(ingest_of(origin)));
    else if (sc->has_ingest && check_time(INGEST_PATH, ingest, 1000, err) != BF_OK) return err->code;
    if (sc->has_clock && schema_field_get(value, CLOCK_PATH) == NULL) {
        (void)schema_field_set(value, CLOCK_PATH, json_integer(clock_of(origin)));
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

static enum bf_code complete(const struct signal_check *sc, json_t *value, const struct signal_origin *origin, struct bf_slice *key,
                             struct bf_err *err) {
    const char *path;
    enum bf_code code = check_node(sc, value, key, err);

    if (code == BF_OK) code = fill_event_id(sc, value, origin, err);
    const json_t *time = first_of(value, sc->topic->event_time_paths, &path);
    if (code == BF_OK && time != NULL) code = check_time(path, time, sc->topic->event_time_unit_us, err);
    if (code == BF_OK && time == NULL && sc->is_fast_event) code = bf_fail(err, BF_INVALID, 0, "%s is missing", path);
    if (code == BF_OK) code = fill_clocks(sc, value, origin, err);
    if (code == BF_OK && sc->is_fast_event) code = check_stress(value, err);
    return code;
}

static void begin_frame(const struct signal_check *sc, struct bf_slice key, struct signal *out) {
    uint8_t frame[BF_FRAME_BYTES];

    bf_assert(key.len <= sizeof out->key); /* it is a node id */
    memcpy(out->key, key.data, key.len);
    out->key_len = key.len;
    bf_buf_clear(&out->framed);
    bf_frame_put(frame, sc->schema_id);
    bf_buf_append(&out->framed, frame, sizeof frame);
}

enum bf_code signal_check_value(struct signal_check *sc, json_t *value, const struct signal_origin *origin, struct signal *out,
                                struct bf_err *err) {
    struct bf_slice key;

    if (!json_is_object(value)) return bf_fail(err, BF_INVALID, 0, "it is no JSON object");
    enum bf_code code = complete(sc, value, origin, &key, err);
    if (code != BF_OK) return code;
    begin_frame(sc, key, out);
    code = bf_avro_encode(sc->encoder, value, &out->framed, err);
    if (out->framed.failed) code = bf_fail(err, BF_INVALID, 0, "it is larger than %zu bytes", out->framed.max);
    return code;
}

/* ---- the short way ---- */

/* The first that is there and not null; NULL: none. */
static const struct bf_avro_field *first_value(const struct bf_avro_text *t, const int *slots) {
    for (; *slots >= 0; slots++) {
        const struct bf_avro_field *v = bf_avro_text_value(t, *slots);
        if (v->kind != BF_AVRO_ABSENT && v->kind != BF_AVRO_NULL) return v;
    }
    return NULL;
}

static bool time_fits(const struct bf_avro_field *v, int64_t unit_us) {
    return v->kind == BF_AVRO_LONG && v->l >= BF_TIME_MIN_US / unit_us && v->l <= BF_TIME_MAX_US / unit_us;
}

static bool id_fits(const struct bf_avro_field *v) { return v->kind == BF_AVRO_STRING && v->s.len > 0 && v->s.len <= SIGNAL_EVENT_ID_MAX; }

static bool fits(const struct signal_check *sc) {
    struct bf_err why;
    const struct places *at = &sc->places;
    const struct bf_avro_field *node = first_value(sc->text, at->nodes), *id = first_value(sc->text, at->ids),
                               *time = first_value(sc->text, at->times), *ingest = at->ingest >= 0 ? bf_avro_text_value(sc->text, at->ingest) : NULL,
                               *stress = at->stress >= 0 ? bf_avro_text_value(sc->text, at->stress) : NULL;

    if (node == NULL || node->kind != BF_AVRO_STRING || bf_node_id_parse(node->s, NULL, &why) != BF_OK) return false;
    if (id != NULL && !id_fits(id)) return false;
    if (time != NULL ? !time_fits(time, sc->topic->event_time_unit_us) : sc->is_fast_event) return false;
    if (ingest != NULL && ingest->kind != BF_AVRO_ABSENT && !time_fits(ingest, 1000)) return false;
    return stress == NULL || stress->kind != BF_AVRO_DOUBLE || (stress->d >= 0 && stress->d <= 1);
}

static bool is_absent(const struct signal_check *sc, int slot) {
    return slot >= 0 && bf_avro_text_value(sc->text, slot)->kind == BF_AVRO_ABSENT;
}

/* False: the long way, please. */
static bool go_short(struct signal_check *sc, struct bf_slice text, const struct signal_origin *origin, struct signal *out) {
    char id[BF_UUID_TEXT_LEN + 1];
    const struct places *at = &sc->places;

    if (!bf_avro_text_read(sc->text, text) || !fits(sc)) return false;
    if (sc->event_id_field != NULL && first_value(sc->text, at->ids) == NULL) {
        if (!bf_avro_text_set_string(sc->text, at->ids[0], id_of(origin, id))) return false;
    }
    if (is_absent(sc, at->ingest) && !bf_avro_text_set_long(sc->text, at->ingest, ingest_of(origin))) return false;
    if (is_absent(sc, at->clock) && !bf_avro_text_set_long(sc->text, at->clock, clock_of(origin))) return false;
    begin_frame(sc, first_value(sc->text, at->nodes)->s, out);
    return bf_avro_text_write(sc->text, &out->framed);
}

enum bf_code signal_check_text(struct signal_check *sc, struct bf_slice text, const struct signal_origin *origin, struct signal *out,
                               struct bf_err *err) {
    static const char one_line[] = "line 1 ";
    json_t *value = NULL;

    if (sc->text != NULL && go_short(sc, text, origin, out)) return BF_OK;
    enum bf_code code = bf_json_parse(text.data, text.len, &value, err);
    if (code == BF_OK) code = signal_check_value(sc, value, origin, out, err);
    else if (strncmp(err->msg, one_line, strlen(one_line)) == 0) memmove(err->msg, err->msg + strlen(one_line), strlen(err->msg) - strlen(one_line) + 1);
    json_decref(value);
    return code;
}
