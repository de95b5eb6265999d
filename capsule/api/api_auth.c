/* Who asks, and may they. A token that is limited to topics or nodes must name what it asks for: an answer that were silently cut to the
 * limits would look complete and have a digest. What cannot be limited is refused to a limited token.
 *
 * SIGHUP makes the next request load the file again; a file that is wrong changes nothing and is logged.
 */
#include "api_internal.h"

#include "bf_log.h"
#include "bf_stop.h"
#include "bf_token.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct api_auth {
    const char *path; /* immutable */
    pthread_rwlock_t lock;
    struct bf_tokens *tokens; /* under lock */
};

enum bf_code api_auth_new(const char *path, struct api_auth **out, struct bf_err *err) {
    struct bf_tokens *tokens = NULL;
    *out = NULL;
    if (!path) {
        return BF_OK;
    }
    if (bf_tokens_load(path, &tokens, err) != BF_OK) {
        return bf_err_prepend(err, "tokens-file");
    }
    struct api_auth *auth = calloc(1, sizeof(*auth));
    if (!auth) {
        bf_tokens_unref(tokens);
        return bf_fail(err, BF_NOMEM, 0, "no memory for the tokens");
    }
    auth->path = path;
    auth->tokens = tokens;
    pthread_rwlock_init(&auth->lock, NULL);
    *out = auth;
    return BF_OK;
}

void api_auth_free(struct api_auth *auth) {
    if (!auth) {
        return;
    }
    bf_tokens_unref(auth->tokens);
    pthread_rwlock_destroy(&auth->lock);
    free(auth);
}

static void reload(struct api_auth *auth) {
    struct bf_tokens *tokens = NULL, *old;
    struct bf_err err;
    if (bf_tokens_load(auth->path, &tokens, &err) != BF_OK) {
        bf_log_err(BF_LOG_ERROR, "tokens_not_reloaded", &err, "action=\"the old ones stay in force\"");
        return;
    }
    pthread_rwlock_wrlock(&auth->lock);
    old = auth->tokens;
    auth->tokens = tokens;
    pthread_rwlock_unlock(&auth->lock);
    bf_tokens_unref(old);
    bf_log(BF_LOG_INFO, "tokens_reloaded", "tokens=%zu", bf_tokens_count(tokens));
}

/* The table in force now, kept by the thread until its next request. */
static const struct bf_tokens *current(struct api_auth *auth, struct api_scratch *scratch) {
    if (bf_reload_requested()) {
        reload(auth);
    }
    pthread_rwlock_rdlock(&auth->lock);
    struct bf_tokens *tokens = auth->tokens;
    if (tokens != scratch->tokens) {
        bf_tokens_ref(tokens);
    }
    pthread_rwlock_unlock(&auth->lock);
    if (tokens != scratch->tokens) {
        bf_tokens_unref(scratch->tokens);
        scratch->tokens = tokens;
    }
    return tokens;
}

static bool refuse_unknown(struct api_call *call, bool presented) {
    bf_http_add_header(call->req, "WWW-Authenticate", presented ? "Bearer realm=\"capsule\", error=\"invalid_token\"" : "Bearer realm=\"capsule\"");
    bf_http_problem(call->req, 401, NULL, presented ? "this token is not known" : "a bearer token is needed: Authorization: Bearer …");
    return false;
}

static bool refuse_scope(struct api_call *call, unsigned scope) {
    char header[96];
    const char *name = bf_scope_name((enum bf_scope)scope);
    snprintf(header, sizeof(header), "Bearer realm=\"capsule\", error=\"insufficient_scope\", scope=\"%s\"", name);
    bf_http_add_header(call->req, "WWW-Authenticate", header);
    bf_http_problem(call->req, 403, NULL, "this token lacks the scope %s", name);
    return false;
}

/* ---- limits ---- */

static bool path_has(const struct api_call *call, const char *name) {
    return strstr(call->policy->pattern, name) != NULL;
}

