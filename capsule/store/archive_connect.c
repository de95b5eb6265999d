/* One connection and how statements run on it.
 *
 * Nothing here waits for ever: every wait for the server's answer is a poll with a deadline somewhat beyond the server's own
 * statement_timeout, because a frozen server keeps no promise of its own. A connection that failed in a way that waiting may cure is closed
 * and made anew by the next call.
 */
#include "archive_internal.h"

#include "archive_sqlstate.h"
#include "bf_time.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRACE_MS 5000
#define CONNECT_TIMEOUT_MS 10000
#define STATEMENT_TIMEOUT_MS 60000
#define PLAN_AGE_MAX_US 5000000
#define COPY_BYTES_MAX ((size_t)512 << 20)

enum bf_code archive_open(const struct archive_settings *settings, struct archive **out, struct bf_err *err) {
    struct archive *a = calloc(1, sizeof *a);
    if (!a)
        return bf_fail(err, BF_NOMEM, 0, "no memory for an archive connection");
    a->s = *settings;
    a->conninfo = strdup(settings->conninfo ? settings->conninfo : "");
    a->application = strdup(settings->application ? settings->application : "capsule");
    params_init(&a->params);
    bf_buf_init(&a->copy, COPY_BYTES_MAX);
    bf_buf_init(&a->sql, 1 << 20);
    if (!a->conninfo || !a->application) {
        archive_close(a);
        return bf_fail(err, BF_NOMEM, 0, "no memory for an archive connection");
    }
    a->s.conninfo = a->conninfo;
    a->s.application = a->application;
    if (a->s.connect_timeout_ms <= 0)
        a->s.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    if (a->s.statement_timeout_ms <= 0)
        a->s.statement_timeout_ms = STATEMENT_TIMEOUT_MS;
    if (a->s.plan_age_max_us <= 0)
        a->s.plan_age_max_us = PLAN_AGE_MAX_US;
    char *why = NULL;
    PQconninfoOption *parsed = PQconninfoParse(a->conninfo, &why);
    if (!parsed) {
        enum bf_code code = bf_fail(err, BF_INVALID, 0, "PostgreSQL's connection string is wrong: %s", why ? why : "no memory");
        PQfreemem(why);
        archive_close(a);
        return code;
    }
    PQconninfoFree(parsed);
    *out = a;
    return BF_OK;
}

void archive_close(struct archive *a) {
    if (!a)
        return;
    archive_disconnect(a);
    archive_forget_partitions(a);
    archive_nodes_free(a);
    params_fini(&a->params);
    bf_buf_fini(&a->copy);
    bf_buf_fini(&a->sql);
    free(a->tables);
    free(a->conninfo);
    free(a->application);
    free(a);
}

void archive_disconnect(struct archive *a) {
    if (a->pg)
        PQfinish(a->pg);
    a->pg = NULL;
    archive_statements_forget(a);
    a->in_transaction = false;
}

static void one_line(const char *from, char *to, size_t bytes) {
    size_t n = 0;
    for (; *from && n + 1 < bytes; from++)
        to[n++] = *from == '\n' || *from == '\t' ? ' ' : *from;
    while (n > 0 && to[n - 1] == ' ')
        n--;
    to[n] = 0;
}

enum bf_code archive_fail(struct archive *a, const PGresult *r, const char *doing, struct bf_err *err) {
    const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    const char *said = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *detail = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_DETAIL) : NULL;
    char text[400], more[200] = "";
    one_line(said ? said : r && *PQresultErrorMessage(r) ? PQresultErrorMessage(r) : PQerrorMessage(a->pg), text, sizeof text);
    if (detail && strncmp(detail, "Failing row", strlen("Failing row")) != 0) /* that would be a payload, in a log */
        one_line(detail, more, sizeof more);
    /* An answer without a state is libpq's own: the connection is gone. */
    enum bf_code code = archive_sqlstate_code(state);
    if (state && strcmp(state, ARCHIVE_NO_PARTITION) == 0 && !PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME))
        code = BF_AGAIN;
    bf_fail(err, code, 0, "PostgreSQL, %s: %s%s%s", doing, *text ? text : "the connection is gone", *more ? "; " : "", more);
    snprintf(err->sqlstate, sizeof err->sqlstate, "%s", state ? state : "");
    if (code == BF_AGAIN || PQstatus(a->pg) == CONNECTION_BAD)
        archive_disconnect(a);
    return code;
}

