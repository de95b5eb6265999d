/* A long answer in bounded memory: a page is read from the store, released, rendered, and only then sent, so that a slow client holds
 * no transaction. The digest runs along; the last line says how much there was. Private to this folder.
 */
#ifndef API_STREAM_H
#define API_STREAM_H

#include "api_internal.h"

struct api_stream;

struct api_stream_ops {
    /* Render the next piece with api_stream_event(); *exhausted after the last one. An empty piece is fine. */
    enum bf_code (*more)(void *source, struct api_stream *st, bool *exhausted, struct bf_err *err);
    /* The cursor to stand beside this event, into dst. NULL: none (plain JSON). */
    void (*cursor)(void *source, const struct event *ev, char dst[CURSOR_ENCODED_MAX]);
    void (*free)(void *source);
};

enum api_format { API_NDJSON, API_JSON };

/* Takes `source` whatever happens, and answers `call`. The first piece is made before the answer begins, so that a store that is away gives a
 * problem. resumed: the request's cursor or NULL. opening: for API_JSON what stands before the list, members of an open object. */
void api_stream_reply(struct api_call *call, enum api_format format, const struct api_stream_ops *ops, void *source, const char *resumed,
                      int64_t recorded_through_us, const struct bf_buf *opening);

/* For more(): write one event, counted, with its cursor. */
BF_MUST_CHECK enum bf_code api_stream_event(struct api_stream *st, const struct event *ev, struct bf_err *err);
struct api *api_stream_api(struct api_stream *st);
/* How many rows the next piece should ask for, by how large the last ones were. */
size_t api_stream_rows(const struct api_stream *st);

/* format= or Accept. False: answered already (400, 406). `json`: API_JSON is offered, too. */
bool api_stream_format(struct api_call *call, bool json, enum api_format *out);

#endif
