/* The program is killed with SIGKILL while clients register, again and again in one folder: whatever a client was told
 * stays true, and no id is given twice. Eight times; BF_TORTURE=1: two hundred. */
#include "bf_http_client.h"
#include "registry_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 4, TOLD_MAX = 200000 };

struct told {
    int id, number;
};

struct trial {
    char dir[64], url[128], endpoints[96];
    pid_t pid;
    atomic_bool stop;
    atomic_int next_number;
    pthread_mutex_t lock;
    struct told told[TOLD_MAX]; /* under lock */
    size_t told_count;          /* under lock */
};

static void wait_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void start(struct trial *t) {
    unlink(t->endpoints);
    t->pid = fork();
    if (t->pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 2);
        execl(BF_BIN_DIR "/registry", "registry", "--dir", t->dir, "--port", "0", "--endpoints-file", t->endpoints,
              (char *)NULL);
        _exit(127);
    }
    assert_true(t->pid > 0);
    for (int i = 0; i < 600; i++) {
        json_error_t where;
        json_t *endpoints = json_load_file(t->endpoints, 0, &where);
        if (endpoints != NULL) {
            const char *url = json_string_value(json_object_get(endpoints, "registry"));
            assert_non_null(url);
            snprintf(t->url, sizeof t->url, "%s", url);
            json_decref(endpoints);
            return;
        }
        int status;
        assert_int_equal(waitpid(t->pid, &status, WNOHANG), 0);
        wait_ms(20);
    }
    fail_msg("the registry does not come up");
}

static void body_of(int number, char *dst, size_t size) {
    snprintf(dst, size, "{\"schema\":\"{\\\"type\\\":\\\"record\\\",\\\"name\\\":\\\"N%d\\\",\\\"fields\\\":[]}\"}",
             number);
}

static void *client(void *arg) {
    struct trial *t = arg;
    struct bf_http_client *c = NULL;
    struct bf_buf answer;
    struct bf_err err;
    if (bf_http_client_new(5000, &c, &err) != BF_OK) {
        return NULL;
    }
    bf_buf_init(&answer, 1 << 20);
    while (!atomic_load(&t->stop)) {
        char url[256], body[200];
        int status, number = atomic_fetch_add(&t->next_number, 1);
        snprintf(url, sizeof url, "%s/subjects/s%d/versions", t->url, number);
        body_of(number, body, sizeof body);
        if (bf_http_call(c, "POST", url, "application/json", bf_slice_str(body), &status, &answer, &err) != BF_OK ||
            status != 200) {
            continue; /* not told anything */
        }
        json_error_t where;
        json_t *json = json_loadb(answer.data, answer.len, 0, &where);
        pthread_mutex_lock(&t->lock);
        if (t->told_count < TOLD_MAX) {
            t->told[t->told_count++] = (struct told){(int)json_integer_value(json_object_get(json, "id")), number};
        }
        pthread_mutex_unlock(&t->lock);
        json_decref(json);
    }
    bf_buf_fini(&answer);
    bf_http_client_free(c);
    return NULL;
}

static void kill_while_registering(struct trial *t, unsigned *seed) {
    pthread_t threads[CLIENTS];
    int status;
    atomic_store(&t->stop, false);
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, client, t), 0);
    }
    wait_ms(150 + rand_r(seed) % 250);
    assert_int_equal(kill(t->pid, SIGKILL), 0);
    assert_int_equal(waitpid(t->pid, &status, 0), t->pid);
    assert_true(WIFSIGNALED(status));
    atomic_store(&t->stop, true);
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static int by_id(const void *a, const void *b) {
    return ((const struct told *)a)->id - ((const struct told *)b)->id;
}

static void check_what_was_told(struct trial *t) {
    struct bf_http_client *c = NULL;
    struct bf_buf answer;
    struct bf_err err;
    assert_int_equal(bf_http_client_new(5000, &c, &err), BF_OK);
    bf_buf_init(&answer, 1 << 20);
    qsort(t->told, t->told_count, sizeof *t->told, by_id);
    for (size_t i = 0; i < t->told_count; i++) {
        char url[256], name[64];
        int status = 0;
        assert_true(t->told[i].id > 0);
        assert_true(i == 0 || t->told[i].id != t->told[i - 1].id);
        snprintf(url, sizeof url, "%s/schemas/ids/%d", t->url, t->told[i].id);
        assert_int_equal(bf_http_call(c, "GET", url, NULL, BF_SLICE_NONE, &status, &answer, &err), BF_OK);
        bf_buf_putc(&answer, '\0');
        snprintf(name, sizeof name, "\\\"N%d\\\"", t->told[i].number);
        if (status != 200 || strstr(answer.data, name) == NULL) {
            fail_msg("id %d was told for schema %d, now: %d %s", t->told[i].id, t->told[i].number, status, answer.data);
        }
    }
    bf_buf_fini(&answer);
    bf_http_client_free(c);
}

static void test_kill__what_was_acknowledged_stays(void **state) {
    (void)state;
    static struct trial t;
    const char *torture = getenv("BF_TORTURE");
    int rounds = torture != NULL && strcmp(torture, "1") == 0 ? 200 : 8, status;
    unsigned seed = 1;
    strcpy(t.dir, "/tmp/registry-kill-XXXXXX");
    assert_non_null(mkdtemp(t.dir));
    snprintf(t.endpoints, sizeof t.endpoints, "%s/url", t.dir);
    pthread_mutex_init(&t.lock, NULL);
    for (int i = 0; i < rounds; i++) {
        start(&t);
        check_what_was_told(&t);
        kill_while_registering(&t, &seed);
    }
    start(&t);
    check_what_was_told(&t);
    assert_int_equal(kill(t.pid, SIGTERM), 0);
    assert_int_equal(waitpid(t.pid, &status, 0), t.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(t.told_count > (size_t)rounds);
    print_message("%d kills, %zu acknowledged registrations, all there\n", rounds, t.told_count);
    pthread_mutex_destroy(&t.lock);
    fixture_remove_dir(t.dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill__what_was_acknowledged_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
