/* The coverage ledger, made checkable: intervals, totals that add up to the offsets taken, and holes, of which there must be none. Everything is
 * counted from the intervals shown, up to a next offset that was read before them.
 */
#include "api_internal.h"

#include <stdlib.h>
#include <string.h>

#define INTERVALS_AT_A_TIME 1024

struct ledger {
    int64_t expected; /* where the next interval must begin */
    uint64_t by[5], holes;
};

static void write_range(struct bf_json *j, int64_t from, int64_t to, const char *disposition) {
    bf_json_object(j);
    bf_json_member_int(j, "from", from);
    bf_json_member_int(j, "to", to);
    if (disposition) {
        bf_json_member_string(j, "disposition", disposition);
    }
    bf_json_object_end(j);
}

/* Holes are gathered beside the list, as JSON values. */
static void account(struct ledger *l, const struct interval *iv, struct bf_json *holes) {
    if (iv->from > l->expected) {
        write_range(holes, l->expected, iv->from, NULL);
        l->holes += (uint64_t)(iv->from - l->expected);
    }
    l->by[iv->disposition] += (uint64_t)(iv->to - iv->from);
    l->expected = iv->to;
}

static enum bf_code write_intervals(struct api_call *call, const struct store_partition *part, struct ledger *l, struct bf_json *holes,
                                    struct bf_err *err) {
    const struct hot_partition *p = &part->held;
    struct interval *some = calloc(INTERVALS_AT_A_TIME, sizeof(*some));
    size_t count = 0;
    bool more = true;
    enum bf_code code = some ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory for the ledger");
    while (code == BF_OK && more && l->expected < p->next_offset) {
        code = store_coverage(call->capsule->store, part, l->expected, INTERVALS_AT_A_TIME, some, &count, err);
        more = count > 0;
        for (size_t i = 0; code == BF_OK && i < count; i++) {
            struct interval iv = some[i];
            iv.from = iv.from < l->expected ? l->expected : iv.from; /* the one that the page before ended in */
            iv.to = iv.to > p->next_offset ? p->next_offset : iv.to; /* what came since belongs to the next answer */
            if (iv.from < iv.to) {
                account(l, &iv, holes);
                write_range(&call->json, iv.from, iv.to, disposition_name(iv.disposition));
            }
        }
    }
    if (code == BF_OK && l->expected < p->next_offset) {
        write_range(holes, l->expected, p->next_offset, NULL);
        l->holes += (uint64_t)(p->next_offset - l->expected);
    }
    free(some);
    return code;
}

static void write_totals(struct bf_json *j, const struct ledger *l) {
    bf_json_key(j, "totals");
    bf_json_object(j);
    for (int d = DISPOSITION_STORED; d <= DISPOSITION_LOST; d++) {
        bf_json_member_int(j, disposition_name((enum disposition)d), (int64_t)l->by[d]);
    }
    bf_json_object_end(j);
}

static enum bf_code write_partition(struct api_call *call, const struct store_partition *part, bool *complete, struct bf_err *err) {
    const struct hot_partition *p = &part->held;
    struct bf_json *j = &call->json, holes;
    int64_t first = p->first_offset >= 0 && p->first_offset < p->next_offset ? p->first_offset : p->next_offset;
    struct ledger l = {.expected = first};
    bf_buf_clear(&call->scratch->text);
    bf_json_init(&holes, &call->scratch->text);
    bf_json_array(&holes);
    bf_json_object(j);
    bf_json_member_string(j, "topic", p->topic);
    bf_json_member_int(j, "partition", p->partition);
    api_member_instance(j, part);
    bf_json_member_int(j, "first_offset", first);
    bf_json_member_int(j, "next_offset", p->next_offset);
    bf_json_member_int(j, "offsets", p->next_offset - first);
    bf_json_key(j, "intervals");
    bf_json_array(j);
    if (write_intervals(call, part, &l, &holes, err) != BF_OK) {
        return err->code;
    }
    bf_json_array_end(j);
    bf_json_array_end(&holes);
    write_totals(j, &l);
    bf_json_key(j, "holes");
    bf_json_raw(j, call->scratch->text.data, call->scratch->text.len);
    bf_json_member_bool(j, "complete", l.holes == 0);
    bf_json_object_end(j);
    *complete = *complete && l.holes == 0;
    return BF_OK;
}

static enum bf_code write_ledger(struct api_call *call, struct bf_slice topic, int64_t partition, size_t *shown, bool *complete,
                                 struct bf_err *err) {
    struct store_partition *parts = NULL;
    size_t count = 0;
    enum bf_code code = store_partitions(call->capsule->store, &parts, &count, err);
    for (size_t i = 0; code == BF_OK && i < count; i++) {
        bool wanted = (!topic.data || bf_slice_eq(bf_slice_str(parts[i].held.topic), topic)) &&
                      (partition < 0 || parts[i].held.partition == partition);
        if (wanted) {
            code = write_partition(call, &parts[i], complete, err);
            (*shown)++;
        }
    }
    free(parts);
    return code;
}

void api_get_coverage(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct bf_slice topic = BF_SLICE_NONE;
    struct bf_err err;
    int64_t partition = -1;
    size_t shown = 0;
    bool complete = true;
    if (!api_begin(&call, req, ctx, NULL) || !api_param_topic(&call, "topic", &topic) ||
        !api_param_int(&call, "partition", 0, INT32_MAX, &partition)) {
        return;
    }
    if (partition >= 0 && !topic.data) {
        bf_http_problem(req, 400, "partition", "needs topic");
        return;
    }
    struct bf_json *j = &call.json;
    int64_t through = store_recorded_through(call.capsule->store);
    bf_json_object(j);
    bf_json_key(j, "coverage");
    bf_json_array(j);
    if (write_ledger(&call, topic, partition, &shown, &complete, &err) != BF_OK) {
        api_fail(&call, &err);
        return;
    }
    if (shown == 0 && topic.data) {
        bf_http_problem(req, 404, partition >= 0 ? "partition" : "topic", "nothing is held of it");
        return;
    }
    bf_json_array_end(j);
    bf_json_member_bool(j, "complete", complete);
    bf_json_member_time(j, "recorded_through", through);
    bf_json_member_time(j, "archived_through", store_archived_through(call.capsule->store));
    bf_json_object_end(j);
    api_reply(&call, 200, through);
}
