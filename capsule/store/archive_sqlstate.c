#include "archive_sqlstate.h"

#include <string.h>

const struct archive_sqlstate archive_sqlstates[] = {
    {"25006", BF_AGAIN, "read-only: a standby, or a failover that is not through"},
    {"25P03", BF_AGAIN, "idle in transaction for too long"},
    {"55P03", BF_AGAIN, "a lock was not to be had in time"},
    {"55006", BF_AGAIN, "the object is in use"},
    {"3D000", BF_AGAIN, "the database is not there (yet)"},
    {"08", BF_AGAIN, "connection"},
    {"28", BF_AGAIN, "not let in: an operator can cure it without a restart of ours"},
    {"40", BF_AGAIN, "rolled back: serialization, deadlock"},
    {"53", BF_AGAIN, "out of disk, memory, connections"},
    {"57", BF_AGAIN, "cancelled, shutting down, starting up"},
    {"58", BF_AGAIN, "the server's own input or output failed"},
    {"22", BF_REJECTED, "a value that a column cannot hold"},
    {"23", BF_REJECTED, "a constraint"},
    {"54", BF_REJECTED, "too large or too complex"},
};
const size_t archive_sqlstate_count = sizeof archive_sqlstates / sizeof *archive_sqlstates;

enum bf_code archive_sqlstate_code(const char *sqlstate) {
    if (!sqlstate || !*sqlstate)
        return BF_AGAIN;
    for (size_t i = 0; i < archive_sqlstate_count; i++)
        if (strncmp(sqlstate, archive_sqlstates[i].prefix, strlen(archive_sqlstates[i].prefix)) == 0)
            return archive_sqlstates[i].code;
    return BF_BROKEN;
}
