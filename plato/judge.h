/* The judgement itself: a reflex, the policies and what was known of the world then give a verdict with its evidence. Pure but for the facts that it
 * asks for: same answers, same judgement, whenever it is made. */
#ifndef PLATO_JUDGE_H
#define PLATO_JUDGE_H

#include "bf_event_id.h"
#include "policies.h"

#include <jansson.h>

#define JUDGE_TEXT_MAX 256

struct reflex {
    struct bf_uuid id;
    int64_t event_time_us;
    char node_id[JUDGE_TEXT_MAX], rule[JUDGE_TEXT_MAX], kind[JUDGE_TEXT_MAX], severity[JUDGE_TEXT_MAX], regime_to[JUDGE_TEXT_MAX],
        trace_id[JUDGE_TEXT_MAX]; /* "": none */
    char traceparent[56];
};

/* Copy what fits, never half a character (UTF-8); data NULL gives "". */
void judge_copy(char dst[JUDGE_TEXT_MAX], struct bf_slice text);

/* What only CAPSULE knows. The calls may say BF_AGAIN: then there is no judgement yet. */
struct facts {
    int64_t known_by_us; /* when the reflex was recorded */
    /* The node's newest signal as of the reflex' event time: *payload (a new reference) and id; NULL: there is none. */
    enum bf_code (*state)(void *ctx, json_t **payload, char id[BF_UUID_TEXT_LEN + 1], struct bf_err *err);
    /* How many earlier reflexes of the node, back to `since_us`, does the policy fit? */
    enum bf_code (*earlier)(void *ctx, const struct policy *policy, int64_t since_us, int64_t *count, struct bf_err *err);
    void *ctx;
};

struct judgement {
    enum verdict verdict;
    char policy[POLICY_NAME_MAX + 1];
    char reason[POLICY_REASON_MAX + 100];
    json_t *evidence; /* text members; owned: judgement_fini() */
};

/* Do rule, kind, severity, regime and node fit (not the state, not the limit)? */
bool policy_fits(const struct policy *p, const struct reflex *r);

/* `facts` NULL: from the reflex alone. */
BF_MUST_CHECK enum bf_code judge(const struct policies *policies, const struct reflex *reflex, const struct facts *facts, struct judgement *out,
                                 struct bf_err *err);
void judgement_fini(struct judgement *j);

#endif
