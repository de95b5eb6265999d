"""A client of CAPSULE's HTTP API in one file: events, history, state, the world, and replays that go on by themselves after a cut.

    from butterfly import Capsule

    capsule = Capsule("http://127.0.0.1:8480")
    for event in capsule.history("rim:metric:finance:EURUSD", limit=10):
        print(event["event_time"], event["payload"]["price"])
    for event in capsule.replay(topic="rim.fast-path", from_="2024-06-01", to="2024-06-02"):
        ...                      # every event once, in order; raises unless count and digest are right

Python 3.9 or later, standard library only. Not safe for several threads at once: make one Capsule for each.
"""
from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timezone
from typing import Any, Iterator, Mapping, Optional, Sequence, Union

__all__ = ["Capsule", "CapsuleError", "Incomplete", "Event", "Replay"]

Event = dict[str, Any]
Time = Union[str, int, datetime]  # RFC 3339, microseconds since 1970, or a datetime with a time zone
Value = Union[None, str, int, bool, datetime, Sequence[str]]


class CapsuleError(Exception):
    """The server said no: RFC 9457's problem, with its HTTP status."""

    def __init__(self, status: int, problem: Mapping[str, Any]):
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}".rstrip(": "))
        self.status, self.problem = status, dict(problem)


class Incomplete(Exception):
    """A replay's bytes are not what its last line says, or it was cut more often than allowed."""


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time needs a time zone")
        return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return str(value)


def _query(params: Mapping[str, Value]) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in params.items():
        if value is None:
            continue
        several = value if isinstance(value, (list, tuple, set)) else [value]
        pairs += [(name.rstrip("_"), _text(one)) for one in several]  # from_ is `from`, a word of Python's
    return "?" + urllib.parse.urlencode(pairs) if pairs else ""


class Capsule:
    """One server. `token`: a bearer token, where the server wants one; `ca_file`: whom to trust for https."""

    def __init__(self, url: str = "http://127.0.0.1:8480", token: Optional[str] = None, timeout: float = 60.0,
                 ca_file: Optional[str] = None):
        self.url, self.timeout = url.rstrip("/"), timeout
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._tls = ssl.create_default_context(cafile=ca_file) if self.url.startswith("https:") else None

    # -- single answers --

    def event(self, event_id: str, topic: Optional[str] = None) -> Event:
        """The newest revision, with all `revisions` and where it was `seen`."""
        return self._json(f"/v1/events/{urllib.parse.quote(event_id, safe='')}", {"topic": topic})

    def raw(self, event_id: str, topic: Optional[str] = None, part: Optional[str] = None) -> bytes:
        """The value's bytes (or part="key", "headers") exactly as they were in Kafka."""
        with self._open(f"/v1/events/{urllib.parse.quote(event_id, safe='')}/raw", {"topic": topic, "part": part}) as answer:
            return answer.read()

    def state(self, node: str, as_of: Optional[Time] = None, known_by: Optional[Time] = None, **more: Value) -> dict[str, Any]:
        """A node as it was at `as_of`, as known by `known_by`: per topic its newest event."""
        return self._json(f"/v1/nodes/{urllib.parse.quote(node, safe='')}/state", {"as_of": as_of, "known_by": known_by, **more})

    def node(self, node: str) -> dict[str, Any]:
        return self._json(f"/v1/nodes/{urllib.parse.quote(node, safe='')}", {})

    def status(self) -> dict[str, Any]:
        return self._json("/v1/status", {})

    # -- lists, page by page behind the scenes --

    def events(self, limit: Optional[int] = None, **filters: Value) -> Iterator[Event]:
        """Search: topic, domain, node, node_prefix, from_, to, recorded_from, recorded_to, trace, cause, known_by, order."""
        return self._pages("/v1/events", filters, limit)

    def history(self, node: str, limit: Optional[int] = None, **filters: Value) -> Iterator[Event]:
        """What happened at a node, newest first: from_, to, topic, known_by, order."""
        return self._pages(f"/v1/nodes/{urllib.parse.quote(node, safe='')}/history", filters, limit)

    # -- streams --

    def world(self, as_of: Optional[Time] = None, known_by: Optional[Time] = None, **filters: Value) -> Iterator[Event]:
        """Every node as it was: topic, prefix. Raises Incomplete when it was cut."""
        return iter(Replay(self, "/v1/state", {"as_of": as_of, "known_by": known_by, **filters}, retries=0))

    def replay(self, retries: int = 10, cursor: Optional[str] = None, **filters: Value) -> "Replay":
        """Iterate a range in order: topic (one or a list), node, node_prefix, by, from_, to, known_by, speed, follow …

        A cut stream is taken up again behind its last whole line; `retries` counts cuts in a row without a line between.
        """
        return Replay(self, "/v1/replay", filters, retries, cursor)

    # -- underneath --

    def _open(self, path: str, params: Mapping[str, Value]) -> Any:
        request = urllib.request.Request(self.url + path + _query(params), headers=self._headers)
        try:
            return urllib.request.urlopen(request, timeout=self.timeout, context=self._tls)
        except urllib.error.HTTPError as error:
            body = error.read()
            try:
                problem = json.loads(body)
            except ValueError:
                problem = {"title": error.reason, "detail": body[:200].decode(errors="replace")}
            raise CapsuleError(error.code, problem if isinstance(problem, dict) else {}) from None

    def _json(self, path: str, params: Mapping[str, Value]) -> dict[str, Any]:
        with self._open(path, params) as answer:
            return json.load(answer)

    def _pages(self, path: str, filters: Mapping[str, Value], limit: Optional[int]) -> Iterator[Event]:
        cursor, left = None, limit
        while left is None or left > 0:
            page = self._json(path, {**filters, "cursor": cursor, "limit": min(left or 1000, 1000)})
            yield from page["events"]
            left = None if left is None else left - len(page["events"])
            cursor = page["next"]
            if cursor is None:
                return


