"""What the system tests share: a real Kafka, the whole stack in a temporary folder, and independent looks at Kafka (kcat) and PostgreSQL (psql).

Standard library only. Programs come from $BF_BIN_DIR (default build/bin). Every process that is started here is stopped here.
"""
import atexit
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
import uuid

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.abspath(os.environ.get("BF_BIN_DIR", os.path.join(HOME, "build/bin")))
TOOLS = os.path.join(HOME, "tools")
SLOW = 3 if "sanitize" in BIN or "tsan" in BIN else 1  # sanitized programs may take their time

FAST_PATH, REFLEX, DECISION = "rim.fast-path", "odyssey.reflex", "plato.decision"


class Failed(Exception):
    pass


def run(*argv, check=True, stdin=None, timeout=300, env=None):
    """A program to its end; its output as bytes."""
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout * SLOW, env={**os.environ, **(env or {})})
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(argv)[:400]}: exit code {done.returncode}\n{done.stdout[-1500:].decode(errors='replace')}\n"
                     f"{done.stderr[-3000:].decode(errors='replace')}")
    return done


def wait_until(condition, what, timeout=60, step=0.05):
    """The first true value of condition(); network trouble counts as not yet."""
    give_up, last = time.monotonic() + timeout * SLOW, None
    while time.monotonic() < give_up:
        try:
            value = condition()
            if value:
                return value
        except (OSError, Failed, ValueError, KeyError) as e:
            last = e
        time.sleep(step)
    raise Failed(f"waited {timeout * SLOW} s for: {what}" + (f" (last: {last})" if last else ""))


# ---- Kafka, seen through kcat ----

class Kafka:
    def __init__(self, directory):
        self.dir = directory
        try:
            self.bootstrap = run(os.path.join(TOOLS, "kafka"), "start", directory, "--port", "0").stdout.decode().split()[-1]
        except BaseException:
            self.stop()
            raise

    def stop(self):
        run(os.path.join(TOOLS, "kafka"), "stop", self.dir, check=False)

    def produce(self, topic, value, key=None, headers=(), partition=None):
        """One message through kcat, its bytes exactly as given (None: null)."""
        argv = ["kcat", "-P", "-b", self.bootstrap, "-t", topic, "-q", "-X", "message.max.bytes=20000000", "-X", "acks=all"]
        if key is not None:
            argv += ["-k", key]
        if partition is not None:
            argv += ["-p", str(partition)]
        for name, text in headers:
            argv += ["-H", f"{name}={text}"]
        if value is None:
            run(*argv, "-Z", stdin=b"")
            return
        with tempfile.NamedTemporaryFile() as f:
            f.write(value)
            f.flush()
            run(*argv, f.name)

    def consume(self, topic, read_committed=True):
        """Every record of a topic: dicts with partition, offset, time_ms, key, value (bytes or None), headers (text)."""
        argv = ["kcat", "-C", "-b", self.bootstrap, "-t", topic, "-o", "beginning", "-e", "-q", "-X", "fetch.message.max.bytes=20000000",
                "-f", "%p %o %T %K %S %h\n%k%s\n"]
        data, at, records = run(*argv).stdout, 0, []
        while at < len(data):
            end = data.index(b"\n", at)
            partition, offset, when, key_len, value_len, headers = data[at:end].split(b" ", 5)
            at = end + 1
            key_len, value_len = int(key_len), int(value_len)
            key = data[at:at + key_len] if key_len >= 0 else None
            at += max(key_len, 0)
            value = data[at:at + value_len] if value_len >= 0 else None
            at += max(value_len, 0) + 1
            records.append({"partition": int(partition), "offset": int(offset), "time_ms": int(when), "key": key, "value": value,
                            "headers": headers.decode(errors="replace")})
        return records


# ---- Avro, just enough to make good and bad bytes ----

