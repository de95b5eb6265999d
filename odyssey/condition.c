/* Windows keep samples or sums by aligned panes of event time, so that memory is bounded and the answer depends on the signals alone, not on
 * when they were read. */
#include "condition.h"

#include <math.h>
#include <string.h>

static bool present(const struct moment *m, int field) { return field >= 0 && (m->present >> field & 1) != 0; }

static void beyond(const struct rule_condition *c, double value, struct answer *out) {
    bool above = c->has_above && value >= c->above, below = c->has_below && value <= c->below;

    out->fresh = true;
    out->truth = above || below;
    out->value = value;
    out->has_value = out->has_limit = true;
    out->limit = below || !c->has_above ? c->below : c->above;
}

/* ---- threshold ---- */

static void ask_threshold(const struct rule_condition *c, struct threshold_memory *mem, const struct moment *m, struct answer *out) {
    out->truth = mem->last; /* a signal without the field leaves it as it was */
    if (!present(m, c->field)) return;
    beyond(c, m->values[c->field], out);
    mem->last = out->truth;
}

/* ---- moves and rates ---- */

static int64_t pane_of(int64_t time_us, int64_t pane_us) { return time_us / pane_us - (time_us % pane_us < 0); }

/* What to compare with: the signal before, or the oldest sample that is within the window. NULL: none yet. */
static const struct sample *reference(const struct rule_condition *c, const struct move_memory *mem, int64_t now_us) {
    for (int i = 0; i < mem->count; i++)
        if (c->window_us == 0 || mem->samples[i].time_us >= now_us - c->window_us) return &mem->samples[i];
    return NULL;
}

/* Without a window the newest; with one the first of each pane. */
static void remember(const struct rule_condition *c, struct move_memory *mem, int64_t time_us, double value) {
    const struct sample now = {time_us, value};
    int64_t pane_us = c->window_us / MOVE_PANES;

    if (c->window_us == 0) {
        mem->samples[0] = now;
        mem->count = 1;
        return;
    }
    if (mem->count > 0 && pane_of(mem->samples[mem->count - 1].time_us, pane_us) == pane_of(time_us, pane_us)) return;
    if (mem->count == MOVE_PANES) {
        memmove(&mem->samples[0], &mem->samples[1], (MOVE_PANES - 1) * sizeof now);
        mem->count--;
    }
    mem->samples[mem->count++] = now;
}

static void ask_move(const struct rule_condition *c, struct move_memory *mem, const struct moment *m, struct answer *out) {
    if (!present(m, c->field)) return;
    double value = m->values[c->field];
    const struct sample *then = reference(c, mem, m->time_us);

    out->current = value;
    out->has_current = true;
    if (then != NULL && c->kind == RULE_PERCENT_MOVE && then->value != 0) {
        beyond(c, (value - then->value) / then->value * 100.0, out);
    } else if (then != NULL && c->kind == RULE_RATE_OF_CHANGE && m->time_us > then->time_us) {
        beyond(c, (value - then->value) / (double)(m->time_us - then->time_us) * (double)c->per_us, out);
    }
    if (out->fresh) {
        out->previous = then->value;
        out->has_previous = true;
    }
    remember(c, mem, m->time_us, value);
}

/* ---- z-score ---- */

/* All that is within the window, in one mean and one sum of squares (Chan, Golub, LeVeque 1983), oldest pane first. */
static struct zscore_pane gather(const struct zscore_memory *mem, uint32_t now) {
    struct zscore_pane all = {0};

    for (uint32_t back = ZSCORE_PANES; back-- > 0;) {
        const struct zscore_pane *p = &mem->panes[(now - back) % ZSCORE_PANES];
        if (p->count == 0 || p->index != now - back) continue;
        double n = (double)all.count + (double)p->count, delta = p->mean - all.mean;
        all.m2 += p->m2 + delta * delta * (double)all.count * (double)p->count / n;
        all.mean += delta * (double)p->count / n;
        all.count += p->count;
    }
    return all;
}

static void add_to_pane(struct zscore_memory *mem, uint32_t now, double value) {
    struct zscore_pane *p = &mem->panes[now % ZSCORE_PANES];

    if (p->index != now) *p = (struct zscore_pane){.index = now};
    if (p->count == UINT32_MAX) return;
    p->count++;
    double delta = value - p->mean;
    p->mean += delta / (double)p->count;
    p->m2 += delta * (value - p->mean);
}