static int64_t deadline_of(const struct archive *a) {
    return bf_time_monotonic_us() + (a->s.statement_timeout_ms + GRACE_MS) * 1000;
}

/* Wait until the socket can be read (or also written); false: the deadline passed or the socket is gone. */
static bool wait_socket(struct archive *a, bool write, int64_t deadline_us) {
    struct pollfd fd = {.fd = PQsocket(a->pg), .events = (short)(POLLIN | (write ? POLLOUT : 0))};
    int64_t left_ms = (deadline_us - bf_time_monotonic_us()) / 1000;
    if (fd.fd < 0 || left_ms <= 0)
        return false;
    int n = poll(&fd, 1, left_ms > 3600000 ? 3600000 : (int)left_ms);
    return n > 0 || (n < 0 && errno == EINTR) || left_ms > 3600000;
}

static enum bf_code silent(struct archive *a, const char *doing, struct bf_err *err) {
    archive_disconnect(a);
    return bf_fail(err, BF_AGAIN, 0, "PostgreSQL, %s: no answer in time", doing);
}

static enum bf_code flush(struct archive *a, const char *doing, int64_t deadline_us, struct bf_err *err) {
    for (int left; (left = PQflush(a->pg)) != 0;) {
        if (left < 0)
            return archive_fail(a, NULL, doing, err);
        if (!wait_socket(a, true, deadline_us))
            return silent(a, doing, err);
        if (!PQconsumeInput(a->pg))
            return archive_fail(a, NULL, doing, err);
    }
    return BF_OK;
}

/* The next result, or NULL when the statement is through. */
static enum bf_code next_result(struct archive *a, const char *doing, int64_t deadline_us, PGresult **out, struct bf_err *err) {
    enum bf_code code = flush(a, doing, deadline_us, err);
    while (code == BF_OK && PQisBusy(a->pg)) {
        if (!wait_socket(a, false, deadline_us))
            return silent(a, doing, err);
        if (!PQconsumeInput(a->pg))
            return archive_fail(a, NULL, doing, err);
    }
    if (code == BF_OK)
        *out = PQgetResult(a->pg);
    return code;
}

/* Keep the first failed (else the last) result of a statement, until it is through. */
static enum bf_code all_results(struct archive *a, const char *doing, PGresult **out, struct bf_err *err) {
    int64_t deadline_us = deadline_of(a);
    PGresult *kept = NULL, *r = NULL;
    enum bf_code code;
    while ((code = next_result(a, doing, deadline_us, &r, err)) == BF_OK && r) {
        if (kept && PQresultStatus(kept) == PGRES_FATAL_ERROR) {
            PQclear(r);
            continue;
        }
        PQclear(kept);
        kept = r;
        ExecStatusType st = PQresultStatus(r);
        if (st == PGRES_COPY_IN || st == PGRES_COPY_OUT || st == PGRES_COPY_BOTH)
            break;
    }
    if (code == BF_OK && !kept)
        code = archive_fail(a, NULL, doing, err);
    if (code == BF_OK && (PQresultStatus(kept) == PGRES_FATAL_ERROR || PQresultStatus(kept) == PGRES_BAD_RESPONSE))
        code = archive_fail(a, kept, doing, err);
    if (code == BF_OK)
        *out = kept;
    else
        PQclear(kept);
    return code;
}

/* Ask under a name; the answer is still to be read. */
static enum bf_code send_kept(struct archive *a, const char *sql, const char *const *values, const int *formats, const char *doing,
                              struct bf_err *err) {
    struct params *p = &a->params;
    char name[ARCHIVE_STATEMENT_MAX];
    enum archive_statement_state state;
    PGresult *r = NULL;
    enum bf_code code = archive_statement(a, sql, &state, name, err);
    if (code == BF_OK && state == STATEMENT_TO_PREPARE) {
        code = PQsendPrepare(a->pg, name, sql, p->count, p->types) ? all_results(a, doing, &r, err) : archive_fail(a, NULL, doing, err);
        PQclear(r);
    }
    if (code != BF_OK) { /* which names the server has is not certain any more: a new session has none */
        if (code != BF_AGAIN)
            archive_disconnect(a);
        return code;
    }
    bool sent = state == STATEMENT_ONCE ? PQsendQueryParams(a->pg, sql, p->count, p->types, values, p->lengths, formats, 1)
                                        : PQsendQueryPrepared(a->pg, name, p->count, values, p->lengths, formats, 1);
    return sent ? BF_OK : archive_fail(a, NULL, doing, err);
}