def zigzag(n):
    n = (n << 1) ^ (n >> 63)
    out = bytearray()
    while n > 0x7F:
        out.append((n & 0x7F) | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def avro_string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return zigzag(len(data)) + data


def framed(schema_id, payload):
    return b"\x00" + struct.pack(">i", schema_id) + payload


def fast_event(node, when_ms, event_id=None, price=None, status="ACTIVE", metadata=None):
    """The Avro bytes of a RimFastEvent (schemas/rim.fast-path.avsc), written by hand."""
    def optional(value, write):
        return zigzag(0) if value is None else zigzag(1) + write(value)
    out = avro_string(node) + optional(event_id, avro_string) + zigzag(when_ms) + zigzag(when_ms + 3) + zigzag(7)
    out += zigzag(0)  # critical_metrics: empty
    out += optional(price, lambda v: struct.pack("<d", v)) + zigzag(0) + zigzag(0) + avro_string(status) + zigzag(0) + zigzag(0)
    if metadata:
        out += zigzag(len(metadata)) + b"".join(avro_string(k) + avro_string(v) for k, v in metadata.items())
    return out + zigzag(0)


def id_of_text(text):
    """What an event id that is no UUID becomes (the contract, §3)."""
    digest = bytearray(hashlib.sha256(b"butterfly:event-id:" + text.encode()).digest()[:16])
    digest[6] = (digest[6] & 0x0F) | 0x80
    digest[8] = (digest[8] & 0x3F) | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


# ---- the stack ----

class Stack:
    """`butterfly up` in a folder; kafka: a Kafka, or None for the embedded broker."""

    def __init__(self, directory, kafka=None, extra=()):
        self.dir, self.kafka, self.extra = directory, kafka, list(extra)

    def up(self):
        argv = [os.path.join(BIN, "butterfly"), "up", "--dir", self.dir, "--detach", "--http-port", "0", "--home", HOME,
                "--restart-wait-max", "500ms"] + self.extra
        if self.kafka:
            argv += ["--kafka", self.kafka.bootstrap]
        run(*argv, timeout=240)
        self.read_endpoints()
        return self

    def read_endpoints(self):
        with open(os.path.join(self.dir, "endpoints.json")) as f:
            self.endpoints = json.load(f)
        self.http = self.endpoints["http"]
        return self.endpoints

    def down(self, check=True):
        return run(os.path.join(BIN, "butterfly"), "down", "--dir", self.dir, "--home", HOME, check=check, timeout=400)

    def pid(self, name):
        return self.read_endpoints()["pids"][name]

    def kill9(self, name):
        os.kill(self.pid(name), signal.SIGKILL)

    def log(self, name):
        with open(os.path.join(self.dir, "log", name + ".log"), errors="replace") as f:
            return f.read()

    # -- questions --

    def butterfly(self, *argv, check=True):
        return run(os.path.join(BIN, "butterfly"), *argv, "--dir", self.dir, check=check)

    def raw(self, path, **params):
        """(status, body) of a GET."""
        query = "?" + urllib.parse.urlencode(params, doseq=True) if params else ""
        try:
            with urllib.request.urlopen(self.http + path + query, timeout=60 * SLOW) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read()

    def get(self, path, **params):
        status, body = self.raw(path, **params)
        if status != 200:
            raise Failed(f"GET {path} {params}: {status} {body[:300]}")
        return json.loads(body)

    def pages(self, path, member="events", **params):
        rows, cursor = [], None
        while True:
            page = self.get(path, limit=params.pop("limit", 1000), **params, **({"cursor": cursor} if cursor else {}))
            rows += page[member]
            cursor = page["next"]
            if not cursor:
                return rows

    def replay(self, **params):
        """(events, trailer), the digest checked."""
        status, body = self.raw("/v1/replay", **params)
        if status != 200:
            raise Failed(f"replay {params}: {status} {body[:300]}")
        lines = body.splitlines(keepends=True)
        trailer = json.loads(lines[-1])
        if trailer.get("end") is not True:
            raise Failed("the replay has no trailer")
        if trailer["digest"] != "sha256:" + hashlib.sha256(b"".join(lines[:-1])).hexdigest():
            raise Failed("the replay's digest does not fit its bytes")
        if trailer["count"] != len(lines) - 1:
            raise Failed("the replay's count does not fit its lines")
        return [json.loads(line) for line in lines[:-1]], trailer

    def psql(self, sql):
        """Rows as lists of text."""
        out = run("psql", self.endpoints["postgres"], "-X", "-At", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-c", sql).stdout.decode()
        return [line.split("\x1f") for line in out.splitlines()]

    def postgres(self, command):
        return run(os.path.join(TOOLS, "postgres"), command, os.path.join(self.dir, "postgres"))

    def dispositions(self, topic):
        for t in self.get("/v1/topics")["topics"]:
            if t["topic"] == topic:
                return t["dispositions"]
        return {}

    def taken(self, topic=FAST_PATH):
        return sum(self.dispositions(topic).values())

    def wait_taken(self, count, topic=FAST_PATH, timeout=90):
        wait_until(lambda: self.taken(topic) >= count, f"{count} records of {topic} (there are {self.taken(topic)})", timeout)

    def wait_quiet(self, timeout=90, quiet=1.0):
        """Caught up, archived, and nothing new for a while."""
        state = {"since": None, "last": None}

        def quiet_now():
            s = self.get("/v1/status")
            now = time.monotonic()
            if s["lag_messages"] or s["archived_through"] < s["recorded_through"] or s["recorded_through"] != state["last"]:
                state.update(since=now, last=s["recorded_through"])
            return state["since"] is not None and now - state["since"] > quiet
        wait_until(quiet_now, "everything is archived and nothing new comes", timeout, 0.1)

    # -- signals in --

    def perception(self, lines, *extra, check=True, timeout=300):
        """NDJSON lines (dicts) through the perception program; the counts of its last line, and the process's result."""
        data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
        done = run(os.path.join(BIN, "perception"), "--stdin", "--format", "ndjson", "--topic", FAST_PATH, "--bootstrap",
                   self.endpoints["kafka"], "--registry", self.endpoints["registry"], *extra, check=check, stdin=data, timeout=timeout)
        return counts_of(done.stderr), done

    def schema_id(self, subject=FAST_PATH + "-value"):
        with urllib.request.urlopen(f"{self.endpoints['registry']}/subjects/{subject}/versions/latest", timeout=20) as answer:
            return json.load(answer)["id"]

    def register(self, subject, schema):
        request = urllib.request.Request(f"{self.endpoints['registry']}/subjects/{subject}/versions",
                                         json.dumps({"schema": json.dumps(schema)}).encode(),
                                         {"Content-Type": "application/vnd.schemaregistry.v1+json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)["id"]


def counts_of(stderr):
    """accepted=… rejected=… published=… failed=… of perception's last line."""
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.startswith("accepted=")]
    if not lines:
        raise Failed("perception said no counts: " + stderr[-500:].decode(errors="replace"))
    return {k: int(v) for k, v in (pair.split("=") for pair in lines[-1].split())}


def signal_line(i, node=None, when_ms=None, **more):
    """A plausible signal as perception takes it."""
    line = {"rim_node_id": node or f"rim:entity:finance:N{i % 97}",
            "vector_timestamp": {"event_ts_ms": when_ms if when_ms is not None else 1717236000000 + i * 250},
            "price": 1 + i / 1000, "status": "ACTIVE"}
    line.update(more)
    return line


class SystemTest(unittest.TestCase):
    """One stack for all tests of a class: kafka = True for a real one. A failing test shows where the logs are kept."""

    kafka = True
    extra = ()

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="butterfly-system.")
        os.chmod(cls.dir, 0o755)
        cls.broker = cls.stack = None
        atexit.register(cls.tearDownClass)  # unittest leaves it out when this fails, and at Ctrl-C
        cls.broker = Kafka(os.path.join(cls.dir, "kafka")) if cls.kafka else None
        cls.stack = Stack(os.path.join(cls.dir, "d"), cls.broker, cls.extra).up()
        cls.prepare()

    @classmethod
    def prepare(cls):
        """What all tests of a class look at."""

    @classmethod
    def tearDownClass(cls):
        atexit.unregister(cls.tearDownClass)
        if cls.stack:
            cls.stack.down(check=False)
        if cls.broker:
            cls.broker.stop()
        if os.environ.get("BF_KEEP"):
            print(f"kept: {cls.dir}", file=sys.stderr)
        else:
            shutil.rmtree(cls.dir, ignore_errors=True)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        try:
            super().run(result)
        except KeyboardInterrupt:
            self.doCleanups()  # unittest leaves them out then
            raise
        if len(result.failures) + len(result.errors) > before and self.stack:
            for name in sorted(os.listdir(os.path.join(self.stack.dir, "log"))):
                tail = self.stack.log(name[:-4])[-2500:]
                if tail:
                    print(f"---- end of {name}\n{tail}", file=sys.stderr)
