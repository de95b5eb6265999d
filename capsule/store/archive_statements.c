/* Statements that come again and again on one connection. For a short question PostgreSQL takes longer to read and plan it than to answer it; a prepared
 * one is planned anew five times and then only when a plan for any values is worse. So this is for questions whose best plan does not hang on the values:
 * an id, a node's events by time. The first time a text is seen it is only remembered: most shapes of a filter come once.
 *
 * A plan is as old as its statement. One made while a partition was empty takes any index for it, and would go on to when that has millions of rows:
 * until the server's own analysis notices. So none is kept for longer than some seconds. */
#include "archive_internal.h"

#include "bf_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATEMENTS_MAX 32 /* of a connection; each costs PostgreSQL some tens of KiB, its plan's partitions included */

struct statement {
    char *sql;       /* NULL: this place is free */
    uint64_t used;   /* when last, counted in uses */
    uint64_t number; /* its name; 0: not prepared */
    int64_t prepared_at_us;
};

struct archive_statements {
    struct statement all[STATEMENTS_MAX];
    uint64_t uses, prepared;
};

static struct archive_statements *statements_of(struct archive *a) {
    if (!a->statements)
        a->statements = calloc(1, sizeof *a->statements);
    return a->statements;
}

static void name_of(const struct statement *s, char name[ARCHIVE_STATEMENT_MAX]) {
    snprintf(name, ARCHIVE_STATEMENT_MAX, "s%llu", (unsigned long long)s->number);
}

/* The one with this text, else the one to be given up for it. */
static struct statement *find(struct archive_statements *all, const char *sql) {
    struct statement *oldest = &all->all[0];
    for (size_t i = 0; i < STATEMENTS_MAX; i++) {
        struct statement *s = &all->all[i];
        if (s->sql && strcmp(s->sql, sql) == 0)
            return s;
        if (s->used < oldest->used)
            oldest = s;
    }
    return oldest;
}

static enum bf_code unprepare(struct archive *a, struct statement *s, struct bf_err *err) {
    char sql[ARCHIVE_STATEMENT_MAX + 16], name[ARCHIVE_STATEMENT_MAX];
    if (s->number == 0)
        return BF_OK;
    name_of(s, name);
    s->number = 0;
    snprintf(sql, sizeof sql, "deallocate %s", name);
    return archive_script(a, sql, "giving a statement up", err); /* when that fails the connection goes, and all of this with it */
}

static enum bf_code remember(struct archive *a, struct statement *s, const char *sql, struct bf_err *err) {
    enum bf_code code = unprepare(a, s, err);
    if (code != BF_OK)
        return code;
    free(s->sql);
    s->sql = strdup(sql);
    return BF_OK;
}

enum bf_code archive_statement(struct archive *a, const char *sql, enum archive_statement_state *state, char name[ARCHIVE_STATEMENT_MAX],
                               struct bf_err *err) {
    struct archive_statements *all = statements_of(a);
    enum bf_code code;
    *state = STATEMENT_ONCE;
    if (!all)
        return BF_OK; /* it can be asked without */
    struct statement *s = find(all, sql);
    s->used = ++all->uses;
    if (!s->sql || strcmp(s->sql, sql) != 0)
        return remember(a, s, sql, err);
    int64_t now_us = bf_time_monotonic_us();
    if (s->number && now_us - s->prepared_at_us > a->s.plan_age_max_us && (code = unprepare(a, s, err)) != BF_OK)
        return code;
    *state = s->number ? STATEMENT_READY : STATEMENT_TO_PREPARE;
    if (!s->number) {
        s->number = ++all->prepared;
        s->prepared_at_us = now_us;
    }
    name_of(s, name);
    return BF_OK;
}

void archive_statements_forget(struct archive *a) {
    for (size_t i = 0; a->statements && i < STATEMENTS_MAX; i++)
        free(a->statements->all[i].sql);
    free(a->statements);
    a->statements = NULL;
}