static enum bf_code send(struct archive *a, const char *sql, bool kept, const char *doing, struct bf_err *err) {
    struct params *p = &a->params;
    const char *values[PARAMS_MAX];
    int formats[PARAMS_MAX];
    if (p->bytes.failed)
        return bf_fail(err, BF_NOMEM, 0, "PostgreSQL, %s: the statement's parameters are too large", doing);
    for (int i = 0; i < p->count; i++) {
        formats[i] = 1;
        values[i] = p->lengths[i] < 0 ? NULL : p->lengths[i] == 0 ? "" : p->bytes.data + p->at[i];
    }
    if (kept)
        return send_kept(a, sql, values, formats, doing, err);
    if (!PQsendQueryParams(a->pg, sql, p->count, p->types, values, p->lengths, formats, 1))
        return archive_fail(a, NULL, doing, err);
    return BF_OK;
}

/* 26000: the server knows the name no more (somebody said DISCARD, or a pooler gave us another server); 0A000: a migration changed a column's type under a
 * kept plan. Both are said before the first row. */
static bool no_longer_kept(struct archive *a, const struct bf_err *err) {
    bool gone = strcmp(err->sqlstate, "26000") == 0 || strcmp(err->sqlstate, "0A000") == 0;
    if (gone)
        archive_disconnect(a); /* a new session begins without any */
    return gone;
}

static enum bf_code exec(struct archive *a, const char *sql, bool kept, const char *doing, PGresult **out, struct bf_err *err) {
    PGresult *r = NULL;
    enum bf_code code = archive_ready(a, err);
    if (code == BF_OK)
        code = send(a, sql, kept, doing, err);
    if (code == BF_OK)
        code = all_results(a, doing, &r, err);
    if (code == BF_OK && out)
        *out = r;
    else
        PQclear(r);
    return code;
}

enum bf_code archive_exec(struct archive *a, const char *sql, const char *doing, PGresult **out, struct bf_err *err) {
    return exec(a, sql, false, doing, out, err);
}

enum bf_code archive_exec_kept(struct archive *a, const char *sql, const char *doing, PGresult **out, struct bf_err *err) {
    bf_assert(!a->in_transaction);
    enum bf_code code = exec(a, sql, true, doing, out, err);
    return code != BF_OK && no_longer_kept(a, err) ? exec(a, sql, false, doing, out, err) : code;
}

void *archive_rows_room(PGresult *r, size_t row_bytes, size_t *count, struct bf_err *err) {
    *count = (size_t)PQntuples(r);
    void *room = calloc(*count ? *count : 1, row_bytes);
    if (!room) {
        (void)bf_fail(err, BF_NOMEM, 0, "no memory for %zu rows of the archive", *count);
        PQclear(r);
    }
    return room;
}

/* Tell the server that nobody listens any more, and throw away what it had sent. */
static void stop_stream(struct archive *a, int64_t deadline_us) {
    char why[256];
    PGresult *r = NULL;
    struct bf_err ignored;
    PGcancel *cancel = PQgetCancel(a->pg);
    if (cancel) {
        PQcancel(cancel, why, sizeof why);
        PQfreeCancel(cancel);
    }
    while (next_result(a, "stopping a query", deadline_us, &r, &ignored) == BF_OK && r)
        PQclear(r);
}

static enum bf_code stream(struct archive *a, const char *sql, bool kept, const char *doing, archive_row_fn row, void *ctx, struct bf_err *err) {
    PGresult *r = NULL;
    enum bf_code code = archive_ready(a, err);
    if (code == BF_OK)
        code = send(a, sql, kept, doing, err);
    if (code != BF_OK)
        return code;
    PQsetSingleRowMode(a->pg);
    while ((code = next_result(a, doing, deadline_of(a), &r, err)) == BF_OK && r) {
        ExecStatusType st = PQresultStatus(r);
        if (st == PGRES_SINGLE_TUPLE)
            code = row(ctx, r, err);
        else if (st != PGRES_TUPLES_OK)
            code = archive_fail(a, r, doing, err);
        PQclear(r);
        if (code != BF_OK)
            break;
    }
    if (code != BF_OK && a->pg && PQtransactionStatus(a->pg) == PQTRANS_ACTIVE)
        stop_stream(a, deadline_of(a));
    return code == BF_CANCELLED ? BF_OK : code;
}

