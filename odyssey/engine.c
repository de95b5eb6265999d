#include "engine.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (1u << 20)
#define BUCKETS_FIRST 1024

/* A signal that waits for older ones. */
struct waiting {
    struct waiting *next; /* by event time, then id */
    int64_t arrived_us;
    struct signal signal; /* its texts lie behind it */
};

struct node {
    struct node *next; /* in the bucket */
    struct node *older; /* of all, newest first */
    uint64_t rules;    /* mask */
    int64_t newest_us; /* of what was taken */
    int64_t high_us;   /* of what was given */
    struct bf_uuid newest_id;
    uint64_t seen[ENGINE_SEEN_MAX]; /* ids taken at newest_us */
    struct waiting *waiting;
    uint32_t hash;
    uint16_t waiting_count;
    uint8_t seen_count, id_bytes;
    bool begun;
    uint8_t lines; /* cache lines behind the first that states lie on, as far as they are worth fetching */
    _Alignas(8) char rest[]; /* the id, filled up to 8 bytes, then the rules' states */
};
_Static_assert(sizeof(struct node) <= ENGINE_NODE_BYTES, "stated in the header and in docs/");
_Static_assert(offsetof(struct node, rest) % 8 == 0, "states are aligned");

struct block {
    struct block *next;
    size_t used;
    _Alignas(16) char bytes[];
};

struct engine {
    const struct rules *rules;
    size_t nodes_max, node_count, bucket_count, bytes;
    struct node **buckets;
    struct node *nodes;
    struct block *blocks;
};

const char *engine_outcome_name(enum engine_outcome outcome) {
    static const char *const names[ENGINE_OUTCOMES] = {"taken", "late", "duplicate", "unwatched", "full"};
    return names[outcome];
}

/* ---- life ---- */

enum bf_code engine_new(const struct rules *rules, size_t nodes_max, struct engine **out, struct bf_err *err) {
    struct engine *e = calloc(1, sizeof *e);

    if (e != NULL) {
        *e = (struct engine){.rules = rules, .nodes_max = nodes_max, .bucket_count = BUCKETS_FIRST};
        e->buckets = calloc(e->bucket_count, sizeof(struct node *));
    }
    if (e == NULL || e->buckets == NULL) {
        engine_free(e);
        return bf_fail(err, BF_NOMEM, 0, "no memory for a partition's nodes");
    }
    *out = e;
    return BF_OK;
}

static void drop_waiting(struct node *n) {
    while (n->waiting != NULL) {
        struct waiting *next = n->waiting->next;
        free(n->waiting);
        n->waiting = next;
    }
}

void engine_free(struct engine *e) {
    if (e == NULL) return;
    for (struct node *n = e->nodes; n != NULL; n = n->older) drop_waiting(n);
    while (e->blocks != NULL) {
        struct block *next = e->blocks->next;
        free(e->blocks);
        e->blocks = next;
    }
    free(e->buckets);
    free(e);
}

size_t engine_nodes(const struct engine *e) { return e->node_count; }
size_t engine_bytes(const struct engine *e) { return e->bytes; }

/* ---- nodes ---- */

static uint32_t hash_of(struct bf_slice id) { /* FNV-1a */
    const uint8_t *p = id.data;
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < id.len; i++) h = (h ^ p[i]) * 16777619u;
    return h ^ h >> 15;
}

static size_t padded(size_t bytes) { return (bytes + 7) / 8 * 8; }

static void *take_bytes(struct engine *e, size_t bytes) {
    bytes = padded(bytes);
    if (e->blocks == NULL || e->blocks->used + bytes > BLOCK_BYTES) {
        struct block *b = calloc(1, sizeof *b + BLOCK_BYTES);
        if (b == NULL) return NULL;
        b->next = e->blocks;
        e->blocks = b;
    }
    void *p = e->blocks->bytes + e->blocks->used;
    e->blocks->used += bytes;
    e->bytes += bytes;
    return p;
}

static size_t states_bytes(const struct rules *rules, uint64_t mask) {
    size_t bytes = 0;
    for (; mask != 0; mask &= mask - 1) bytes += rules->list[__builtin_ctzll(mask)].state_bytes;
    return bytes;
}

