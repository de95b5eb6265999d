/* The archive beside a fixture: migrated, holding the fixture's partitions, and filled from its hot store on demand, as the archiver would. */
#ifndef API_ARCHIVE_H
#define API_ARCHIVE_H

#include "api_fixture.h"

struct fx_archive {
    struct archive *archive;
    struct bf_uuid owner;
};

/* f must be open on this conninfo and hold nothing yet. */
void fx_archive_open(struct fx_archive *a, struct fx *f, const char *conninfo);
void fx_archive_close(struct fx_archive *a);
/* Ship everything that is committed. */
void fx_archive_all(struct fx_archive *a, struct fx *f);
/* After fx_lose_hot(): learn from the archive what a new hot store must know, and take the partitions again where they stand. */
void fx_archive_rebuild(struct fx_archive *a, struct fx *f, const char *conninfo);
/* Drop what is archived and recorded at or before this from the hot store. */
void fx_archive_evict(struct fx *f, int64_t through_us);

#endif
