/* The SHA-256 (FIPS 180-4) of a long answer, worked out beside the thread that makes it. Private to this folder.
 *
 * All calls come from one thread. Bytes given to begin() are read by a helper until the next call returns: they must stay as they are so long. The helper's
 * thread is made with the first begin(); where there is none to be had, begin() does the work itself.
 */
#ifndef API_DIGEST_H
#define API_DIGEST_H

#include "bf_err.h"

#include <stddef.h>

struct api_digest;

BF_MUST_CHECK enum bf_code api_digest_new(struct api_digest **out, struct bf_err *err);
void api_digest_free(struct api_digest *d); /* NULL is fine */

void api_digest_add(struct api_digest *d, const void *data, size_t len);
void api_digest_begin(struct api_digest *d, const void *data, size_t len);

/* "sha256:" and 64 hexadecimal digits of all that was given. BF_BROKEN: libcrypto failed, now or before. */
#define API_DIGEST_TEXT_MAX ((size_t)(7 + 64 + 1))
BF_MUST_CHECK enum bf_code api_digest_finish(struct api_digest *d, char text[API_DIGEST_TEXT_MAX], struct bf_err *err);

#endif
