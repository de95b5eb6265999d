#include "bf_failpoint.h"

#include "bf_time.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define POINTS_MAX 16
#define SPEC_BYTES_MAX 1024

enum action { ACTION_KILL, ACTION_STOP, ACTION_SLEEP, ACTION_FAIL };

static struct point {
    const char *name; /* in spec */
    enum action action;
    long arg, at;
    atomic_long hits;
    atomic_int_least64_t since_us; /* monotonic, of the first failure */
} points[POINTS_MAX];
static size_t point_count;
static char spec[SPEC_BYTES_MAX];

bool bf_failpoints_armed;

static bool parse_action(struct point *p, char *text) {
    static const char *const names[] = {"kill", "stop", "sleep", "fail"};
    char *at = strchr(text, '@'), *arg;
    if (at)
        *at++ = '\0';
    if ((arg = strchr(text, ':')) != NULL)
        *arg++ = '\0';
    p->at = at ? strtol(at, NULL, 10) : 1;
    p->arg = arg ? strtol(arg, NULL, 10) : 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) {
            p->action = (enum action)i;
            return p->at > 0 && p->arg >= 0;
        }
    return false;
}

bool bf_failpoints_init(void) {
    const char *text = getenv("BF_FAILPOINTS");
    if (!text || !*text)
        return true;
    if (strlen(text) >= sizeof spec) {
        fprintf(stderr, "BF_FAILPOINTS is too long\n");
        return false;
    }
    strcpy(spec, text);
    for (char *rest = spec, *one; (one = strsep(&rest, ",")) != NULL;) {
        char *action = strchr(one, '=');
        struct point *p = &points[point_count];
        if (action)
            *action++ = '\0';
        if (!action || point_count == POINTS_MAX || !parse_action(p, action)) {
            fprintf(stderr, "BF_FAILPOINTS: '%s' is no NAME=ACTION[:ARG][@N]\n", one);
            return false;
        }
        p->name = one;
        point_count++;
    }
    bf_failpoints_armed = true;
    return true;
}

static struct point *find(const char *name) {
    for (size_t i = 0; i < point_count; i++)
        if (strcmp(points[i].name, name) == 0)
            return &points[i];
    return NULL;
}

static void nap(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static bool fails_now(struct point *p) {
    int_least64_t never = 0, now = bf_time_monotonic_us();
    atomic_compare_exchange_strong(&p->since_us, &never, now);
    return p->arg == 0 || now - atomic_load(&p->since_us) < p->arg * 1000;
}

bool bf_failpoint_hit_fails(const char *name) {
    struct point *p = find(name);
    long hit = p ? atomic_fetch_add(&p->hits, 1) + 1 : 0;
    if (!p || hit < p->at)
        return false;
    switch (p->action) {
    case ACTION_KILL: return hit == p->at && kill(getpid(), SIGKILL) != 0;
    case ACTION_STOP: return hit == p->at && kill(getpid(), SIGSTOP) != 0;
    case ACTION_SLEEP: nap(p->arg); return false;
    case ACTION_FAIL: return fails_now(p);
    }
    return false;
}

void bf_failpoint_hit(const char *name) {
    (void)bf_failpoint_hit_fails(name);
}
