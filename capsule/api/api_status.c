/* What operators and machines ask: schemas, status, health, metrics, and the description of it all. */
#include "api_internal.h"

#include "api_openapi.h"
#include "bf_settings.h"
#include "bf_time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA_BYTES_MAX ((size_t)16 << 20)

static const char *const dependency_names[DEPENDENCIES] = {"kafka", "registry", "postgres"};

void api_get_schema(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct bf_buf type, schema, refs;
    struct bf_err err;
    int64_t id = 0;
    if (!api_begin(&call, req, ctx, NULL) || !api_path_int(&call, "id", 1, INT32_MAX, &id)) {
        return;
    }
    bf_buf_init(&type, SCHEMA_BYTES_MAX);
    bf_buf_init(&schema, SCHEMA_BYTES_MAX);
    bf_buf_init(&refs, SCHEMA_BYTES_MAX);
    enum bf_code code = hot_schema_get(call.capsule->hot, (int32_t)id, &type, &schema, &refs, &err);
    if (code == BF_NOT_FOUND) {
        bf_http_problem(req, 404, "id", "schema %lld is not kept here", (long long)id);
    } else if (code != BF_OK) {
        api_fail(&call, &err);
    } else {
        int64_t through = store_recorded_through(call.capsule->store);
        struct bf_json *j = &call.json;
        bf_json_object(j);
        bf_json_member_int(j, "id", id);
        api_member_slice(j, "schema_type", (struct bf_slice){type.data, type.len});
        api_member_slice(j, "schema", (struct bf_slice){schema.data, schema.len});
        bf_json_key(j, "references");
        bf_json_raw(j, refs.len > 0 ? refs.data : "[]", refs.len > 0 ? refs.len : 2);
        bf_json_member_time(j, "recorded_through", through);
        bf_json_object_end(j);
        api_reply(&call, 200, through);
    }
    bf_buf_fini(&refs);
    bf_buf_fini(&schema);
    bf_buf_fini(&type);
}

/* ---- status ---- */

static void write_instance(struct bf_json *j, const struct capsule *c, const struct hot_watermarks *w) {
    bf_json_object(j);
    bf_json_member_string(j, "instance", c->instance);
    bf_json_member_time(j, "recorded_through", w->recorded_through_us);
    bf_json_member_time(j, "archived_through", store_own_archived_through(c->store));
    bf_json_member_time(j, "hot_from", w->hot_from_us);
    bf_json_member_int(j, "hot_bytes", (int64_t)w->bytes_used);
    bf_json_member_int(j, "hot_bytes_max", (int64_t)w->bytes_max);
    bf_json_member_int(j, "hot_records", (int64_t)w->log_records);
    bf_json_member_bool(j, "ingesting", atomic_load(&c->ingesting));
    bf_json_member_bool(j, "rebuilding", atomic_load(&c->rebuilding));
    bf_json_member_bool(j, "paused", atomic_load(&c->paused));
    bf_json_member_bool(j, "archiving", atomic_load(&c->archiving));
    bf_json_member_bool(j, "alone", !store_is_shared(c->store));
    bf_json_object_end(j);
}

static void write_dependencies(struct bf_json *j, const struct capsule *c) {
    bf_json_key(j, "dependencies");
    bf_json_object(j);
    for (int d = 0; d < DEPENDENCIES; d++) {
        bf_json_member_string(j, dependency_names[d], atomic_load(&c->dependency_up[d]) ? "up" : "away");
    }
    bf_json_object_end(j);
}

static enum bf_code write_counts(struct bf_json *j, const struct capsule *c, struct bf_err *err) {
    struct hot_partition *parts = NULL;
    size_t count = 0;
    uint64_t by[5] = {0};
    int64_t lag_messages = 0;
    if (hot_partitions(c->hot, &parts, &count, err) != BF_OK) {
        return err->code;
    }
    for (size_t i = 0; i < count; i++) {
        struct api_lag lag;
        api_lag_of(c, &parts[i], &lag);
        lag_messages += lag.messages;
        for (int d = 0; d < 5; d++) {
            by[d] += parts[i].by_disposition[d];
        }
    }
    free(parts);
    bf_json_member_int(j, "partitions", (int64_t)count);
    bf_json_member_int(j, "lag_messages", lag_messages);
    bf_json_key(j, "counts");
    bf_json_object(j);
    for (int d = DISPOSITION_STORED; d <= DISPOSITION_LOST; d++) {
        bf_json_member_int(j, disposition_name((enum disposition)d), (int64_t)by[d]);
    }
    bf_json_object_end(j);
    return BF_OK;
}