enum bf_code archive_stream(struct archive *a, const char *sql, const char *doing, archive_row_fn row, void *ctx, struct bf_err *err) {
    return stream(a, sql, false, doing, row, ctx, err);
}

enum bf_code archive_stream_kept(struct archive *a, const char *sql, const char *doing, archive_row_fn row, void *ctx, struct bf_err *err) {
    bf_assert(!a->in_transaction);
    enum bf_code code = stream(a, sql, true, doing, row, ctx, err);
    return code != BF_OK && no_longer_kept(a, err) ? stream(a, sql, false, doing, row, ctx, err) : code;
}

enum bf_code archive_script(struct archive *a, const char *sql, const char *doing, struct bf_err *err) {
    PGresult *r = NULL;
    enum bf_code code = archive_ready(a, err);
    if (code == BF_OK && !PQsendQuery(a->pg, sql))
        code = archive_fail(a, NULL, doing, err);
    if (code == BF_OK)
        code = all_results(a, doing, &r, err);
    PQclear(r);
    return code;
}

enum bf_code archive_begin(struct archive *a, struct bf_err *err) {
    enum bf_code code = archive_script(a, "begin", "begin", err);
    a->in_transaction = code == BF_OK;
    return code;
}

enum bf_code archive_begin_impatient(struct archive *a, struct bf_err *err) {
    char sql[64];
    snprintf(sql, sizeof sql, "begin; set local lock_timeout = %d", ARCHIVE_PATIENCE_MS);
    enum bf_code code = archive_script(a, sql, "begin", err);
    a->in_transaction = code == BF_OK;
    return code;
}

void archive_rollback(struct archive *a) {
    struct bf_err ignored;
    if (a->pg && a->in_transaction && archive_script(a, "rollback", "rollback", &ignored) != BF_OK)
        archive_disconnect(a);
    a->in_transaction = false;
}

enum bf_code archive_commit(struct archive *a, bool *unknown, struct bf_err *err) {
    enum bf_code code = archive_script(a, "commit", "commit", err);
    /* A state means that the server itself said no; all of 08 and an answer without a state leave it open. */
    *unknown = code == BF_AGAIN && (!*err->sqlstate || strncmp(err->sqlstate, "08", 2) == 0 || strncmp(err->sqlstate, "57P", 3) == 0);
    a->in_transaction = false;
    return code;
}

enum bf_code archive_copy_begin(struct archive *a, const char *sql, struct bf_err *err) {
    return archive_script(a, sql, "copy", err);
}

enum bf_code archive_copy_put(struct archive *a, const struct bf_buf *piece, struct bf_err *err) {
    if (piece->failed)
        return bf_fail(err, BF_NOMEM, 0, "no memory for rows on their way to PostgreSQL");
    if (PQputCopyData(a->pg, piece->data, (int)piece->len) < 0)
        return archive_fail(a, NULL, "copy", err);
    return flush(a, "copy", deadline_of(a), err);
}

/* "COPY events, line 17, column payload" */
static int64_t line_of(const PGresult *r) {
    const char *where = r ? PQresultErrorField(r, PG_DIAG_CONTEXT) : NULL;
    const char *at = where ? strstr(where, "COPY ") : NULL;
    at = at ? strstr(at, ", line ") : NULL;
    return at ? strtoll(at + strlen(", line "), NULL, 10) : 0;
}

enum bf_code archive_copy_end(struct archive *a, int64_t *line, struct bf_err *err) {
    int64_t deadline_us = deadline_of(a);
    PGresult *r = NULL;
    enum bf_code code = BF_OK, verdict = BF_OK;
    if (line)
        *line = 0;
    if (PQputCopyEnd(a->pg, NULL) < 0)
        return archive_fail(a, NULL, "copy", err);
    while ((code = next_result(a, "copy", deadline_us, &r, err)) == BF_OK && r) {
        if (verdict == BF_OK && PQresultStatus(r) != PGRES_COMMAND_OK) {
            if (line)
                *line = line_of(r);
            verdict = archive_fail(a, r, "copy", err);
        }
        PQclear(r);
        if (!a->pg)
            break;
    }
    return verdict != BF_OK ? verdict : code;
}

/* ---- connecting ---- */

