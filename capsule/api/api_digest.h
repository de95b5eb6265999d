/* The SHA-256 (FIPS 180-4) of a long answer, worked out beside the thread that makes it. Private to this folder.
 *
 * All calls come from one thread. Bytes given to begin() are read by a helper until the next call returns: they must stay as they are so long. The helper's
 * thread is made with the first begin(); where there is none to be had, begin() does the work itself.
 */
#ifndef API_DIGEST_H
#define API_DIGEST_H

#include "bf_errand.h"
#include "bf_sha256.h"

struct api_digest {
    struct bf_errand *errand; /* NULL: not yet */
    /* the errand's while it is under way */
    struct bf_sha256 sha;
    const void *data;
    size_t len;
};

void api_digest_init(struct api_digest *d);
void api_digest_fini(struct api_digest *d);

void api_digest_add(struct api_digest *d, const void *data, size_t len);
void api_digest_begin(struct api_digest *d, const void *data, size_t len);
void api_digest_end(struct api_digest *d, char text[BF_SHA256_TEXT_LEN + 1]); /* of all that was given */

#endif
