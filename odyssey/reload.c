/* A new rule file, on SIGHUP: taken when every partition held has learned its past under the new rules, so that reloading and restarting are the
 * same. Until then, and when the file is wrong, the old rules go on. */
#include "odyssey.h"

#include "bf_log.h"
#include "bf_stop.h"

#include <stdlib.h>

static void note(struct odyssey *o, const char *result) { bf_series_add(bf_metrics_series(o->metrics, M_RELOADS, result, NULL, NULL), 1); }

void reload_read(struct odyssey *o) {
    struct rules *rules = NULL;
    struct bf_err err = {0};

    if (!bf_reload_requested()) return;
    if (rules_load(o->s->rules, &o->topic_in, &rules, &err) != BF_OK) {
        note(o, "refused");
        bf_log_err(BF_LOG_ERROR, "rules_refused", &err, "next=\"going on with version %.12s\"", o->rules->version);
        return;
    }
    rules_free(o->rules_next);
    o->rules_next = rules;
    bf_log(BF_LOG_INFO, "rules_read", "version=%.12s rules=%zu next=\"taken when their memory is warm\"", rules->version, rules->count);
}

static void take(struct odyssey *o, struct engine **engines) {
    for (int32_t i = 0; i < BF_TRANSFORM_PARTITIONS_MAX; i++) {
        if (engines[i] == NULL) continue;
        engine_free(o->partitions[i].engine);
        o->partitions[i].engine = engines[i];
        engines[i] = NULL;
    }
    bf_series_set(bf_metrics_series(o->metrics, M_RULES, o->rules->version, NULL, NULL), 0);
    rules_free(o->rules);
    o->rules = o->rules_next;
    o->rules_next = NULL;
    note(o, "taken");
    bf_log(BF_LOG_INFO, "rules_taken", "version=%.12s rules=%zu", o->rules->version, o->rules->count);
}

enum bf_code reload_take(struct odyssey *o, struct bf_err *err) {
    enum bf_code code = BF_OK;
    struct bf_record_reader *reader = NULL;

    if (o->rules_next == NULL) return BF_OK;
    struct engine **engines = calloc(BF_TRANSFORM_PARTITIONS_MAX, sizeof *engines);
    if (engines == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a reload");
    for (int32_t i = 0; i < BF_TRANSFORM_PARTITIONS_MAX && code == BF_OK; i++)
        if (o->partitions[i].engine != NULL)
            code = warm_engine(o, o->rules_next, i, bf_transform_position(o->transform, i), &engines[i], err);
    if (code == BF_OK) code = odyssey_reader(o, o->rules_next, &reader, err);
    if (code == BF_OK) {
        take(o, engines);
        bf_record_reader_free(o->reader);
        o->reader = reader;
        odyssey_note_rules(o);
    }
    for (int32_t i = 0; i < BF_TRANSFORM_PARTITIONS_MAX; i++) engine_free(engines[i]);
    free(engines);
    if (code == BF_OK || code == BF_AGAIN) return BF_OK; /* once more at the next tick */
    return code;
}
