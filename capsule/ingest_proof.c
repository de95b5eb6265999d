/* Is it still the log that was read? Records below known_end are compared with what is held; where they end or differ, the ledgers are cut back. */
#include "ingest_internal.h"

#include "bf_log.h"
#include "bf_time.h"

#include <string.h>

#define CUT_RETRY_MS 500
#define FILLER_HEADER "butterfly-filler" /* the embedded broker's, after a restart */

bool ingest_is_filler(const struct bf_message *msg) {
    return msg->header_count == 1 && !msg->value.data && strcmp(msg->headers[0].name, FILLER_HEADER) == 0;
}

void ingest_read_whole(struct ingest *in, struct ingest_partition *p, int64_t low) {
    const char *topic = in->topics[p->topic].name;
    int64_t known_end = p->proof.on ? p->proof.known_end : p->expected;
    bf_log(BF_LOG_WARN, "log_differs", "topic=%s partition=%d action=\"compare it from %lld on\"", topic, p->partition, (long long)low);
    log_proof_whole(&p->proof, low, known_end);
    p->expected = low;
    p->short_since_us = 0;
}

/* Read on at p->expected, or once more if the time has not come. */
static enum bf_code read_on(struct ingest *in, const struct ingest_partition *p, int64_t delay_ms, struct bf_err *err) {
    struct bf_tp tp = {in->topics[p->topic].name, p->partition, p->expected};
    if (delay_ms == 0)
        return bf_consumer_rewind(in->c->consumer, &tp, 1, err);
    bf_consumer_later(in->c->consumer, &tp, delay_ms);
    return BF_OK;
}

/* Set the ledgers back and read on there; while that cannot be, come again. */
static enum bf_code cut(struct ingest *in, struct ingest_partition *p, struct bf_err *err) {
    p->cutting = true;
    p->expected = p->proof.same_end;
    p->proof.topic = in->topics[p->topic].name;
    enum bf_code code = ingest_commit(in, err);
    if (code == BF_OK)
        code = log_proof_cut(in->c, in->archive, &p->proof, err);
    if (code == BF_AGAIN || code == BF_NOMEM) {
        bf_series_add(bf_metrics_series(in->c->metrics, M_WAITS, "postgres", NULL, NULL), 1);
        return read_on(in, p, CUT_RETRY_MS, err);
    }
    p->cutting = code != BF_OK;
    return code == BF_OK ? read_on(in, p, 0, err) : code;
}

enum bf_code ingest_prove(struct ingest *in, struct ingest_partition *p, const struct bf_message *msg, bool *held, struct bf_err *err) {
    enum proof_verdict verdict = PROOF_CUT;
    int64_t low, high;
    *held = true;
    if (!p->cutting && msg->offset >= p->proof.known_end) { /* all of it is the same, or cannot be compared */
        p->expected = p->proof.known_end;
        p->proof.on = *held = false;
        return BF_OK;
    }
    p->proof.topic = msg->topic;
    enum bf_code code = BF_OK;
    if (ingest_is_filler(msg)) /* stands where the embedded broker has forgotten */
        verdict = PROOF_SKIP;
    else if (!p->cutting)
        code = log_proof_record(in->c, &p->proof, msg, &verdict, err);
    if (code == BF_OK && verdict == PROOF_SKIP)
        p->expected = msg->offset + 1;
    else if (code == BF_OK && verdict == PROOF_CUT)
        code = cut(in, p, err);
    else if (code == BF_OK && (code = bf_consumer_query_watermarks(in->c->consumer, msg->topic, msg->partition, 5000, &low, &high, err)) == BF_OK) {
        ingest_read_whole(in, p, low);
        code = read_on(in, p, 0, err);
    }
    return code == BF_AGAIN ? read_on(in, p, CUT_RETRY_MS, err) : code;
}

/* A broker that has just come up may not know its log's end: believe it after a while only. */
enum bf_code ingest_prove_end(struct ingest *in, struct ingest_partition *p, int64_t offset, struct bf_err *err) {
    int64_t now = bf_time_monotonic_us(), low, high;
    if (!p->cutting && offset >= p->proof.known_end) {
        p->expected = p->proof.known_end;
        p->proof.on = false;
        return BF_OK;
    }
    if (p->short_since_us == 0)
        p->short_since_us = now;
    if (!p->cutting && now - p->short_since_us < INGEST_SHORT_BELIEVED_US)
        return read_on(in, p, CUT_RETRY_MS, err);
    if (p->cutting || log_proof_end(&p->proof) == PROOF_CUT)
        return cut(in, p, err);
    enum bf_code code = bf_consumer_query_watermarks(in->c->consumer, in->topics[p->topic].name, p->partition, 5000, &low, &high, err);
    if (code == BF_OK) {
        ingest_read_whole(in, p, low);
        p->short_since_us = now - INGEST_SHORT_BELIEVED_US;
    }
    return read_on(in, p, code == BF_OK ? 0 : CUT_RETRY_MS, err);
}
