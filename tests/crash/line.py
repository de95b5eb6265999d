"""What the crash and fault tests share: CAPSULE alone on a real Kafka and a real PostgreSQL, with a registry and a TCP proxy of the tests' own, and
an independent checker.

Standard library, kcat, psql, and build/tests/kafka_tool only. One Kafka and one PostgreSQL serve all tests of a file; each test has its own
topics, database, folder and consumer group, so a CAPSULE that was killed is not waited for by the group's coordinator.
"""
import atexit
import collections
import hashlib
import http.client
import http.server
import json
import os
import queue
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system"))
from harness import BIN, HOME, SLOW, TOOLS, Failed, Kafka, avro_string, framed, id_of_text, run, wait_until, zigzag  # noqa: E402,F401

KAFKA_TOOL = os.path.join(HOME, "build" if "tsan" in BIN else os.path.dirname(BIN), "tests", "kafka_tool")
TORTURE = os.environ.get("BF_TORTURE") == "1"
WHEN = 1717236000000

SCHEMA_ID = 11
SCHEMA = {"type": "record", "name": "Reading", "namespace": "test", "fields": [
    {"name": "rim_node_id", "type": "string"}, {"name": "event_id", "type": ["null", "string"], "default": None},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "price", "type": "double"}, {"name": "note", "type": "string"}]}


def reading(node, event_id, when_ms, price=1.0, note=""):
    """The Avro bytes of a Reading."""
    ident = zigzag(0) if event_id is None else zigzag(1) + avro_string(event_id)
    return avro_string(node) + ident + zigzag(when_ms) + struct.pack("<d", price) + avro_string(note)


def unzigzag(data, at):
    shift = value = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


def read_reading(value):
    """(node, event_id, when_ms) of a framed Reading, None when it is none: the checker's own decoder."""
    if value is None or len(value) < 6 or value[0] != 0 or struct.unpack(">i", value[1:5])[0] not in (SCHEMA_ID,):
        return None
    try:
        n, at = unzigzag(value, 5)
        if n < 0 or at + n > len(value):
            return None
        node, at = value[at:at + n].decode(), at + n
        branch, at = unzigzag(value, at)
        ident = None
        if branch == 1:
            n, at = unzigzag(value, at)
            ident, at = value[at:at + n].decode(), at + n
        elif branch != 0:
            return None
        when, at = unzigzag(value, at)
        at += 8
        n, at = unzigzag(value, at)
        return (node, ident, when) if n >= 0 and at + n == len(value) and node.startswith("rim:entity:") else None
    except (IndexError, UnicodeDecodeError):
        return None


# ---- Kafka ----

class Tool:
    """build/tests/kafka_tool: sends with acknowledged coordinates, transactions, topics. `sent` is the producers' ledger."""

    def __init__(self, bootstrap, transactional_id=None):
        argv = [KAFKA_TOOL, bootstrap] + ([transactional_id] if transactional_id else [])
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.queued, self.sent, self.lost = [], {}, []  # number -> (topic, key, value); number -> (partition, offset)
        self.answers = queue.Queue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            word, _, rest = line.decode().rstrip("\n").partition(" ")
            if word == "sent":
                number, partition, offset = (int(x) for x in rest.split())
                self.sent[number] = (partition, offset)
            elif word == "lost":
                self.lost.append(rest)
            else:
                self.answers.put((word, rest))

    def send(self, topic, value, key=None, partition=-1, headers=()):
        def hexed(data):
            return "-" if data is None else data.hex()
        key = key.encode() if isinstance(key, str) else key
        line = f"send {topic} {partition} {hexed(key)} {hexed(value)}" + "".join(f" {n}={v.encode().hex()}" for n, v in headers)
        self.queued.append((topic, key, value))
        self.process.stdin.write(line.encode() + b"\n")

    def ask(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words).encode() + b"\n")
        self.process.stdin.flush()
        word, why = self.answers.get(timeout=150)
        if word != "ok":
            raise Failed(f"kafka_tool: {words[:3]}: {word} {why}")

    def flush(self):
        self.ask("flush")

    def ledger(self, topic):
        """What was acknowledged: {(partition, offset): (key, value)}."""
        return {self.sent[i]: (key, value) for i, (t, key, value) in enumerate(self.queued) if t == topic and i in self.sent}

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.reader.join(60)
        self.process.stdout.close()


# ---- a registry that can misbehave ----