static enum bf_code check_server(struct archive *a, struct bf_err *err) {
    const char *encoding = PQparameterStatus(a->pg, "server_encoding");
    if (PQserverVersion(a->pg) < 150000)
        return bf_fail(err, BF_BROKEN, 0, "PostgreSQL %d is too old: 15 or later is needed", PQserverVersion(a->pg) / 10000);
    if (!encoding || strcmp(encoding, "UTF8") != 0)
        return bf_fail(err, BF_BROKEN, 0, "the database's encoding is %s: it must be UTF8", encoding ? encoding : "unknown");
    return BF_OK;
}

static enum bf_code set_session(struct archive *a, struct bf_err *err) {
    char timeout[32];
    snprintf(timeout, sizeof timeout, "%lld", (long long)a->s.statement_timeout_ms);
    params_clear(&a->params);
    params_text(&a->params, bf_slice_str(timeout));
    params_text(&a->params, bf_slice_str(a->s.read_only ? "on" : "off"));
    /* Pages are read in an index's order. Through a bitmap a kept plan would gather and sort all that a large node ever had; one that was made while a
     * partition was empty would read all of it later. */
    params_text(&a->params, bf_slice_str(a->s.read_only ? "off" : "on"));
    return archive_exec(a,
                        "select set_config('statement_timeout', $1, false), set_config('default_transaction_read_only', $2, false),"
                        " set_config('idle_in_transaction_session_timeout', $1, false), set_config('jit', 'off', false),"
                        " set_config('timezone', 'UTC', false), set_config('client_min_messages', 'warning', false),"
                        " set_config('enable_bitmapscan', $3, false), set_config('enable_seqscan', $3, false)",
                        "setting up the session", NULL, err);
}

/* Rights as small as they can be, even where the login has more. Before the first migration the roles are not there. */
enum bf_code archive_take_role(struct archive *a, struct bf_err *err) {
    params_clear(&a->params);
    params_text(&a->params, bf_slice_str(a->s.read_only ? "capsule_auditor" : "capsule_writer"));
    return archive_exec(a,
                        "select set_config('role', rolname, false) from pg_catalog.pg_roles"
                        " where rolname = $1 and pg_has_role(session_user, oid, 'member') and to_regclass('capsule.migrations') is not null",
                        "taking a role", NULL, err);
}

static void ignore_notice(void *ctx, const PGresult *r) {
    (void)ctx;
    (void)r;
}

enum bf_code archive_ready(struct archive *a, struct bf_err *err) {
    if (a->pg && PQstatus(a->pg) == CONNECTION_OK)
        return BF_OK;
    if (a->in_transaction) { /* the caller's transaction went with its connection: never go on in a new one */
        archive_disconnect(a);
        return bf_fail(err, BF_AGAIN, 0, "PostgreSQL: the connection was lost within a transaction");
    }
    archive_disconnect(a);
    char seconds[32];
    snprintf(seconds, sizeof seconds, "%lld", (long long)(a->s.connect_timeout_ms + 999) / 1000);
    const char *keys[] = {"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "connect_timeout", "dbname",
                          "application_name", "client_encoding", NULL};
    const char *values[] = {"10", "5", "3", "30000", seconds, a->conninfo, a->application, "UTF8", NULL};
    /* What a caller was putting together stays: statements of the session use parameters of their own. */
    struct params callers = a->params;
    params_init(&a->params);
    a->pg = PQconnectdbParams(keys, values, 1);
    enum bf_code code = a->pg ? BF_OK : bf_fail(err, BF_NOMEM, 0, "no memory for a connection to PostgreSQL");
    if (code == BF_OK && PQstatus(a->pg) != CONNECTION_OK)
        code = archive_fail(a, NULL, "connecting", err);
    if (code == BF_OK) {
        PQsetnonblocking(a->pg, 1);
        PQsetNoticeReceiver(a->pg, ignore_notice, NULL);
        code = check_server(a, err);
    }
    if (code == BF_OK)
        code = set_session(a, err);
    if (code == BF_OK)
        code = archive_take_role(a, err);
    params_fini(&a->params);
    a->params = callers;
    if (code != BF_OK)
        archive_disconnect(a);
    return code;
}

enum bf_code archive_ping(struct archive *a, struct bf_err *err) {
    params_clear(&a->params);
    return archive_exec(a, "select 1", "ping", NULL, err);
}