static enum bf_code write_status(struct api_call *call, const struct hot_watermarks *w, struct bf_err *err) {
    const struct capsule *c = call->capsule;
    struct bf_json *j = &call->json;
    bf_json_object(j);
    bf_json_member_string(j, "service", "capsule");
    bf_json_member_string(j, "version", BF_VERSION);
    bf_json_member_string(j, "instance", c->instance);
    bf_json_member_string(j, "cluster_id", c->cluster_id);
    bf_json_member_time(j, "started_at", c->started_at_us);
    bf_json_member_int(j, "uptime_seconds", (bf_time_monotonic_us() - c->started_monotonic_us) / 1000000);
    bf_json_member_time(j, "recorded_through", w->recorded_through_us);
    bf_json_member_time(j, "archived_through", store_archived_through(c->store));
    bf_json_member_time(j, "hot_from", w->hot_from_us);
    bf_json_key(j, "reasons");
    bf_json_array(j);
    size_t reasons = api_unready_reasons(c, j);
    bf_json_array_end(j);
    bf_json_member_bool(j, "ready", reasons == 0);
    write_dependencies(j, c);
    if (write_counts(j, c, err) != BF_OK) {
        return err->code;
    }
    bf_json_key(j, "instances");
    bf_json_array(j);
    write_instance(j, c, w);
    bf_json_array_end(j);
    bf_json_object_end(j);
    return BF_OK;
}

void api_get_status(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    struct hot_watermarks w;
    struct bf_err err;
    if (!api_begin(&call, req, ctx, NULL)) {
        return;
    }
    hot_watermarks(call.capsule->hot, &w);
    if (write_status(&call, &w, &err) != BF_OK) {
        api_fail(&call, &err);
        return;
    }
    api_reply(&call, 200, w.recorded_through_us);
}

/* ---- health ---- */

size_t api_unready_reasons(const struct capsule *c, struct bf_json *j) {
    size_t count = 0;
    if (atomic_load(&c->fatal) != 0) {
        bf_json_string(j, "stopping after a failure that cannot be mended while running");
        count++;
    }
    if (atomic_load(&c->rebuilding)) {
        char text[128];
        snprintf(text, sizeof text, "rebuilding the hot store from the archive: %lld ids so far; answers come from the archive",
                 (long long)atomic_load(&c->rebuilt_ids));
        bf_json_string(j, text);
        count++;
    }
    if (!atomic_load(&c->ingesting)) {
        bf_json_string(j, "not ingesting yet: partitions are not assigned, or Kafka is away");
        count++;
    }
    return count;
}

void api_get_livez(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    if (!api_begin(&call, req, ctx, NULL)) {
        return;
    }
    bf_json_object(&call.json);
    bf_json_member_string(&call.json, "status", "ok");
    bf_json_object_end(&call.json);
    api_reply(&call, 200, store_recorded_through(call.capsule->store));
}

/* An archive that is away is shown and does not make it unready: recording and hot answers go on. */
void api_get_readyz(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    if (!api_begin(&call, req, ctx, NULL)) {
        return;
    }
    struct bf_json *j = &call.json;
    bf_json_object(j);
    bf_json_key(j, "reasons");
    bf_json_array(j);
    size_t reasons = api_unready_reasons(call.capsule, j);
    bf_json_array_end(j);
    bf_json_member_string(j, "status", reasons == 0 ? "ready" : "unready");
    write_dependencies(j, call.capsule);
    bf_json_object_end(j);
    if (reasons > 0) {
        bf_http_add_header(req, "Retry-After", "1");
    }
    api_reply(&call, reasons == 0 ? 200 : 503, store_recorded_through(call.capsule->store));
}

/* ---- metrics and description ---- */

void api_get_metrics(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    if (!api_begin(&call, req, ctx, NULL)) {
        return;
    }
    api_refresh_gauges(call.api);
    bf_metrics_render(call.capsule->metrics, &call.scratch->out);
    api_reply_as(&call, 200, "text/plain; version=0.0.4; charset=utf-8");
}

void api_get_openapi(struct bf_http_request *req, void *ctx) {
    struct api_call call;
    if (api_begin(&call, req, ctx, NULL)) {
        bf_http_reply(req, 200, "application/json", api_openapi_json, api_openapi_json_len);
    }
}
