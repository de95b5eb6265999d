/* What each SQLSTATE means for the line: an outage waits, poison is set aside, everything else stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "archive_sqlstate.h"

#include <string.h>

static const struct {
    const char *state;
    enum bf_code code;
} rows[] = {
    {"08000", BF_AGAIN}, {"08006", BF_AGAIN}, {"08P01", BF_AGAIN},                      /* connection */
    {"57014", BF_AGAIN}, {"57P01", BF_AGAIN}, {"57P02", BF_AGAIN}, {"57P03", BF_AGAIN}, /* cancelled, shutting down, starting */
    {"53100", BF_AGAIN}, {"53200", BF_AGAIN}, {"53300", BF_AGAIN},                      /* disk, memory, connections */
    {"58030", BF_AGAIN}, {"58P01", BF_AGAIN},                                           /* input, output */
    {"40001", BF_AGAIN}, {"40P01", BF_AGAIN},                                           /* serialization, deadlock */
    {"28P01", BF_AGAIN}, {"28000", BF_AGAIN},                                           /* not let in */
    {"25006", BF_AGAIN}, {"25P03", BF_AGAIN},                                           /* a standby; idle too long */
    {"55P03", BF_AGAIN}, {"55006", BF_AGAIN},                                           /* locks */
    {"3D000", BF_AGAIN},                                                                /* no such database */
    {"22P02", BF_REJECTED}, {"22021", BF_REJECTED}, {"22P05", BF_REJECTED}, {"22003", BF_REJECTED},
    {"23505", BF_REJECTED}, {"23502", BF_REJECTED}, {"23514", BF_REJECTED},
    {"54000", BF_REJECTED}, {"54001", BF_REJECTED},
    {"42P01", BF_BROKEN}, {"42501", BF_BROKEN}, {"42703", BF_BROKEN}, {"3F000", BF_BROKEN}, /* not our schema, not our rights */
    {"25001", BF_BROKEN}, {"25P02", BF_BROKEN}, {"55000", BF_BROKEN}, {"0A000", BF_BROKEN},
    {"XX000", BF_BROKEN}, {"XX001", BF_BROKEN}, {"P0001", BF_BROKEN}, {"ZZZZZ", BF_BROKEN},
};

static void test_sqlstate__each_state_has_its_meaning(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (archive_sqlstate_code(rows[i].state) != rows[i].code)
            fail_msg("%s: %s", rows[i].state, bf_code_name(archive_sqlstate_code(rows[i].state)));
}

static void test_sqlstate__no_state_is_a_lost_connection(void **state) {
    (void)state;
    assert_int_equal(archive_sqlstate_code(NULL), BF_AGAIN);
    assert_int_equal(archive_sqlstate_code(""), BF_AGAIN);
}

static void test_sqlstate__every_row_of_the_table_is_tested_and_reachable(void **state) {
    (void)state;
    for (size_t i = 0; i < archive_sqlstate_count; i++) {
        const struct archive_sqlstate *row = &archive_sqlstates[i];
        size_t seen = 0;
        assert_non_null(row->why);
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
            seen += strncmp(rows[k].state, row->prefix, strlen(row->prefix)) == 0 && rows[k].code == row->code;
        if (seen == 0)
            fail_msg("row %s is not tested", row->prefix);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sqlstate__each_state_has_its_meaning),
        cmocka_unit_test(test_sqlstate__no_state_is_a_lost_connection),
        cmocka_unit_test(test_sqlstate__every_row_of_the_table_is_tested_and_reachable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