static void grow(struct engine *e) {
    size_t count = e->bucket_count * 2;
    struct node **buckets = calloc(count, sizeof(struct node *));

    if (buckets == NULL) return; /* slower, not wrong */
    for (struct node *n = e->nodes; n != NULL; n = n->older) {
        n->next = buckets[n->hash & (count - 1)];
        buckets[n->hash & (count - 1)] = n;
    }
    free(e->buckets);
    e->buckets = buckets;
    e->bucket_count = count;
}

static uint8_t *states_of(struct node *n) { return (uint8_t *)n->rest + padded(n->id_bytes); }

#define LINE_BYTES 64
#define LINES_MAX 48

/* The states of a node that was not looked at for a while are in no cache: ask for all of them at once, not one after the other. */
static void fetch_ahead(const struct node *n) {
    const char *at = (const char *)n + LINE_BYTES;
    for (unsigned i = 0; i < n->lines; i++) __builtin_prefetch(at + i * LINE_BYTES, 1);
}

static struct node *find(const struct engine *e, struct bf_slice id, uint32_t hash) {
    struct node *n = e->buckets[hash & (e->bucket_count - 1)];
    while (n != NULL && (n->hash != hash || n->id_bytes != id.len || memcmp(n->rest, id.data, id.len) != 0)) n = n->next;
    return n;
}

static struct node *add(struct engine *e, struct bf_slice id, uint32_t hash, uint64_t rules, struct bf_err *err) {
    size_t bytes = sizeof(struct node) + padded(id.len) + states_bytes(e->rules, rules);
    struct node *n = take_bytes(e, bytes);

    if (n == NULL) {
        (void)bf_fail(err, BF_NOMEM, 0, "no memory for node %zu", e->node_count + 1);
        return NULL;
    }
    n->rules = rules;
    n->hash = hash;
    n->id_bytes = (uint8_t)id.len;
    n->lines = (uint8_t)(bytes / LINE_BYTES < LINES_MAX ? bytes / LINE_BYTES : LINES_MAX);
    memcpy(n->rest, id.data, id.len);
    n->older = e->nodes;
    e->nodes = n;
    n->next = e->buckets[hash & (e->bucket_count - 1)];
    e->buckets[hash & (e->bucket_count - 1)] = n;
    if (++e->node_count > e->bucket_count / 2) grow(e); /* a second node in a bucket is a second wait for memory */
    return n;
}

/* ---- rules ---- */

static enum bf_code tell(struct engine *e, const struct node *n, const struct rule *rule, struct rule_memory *mem, const struct answer *a,
                         const struct signal *cause, const struct engine_output *output, struct bf_err *err) {
    bool cooling = mem->fired && rule->cooldown_us > 0 && cause->event_time_us - mem->fired_us < rule->cooldown_us;

    if (cooling) return BF_OK;
    mem->fired = true;
    mem->fired_us = cause->event_time_us;
    if (output == NULL) return BF_OK;
    const struct reflex reflex = {.rules = e->rules, .rule = rule, .answer = a, .node_id = {n->rest, n->id_bytes}, .trace_id = cause->trace_id,
                                  .traceparent = cause->traceparent, .cause_id = cause->id, .event_time_us = cause->event_time_us};
    return output->reflex(output->ctx, &reflex, err);
}

/* The node has been silent since its newest signal, whose reflex this is: the same whether time or the next signal shows it. */
static enum bf_code tell_silence(struct engine *e, struct node *n, const struct rule *rule, uint8_t *state, const struct engine_output *output,
                                 struct bf_err *err) {
    const struct rule_condition *c = &rule->conditions[0];
    struct silence_memory *mem = (struct silence_memory *)(void *)(state + c->slot);
    const struct signal cause = {.id = n->newest_id, .event_time_us = n->newest_us};
    const struct answer a = {.fresh = true, .truth = true, .leaf = c, .limit = (double)c->after_us / 1e6, .has_limit = true};

    if (mem->fired && mem->fired_for_us == n->newest_us) return BF_OK;
    mem->fired = true;
    mem->fired_for_us = n->newest_us;
    return tell(e, n, rule, (struct rule_memory *)(void *)state, &a, &cause, output, err);
}

