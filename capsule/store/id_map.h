/* Where an id was first recorded: 64-bit hash -> recorded_at (microseconds), in a mapped file beside LMDB's.
 *
 * Extendible hashing (Fagin, Nievergelt, Pippenger, Strong 1979): the first bits of a hash choose a segment of 64 KiB, within which probing is linear; a
 * segment that is three quarters full is split in two, so that growing never stops anybody for longer than that takes. 16 bytes a slot, 21 to 43
 * an id.
 *
 * What it says is a hint, and only that: a slot may name a record that was never committed, was forgotten, or is another id's. So whoever asks looks at
 * the record. The other way round is certain: an id whose hash has no slot is not in the store. Slots are written before LMDB commits and never removed,
 * which is what keeps that true when the process is killed at any moment. A split that a kill interrupts is done again at open.
 *
 * The file is believed when it was filled, and was closed in order, or was left open in this very boot (then the kernel has its pages); otherwise open makes an empty one
 * and says so, and the owner fills it.
 *
 * Threads: one writer at a time (whoever holds LMDB's write transaction); any number of readers beside it.
 * Errors: those of the file system; a full disk is met when room is made, never as SIGBUS on a write.
 */
#ifndef ID_MAP_H
#define ID_MAP_H

#include "bf_err.h"
#include "bf_event_id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct id_map;
#define ID_MAP_HITS_MAX 8 /* of one hash: one, but for collisions of 64 bits */

/* `owner`: whose ids these are; `boot`: the machine's boot, as text. A file that cannot be believed is made anew, and *fresh is set. */
BF_MUST_CHECK enum bf_code id_map_open(const char *path, const struct bf_uuid *owner, const char *boot, struct id_map **out, bool *fresh,
                                       struct bf_err *err);
/* A fresh one has been filled: it may be believed from now on. */
void id_map_filled(struct id_map *m);
/* On the disk afterwards. */
BF_MUST_CHECK enum bf_code id_map_sync(struct id_map *m, struct bf_err *err);
/* in_order: it was synced, and nothing was put since; the next boot may believe it. */
void id_map_close(struct id_map *m, bool in_order);

/* Equal hashes of one id mean equal topics. */
uint64_t id_map_hash(const struct id_map *m, uint32_t topic_no, const struct bf_uuid *id);

/* All that the hash may mean; how many, at most ID_MAP_HITS_MAX. */
size_t id_map_find(struct id_map *m, uint64_t hash, int64_t recorded_at_us[ID_MAP_HITS_MAX]);
/* The same for the writer, who needs no lock. */
size_t id_map_find_as_writer(const struct id_map *m, uint64_t hash, int64_t recorded_at_us[ID_MAP_HITS_MAX]);
void id_map_prefetch(const struct id_map *m, uint64_t hash);

/* Writer. 0 or an errno: ENOSPC, ENOMEM, EIO, EFBIG. */
BF_MUST_CHECK int id_map_put(struct id_map *m, uint64_t hash, int64_t recorded_at_us);
/* Writer: the slot of that hash that says `from_us` says `to_us` from now on. */
void id_map_move(struct id_map *m, uint64_t hash, int64_t from_us, int64_t to_us);

/* Everything recorded up to here has been put, or needs no slot. Never goes back. */
void id_map_reach(struct id_map *m, int64_t recorded_at_us);
int64_t id_map_reached(const struct id_map *m);

uint64_t id_map_bytes(const struct id_map *m); /* of the file; any thread */
uint64_t id_map_slots(const struct id_map *m); /* writer: in use, or were when a kill came */

#endif
