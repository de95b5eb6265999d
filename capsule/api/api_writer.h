/* How a format writes events: one const vtable a format, over the stream's buffer. Private to the streams.
 *
 * Order of calls: begin, event*, (heartbeat | event)*, flush, trailer, fini; what flush leaves unwritten is neither counted nor digested.
 */
#ifndef API_WRITER_H
#define API_WRITER_H

#include "api_digest.h"
#include "api_stream.h"

struct api_avro_writer;

struct api_stream {
    struct api *api;
    struct bf_http *http;
    const struct bf_http_request *req; /* only for bf_http_gone() */
    const struct api_stream_ops *ops;
    void *source;
    const struct api_writer *writer;
    struct api_stream_settings settings; /* without its pointers */
    bool resumed, began;
    struct api_digest digest;
    struct bf_buf buf, text; /* the piece; an event's payload on its way */
    struct bf_buf spare;     /* the piece before it, while that is digested */
    bool aside;              /* buf is being digested by a helper: not to be touched */
    struct bf_json json;     /* onto buf */
    struct api_avro_writer *avro;
    size_t sent, digested, rows; /* in buf */
    uint64_t count;
    int64_t read_id, bytes_sent; /* for the log of reads */
    bool done;         /* the end is in the buffer */
    bool ended_early;  /* by the writer: this format cannot go on */
    bool complete;
    char next[CURSOR_ENCODED_MAX];     /* of the last event that counts; empty: none */
    char digest_text[BF_SHA256_TEXT_LEN + 1]; /* with the end */
};

struct api_writer {
    const char *name, *media_type, *content_type;
    enum bf_code (*begin)(struct api_stream *st, struct bf_err *err); /* may be NULL */
    enum bf_code (*event)(struct api_stream *st, const struct event *ev, struct bf_err *err);
    enum bf_code (*flush)(struct api_stream *st, struct bf_err *err); /* may be NULL */
    void (*trailer)(struct api_stream *st);                           /* may be NULL */
    void (*heartbeat)(struct api_stream *st, int64_t recorded_through_us); /* may be NULL */
    void (*fini)(struct api_stream *st);                              /* may be NULL */
};

extern const struct api_writer api_writer_ndjson, api_writer_json, api_writer_sse; /* api_write_json.c */
extern const struct api_writer api_writer_csv;                                     /* api_write_csv.c */
extern const struct api_writer api_writer_avro;                                    /* api_write_avro.c */

/* The bytes from here to the buffer's end do not count towards the digest; those before do. */
void api_stream_digest(struct api_stream *st);
void api_stream_skip_digest(struct api_stream *st);

#endif
