/* Each kind of rule: a table of signals and what is said of each. The tables are the manual's examples, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_fixture.h"

#define SECOND 1000
#define MINUTE (60 * SECOND)

static void test_threshold__fires_when_it_is_crossed(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"hot\",\"kind\":\"threshold\",\"field\":\"stress\",\"above\":0.9}",
           {0, NAN, 0.5, ""},
           {1, NAN, 0.9, "hot: stress is 0.9, at or above the limit of 0.9"},
           {2, NAN, 0.95, ""}, /* it is above already */
           {3, NAN, NAN, ""},  /* says nothing about it */
           {4, NAN, 0.95, ""},
           {5, NAN, 0.1, ""},
           {6, NAN, 1.0, "hot: stress is 1, at or above the limit of 0.9"});
}

static void test_threshold__each_fires_each_time(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"low\",\"kind\":\"threshold\",\"field\":\"price\",\"below\":1,\"fire\":\"each\"}",
           {0, 1.5, NAN, ""}, {1, 0.5, NAN, "low: price is 0.5, at or below the limit of 1"},
           {2, 0.25, NAN, "low: price is 0.25, at or below the limit of 1"}, {3, NAN, NAN, ""}, {4, 2, NAN, ""});
}

static void test_threshold__both_bounds_are_a_band(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"band\",\"kind\":\"threshold\",\"field\":\"price\",\"below\":1,\"above\":2,\"fire\":\"each\"}",
           {0, 1.5, NAN, ""}, {1, 2.5, NAN, "band: price is 2.5, at or above the limit of 2"}, {2, 0.5, NAN, "band: price is 0.5, at or below the limit of 1"});
}

static void test_percent_move__compares_with_the_signal_before(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"move\",\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":3}",
           {0, 100, NAN, ""},
           {1, 102, NAN, ""},
           {2, 106, NAN, "move: price moved by 3.922 % from 102 to 106, the limit is 3 %"},
           {3, NAN, 0.5, ""}, /* no price: the one before stays */
           {4, 100, NAN, "move: price moved by -5.66 % from 106 to 100, the limit is 3 %"},
           {5, 97, NAN, "move: price moved by -3 % from 100 to 97, the limit is 3 %"},
           {6, 0, NAN, "move: price moved by -100 % from 97 to 0, the limit is 3 %"},
           {7, 50, NAN, ""}, /* from nothing there are no percents */
           {8, 50, NAN, ""});
}

/* A window of 8 s keeps the first sample of each second. */
static void test_percent_move__over_a_window_compares_with_its_oldest(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"drift\",\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":10,\"window\":\"8s\"}",
           {0, 100, NAN, ""}, {500, 1, NAN, "drift: price moved by -99 % from 100 to 1, the limit is 10 %"}, {1 * SECOND, 104, NAN, ""},
           {2 * SECOND, 108, NAN, ""}, {8 * SECOND, 110, NAN, "drift: price moved by 10 % from 100 to 110, the limit is 10 %"},
           {9 * SECOND, 112, NAN, ""}, /* from 104: 7.7 % */
           {30 * SECOND, 500, NAN, ""}, /* nothing is left in the window */
           {31 * SECOND, 600, NAN, "drift: price moved by 20 % from 500 to 600, the limit is 10 %"});
}

static void test_rate_of_change__is_per_time(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"fall\",\"kind\":\"rate_of_change\",\"field\":\"price\",\"below\":-2,\"per\":\"1m\"}",
           {0, 100, NAN, ""}, {1 * MINUTE, 99, NAN, ""}, {2 * MINUTE, 97, NAN, "fall: price changes by -2 in 60000 ms, from 99 to 97, the limit is -2"},
           {4 * MINUTE, 94, NAN, ""}, {4 * MINUTE + 30 * SECOND, 93, NAN, "fall: price changes by -2 in 60000 ms, from 94 to 93, the limit is -2"},
           {4 * MINUTE + 30 * SECOND, 10, NAN, ""}); /* at the same moment there is no rate */
}