static enum bf_code ask_rule(struct engine *e, struct node *n, const struct rule *rule, uint8_t *state, const struct signal *s, const struct moment *m,
                             const struct engine_output *output, struct bf_err *err) {
    struct rule_memory *mem = (struct rule_memory *)(void *)state;
    struct answer a;

    if (rule->conditions[0].kind == RULE_SILENCE) {
        bool silent = m->has_before && m->time_us - m->before_us >= rule->conditions[0].after_us;
        return silent ? tell_silence(e, n, rule, state, output, err) : BF_OK;
    }
    condition_ask(rule, 0, state, m, &a);
    bool fires = a.fresh && a.truth && !(rule->on_enter && mem->was_true);
    if (a.fresh) mem->was_true = a.truth;
    return fires ? tell(e, n, rule, mem, &a, s, output, err) : BF_OK;
}

/* ---- signals ---- */

static uint64_t short_id(const struct bf_uuid *id) {
    uint64_t a, b;
    memcpy(&a, id->b, 8);
    memcpy(&b, id->b + 8, 8);
    return a * UINT64_C(0x9E3779B97F4A7C15) ^ b;
}

static bool was_seen(const struct node *n, const struct bf_uuid *id) {
    for (int i = 0; i < n->seen_count && i < ENGINE_SEEN_MAX; i++)
        if (n->seen[i] == short_id(id)) return true;
    return false;
}

static void note_newest(struct node *n, const struct signal *s) {
    if (!n->begun || s->event_time_us > n->newest_us) n->seen_count = 0;
    n->seen[n->seen_count % ENGINE_SEEN_MAX] = short_id(&s->id);
    n->seen_count = n->seen_count == 2 * ENGINE_SEEN_MAX - 1 ? ENGINE_SEEN_MAX : (uint8_t)(n->seen_count + 1);
    n->newest_us = s->event_time_us;
    n->newest_id = s->id;
    n->begun = true;
}

/* All rules of the node, in the file's order. The state is as if all were asked, also when telling failed. */
static enum bf_code take(struct engine *e, struct node *n, const struct signal *s, const struct engine_output *output, struct bf_err *err) {
    const struct moment m = {.time_us = s->event_time_us, .has_before = n->begun, .before_us = n->newest_us, .values = s->values, .present = s->present};
    uint8_t *state = states_of(n);
    enum bf_code code = BF_OK;

    for (uint64_t mask = n->rules; mask != 0 && code == BF_OK; mask &= mask - 1) {
        const struct rule *rule = &e->rules->list[__builtin_ctzll(mask)];
        code = ask_rule(e, n, rule, state, s, &m, output, err);
        state += rule->state_bytes;
    }
    note_newest(n, s);
    return code;
}

/* ---- waiting for older ones ---- */

static int order(const struct signal *a, const struct signal *b) {
    if (a->event_time_us != b->event_time_us) return a->event_time_us < b->event_time_us ? -1 : 1;
    return memcmp(a->id.b, b->id.b, sizeof a->id.b);
}

static struct bf_slice copy_text(char **at, struct bf_slice s) {
    if (s.data == NULL) return s;
    memcpy(*at, s.data, s.len);
    struct bf_slice copy = {*at, s.len};
    *at += s.len;
    return copy;
}

static enum bf_code keep_waiting(struct node *n, const struct signal *s, int64_t arrived_us, enum engine_outcome *outcome, struct bf_err *err) {
    struct waiting **at = &n->waiting;
    int cmp = -1;

