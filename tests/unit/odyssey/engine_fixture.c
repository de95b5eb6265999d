#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "speak.h"

#include <stdio.h>
#include <string.h>

#define EPOCH_2024_US INT64_C(1704067200000000)

static enum bf_code on_reflex(void *ctx, const struct reflex *r, struct bf_err *err) {
    struct fixture *f = ctx;
    const struct rule_condition *leaf = r->answer->leaf;
    char words[512];
    (void)err;
    speak_words(r, leaf != NULL && leaf->field >= 0 ? r->rules->fields[leaf->field] : "", words, sizeof words);
    bf_buf_printf(&f->said, "%s: %s\n", r->rule->name, words);
    return BF_OK;
}

static void init_topics(struct fixture *f) {
    *f = (struct fixture){0};
    bf_buf_init(&f->said, 64u << 20);
    assert_int_equal(bf_topics_load(BF_SOURCE_DIR "/schemas", &f->topics, &f->err), BF_OK);
}

void fixture_init(struct fixture *f, const char *rules, const char *more) {
    char text[16384];
    init_topics(f);
    snprintf(text, sizeof text, "{%s\"rules\":[%s]}", more, rules);
    if (rules_parse(bf_slice_str(text), bf_topics_find(f->topics, "rim.fast-path"), &f->rules, &f->err) != BF_OK) fail_msg("%s", f->err.msg);
    assert_int_equal(engine_new(f->rules, 100000, &f->engine, &f->err), BF_OK);
    f->output = (struct engine_output){on_reflex, f};
}

void fixture_fini(struct fixture *f) {
    engine_free(f->engine);
    rules_free(f->rules);
    bf_topics_free(f->topics);
    bf_buf_fini(&f->said);
}

const char *fixture_parse(struct fixture *f, const char *text) {
    if (f->topics == NULL) init_topics(f);
    struct rules *rules = NULL;
    f->err.msg[0] = '\0';
    enum bf_code code = rules_parse(bf_slice_str(text), bf_topics_find(f->topics, "rim.fast-path"), &rules, &f->err);
    assert_true(code == BF_OK || code == BF_INVALID);
    rules_free(rules);
    return f->err.msg;
}

struct signal fixture_signal(const struct fixture *f, const char *node, int64_t at_ms, double price, double stress, int id) {
    struct signal s = {.node_id = bf_slice_str(node), .event_time_us = EPOCH_2024_US + at_ms * 1000};
    bf_put_be32(s.id.b, (uint32_t)id);
    bf_put_be32(s.id.b + 12, (uint32_t)id * 2654435761u);
    for (size_t i = 0; i < f->rules->field_count; i++) {
        s.values[i] = strcmp(f->rules->fields[i], "price") == 0 ? price : strcmp(f->rules->fields[i], "stress") == 0 ? stress : NAN;
        if (!isnan(s.values[i])) s.present |= 1u << i;
    }
    return s;
}

enum engine_outcome fixture_give(struct fixture *f, const struct signal *s) {
    enum engine_outcome outcome = ENGINE_OUTCOMES;
    assert_int_equal(engine_signal(f->engine, s, f->clock_us, &f->output, &outcome, &f->err), BF_OK);
    return outcome;
}

void fixture_time_passes(struct fixture *f, int64_t silent_until_ms) {
    f->clock_us += INT64_C(1000000000000);
    int64_t until_us = silent_until_ms == INT64_MIN ? INT64_MIN : EPOCH_2024_US + silent_until_ms * 1000;
    assert_int_equal(engine_tick(f->engine, f->clock_us, until_us, &f->output, &f->err), BF_OK);
}

void fixture_golden(const char *rules, const struct row *rows, size_t count) {
    struct fixture f;
    char said[2048];
    fixture_init(&f, rules, "");
    for (size_t i = 0; i < count; i++) {
        struct signal s = fixture_signal(&f, NODE, rows[i].at_ms, rows[i].price, rows[i].stress, (int)i + 1);
        bf_buf_clear(&f.said);
        (void)fixture_give(&f, &s);
        size_t n = 0;
        for (size_t k = 0; k < f.said.len && n + 4 < sizeof said; k++) { /* newlines between become " | " */
            if (f.said.data[k] != '\n') said[n++] = f.said.data[k];
            else if (k + 1 < f.said.len) n += (size_t)snprintf(said + n, sizeof said - n, " | ");
        }
        said[n] = '\0';
        if (strcmp(said, rows[i].says) != 0) fail_msg("row %zu at %lld ms says\n  %s\nbut should say\n  %s", i, (long long)rows[i].at_ms, said, rows[i].says);
    }
    fixture_fini(&f);
}
