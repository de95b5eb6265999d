#include "test_pg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char cluster_dir[64];
static char cluster[1024]; /* conninfo; empty: not there yet */
static pid_t cluster_pid;  /* of the process that started it: a forked child must not stop it */

static void stop_cluster(void) {
    char command[512];
    if (!*cluster_dir || getpid() != cluster_pid)
        return;
    snprintf(command, sizeof command, "'%s/tools/postgres' stop %s && rm -rf %s", BF_SOURCE_DIR, cluster_dir, cluster_dir);
    if (system(command) != 0)
        fprintf(stderr, "the test's PostgreSQL in %s was not stopped\n", cluster_dir);
}

static void start_cluster(void) {
    char command[512];
    const char *given = getenv("BF_TEST_POSTGRES");
    if (given && *given) {
        snprintf(cluster, sizeof cluster, "%s", given);
        return;
    }
    strcpy(cluster_dir, "/tmp/bf-test-pg-XXXXXX");
    if (!mkdtemp(cluster_dir))
        fail_msg("no temporary folder");
    cluster_pid = getpid();
    atexit(stop_cluster);
    snprintf(command, sizeof command, "'%s/tools/postgres' start %s", BF_SOURCE_DIR, cluster_dir);
    FILE *out = popen(command, "r");
    if (!out || !fgets(cluster, sizeof cluster, out) || pclose(out) != 0)
        fail_msg("tools/postgres does not start a cluster in %s", cluster_dir);
    cluster[strcspn(cluster, "\n")] = 0;
}

static PGconn *connect_to(const char *conninfo) {
    PGconn *pg = PQconnectdb(conninfo);
    if (PQstatus(pg) != CONNECTION_OK)
        fail_msg("cannot connect: %s", PQerrorMessage(pg));
    return pg;
}

static void quiet(void *ctx, const char *message) {
    (void)ctx;
    (void)message;
}

static PGresult *ask(const char *conninfo, const char *sql, PGconn **pg) {
    *pg = connect_to(conninfo);
    PQsetNoticeProcessor(*pg, quiet, NULL);
    PGresult *r = PQexec(*pg, sql);
    return r;
}

const char *test_pg_state(const char *conninfo, const char *sql) {
    static char state[6];
    PGconn *pg;
    PGresult *r = ask(conninfo, sql, &pg);
    const char *s = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    snprintf(state, sizeof state, "%s", s ? s : "");
    PQclear(r);
    PQfinish(pg);
    return state;
}

char *test_pg_value(const char *conninfo, const char *sql) {
    PGconn *pg;
    PGresult *r = ask(conninfo, sql, &pg);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQresultErrorMessage(r));
    char *value = PQntuples(r) > 0 && !PQgetisnull(r, 0, 0) ? strdup(PQgetvalue(r, 0, 0)) : NULL;
    PQclear(r);
    PQfinish(pg);
    return value;
}

long long test_pg_number(const char *conninfo, const char *sql) {
    char *value = test_pg_value(conninfo, sql);
    long long n = value ? strtoll(value, NULL, 10) : -1;
    free(value);
    return n;
}

void test_pg_run(const char *conninfo, const char *sql) {
    PGconn *pg;
    PGresult *r = ask(conninfo, sql, &pg);
    if (PQresultStatus(r) != PGRES_TUPLES_OK && PQresultStatus(r) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQresultErrorMessage(r));
    PQclear(r);
    PQfinish(pg);
}

char *test_pg_database(void) {
    static int number;
    char sql[128], *conninfo = NULL;
    if (!*cluster)
        start_cluster();
    snprintf(sql, sizeof sql, "create database bf_test_%d_%d", (int)getpid(), ++number);
    test_pg_run(cluster, sql);
    /* the last dbname of a conninfo counts */
    if (asprintf(&conninfo, "%s dbname=%s", cluster, sql + strlen("create database ")) < 0)
        fail_msg("no memory");
    return conninfo;
}

void test_pg_drop(char *conninfo) {
    char sql[160];
    const char *name = strrchr(conninfo, '=') + 1;
    snprintf(sql, sizeof sql, "drop database if exists %s with (force)", name);
    test_pg_run(cluster, sql);
    free(conninfo);
}
