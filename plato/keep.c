/* Decisions carry the version of the policies that made them. To judge one again that very file is needed, so each that was in use is kept. */
#include "plato.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum bf_code keep_load(const struct plato *p, struct policies **out, struct bf_err *err) {
    struct policies *policies = NULL;
    enum bf_code code = policies_load(p->s->policies, &policies, err);
    const char *needs = code == BF_OK && p->s->capsule == NULL ? policies_need_evidence(policies) : NULL;

    if (needs != NULL) {
        code = bf_fail(err, BF_INVALID, 0, "%s: policy '%s' asks for evidence, which comes from CAPSULE: give --capsule", p->s->policies, needs);
        policies_free(policies);
    }
    if (code == BF_OK) *out = policies;
    return code;
}

static bool path_of(const struct plato *p, const char *version, const char *suffix, char *dst, size_t bytes) {
    return snprintf(dst, bytes, "%s/policies/%s.json%s", p->s->state_dir, version, suffix) < (int)bytes;
}

static enum bf_code make_dirs(const struct plato *p, struct bf_err *err) {
    char dir[4096];

    if (snprintf(dir, sizeof dir, "%s/policies", p->s->state_dir) >= (int)sizeof dir) return bf_fail(err, BF_INVALID, 0, "state-dir: the name is too long");
    if (mkdir(p->s->state_dir, 0700) != 0 && errno != EEXIST) return bf_fail(err, BF_INVALID, errno, "state-dir %s: %s", p->s->state_dir, strerror(errno));
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) return bf_fail(err, BF_INVALID, errno, "state-dir %s: %s", dir, strerror(errno));
    return BF_OK;
}

enum bf_code keep_policies(const struct plato *p, const struct policies *policies, struct bf_err *err) {
    char path[4096], temporary[4096];

    if (p->s->state_dir == NULL) return BF_OK;
    enum bf_code code = make_dirs(p, err);
    if (code != BF_OK) return code;
    if (!path_of(p, policies->version, "", path, sizeof path) || !path_of(p, policies->version, ".new", temporary, sizeof temporary))
        return bf_fail(err, BF_INVALID, 0, "state-dir: the name is too long");
    FILE *f = fopen(temporary, "wb");
    bool good = f != NULL && fwrite(policies->text, 1, policies->text_bytes, f) == policies->text_bytes;
    good = f != NULL && fclose(f) == 0 && good;
    if (good && rename(temporary, path) == 0) return BF_OK;
    return bf_fail(err, BF_INVALID, errno, "state-dir: %s cannot be written: %s", path, strerror(errno));
}

enum bf_code keep_find(const struct plato *p, const char *version, struct policies **out, struct bf_err *err) {
    struct policies *policies = NULL;
    char path[4096];

    if (strlen(version) != 64 || strspn(version, "0123456789abcdef") != 64) return bf_fail(err, BF_NOT_FOUND, 0, "'%.80s' is no version of policies", version);
    bool kept = p->s->state_dir != NULL && path_of(p, version, "", path, sizeof path) && access(path, R_OK) == 0;
    enum bf_code code = policies_load(kept ? path : p->s->policies, &policies, err);
    if (code == BF_OK && strcmp(policies->version, version) == 0) {
        *out = policies;
        return BF_OK;
    }
    policies_free(policies);
    return bf_fail(err, BF_NOT_FOUND, 0, "the policies of version %.12s are not kept here", version);
}