class Registry:
    """GET /schemas/ids/{id}. mode: ok, away (connections are cut), slow (no answer), wrong (nonsense), failing (500), empty (knows nothing)."""

    def __init__(self):
        self.schemas, self.mode, self.asked = {SCHEMA_ID: SCHEMA}, "ok", 0
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                owner.asked += 1
                if owner.mode == "away":
                    self.connection.close()
                    return
                while owner.mode == "slow":  # no answer at all until it is well again
                    time.sleep(0.02)
                status, body = owner.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path):
        if self.mode == "wrong":
            return 200, b"<html>welcome</html>"
        if self.mode == "failing":
            return 500, b'{"error_code":50001,"message":"store"}'
        found = re.fullmatch(r"/schemas/ids/(\d+)(\?.*)?", path)
        schema = self.schemas.get(int(found.group(1))) if found and self.mode != "empty" else None
        if schema is None:
            return 404, b'{"error_code":40403,"message":"Schema not found"}'
        return 200, json.dumps({"schema": json.dumps(schema)}).encode()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


# ---- a TCP proxy that can misbehave ----

class Proxy:
    """Between CAPSULE and PostgreSQL. refuse: no new connections; delay_s: per piece and direction; cut_at: close both sides when the client sends
    this; hold: bytes stop flowing; swallow_after: forward what holds this text, then cut before the answer comes back."""

    def __init__(self, port):
        self.target, self.refuse, self.delay_s, self.cut_at, self.hold, self.swallow_after = port, False, 0, None, False, None
        self.cuts, self.pairs, self.muted, self.lock = 0, [], set(), threading.Lock()  # muted: servers whose answers go nowhere
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.refuse:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                client.close()
                continue
            for s in (client, server):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.pairs.append((client, server))
            threading.Thread(target=self.pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, False), daemon=True).start()

    def pump(self, source, sink, from_client):
        try:
            while data := source.recv(65536):
                while self.hold:
                    time.sleep(0.01)
                if self.delay_s:
                    time.sleep(self.delay_s)
                if from_client and self.cut_at and self.cut_at in data:
                    self.cut_at, self.cuts = None, self.cuts + 1
                    break
                swallow = from_client and self.swallow_after and self.swallow_after in data
                if swallow:
                    self.muted.add(sink)
                if from_client or source not in self.muted:
                    sink.sendall(data)
                if swallow:
                    self.swallow_after, self.cuts = None, self.cuts + 1
                    time.sleep(0.3)  # the server works; its answer finds nobody
                    break
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for s in pair:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.listener.close()
        self.cut()


# ---- CAPSULE ----

