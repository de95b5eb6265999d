#include "acked.h"

#include <stdlib.h>

struct batch {
    struct batch *next;
    struct publish_waiter *waiter; /* NULL: it has no signals */
    void *token;
};

struct acked {
    struct batch *first, **last;
    struct publish_waiter *open;
    bool failed;
};

enum bf_code acked_new(struct acked **out, struct bf_err *err) {
    struct acked *a = calloc(1, sizeof *a);

    if (a == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a window");
    a->last = &a->first;
    *out = a;
    return BF_OK;
}

static void free_batch(struct batch *b) {
    struct bf_err ignored;
    if (b->waiter != NULL) (void)publish_waiter_wait(b->waiter, &ignored);
    free(b->token);
    free(b);
}

void acked_free(struct acked *a) {
    struct bf_err ignored;

    if (a == NULL) return;
    while (a->first != NULL) {
        struct batch *next = a->first->next;
        free_batch(a->first);
        a->first = next;
    }
    if (a->open != NULL) (void)publish_waiter_wait(a->open, &ignored);
    free(a);
}

struct publish_waiter *acked_waiter(struct acked *a) {
    struct bf_err err;
    if (a->open == NULL && publish_waiter_new(&a->open, &err) != BF_OK) return NULL;
    return a->open;
}

enum bf_code acked_close(struct acked *a, void *token, struct bf_err *err) {
    struct batch *b = calloc(1, sizeof *b);

    if (b == NULL) {
        free(token);
        return bf_fail(err, BF_NOMEM, 0, "no memory for a batch");
    }
    *b = (struct batch){.waiter = a->open, .token = token};
    a->open = NULL;
    *a->last = b;
    a->last = &b->next;
    return BF_OK;
}

void *acked_next(struct acked *a) {
    struct batch *b = a->first;
    int64_t failed = 0;

    if (b == NULL || a->failed || (b->waiter != NULL && !publish_waiter_done(b->waiter, &failed))) return NULL;
    if (failed > 0) {
        a->failed = true;
        return NULL;
    }
    void *token = b->token;
    b->token = NULL;
    if ((a->first = b->next) == NULL) a->last = &a->first;
    free_batch(b);
    return token;
}
