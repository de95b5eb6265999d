/* Bearer tokens (RFC 6750) and the file that says what each may do.
 *
 * A token is "bfly_" and 256 random bits in base64url; only its SHA-256 is kept (nothing slower is needed: there is nothing to guess). The
 * file has a line for each: NAME SCOPES sha256:HEX [topics=T,T…] [nodes=PREFIX,PREFIX…]; empty lines and #-comments are skipped. It is refused as
 * a whole when one line is wrong, and when others than its owner may read or write it. Look-ups take the same time whatever is presented.
 * Immutable once loaded; counted references, so that any thread may hold one while another loads the next.
 */
#ifndef BF_TOKEN_H
#define BF_TOKEN_H

#include "bf_buf.h"
#include "bf_err.h"

#include <stdbool.h>
#include <stdint.h>

#define BF_TOKEN_PREFIX "bfly_"
#define BF_TOKEN_TEXT_LEN 48 /* without NUL */
#define BF_TOKEN_NAME_MAX 64

enum bf_scope {
    BF_SCOPE_READ = 1,   /* events, nodes, states, what is held */
    BF_SCOPE_AUDIT = 2,  /* who read what, quarantine */
    BF_SCOPE_REPLAY = 4, /* streams of history, replays into Kafka */
    BF_SCOPE_ADMIN = 8   /* what changes something for others */
};

struct bf_grant {
    char name[BF_TOKEN_NAME_MAX + 1];
    unsigned scopes; /* enum bf_scope */
    const char *const *topics; /* NULL-ended; NULL: all */
    const char *const *nodes;  /* prefixes, NULL-ended; NULL: all */
};

struct bf_tokens;

/* BF_INVALID names file and line. */
BF_MUST_CHECK enum bf_code bf_tokens_load(const char *path, struct bf_tokens **out, struct bf_err *err);
struct bf_tokens *bf_tokens_ref(struct bf_tokens *t);
void bf_tokens_unref(struct bf_tokens *t); /* NULL is fine */
size_t bf_tokens_count(const struct bf_tokens *t);
/* What the presented token may do, NULL: unknown. Borrowed from t. */
const struct bf_grant *bf_tokens_find(const struct bf_tokens *t, struct bf_slice presented);

bool bf_grant_topic(const struct bf_grant *g, struct bf_slice topic); /* may it see this topic? */
bool bf_grant_node(const struct bf_grant *g, struct bf_slice node_or_prefix); /* … all nodes that begin so? */

/* "read,audit" ↔ bits. BF_INVALID: no such scope, or none. */
BF_MUST_CHECK enum bf_code bf_scopes_parse(const char *text, unsigned *out, struct bf_err *err);
const char *bf_scope_name(enum bf_scope scope);

/* Draw a token and write its text, and its line for the file. topics and nodes: comma-separated, NULL: all. BF_INVALID: one of them is malformed. */
BF_MUST_CHECK enum bf_code bf_token_new(const char *name, const char *scopes, const char *topics, const char *nodes,
                                        char token[BF_TOKEN_TEXT_LEN + 1], struct bf_buf *line, struct bf_err *err);

#endif