class Capsule:
    """One instance: its folder and how it is started. Nothing of its own survives a start but the folder."""

    starts = 0

    def __init__(self, line, conninfo, name="a", group=None, extra=(), registry=None):
        self.line, self.conninfo, self.group, self.extra, self.env = line, conninfo, group, list(extra), {}
        self.dir = os.path.join(tempfile.mkdtemp(prefix=name + ".", dir=line.dir), "d")
        self.registry = registry or line.registry.url
        self.process, self.log_path = None, os.path.join(os.path.dirname(self.dir), "log")

    def start(self, failpoints="", wait=True, extra=(), bootstrap=None):
        """group None: a fresh one for each start, because nothing is kept in it and a killed member's session is waited for."""
        Capsule.starts += 1
        self.endpoints = os.path.join(os.path.dirname(self.dir), "endpoints.json")
        if os.path.exists(self.endpoints):
            os.unlink(self.endpoints)
        argv = (["setarch", "-R"] if "tsan" in BIN else []) + [  # the thread sanitizer wants a plain address space
            os.path.join(BIN, "capsule"), "--dir", self.dir, "--postgres", self.conninfo, "--bootstrap", bootstrap or self.line.kafka.bootstrap,
                "--registry-url", self.registry, "--http-port", "0", "--endpoints-file", self.endpoints,
                "--schemas-dir", os.path.join(HOME, "schemas"), "--migrations-dir", os.path.join(HOME, "migrations"),
                "--group", self.group or f"{os.path.basename(os.path.dirname(self.dir))}.{Capsule.starts}"] + self.extra + list(extra)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env={**os.environ, **self.env, "BF_FAILPOINTS": failpoints})
        if wait:
            wait_until(self.serves, "capsule serves", 60)
        return self

    def serves(self):
        if self.process.poll() is not None:
            raise AssertionError(f"capsule ended with {self.process.returncode}:\n{self.log()[-3000:]}")
        if not os.path.exists(self.endpoints):
            return False
        with open(self.endpoints) as f:
            self.http = json.load(f)["http"]
        return self.status()["instance"]

    def ready(self):
        return self.serves() and self.raw("/readyz")[0] == 200

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill9(self):
        if self.alive():
            self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def wake(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self, timeout=60):
        """SIGTERM; the exit code."""
        if self.alive():
            self.process.terminate()
        try:
            return self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise AssertionError("capsule did not stop:\n" + self.log()[-3000:])

    def wait_exit(self, timeout=60):
        try:
            return self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError("capsule goes on:\n" + self.log()[-3000:])

    def log(self):
        if not os.path.exists(self.log_path):
            return ""  # it was never started
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def move_clock(self, by_s):
        """Its wall clock, by so many seconds from now on; the first time before it starts."""
        path = os.path.join(os.path.dirname(self.dir), "moved")
        with open(path + ".new", "w") as f:
            f.write(str(by_s))
        os.rename(path + ".new", path)
        self.env = {"LD_PRELOAD": os.path.join(os.path.dirname(KAFKA_TOOL), "wall_clock.so"), "BF_WALL_CLOCK": path}

    # -- questions --

    def raw(self, path, **params):
        host = urllib.parse.urlsplit(self.http).netloc
        connection = http.client.HTTPConnection(host, timeout=30 * SLOW)
        try:
            connection.request("GET", path + ("?" + urllib.parse.urlencode(params, doseq=True) if params else ""))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as e:
            raise OSError(str(e))
        finally:
            connection.close()

    def get(self, path, **params):
        status, body = self.raw(path, **params)
        if status != 200:
            raise Failed(f"GET {path} {params}: {status} {body[:300]}")
        return json.loads(body)

    def post(self, path, body):
        host = urllib.parse.urlsplit(self.http).netloc
        connection = http.client.HTTPConnection(host, timeout=60 * SLOW)
        try:
            if body is None:
                connection.request("POST", path, headers={"Content-Length": "0"})
            else:
                connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def status(self):
        return self.get("/v1/status")

    def dispositions(self, topic):
        for t in self.get("/v1/topics")["topics"]:
            if t["topic"] == topic:
                return t["dispositions"]
        return {}

    def stored(self, topic):
        return self.dispositions(topic).get("stored", 0)

    def metric(self, name, **labels):
        total = 0
        for line in self.raw("/metrics")[1].decode().splitlines():
            if line.startswith(name) and line[len(name):len(name) + 1] in "{ " and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.split()[-1])
        return total

    def next_offsets(self, topic):
        return {c["partition"]: c["next_offset"] for c in self.get("/v1/coverage", topic=topic)["coverage"]}

    def wait_through(self, topic, ends, timeout=90):
        """Every partition of the topic is taken up to these ends ({partition: offset}), and all of it is archived."""
        def there():
            if not self.alive():
                raise AssertionError(f"capsule ended with {self.process.returncode}:\n{self.log()[-3000:]}")
            at = self.next_offsets(topic)
            s = self.status()
            return all(at.get(p, -1) >= o for p, o in ends.items() if o > 0) and s["archived_through"] >= s["recorded_through"]
        wait_until(there, f"{topic} is taken and archived up to {ends}", timeout, 0.1)

    def replay(self, **params):
        status, body = self.raw("/v1/replay", **params)
        if status != 200:
            raise Failed(f"replay {params}: {status} {body[:300]}")
        lines = body.splitlines(keepends=True)
        trailer = json.loads(lines[-1])
        if trailer.get("end") is not True or trailer["digest"] != "sha256:" + hashlib.sha256(b"".join(lines[:-1])).hexdigest():
            raise Failed("the replay is cut or its digest does not fit")
        return [json.loads(line) for line in lines[:-1]]


# ---- the checker ----

class Difference(AssertionError):
    pass


