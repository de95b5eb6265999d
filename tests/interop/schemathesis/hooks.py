"""What the description alone cannot tell schemathesis: how NDJSON is read, and which good parameters do not go together."""

import json

import schemathesis

# A refusal of values that are each good by themselves: all that OpenAPI has no words for.
RELATIONS = (
    "contradicts ",  # node with node_prefix, topic with domain, offsets with times, known_by with cursor
    "lies before ",  # from after to
    "is not a cursor of this question",  # cursors are made by answers
    "needs topic",
    "needs partition",
    "a replay by offsets needs exactly one",
    "goes only with ",  # a codec without Avro, a pace without a speed
    "Last-Event-ID is not a cursor",
    "is not the name of an event topic",  # replay.x and x.dlq fit the pattern
    "lies outside the years",  # year 1 with an offset
    "outside of the years",
    "no such time of day",  # a leap second
)


@schemathesis.deserializer("application/x-ndjson")
def ndjson(ctx, response):
    lines = [json.loads(line) for line in response.content.decode().splitlines()]
    assert lines and lines[-1].get("end") is True, "a stream ends with its trailer"
    return lines


@schemathesis.deserializer("text/csv", "text/event-stream")
def text(ctx, response):
    return response.content.decode()


@schemathesis.deserializer("application/avro")
def container(ctx, response):
    return response.content.decode("latin-1")


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """What takes for ever, or as long as history did, is for other tests."""
    query = case.query or {}
    if str(query.get("follow", "")).lower() in ("true", "1"):
        query["follow"] = "false"
    if "max_gap_ms" in query and str(query["max_gap_ms"]).isdigit():
        query["max_gap_ms"] = 0
    elif "max_gap_ms" not in query:
        query.pop("speed", None)


@schemathesis.check
def good_requests_are_answered(ctx, response, case):
    """positive_data_acceptance, but for what only the relation between parameters makes wrong."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in (400, 413, 414):
        return
    detail = response.json()["detail"]
    assert any(reason in detail for reason in RELATIONS), f"a good request was refused: {detail}"


@schemathesis.check
def problems_name_the_parameter(ctx, response, case):
    """RFC 9457; a 400 about a parameter names it."""
    if response.status_code < 400:
        return
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["title"] and problem["detail"]
    for leak in ("/tmp/", ".c:", "SQLSTATE", "MDB_", "libpq", "host="):
        assert leak not in problem["detail"], f"an error shows what is inside: {problem['detail']}"
    if response.status_code == 400 and "pointer" in problem:
        names = {p.name for location in (case.operation.query, case.operation.path_parameters) for p in location}
        sent = {name.replace(" ", "+") for name in case.query or {}}  # clients write a blank as plus, which stands for itself here
        assert any(name.startswith(problem["pointer"]) for name in names | sent), problem  # long names are cut