class Replay:
    """An iterator over a stream's events. After its end: `count`, `digest` (of all bytes), `cursor`, `trailer`, `cuts`."""

    def __init__(self, capsule: Capsule, path: str, filters: Mapping[str, Value], retries: int, cursor: Optional[str] = None):
        self._capsule, self._path, self._filters, self._retries = capsule, path, dict(filters), retries
        self._sha = hashlib.sha256()
        self.cursor, self.count, self.cuts = cursor, 0, 0
        self.trailer: Optional[dict[str, Any]] = None

    @property
    def digest(self) -> str:
        return "sha256:" + self._sha.hexdigest()

    def __iter__(self) -> Iterator[Event]:
        without_progress, wait = 0, 0.1
        while self.trailer is None:
            before = self.count
            try:
                yield from self._one_stream()
            except (OSError, http.client.HTTPException) as error:
                problem: Exception = error
            except CapsuleError as error:
                if error.status not in (429, 502, 503, 504):
                    raise
                problem = error
            else:
                problem = Incomplete("the stream ended without its last line")
            if self.trailer is not None:
                return
            self.cuts += 1
            without_progress, wait = (0, 0.1) if self.count > before else (without_progress + 1, min(wait * 2, 5.0))
            if without_progress > self._retries or self._retries == 0:
                raise Incomplete(f"cut after {self.count} events: {problem}") from problem
            time.sleep(wait)

    def _one_stream(self) -> Iterator[Event]:
        sha, count = hashlib.sha256(), 0  # the server's digest is of this stream's bytes alone
        with self._capsule._open(self._path, {**self._filters, "cursor": self.cursor}) as answer:
            for line in answer:
                if not line.endswith(b"\n"):
                    return  # half a line: ask for it again
                event = json.loads(line)
                if event.get("end") is True:
                    if event["count"] != count or event["digest"] != "sha256:" + sha.hexdigest():
                        raise Incomplete(f"the stream says {event['count']} events, {event['digest']}; got {count}, sha256:{sha.hexdigest()}")
                    self.cursor = event.get("next") or self.cursor
                    self.trailer = event
                    return
                sha.update(line)
                self._sha.update(line)
                count += 1
                self.count += 1
                self.cursor = event.get("cursor", self.cursor)
                yield event
