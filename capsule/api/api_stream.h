/* A long answer in bounded memory: a page is read from the store, released, rendered, and only then sent, so that a slow client holds
 * no transaction. Of a long one the last piece is digested by a helper while the next is made: memory is two pieces and two pages. The end
 * says how much there was. How an event is written is the format's business (api_writer.h). Private to this folder.
 *
 * The end: {"end":true,"count","digest","next","recorded_through","complete"}, as the last line (NDJSON) or event (SSE), and in every format
 * as HTTP trailers Capsule-Count, Capsule-Digest, Capsule-Next, Capsule-Complete. A stream without it was cut.
 */
#ifndef API_STREAM_H
#define API_STREAM_H

#include "api_internal.h"

struct api_stream;

struct api_stream_ops {
    /* Render the next piece with api_stream_event(); *exhausted after the last one. An empty piece is fine. It may wait
     * (api_stream_may_wait), but not for the first piece, before which the answer has not begun (api_stream_began). */
    enum bf_code (*more)(void *source, struct api_stream *st, bool *exhausted, struct bf_err *err);
    /* The cursor to stand beside this event, into dst. */
    void (*cursor)(void *source, const struct event *ev, char dst[CURSOR_ENCODED_MAX]);
    void (*free)(void *source);
};

enum api_format { API_NDJSON, API_JSON, API_CSV, API_AVRO, API_SSE, API_FORMATS };
#define API_OFFER(format) (1u << (format))

struct api_stream_settings {
    enum api_format format;
    const char *resumed;          /* the request's cursor or NULL: what begins a file is left out */
    int64_t recorded_through_us;
    const struct bf_buf *opening; /* API_JSON: what stands before the list, members of an open object */
    bool deflate;                 /* API_AVRO: the blocks' codec, else null */
    bool own_records;             /* API_AVRO: the writer's schema and records instead of the envelope's */
    uint64_t filter;              /* API_AVRO: what the sync marker is made from */
};

/* Takes `source` whatever happens, and answers `call`. The first piece is made before the answer begins, so that a store that is away gives a
 * problem. */
void api_stream_reply(struct api_call *call, const struct api_stream_settings *settings, const struct api_stream_ops *ops, void *source);

/* For more(): write one event, counted, with its cursor. */
BF_MUST_CHECK enum bf_code api_stream_event(struct api_stream *st, const struct event *ev, struct bf_err *err);
/* Nothing new: a sign of life, where the format has one. */
void api_stream_heartbeat(struct api_stream *st, int64_t recorded_through_us);
struct api *api_stream_api(struct api_stream *st);
/* How many rows the next piece should ask for, by how large the last ones were. */
size_t api_stream_rows(const struct api_stream *st);
size_t api_stream_bytes(const struct api_stream *st); /* of the piece so far */
bool api_stream_full(const struct api_stream *st);    /* the piece is large enough: return, and go on in the next call */
bool api_stream_began(const struct api_stream *st);
/* False: the client has gone or the server stops; return what there is. */
bool api_stream_may_wait(const struct api_stream *st);
/* The end will say recorded_through. */
void api_stream_set_through(struct api_stream *st, int64_t recorded_through_us);

/* format= or Accept, among what is `offered` (API_OFFER bits). False: answered already (400, 406). */
bool api_stream_format(struct api_call *call, unsigned offered, enum api_format *out);

#endif