static void test_rate_of_change__over_a_window(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"rise\",\"kind\":\"rate_of_change\",\"field\":\"price\",\"above\":5,\"per\":\"1s\",\"window\":\"8s\"}",
           {0, 0, NAN, ""}, {2 * SECOND, 8, NAN, ""}, {4 * SECOND, 20, NAN, "rise: price changes by 5 in 1000 ms, from 0 to 20, the limit is 5"},
           {8 * SECOND, 30, NAN, ""});
}

static void test_zscore__compares_with_the_window_before(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"odd\",\"kind\":\"zscore\",\"field\":\"price\",\"above\":3,\"below\":-3,\"window\":\"7s\",\"count_min\":4}",
           {0, 10, NAN, ""}, {1000, 1000, NAN, ""}, /* too few to say */
           {20000, 9, NAN, ""}, {20100, 11, NAN, ""}, {20200, 9, NAN, ""}, {20300, 11, NAN, ""}, /* what was before is out of the window */
           {21000, 13, NAN, ""}, /* 2.6 deviations of 1.155 */
           {22000, 20, NAN, "odd: price is 20, 5.618 standard deviations from its mean of 10.6, the limit is 3"},
           {23000, -20, NAN, "odd: price is -20, -7.809 standard deviations from its mean of 12.1667, the limit is -3"},
           {60000, 20, NAN, ""});
}

static void test_zscore__says_nothing_of_what_never_varied(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"odd\",\"kind\":\"zscore\",\"field\":\"price\",\"above\":3,\"window\":\"7s\",\"count_min\":2}",
           {0, 10, NAN, ""}, {1, 10, NAN, ""}, {2, 10, NAN, ""}, {3, 99, NAN, ""});
}

static void test_silence__is_seen_when_the_node_speaks_again(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"gone\",\"kind\":\"silence\",\"after\":\"5s\"}",
           {0, 1, NAN, ""}, {4999, 1, NAN, ""}, {9998, 1, NAN, ""}, {14998, 1, NAN, "gone: nothing was heard of it for 5 s"}, {15000, 1, NAN, ""});
}

static void test_regime__moves_by_levels(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"regime\",\"kind\":\"regime\"}",
           {0, NAN, 0.1, ""}, {1, NAN, 0.3, "regime: stress went from STABLE to ELEVATED at 0.3"},
           {2, NAN, 0.85, "regime: stress went from ELEVATED to CRITICAL at 0.85"}, {3, NAN, 0.8, ""}, {4, NAN, NAN, ""},
           {5, NAN, 0.79, "regime: stress went from CRITICAL to STRESSED at 0.79"}, {6, NAN, 0, "regime: stress went from STRESSED to STABLE at 0"});
}

static void test_regime__the_first_signal_may_be_critical(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"regime\",\"kind\":\"regime\"}", {0, NAN, 0.9, "regime: stress went from STABLE to CRITICAL at 0.9"});
}

static void test_regime__falls_only_below_the_hysteresis(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"regime\",\"kind\":\"regime\",\"levels\":[0.2,0.4,0.6],\"hysteresis\":0.05}",
           {0, NAN, 0.62, "regime: stress went from STABLE to CRITICAL at 0.62"}, {1, NAN, 0.58, ""}, {2, NAN, 0.61, ""},
           {3, NAN, 0.54, "regime: stress went from CRITICAL to STRESSED at 0.54"}, {4, NAN, 0.58, ""},
           {5, NAN, 0.36, ""}, {6, NAN, 0.6, "regime: stress went from STRESSED to CRITICAL at 0.6"});
}

static void test_regime__falls_only_after_its_dwell_and_rises_at_once(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"regime\",\"kind\":\"regime\",\"min_dwell\":\"10s\"}",
           {0, NAN, 0.7, "regime: stress went from STABLE to STRESSED at 0.7"}, {9999, NAN, 0.1, ""},
           {9999, NAN, 0.9, "regime: stress went from STRESSED to CRITICAL at 0.9"}, {15000, NAN, 0.1, ""},
           {19999, NAN, 0.1, "regime: stress went from CRITICAL to STABLE at 0.1"});
}