static void ask_zscore(const struct rule_condition *c, struct zscore_memory *mem, const struct moment *m, struct answer *out) {
    if (!present(m, c->field)) return;
    double value = m->values[c->field];
    uint32_t now = (uint32_t)pane_of(m->time_us, c->window_us / ZSCORE_PANES);
    struct zscore_pane all = gather(mem, now);
    double deviation = all.count > 1 ? sqrt(all.m2 / (double)(all.count - 1)) : 0;

    out->current = value;
    out->has_current = true;
    if ((int64_t)all.count >= c->count_min && deviation > 0) {
        beyond(c, (value - all.mean) / deviation, out);
        out->previous = all.mean;
        out->has_previous = true;
    }
    add_to_pane(mem, now, value);
}

/* ---- silence, regime ---- */

static void ask_silence(const struct rule_condition *c, const struct moment *m, struct answer *out) {
    out->fresh = m->has_before;
    out->truth = m->has_before && m->time_us - m->before_us >= c->after_us;
    if (!out->fresh) return;
    out->value = (double)(m->time_us - m->before_us) / 1e6;
    out->limit = (double)c->after_us / 1e6;
    out->has_value = out->has_limit = true;
}

static int level_of(const struct rule_condition *c, double value, double below) {
    int level = 0;
    while (level < REGIMES - 1 && value >= c->levels[level] - below) level++;
    return level;
}

/* Up at once; down only below the level less hysteresis, and after the least dwell. */
static void ask_regime(const struct rule_condition *c, struct regime_memory *mem, const struct moment *m, struct answer *out) {
    if (!present(m, c->field)) return;
    double value = m->values[c->field];
    int up = level_of(c, value, 0), down = level_of(c, value, c->hysteresis), to = mem->level;

    if (!mem->begun) *mem = (struct regime_memory){.since_us = m->time_us, .level = 0, .begun = true};
    if (up > mem->level) to = up;
    else if (down < mem->level && m->time_us - mem->since_us >= c->dwell_us) to = down;
    out->fresh = true;
    out->truth = to != mem->level;
    out->value = out->current = value;
    out->has_value = out->has_current = true;
    out->regime_from = mem->level;
    out->regime_to = to;
    if (!out->truth) return;
    out->limit = to > mem->level ? c->levels[to - 1] : c->levels[to] - c->hysteresis;
    out->has_limit = true;
    mem->level = to;
    mem->since_us = m->time_us;
}

/* ---- trees ---- */

static void ask_leaf(const struct rule_condition *c, uint8_t *state, const struct moment *m, struct answer *out) {
    void *mem = state + c->slot;

    out->leaf = c;
    switch (c->kind) {
    case RULE_THRESHOLD: ask_threshold(c, mem, m, out); break;
    case RULE_PERCENT_MOVE:
    case RULE_RATE_OF_CHANGE: ask_move(c, mem, m, out); break;
    case RULE_ZSCORE: ask_zscore(c, mem, m, out); break;
    case RULE_SILENCE: ask_silence(c, m, out); break;
    default: ask_regime(c, mem, m, out); break;
    }
}

/* What is told of a combination is the first true leaf that the signal speaks of. */
static void combine(enum rule_kind kind, const struct answer *child, bool first, struct answer *out) {
    bool fresh = out->fresh || child->fresh, truth = child->truth;

    if (kind == RULE_NOT) {
        *out = (struct answer){.fresh = fresh, .truth = !truth};
        return;
    }
    if (!first) truth = kind == RULE_ALL ? out->truth && truth : out->truth || truth;
    if (child->truth && child->fresh && child->leaf != NULL && out->leaf == NULL) *out = *child;
    out->fresh = fresh;
    out->truth = truth;
}

void condition_ask(const struct rule *rule, int at, uint8_t *state, const struct moment *m, struct answer *out) {
    const struct rule_condition *c = &rule->conditions[at];

    *out = (struct answer){0};
    if (c->kind < RULE_ALL) {
        ask_leaf(c, state, m, out);
        return;
    }
    for (int child = at + 1; child < c->end; child = rule->conditions[child].end) {
        struct answer a;
        condition_ask(rule, child, state, m, &a);
        combine(c->kind, &a, child == at + 1, out);
    }
}
