/* A registry in a folder of its own, and short ways to ask it. */
#ifndef REGISTRY_FIXTURE_H
#define REGISTRY_FIXTURE_H

#include "registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    char dir[64];
    struct registry *r;
};

int fixture_setup(void **state);
int fixture_teardown(void **state);
void fixture_reopen(struct fixture *f);
/* rm -r of a folder below /tmp. */
void fixture_remove_dir(const char *dir);

/* {"schema": text} */
json_t *request_of(const char *schema);
/* 0: the operation went well and its answer is in *out; else Confluent's code. Fails the test on failures of ours. */
int outcome(enum bf_code code, struct registry_refusal *no, const struct bf_err *err);

/* Register; the id, or minus the error code. */
int do_register(struct registry *r, const char *subject, const char *schema);

/* CALL(registry_version, subject, "1", false): runs it, answer in `out` (freed by the next CALL or DONE), value is
 * outcome(). */
struct asked {
    json_t *out;
    struct registry_refusal no;
    struct bf_err err;
};
#define CALL(a, r, op, ...)                                                                                            \
    (json_decref((a)->out), (a)->out = NULL, (a)->no.code = 0,                                                         \
     outcome(op((r), __VA_ARGS__, &(a)->out, &(a)->no, &(a)->err), &(a)->no, &(a)->err))
void asked_init(struct asked *a);
void asked_fini(struct asked *a);
/* The answer as compact JSON equals this. */
void assert_answer(const struct asked *a, const char *json);
int64_t answer_int(const struct asked *a, const char *member);

#define FIELD_A "{\"name\":\"a\",\"type\":\"int\"}"
#define REC(fields) "{\"type\":\"record\",\"name\":\"R\",\"fields\":[" fields "]}"

#endif
