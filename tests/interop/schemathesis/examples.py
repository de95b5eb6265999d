"""The examples of answers in openapi.json against the server: what it says to the examples of parameters, but for what differs from run to run.

usage: examples.py URL OPENAPI.JSON [--write]
An answer's example stands beside the answer's schema; the parameters are the ones marked `x-example` there.
"""

import json
import sys
import urllib.error
import urllib.request

# Times of recording, cursors and the like: any value of the same form is the same.
VOLATILE = {"recorded_at", "recorded_through", "archived_through", "hot_from", "known_by", "next", "cursor", "digest", "instance", "started_at",
            "quarantined_at", "redriven_at", "as_of", "uptime_seconds", "version", "hot_bytes", "hot_bytes_max", "bytes_used", "bytes_max", "id", "at",
            "ended_at", "lag_seconds", "seconds", "log_records", "read_id", "read_at"}


def masked(value, key=None):
    if isinstance(value, dict):
        return {k: masked(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [masked(v) for v in value]
    if key in VOLATILE and value is not None:
        return type(value).__name__
    return value


def get(url, target):
    request = urllib.request.Request(url + target)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers.get_content_type(), e.read()


def parsed(content_type, body):
    if content_type.endswith("json") and not content_type.endswith("ndjson"):
        return json.loads(body)
    if content_type == "application/x-ndjson":
        return [json.loads(line) for line in body.splitlines()]
    return body.decode()


def cases(doc):
    for path, methods in doc["paths"].items():
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                for content_type, media in response.get("content", {}).items():
                    if "x-example" in media:
                        yield f"{method.upper()} {path} {status}", content_type, int(status), media


def main():
    url, file = sys.argv[1:3]
    write = "--write" in sys.argv
    text = open(file, encoding="utf-8").read()
    doc = json.loads(text)
    failed = count = 0
    for name, content_type, status, media in cases(doc):
        got_status, got_type, body = get(url, media["x-example"])
        value = parsed(got_type, body)
        count += 1
        if (got_status, got_type) != (status, content_type):
            print(f"FAILED {name}: {media['x-example']} gives {got_status} {got_type}: {body[:200]!r}")
            failed += 1
        elif write:
            media["example"] = value
        elif masked(media.get("example")) != masked(value):
            print(f"FAILED {name}: {media['x-example']} gives\n{json.dumps(value)}\nnot\n{json.dumps(media.get('example'))}")
            failed += 1
    if write:
        with open(file, "w", encoding="utf-8") as out:
            out.write(json.dumps(doc, indent=1, ensure_ascii=False) + "\n")
    print(f"examples: {count} of answers, {failed} differ from the server's")
    sys.exit(1 if failed or not count else 0)


main()