    while (*at != NULL && (cmp = order(&(*at)->signal, s)) < 0) at = &(*at)->next;
    if (*at != NULL && cmp == 0) {
        *outcome = ENGINE_DUPLICATE;
        return BF_OK;
    }
    struct waiting *w = malloc(sizeof *w + s->trace_id.len + s->traceparent.len);
    if (w == NULL) return bf_fail(err, BF_NOMEM, 0, "no memory for a signal that waits");
    char *text = (char *)(w + 1);
    *w = (struct waiting){.next = *at, .arrived_us = arrived_us, .signal = *s};
    w->signal.trace_id = copy_text(&text, s->trace_id);
    w->signal.traceparent = copy_text(&text, s->traceparent);
    *at = w;
    n->waiting_count++;
    return BF_OK;
}

/* Whatever nothing older may come before any more: by event time, by number, or because it waited its time. */
static enum bf_code let_go(struct engine *e, struct node *n, int64_t arrived_before_us, const struct engine_output *output, struct bf_err *err) {
    enum bf_code code = BF_OK;

    while (code == BF_OK && n->waiting != NULL) {
        struct waiting *w = n->waiting;
        bool passed = w->signal.event_time_us < n->high_us - e->rules->lateness_us;
        if (!passed && n->waiting_count <= ENGINE_WAITING_MAX && w->arrived_us > arrived_before_us) break;
        n->waiting = w->next;
        n->waiting_count--;
        code = take(e, n, &w->signal, output, err);
        free(w);
    }
    return code;
}

enum bf_code engine_signal(struct engine *e, const struct signal *s, int64_t arrived_us, const struct engine_output *output,
                           enum engine_outcome *outcome, struct bf_err *err) {
    uint32_t hash = hash_of(s->node_id);
    struct node *n = find(e, s->node_id, hash);

    if (n != NULL) fetch_ahead(n);
    if (n == NULL) {
        *outcome = ENGINE_FULL;
        if (e->node_count >= e->nodes_max) return BF_OK;
        n = add(e, s->node_id, hash, rules_for_node(e->rules, s->node_id), err);
        if (n == NULL) return err->code;
    }
    *outcome = n->rules != 0 ? ENGINE_TAKEN : ENGINE_UNWATCHED;
    if (n->rules != 0 && n->begun && s->event_time_us < n->newest_us) *outcome = ENGINE_LATE;
    else if (n->rules != 0 && n->begun && s->event_time_us == n->newest_us && was_seen(n, &s->id)) *outcome = ENGINE_DUPLICATE;
    if (*outcome != ENGINE_TAKEN) return BF_OK;
    if (e->rules->lateness_us == 0) return take(e, n, s, output, err);
    if (n->waiting == NULL && !n->begun) n->high_us = s->event_time_us;
    if (s->event_time_us > n->high_us) n->high_us = s->event_time_us;
    enum bf_code code = keep_waiting(n, s, arrived_us, outcome, err);
    return code == BF_OK ? let_go(e, n, INT64_MIN, output, err) : code;
}

/* ---- time ---- */

static enum bf_code watch_silence(struct engine *e, struct node *n, int64_t until_us, const struct engine_output *output, struct bf_err *err) {
    uint8_t *state = states_of(n);
    enum bf_code code = BF_OK;

    for (uint64_t mask = n->rules; mask != 0 && code == BF_OK; mask &= mask - 1) {
        const struct rule *rule = &e->rules->list[__builtin_ctzll(mask)];
        bool silent = rule->conditions[0].kind == RULE_SILENCE && until_us - rule->conditions[0].after_us >= n->newest_us;
        if (silent) code = tell_silence(e, n, rule, state, output, err);
        state += rule->state_bytes;
    }
    return code;
}

enum bf_code engine_tick(struct engine *e, int64_t arrived_now_us, int64_t silent_until_us, const struct engine_output *output, struct bf_err *err) {
    bool silence = e->rules->has_silence && silent_until_us != INT64_MIN;
    enum bf_code code = BF_OK;

    if (!silence && e->rules->lateness_us == 0) return BF_OK;
    for (struct node *n = e->nodes; n != NULL && code == BF_OK; n = n->older) {
        if (n->waiting != NULL) code = let_go(e, n, arrived_now_us - e->rules->lateness_us, output, err);
        if (code == BF_OK && silence && n->begun && n->waiting == NULL) code = watch_silence(e, n, silent_until_us, output, err);
    }
    return code;
}