static bool check_topic(struct api_call *call, const char *topic) {
    if (bf_grant_topic(call->grant, bf_slice_str(topic))) {
        return true;
    }
    bf_http_problem(call->req, 403, "topic", "this token is limited to other topics");
    return false;
}

static bool limit_topics(struct api_call *call) {
    size_t named = 0;
    if (path_has(call, "{topic}")) {
        return check_topic(call, bf_http_path(call->req, "topic"));
    }
    for (size_t i = 0; i < bf_http_query_count(call->req); i++) {
        const char *name = NULL, *value = NULL;
        bf_http_query_at(call->req, i, &name, &value);
        if (strcmp(name, "topic") == 0) {
            named++;
            if (!check_topic(call, value)) {
                return false;
            }
        }
    }
    if (named == 0) {
        bf_http_problem(call->req, 403, "topic", "this token is limited to topics: name the one that is meant");
    }
    return named > 0;
}

static bool check_node(struct api_call *call, const char *param, const char *node) {
    if (bf_grant_node(call->grant, bf_slice_str(node))) {
        return true;
    }
    bf_http_problem(call->req, 403, param, "this token is limited to other nodes");
    return false;
}

static bool limit_nodes(struct api_call *call) {
    static const char *const params[] = {"node", "node_prefix", "prefix"};
    if (path_has(call, "/nodes/{id}")) {
        return check_node(call, "id", bf_http_path(call->req, "id"));
    }
    for (size_t i = 0; i < sizeof(params) / sizeof(*params); i++) {
        const char *value = bf_http_query(call->req, params[i]);
        if (value) {
            return check_node(call, params[i], value);
        }
    }
    bf_http_problem(call->req, 403, path_has(call, "/v1/nodes") || path_has(call, "/v1/state") ? "prefix" : "node_prefix",
                    "this token is limited to nodes: name the node or the prefix that is meant");
    return false;
}

static bool unlimited(const char *pattern) { /* schemas are nobody's data */
    return strncmp(pattern, "/v1/schemas", 11) == 0;
}

static bool limit(struct api_call *call) {
    unsigned needs = call->policy->needs;
    if (unlimited(call->policy->pattern)) {
        return true;
    }
    if ((call->grant->topics && !(needs & API_BY_TOPIC)) || (call->grant->nodes && !(needs & (API_BY_NODE | API_BY_EVENT)))) {
        bf_http_problem(call->req, 403, NULL, "this token is limited to %s, and this answer would be about all",
                        call->grant->topics && !(needs & API_BY_TOPIC) ? "topics" : "nodes");
        return false;
    }
    return (!call->grant->topics || limit_topics(call)) && (!call->grant->nodes || !(needs & API_BY_NODE) || limit_nodes(call));
}

bool api_may_see_node(const struct api_call *call, struct bf_slice node) {
    return !call->grant || bf_grant_node(call->grant, node);
}

bool api_may_see_topic(const struct api_call *call, struct bf_slice topic) {
    return !call->grant || bf_grant_topic(call->grant, topic);
}

bool api_admit(struct api_call *call) {
    const char *header = bf_http_header(call->req, "Authorization");
    struct api_auth *auth = call->api->auth;
    if (!auth || (call->policy && (call->policy->needs & API_OPEN))) {
        return true;
    }
    if (!header || strncasecmp(header, "Bearer ", 7) != 0) {
        return refuse_unknown(call, false);
    }
    call->grant = bf_tokens_find(current(auth, call->scratch), bf_slice_str(header + 7 + strspn(header + 7, " ")));
    if (!call->grant) {
        return refuse_unknown(call, true);
    }
    if (!call->policy) {
        bf_http_problem(call->req, 403, NULL, "this path is not open to tokens");
        return false;
    }
    if (!(call->grant->scopes & call->policy->scope)) {
        return refuse_scope(call, call->policy->scope);
    }
    return limit(call);
}
