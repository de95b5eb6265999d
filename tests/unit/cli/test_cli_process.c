/* The supervisor's children: started, watched, stopped, and told apart from strangers. */
#include "process.h"

#include "bf_buf.h"
#include "bf_time.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], log_path[96];

static void start(struct process *p, const char *script) {
    struct bf_err err;
    char *argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)(uintptr_t)script, NULL};
    *p = (struct process){.name = "sh", .watch = -1};
    assert_int_equal(process_start(p, argv, log_path, dir, &err), BF_OK);
}

static void await_end(struct process *p) {
    for (int i = 0; i < 1000 && !process_ended(p); i++)
        bf_sleep_ms(10);
    assert_int_equal(p->pid, 0);
}

static void await_log(const char *text) {
    char content[4096];
    for (int i = 0; i < 1000; i++) {
        FILE *f = fopen(log_path, "r");
        size_t n = f != NULL ? fread(content, 1, sizeof content - 1, f) : 0;
        content[n] = '\0';
        if (f != NULL)
            fclose(f);
        if (strstr(content, text) != NULL)
            return;
        bf_sleep_ms(10);
    }
    fail_msg("the log never said %s", text);
}

static void test_process__its_exit_code_is_known_and_its_words_are_in_the_log(void **state) {
    (void)state;
    struct process p;
    start(&p, "echo to-stdout; echo to-stderr >&2; exit 7");
    await_end(&p);
    assert_int_equal(p.exit_code, 7);
    await_log("to-stdout");
    await_log("to-stderr");
}

static void test_process__a_signal_is_128_and_its_number(void **state) {
    (void)state;
    struct process p;
    start(&p, "kill -9 $$");
    await_end(&p);
    assert_int_equal(p.exit_code, 128 + SIGKILL);
}

static void test_process__stop_is_gentle_first(void **state) {
    (void)state;
    struct process p;
    start(&p, "trap 'echo flushed; exit 0' TERM; echo gentle-ready; while :; do sleep 0.05; done");
    await_log("gentle-ready");
    assert_true(process_stop(&p, 10000));
    assert_int_equal(p.exit_code, 0);
    await_log("flushed");
}

static void test_process__stop_kills_what_does_not_listen(void **state) {
    (void)state;
    struct process p;
    start(&p, "trap '' TERM; echo deaf-ready; while :; do sleep 0.05; done");
    await_log("deaf-ready");
    assert_false(process_stop(&p, 200));
    assert_int_equal(p.exit_code, 128 + SIGKILL);
}

static void test_process__a_pid_is_ours_only_with_our_mark(void **state) {
    (void)state;
    struct process p;
    start(&p, "echo mark-ready; sleep 60");
    await_log("mark-ready");
    assert_true(process_is_ours(p.pid, dir));
    assert_false(process_is_ours(p.pid, "/somewhere/else"));
    assert_false(process_is_ours(getpid(), dir));
    assert_false(process_is_ours(0, dir));
    assert_int_equal(process_find("sh", "/somewhere/else"), 0);
    pid_t pid = p.pid;
    assert_true(process_stop(&p, 10000));
    assert_false(process_is_ours(pid, dir));
}

static void test_process__a_stranger_is_stopped_only_if_marked(void **state) {
    (void)state;
    struct process p;
    start(&p, "echo foreign-ready; exec sleep 60");
    await_log("foreign-ready");
    process_stop_foreign(p.pid, "/somewhere/else", 100);
    bf_sleep_ms(50);
    assert_false(process_ended(&p));
    process_stop_foreign(p.pid, dir, 10000);
    await_end(&p);
    assert_int_equal(p.exit_code, 128 + SIGTERM);
}

static void test_process__dies_with_its_supervisor(void **state) {
    (void)state;
    struct bf_err err;
    pid_t supervisor = fork();
    if (supervisor == 0) {
        struct process p = {.name = "sh", .watch = -1};
        char *argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)"trap 'echo orphan-stopped; exit 0' TERM; echo orphan-ready; while :; do sleep 0.05; done", NULL};
        if (process_start(&p, argv, log_path, dir, &err) != BF_OK)
            _exit(1);
        pause();
        _exit(0);
    }
    await_log("orphan-ready");
    kill(supervisor, SIGKILL);
    waitpid(supervisor, NULL, 0);
    await_log("orphan-stopped");
}

static void test_process__a_missing_program_is_said(void **state) {
    (void)state;
    struct bf_err err;
    struct process p = {.watch = -1};
    char *argv[] = {(char *)"/no/such/program", NULL};
    assert_int_equal(process_start(&p, argv, log_path, dir, &err), BF_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/no/such/program"));
}

static void test_run__gives_output_and_exit_code(void **state) {
    (void)state;
    struct bf_err err;
    struct bf_buf out;
    int exit_code = -1;
    char *argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)"echo answer; exit 3", NULL};
    bf_buf_init(&out, 4096);
    assert_int_equal(process_run(argv, log_path, &out, &exit_code, &err), BF_OK);
    assert_int_equal(exit_code, 3);
    assert_int_equal(out.len, 7);
    assert_memory_equal(out.data, "answer\n", 7);
    bf_buf_fini(&out);
}

static int setup(void **state) {
    (void)state;
    strcpy(dir, "/tmp/butterfly-process.XXXXXX");
    snprintf(log_path, sizeof log_path, "%s/log", mkdtemp(dir));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    unlink(log_path);
    return rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process__its_exit_code_is_known_and_its_words_are_in_the_log),
        cmocka_unit_test(test_process__a_signal_is_128_and_its_number),
        cmocka_unit_test(test_process__stop_is_gentle_first),
        cmocka_unit_test(test_process__stop_kills_what_does_not_listen),
        cmocka_unit_test(test_process__a_pid_is_ours_only_with_our_mark),
        cmocka_unit_test(test_process__a_stranger_is_stopped_only_if_marked),
        cmocka_unit_test(test_process__dies_with_its_supervisor),
        cmocka_unit_test(test_process__a_missing_program_is_said),
        cmocka_unit_test(test_run__gives_output_and_exit_code),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
