#include "api_replay_ahead.h"

#include "bf_errand.h"

#include <stdlib.h>

struct replay_ahead {
    struct bf_errand *errand;
    struct store *store;
    struct event_query q;
    struct event_pos after;
    size_t rows;
    struct event_page page;
    bool exhausted;
    enum bf_code code;
    struct bf_err err;
};

static void fetch(void *ctx) {
    struct replay_ahead *a = ctx;
    event_page_clear(&a->page);
    a->code = store_fetch(a->store, &a->q, &a->after, a->rows, &a->page, &a->exhausted, &a->err);
}

enum bf_code replay_ahead_new(struct store *store, struct replay_ahead **out, struct bf_err *err) {
    struct replay_ahead *a = calloc(1, sizeof(*a));
    if (!a) {
        return bf_fail(err, BF_NOMEM, 0, "no memory to fetch ahead");
    }
    a->store = store;
    event_page_init(&a->page);
    if (bf_errand_new(fetch, a, &a->errand, err) != BF_OK) {
        replay_ahead_free(a);
        return err->code;
    }
    *out = a;
    return BF_OK;
}

void replay_ahead_free(struct replay_ahead *a) {
    if (!a) {
        return;
    }
    bf_errand_free(a->errand);
    event_page_fini(&a->page);
    free(a);
}

void replay_ahead_begin(struct replay_ahead *a, const struct event_query *q, const struct event_pos *after, size_t rows) {
    a->q = *q;
    a->after = *after;
    a->rows = rows;
    bf_errand_begin(a->errand);
}

bool replay_ahead_take(struct replay_ahead *a, struct event_page *page, bool *exhausted, enum bf_code *code, struct bf_err *err) {
    if (!bf_errand_wait(a->errand)) {
        return false;
    }
    struct event_page mine = *page;
    *page = a->page;
    a->page = mine;
    *exhausted = a->exhausted;
    *code = a->code;
    if (a->code != BF_OK) {
        *err = a->err;
    }
    return true;
}
