#include "log_proof.h"

#include "archiver.h"
#include "bf_failpoint.h"
#include "bf_log.h"
#include "bf_time.h"

#include <stdint.h>
#include <string.h>

#define INCARNATIONS_MAX 16 /* events that ever had one offset */

static bool same_bytes(struct bf_slice a, struct bf_slice b) {
    return a.len == b.len && (a.data == NULL) == (b.data == NULL) && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Events of [from, to) as they are since the last cut: older ones beyond it are of another log. */
static enum bf_code held(struct capsule *c, const struct log_proof *proof, int64_t from, int64_t to, size_t limit, struct event_page *page,
                         struct bf_err *err) {
    struct event_query q;
    bool exhausted;
    event_query_init(&q);
    q.topics[0] = bf_slice_str(proof->topic);
    q.topic_count = 1;
    q.by_partition = true;
    q.partition = proof->partition;
    q.offset_from = from;
    q.offset_to = to;
    q.order = ORDER_OFFSET;
    q.descending = true;
    if (proof->last_cut.cut_at_us && from >= proof->last_cut.from)
        q.recorded_from_us = proof->last_cut.cut_at_us;
    return store_fetch(c->store, &q, NULL, limit, page, &exhausted, err);
}

enum bf_code log_proof_begin(struct capsule *c, struct archive *a, int64_t next_offset, struct log_proof *proof, int64_t *begin,
                             struct bf_err *err) {
    struct event_page page;
    proof->on = proof->whole = false;
    proof->last_cut = (struct archive_cut){.topic = bf_slice_str(proof->topic), .partition = proof->partition};
    *begin = next_offset;
    enum bf_code code = archive_last_cut(a, &proof->last_cut, err);
    if (code != BF_OK && code != BF_NOT_FOUND)
        return code;
    int64_t cut = proof->last_cut.cut_at_us ? proof->last_cut.from : 0;
    event_page_init(&page);
    code = cut < next_offset ? held(c, proof, cut, next_offset, 1, &page, err) : BF_OK;
    if (code == BF_OK && page.count == 0 && cut > 0)
        code = held(c, proof, 0, cut < next_offset ? cut : next_offset, 1, &page, err);
    if (code == BF_OK && page.count > 0) {
        *begin = page.events[0].offset;
        *proof = (struct log_proof){.topic = proof->topic, .partition = proof->partition, .on = true, .known_end = next_offset,
                                    .begin = *begin, .same_end = *begin, .last_cut = proof->last_cut};
    }
    event_page_fini(&page);
    return code;
}

void log_proof_whole(struct log_proof *proof, int64_t low, int64_t known_end) {
    proof->on = proof->whole = true;
    proof->known_end = known_end;
    proof->begin = proof->same_end = low;
}

enum bf_code log_proof_record(struct capsule *c, struct log_proof *proof, const struct bf_message *msg, enum proof_verdict *verdict,
                              struct bf_err *err) {
    struct event_page page;
    bool same = false;
    event_page_init(&page);
    enum bf_code code = held(c, proof, msg->offset, msg->offset + 1, INCARNATIONS_MAX, &page, err);
    for (size_t i = 0; code == BF_OK && i < page.count; i++)
        same = same || (same_bytes(page.events[i].key, msg->key) && same_bytes(page.events[i].value, msg->value));
    if (code == BF_OK && same)
        proof->same_end = msg->offset + 1;
    if (code == BF_OK)
        *verdict = same || page.count == 0 ? PROOF_SKIP : proof->whole ? PROOF_CUT : PROOF_WHOLE;
    event_page_fini(&page);
    return code;
}

/* Behind a last event that is the same, the log before it is the same, too. */
enum proof_verdict log_proof_end(const struct log_proof *proof) {
    return proof->whole || proof->same_end > proof->begin ? PROOF_CUT : PROOF_WHOLE;
}

enum bf_code log_proof_cut_hot(struct capsule *c, const char *topic, int32_t partition, int64_t from, int64_t archived_through_us,
                               struct bf_err *err) {
    size_t evicted;
    enum bf_code code = hot_evict(c->hot, archived_through_us, SIZE_MAX, &evicted, err);
    return code == BF_OK ? hot_cut_partition(c->hot, bf_slice_str(topic), partition, from, err) : code;
}

enum bf_code log_proof_cut(struct capsule *c, struct archive *a, struct log_proof *proof, struct bf_err *err) {
    struct bf_uuid me = hot_instance_id(c->hot);
    int64_t recorded = store_own_recorded_through(c->store);
    if (archiver_wait_through(c->archiver, recorded, 0) != BF_OK)
        return bf_fail(err, BF_AGAIN, 0, "what is recorded is not archived yet");
    struct archive_cut cut = {bf_slice_str(proof->topic), proof->partition, proof->same_end, proof->known_end, recorded};
    hot_reserve_clock(c->hot, recorded);
    enum bf_code code = archive_cut(a, &me, &cut, err);
    if (code != BF_OK)
        return code;
    bf_failpoint("cut.after-archive");
    bf_log(BF_LOG_ERROR, "log_cut_back", "topic=%s partition=%d from=%lld to=%lld why=\"the log holds other records than before: it was cut back, or the "
           "topic was made anew\" action=\"read again from there; what was recorded stays\"",
           proof->topic, proof->partition, (long long)cut.from, (long long)cut.to);
    proof->on = false;
    proof->last_cut = cut;
    return log_proof_cut_hot(c, proof->topic, proof->partition, cut.from, recorded, err);
}