class Checker:
    """Producers' ledger, Kafka, LMDB and PostgreSQL against each other, byte for byte. What every record should have become is worked out here
    from Kafka's bytes alone: for each partition in order, an id's new content is a new revision, its newest content again a duplicate."""

    def __init__(self, line, database, topic, ledgers=()):
        self.line, self.database, self.topic, self.ledgers = line, database, topic, ledgers

    def kafka(self):
        """{(partition, offset): record}, aborted ones left out as a reader of committed records sees it."""
        return {(r["partition"], r["offset"]): r for r in self.line.kafka.consume(self.topic)}

    def sql(self, text):
        return self.line.psql(self.database, text)

    def expect(self, records):
        """disposition of each coordinate, and {id: [content, …]} by revision."""
        became, revisions = {}, collections.defaultdict(list)
        for place in sorted(records):
            r = records[place]
            parsed = read_reading(r["value"])
            if parsed is None or (r["value"] is None):
                became[place] = "quarantined"
                continue
            ident = id_of_text(parsed[1]) if parsed[1] else None
            content = (r["key"], r["value"])
            if ident and revisions[ident] and revisions[ident][-1] == content:
                became[place] = "duplicate"
            else:
                became[place] = "stored"
                revisions[ident or place].append(content)
        return became, revisions

    def fail(self, what, more=()):
        more = list(more)
        raise Difference(f"{self.topic}: {what}: {len(more)}, e.g. {more[:5]}" if more else f"{self.topic}: {what}")

    def same(self, what, have, want):
        have, want = collections.Counter(have), collections.Counter(want)
        if have != want:
            missing, extra = want - have, have - want
            self.fail(f"{what}: {sum(missing.values())} missing, {sum(extra.values())} too many", list(missing)[:3] + list(extra)[:3])

    def check_ledgers(self, records):
        for ledger in self.ledgers:
            for place, (key, value) in ledger.items():
                if place not in records:
                    self.fail("acknowledged but not in Kafka", [place])
                if (records[place]["key"], records[place]["value"]) != (key, value):
                    self.fail("Kafka holds other bytes than were acknowledged", [place])

    def check_archive(self, records, became, gone=()):
        rows = self.sql("select kafka_partition, kafka_offset, event_id, revision, encode(sha256(raw), 'hex'), encode(coalesce(\"key\", ''), 'hex')"
                        f" from capsule.events where topic = '{self.topic}'")
        stored = [p for p, b in became.items() if b == "stored"] + list(gone)
        self.same("events in PostgreSQL", [(int(r[0]), int(r[1])) for r in rows], stored)
        for r in rows:
            place = int(r[0]), int(r[1])
            if place in records and (r[4], r[5]) != (hashlib.sha256(records[place]["value"]).hexdigest(), (records[place]["key"] or b"").hex()):
                self.fail("PostgreSQL holds other bytes than Kafka", [place])
        self.same("duplicates in PostgreSQL", [tuple(map(int, r)) for r in self.sql(
            f"select kafka_partition, kafka_offset from capsule.duplicates where topic = '{self.topic}'")],
            [p for p, b in became.items() if b == "duplicate"])
        poison = self.sql(f"select kafka_partition, kafka_offset, encode(sha256(raw), 'hex') from capsule.quarantine where topic = '{self.topic}'")
        self.same("quarantined in PostgreSQL", [(int(r[0]), int(r[1]), r[2]) for r in poison],
                  [p + (hashlib.sha256(records[p]["value"]).hexdigest() if records[p]["value"] is not None else "",)
                   for p, b in became.items() if b == "quarantined"])
        return {(int(r[0]), int(r[1])): (r[2], int(r[3])) for r in rows}

    def check_hot(self, capsule, rows, sample):
        events = capsule.replay(topic=self.topic)
        self.same("events over HTTP", [(e["partition"], e["offset"], e["event_id"], e["revision"]) for e in events],
                  [place + rows[place] for place in rows])
        newest = {}
        for e in events:
            if e["revision"] > newest.get(e["event_id"], (0, None))[0]:
                newest[e["event_id"]] = (e["revision"], (e["partition"], e["offset"]))
        return random.sample(sorted(newest.items()), min(sample, len(newest)))

    def check_raw(self, capsule, picked, records):
        host = urllib.parse.urlsplit(capsule.http).netloc
        connection = http.client.HTTPConnection(host, timeout=30 * SLOW)
        for ident, (_, place) in picked:
            connection.request("GET", f"/v1/events/{ident}/raw?topic={self.topic}")
            body = connection.getresponse().read()
            if place in records and body != records[place]["value"]:
                self.fail("HTTP gives other bytes than Kafka", [place])
        connection.close()

    def check_coverage(self, capsule, became, ends, lost=()):
        """Both ledgers, offset by offset. lost: {partition: [(from, to)]} that the broker dropped before it was read."""
        def disposition(p, o):
            if any(p == lp and lf <= o < lt for lp, lf, lt in lost):
                return "lost-before-read"
            return became.get((p, o), "control")
        answer = capsule.get("/v1/coverage", topic=self.topic)
        if answer["complete"] is not True:
            self.fail("coverage is not complete", [answer])
        hot = {}
        for c in answer["coverage"]:
            at = c["first_offset"]
            for i in c["intervals"]:
                if i["from"] != at:
                    self.fail("coverage has a hole or an overlap", [(c["partition"], at, i)])
                at = i["to"]
                for o in range(i["from"], i["to"]):
                    hot[(c["partition"], o)] = i["disposition"]
            if at != c["next_offset"]:
                self.fail("coverage does not reach the next offset", [c["partition"]])
            if at < ends.get(c["partition"], 0):
                self.fail("coverage ends before the log", [(c["partition"], at, ends)])
        wrong = [(place, d, disposition(*place)) for place, d in hot.items() if d != disposition(*place)]
        if wrong:
            self.fail("coverage says otherwise than Kafka", wrong)
        missing = [place for place in became if place not in hot]
        if missing:
            self.fail("offsets without a disposition", missing)
        cold = []
        for p, a, b, d in self.sql(f"select kafka_partition, from_offset, to_offset, disposition from capsule.coverage where topic = '{self.topic}'"):
            cold += [((int(p), o), d) for o in range(int(a), int(b))]
        self.same("coverage in PostgreSQL against LMDB", cold, hot.items())

    def check(self, capsule, ends=None, sample=200, lost=()):
        records = self.kafka()
        ends = ends or self.line.ends(self.topic)
        capsule.wait_through(self.topic, ends)
        self.check_ledgers(records)
        became, _ = self.expect(records)
        rows = self.check_archive(records, became)
        self.check_raw(capsule, self.check_hot(capsule, rows, sample), records)
        self.check_coverage(capsule, became, ends, lost)
        return collections.Counter(became.values())


