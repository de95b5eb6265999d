/* A real PostgreSQL for tests: a private cluster made by tools/postgres in a temporary folder at first use and thrown away when the program
 * ends, or the one that BF_TEST_POSTGRES (a conninfo of somebody who may make databases) names. Failures fail the cmocka test.
 */
#ifndef TEST_PG_H
#define TEST_PG_H

/* A new empty database; its conninfo is the caller's to give to test_pg_drop(). */
char *test_pg_database(void);
void test_pg_drop(char *conninfo);

/* The first value of the answer as text (free() it), NULL when there is no row or it is null. */
char *test_pg_value(const char *conninfo, const char *sql);
/* The same as a number; -1 when there is none. */
long long test_pg_number(const char *conninfo, const char *sql);
/* Run a script; its SQLSTATE, "" when it went through. Static until the next call. */
const char *test_pg_state(const char *conninfo, const char *sql);
/* Run a script that must go through. */
void test_pg_run(const char *conninfo, const char *sql);

#endif
