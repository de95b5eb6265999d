/* What is held of every partition. Alone an instance knows all of them; with others it has its own and asks the archive for the rest: of one that it held
 * once its own ledger has only the beginning. */
#include "store_tiers.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b) {
    const struct hot_partition *x = &((const struct store_partition *)a)->held, *y = &((const struct store_partition *)b)->held;
    int c = strcmp(x->topic, y->topic);
    return c != 0 ? c : (x->partition > y->partition) - (x->partition < y->partition);
}

static enum bf_code ask_archive(struct store *s, struct archive_ledger **out, size_t *count, struct bf_err *err) {
    struct store_ask ask = {.store = s};
    enum bf_code code = BF_OK;
    while (store_asks(&ask, &code, err)) {
        code = archive_ledgers(ask.archive, out, count, err);
    }
    return code;
}

/* The place of this partition in the list; count: it has none. */
static size_t find(const struct store_partition *list, size_t count, const struct hot_partition *p) {
    size_t i = 0;
    while (i < count && (list[i].held.partition != p->partition || strcmp(list[i].held.topic, p->topic) != 0)) {
        i++;
    }
    return i;
}

enum bf_code store_partitions(struct store *s, struct store_partition **out, size_t *count, struct bf_err *err) {
    struct hot_partition *own = NULL;
    struct archive_ledger *all = NULL;
    size_t own_count = 0, all_count = 0, n = 0;
    const struct bf_uuid me = hot_instance_id(s->hot);
    enum bf_code code = hot_partitions(s->hot, &own, &own_count, err);
    if (code == BF_OK && store_is_shared(s)) {
        code = ask_archive(s, &all, &all_count, err);
    }
    struct store_partition *list = code == BF_OK ? calloc(own_count + all_count + 1, sizeof(*list)) : NULL;
    if (code == BF_OK && !list) {
        code = bf_fail(err, BF_NOMEM, 0, "no memory for %zu partitions", own_count + all_count);
    }
    for (size_t i = 0; code == BF_OK && i < own_count; i++) {
        list[n++] = (struct store_partition){.held = own[i]};
    }
    for (size_t i = 0; code == BF_OK && i < all_count; i++) {
        if (memcmp(&all[i].owner, &me, sizeof(me)) != 0) {
            size_t at = find(list, own_count, &all[i].partition);
            n += at == own_count;
            list[at == own_count ? n - 1 : at] = (struct store_partition){.held = all[i].partition, .elsewhere = true, .owner = all[i].owner};
        }
    }
    free(own);
    free(all);
    if (code != BF_OK) {
        free(list);
        return code;
    }
    qsort(list, n, sizeof(*list), by_name);
    *out = list;
    *count = n;
    return BF_OK;
}

enum bf_code store_coverage(struct store *s, const struct store_partition *p, int64_t from, size_t limit, struct interval *out, size_t *count,
                            struct bf_err *err) {
    struct bf_slice topic = bf_slice_str(p->held.topic);
    struct store_ask ask = {.store = s};
    enum bf_code code = BF_OK;
    if (!p->elsewhere) {
        return hot_coverage(s->hot, topic, p->held.partition, from, limit, out, count, err);
    }
    while (store_asks(&ask, &code, err)) {
        code = archive_coverage(ask.archive, topic, p->held.partition, from, limit, out, count, err);
    }
    return code;
}