# ---- load ----

class Load(threading.Thread):
    """Readings by the thousand: one in ten is sent twice, one in fifty comes again with other content, one in a hundred is poison, and what is sent
    twice comes back much later, too. An id stays with its node, so in its partition."""

    def __init__(self, line, topic, rate=2500, seed=1):
        super().__init__(daemon=True)
        self.tool, self.topic, self.rate, self.rng = Tool(line.kafka.bootstrap), topic, rate, random.Random(seed)
        self.stopping, self.count, self.trouble = threading.Event(), 0, None

    def one(self):
        n, rng = self.count, self.rng
        self.count += 1
        node = f"rim:entity:test:N{n % 211}"
        kind = rng.random()
        if kind < 0.01:
            self.tool.send(self.topic, rng.choice((b"junk", b"\x00\x00\x00\x00\x0b\x05x", framed(SCHEMA_ID, reading("rim:planet:x:y", "p", WHEN)))), node)
            return
        value = framed(SCHEMA_ID, reading(node, f"r-{n}", WHEN + n * 1000, float(n), "x" * (n % 40)))
        self.tool.send(self.topic, value, node)
        if kind < 0.11:
            self.tool.send(self.topic, value, node)
        elif kind < 0.13:
            self.tool.send(self.topic, framed(SCHEMA_ID, reading(node, f"r-{n}", WHEN + n * 1000, -float(n), "changed")), node)
        elif kind < 0.16 and n > 2000:
            old = rng.randrange(n)  # perhaps poison then: an id that is new after all
            old_node = f"rim:entity:test:N{old % 211}"
            self.tool.send(self.topic, framed(SCHEMA_ID, reading(old_node, f"r-{old}", WHEN + old * 1000, float(old), "x" * (old % 40))), old_node)

    def run(self):
        try:
            while not self.stopping.is_set():
                began = time.monotonic()
                for _ in range(self.rate // 20):
                    self.one()
                self.tool.flush()
                time.sleep(max(0, began + 0.05 - time.monotonic()))
        except Exception as e:  # noqa: BLE001 shown by the test
            self.trouble = e

    def finish(self):
        self.stopping.set()
        self.join(60)
        if self.trouble:
            raise self.trouble
        ledger = self.tool.ledger(self.topic)
        self.tool.close()
        return ledger


# ---- one of each for a file of tests ----

class Line:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="butterfly-line.")
        os.chmod(self.dir, 0o755)
        self.registry, self.kafka, self.capsules, self.names = Registry(), None, [], 0
        atexit.register(self.close)  # unittest leaves tearDownClass out when this fails, and at Ctrl-C
        self.kafka = Kafka(os.path.join(self.dir, "kafka"))
        self.postgres("start")
        with open(os.path.join(self.dir, "postgres", "conninfo")) as f:
            self.conninfo = f.read().strip()
        self.pg_port = int(re.search(r"port=(\d+)", self.conninfo).group(1))
        self.admin = Tool(self.kafka.bootstrap)

    def postgres(self, command):
        return run(os.path.join(TOOLS, "postgres"), command, os.path.join(self.dir, "postgres"))

    def postmaster(self):
        with open(os.path.join(self.dir, "postgres", "data", "postmaster.pid")) as f:
            return int(f.readline())

    def name(self, prefix):
        self.names += 1
        return f"{prefix}{self.names}"

    def topic(self, partitions=3, **config):
        name = self.name("fault.topic")
        self.admin.ask("create", name, partitions, *(f"{k.replace('_', '.')}={v}" for k, v in config.items()))
        return name

    def database(self, proxy=None):
        """A fresh database; (its name, a conninfo). proxy: connect through it."""
        name = self.name("line")
        self.psql("postgres", f"create database {name}")
        conninfo = re.sub(r"dbname=\S+", f"dbname={name}", self.conninfo)
        return name, re.sub(r"port=\d+", f"port={proxy.port}", conninfo) if proxy else conninfo

    def psql(self, database, sql):
        conninfo = re.sub(r"dbname=\S+", f"dbname={database}", self.conninfo)
        out = run("psql", conninfo, "-X", "-At", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-c", sql).stdout.decode()
        return [row.split("\x1f") for row in out.splitlines()]

    def ends(self, topic):
        """The log's end of each partition, asked by kcat."""
        out = run("kcat", "-L", "-b", self.kafka.bootstrap, "-t", topic, "-J").stdout
        count = len(json.loads(out)["topics"][0]["partitions"])
        out = run("kcat", "-Q", "-b", self.kafka.bootstrap, *sum((["-t", f"{topic}:{p}:-1"] for p in range(count)), [])).stdout.decode()
        return {int(p): int(o) for p, o in re.findall(r"\[(\d+)\] offset (-?\d+)", out)}

    def capsule(self, conninfo, **more):
        c = Capsule(self, conninfo, **more)
        self.capsules.append(c)
        return c

    def close(self):
        atexit.unregister(self.close)
        for c in self.capsules:
            if c.alive():
                c.process.send_signal(signal.SIGCONT)
                c.kill9()
        if getattr(self, "admin", None):
            self.admin.close()
        run(os.path.join(TOOLS, "postgres"), "stop", os.path.join(self.dir, "postgres"), check=False)
        if self.kafka:
            self.kafka.stop()
        self.registry.close()
        if os.environ.get("BF_KEEP"):
            print("kept: " + self.dir, file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


class LineTest(unittest.TestCase):
    """One Line for all tests of a class; what a failed test's CAPSULEs said is shown."""

    @classmethod
    def setUpClass(cls):
        cls.line = Line()

    @classmethod
    def tearDownClass(cls):
        cls.line.close()

    def setUp(self):
        self.line.registry.mode = "ok"

    def tearDown(self):
        for c in self.line.capsules:
            if c.alive():
                c.wake()
                c.kill9()
        self.line.capsules.clear()

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            for c in self.shown:
                print(f"---- end of {c.dir}\n{c.log()[-3000:]}", file=sys.stderr)

    @property
    def shown(self):
        return getattr(self, "watched", [])

    def capsule(self, conninfo, **more):
        c = self.line.capsule(conninfo, **more)
        self.watched = self.shown + [c]
        return c

    def send(self, topic, numbers, note="", node=None):
        """Readings with these numbers, acknowledged; the ledger."""
        tool = Tool(self.line.kafka.bootstrap)
        for n in numbers:
            name = node or f"rim:entity:test:N{n % 31}"
            tool.send(topic, framed(SCHEMA_ID, reading(name, f"e-{n}", WHEN + n * 1000, float(n), note)), name)
        tool.flush()
        ledger = tool.ledger(topic)
        tool.close()
        return ledger

    def checker(self, database, topic, *ledgers):
        return Checker(self.line, database, topic, ledgers)