static void test_all__holds_when_every_one_does(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"crash\",\"kind\":\"all\",\"of\":[{\"kind\":\"threshold\",\"field\":\"stress\",\"above\":0.5},"
           "{\"kind\":\"percent_move\",\"field\":\"price\",\"percent\":5}]}",
           {0, 100, 0.1, ""}, {1, 110, 0.2, ""}, {2, NAN, 0.7, ""}, /* tense, nothing moves */
           {3, 120, NAN, "crash: all of its conditions hold: price moved by 9.091 % from 110 to 120, the limit is 5 %"}, /* the stress is remembered */
           {4, 130, NAN, ""}, /* it holds already */
           {5, 131, NAN, ""}, {6, 150, 0.8, "crash: all of its conditions hold: stress is 0.8, at or above the limit of 0.5"});
}

static void test_any_and_not__combine(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"odd\",\"kind\":\"any\",\"fire\":\"each\",\"of\":[{\"kind\":\"threshold\",\"field\":\"price\",\"above\":10},"
           "{\"kind\":\"not\",\"of\":[{\"kind\":\"threshold\",\"field\":\"stress\",\"below\":0.5}]}]}",
           {0, 1, 0.1, ""}, {1, 11, 0.1, "odd: one of its conditions holds: price is 11, at or above the limit of 10"},
           {2, 1, 0.9, "odd: one of its conditions holds"}, {3, 1, 0.2, ""});
}

static void test_combination__may_hold_a_silence_and_a_regime(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"back\",\"kind\":\"all\",\"of\":[{\"kind\":\"silence\",\"after\":\"5s\"},{\"kind\":\"regime\"}]}",
           {0, NAN, 0.1, ""}, {1000, NAN, 0.9, ""}, {9000, NAN, 0.9, ""}, {20000, NAN, 0.1, "back: all of its conditions hold: nothing was heard of it for 5 s"});
}

static void test_cooldown__counts_event_time_from_the_last_that_fired(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"low\",\"kind\":\"threshold\",\"field\":\"price\",\"below\":1,\"fire\":\"each\",\"cooldown\":\"10s\"}",
           {0, 0.5, NAN, "low: price is 0.5, at or below the limit of 1"}, {5000, 0.5, NAN, ""}, {9999, 0.5, NAN, ""},
           {10000, 0.5, NAN, "low: price is 0.5, at or below the limit of 1"}, {19999, 0.5, NAN, ""});
}

static void test_several_rules__speak_in_the_files_order(void **state) {
    (void)state;
    GOLDEN("{\"name\":\"b\",\"kind\":\"threshold\",\"field\":\"price\",\"above\":1},{\"name\":\"a\",\"kind\":\"regime\"}",
           {0, 2, 0.9, "b: price is 2, at or above the limit of 1 | a: stress went from STABLE to CRITICAL at 0.9"});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threshold__fires_when_it_is_crossed),
        cmocka_unit_test(test_threshold__each_fires_each_time),
        cmocka_unit_test(test_threshold__both_bounds_are_a_band),
        cmocka_unit_test(test_percent_move__compares_with_the_signal_before),
        cmocka_unit_test(test_percent_move__over_a_window_compares_with_its_oldest),
        cmocka_unit_test(test_rate_of_change__is_per_time),
        cmocka_unit_test(test_rate_of_change__over_a_window),
        cmocka_unit_test(test_zscore__compares_with_the_window_before),
        cmocka_unit_test(test_zscore__says_nothing_of_what_never_varied),
        cmocka_unit_test(test_silence__is_seen_when_the_node_speaks_again),
        cmocka_unit_test(test_regime__moves_by_levels),
        cmocka_unit_test(test_regime__the_first_signal_may_be_critical),
        cmocka_unit_test(test_regime__falls_only_below_the_hysteresis),
        cmocka_unit_test(test_regime__falls_only_after_its_dwell_and_rises_at_once),
        cmocka_unit_test(test_all__holds_when_every_one_does),
        cmocka_unit_test(test_any_and_not__combine),
        cmocka_unit_test(test_combination__may_hold_a_silence_and_a_regime),
        cmocka_unit_test(test_cooldown__counts_event_time_from_the_last_that_fired),
        cmocka_unit_test(test_several_rules__speak_in_the_files_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
