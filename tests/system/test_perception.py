#!/usr/bin/env python3
"""PERCEPTION on a real Kafka: every way in, every way that a signal can be bad, backpressure, ends. What came out is read by kcat and Python's avro."""
import atexit
import csv
import fcntl
import gzip
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest
import urllib.error
import urllib.request
import uuid

sys.path.append("/usr/lib/python3/dist-packages")  # Debian's python3-avro, also where another python3 comes first
import avro.io
import avro.schema

from harness import BIN, FAST_PATH, HOME, SLOW, Failed, Kafka, counts_of, run, signal_line, wait_until

with open(os.path.join(HOME, "schemas/rim.fast-path.avsc")) as schema_file:
    SCHEMA = avro.schema.parse(schema_file.read().replace('"logicalType": "timestamp-millis"', '"plain": true'))  # times as they are
PERCEPTION = os.path.join(BIN, "perception")
ECB = os.path.join(HOME, "demo/ecb")


def murmur2(data):
    """As Kafka's Java clients hash a key (org.apache.kafka.common.utils.Utils)."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    for i in range(0, len(data) - len(data) % 4, 4):
        k = int.from_bytes(data[i:i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    rest = data[len(data) - len(data) % 4:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def decode(record):
    """The signal of a Kafka record, by Python's own Avro."""
    value = record["value"]
    if value[:1] != b"\0":
        raise Failed(f"no Confluent frame: {value[:8]!r}")
    rest = io.BytesIO(value[5:])
    signal_ = avro.io.DatumReader(SCHEMA).read(avro.io.BinaryDecoder(rest))
    if rest.read():
        raise Failed("bytes are left behind the signal")
    return signal_


def load(path):
    with open(path) as f:
        return json.load(f)


class Registry:
    """build/bin/registry in a folder."""

    def __init__(self, directory):
        endpoints = os.path.join(directory, "registry.json")
        self.log = open(os.path.join(directory, "registry.log"), "wb")
        self.process = subprocess.Popen([os.path.join(BIN, "registry"), "--dir", os.path.join(directory, "registry"), "--port", "0",
                                         "--endpoints-file", endpoints], stderr=self.log)
        self.url = wait_until(lambda: load(endpoints)["registry"], "the registry serves")

    def stop(self):
        self.process.terminate()
        self.process.wait(30 * SLOW)
        self.log.close()


def setUpModule():
    global parts, kafka, registry
    parts = tempfile.TemporaryDirectory(prefix="butterfly-perception.")
    os.chmod(parts.name, 0o755)
    kafka = Kafka(os.path.join(parts.name, "kafka"))
    atexit.register(kafka.stop)  # unittest leaves tearDownModule out when this fails, and at Ctrl-C
    registry = Registry(parts.name)
    atexit.register(registry.stop)


def tearDownModule():
    atexit.unregister(registry.stop)
    registry.stop()
    atexit.unregister(kafka.stop)
    kafka.stop()
    parts.cleanup()


topics = 0


class PerceptionTest(unittest.TestCase):
    """Each test has a topic of its own, under the fast path's schema."""

    def setUp(self):
        global topics
        topics += 1
        self.topic = f"test.perception-{topics}"
        self.dir = tempfile.mkdtemp(dir=parts.name)

    def argv(self, *more, topic=None, bootstrap=None):
        return [PERCEPTION, "--topic", topic or self.topic, "--schema", os.path.join(HOME, "schemas/rim.fast-path.avsc"), "--bootstrap",
                bootstrap or kafka.bootstrap, "--registry", registry.url, *more]

    def feed(self, data, *more, **how):
        """Standard input to its end: counts, exit code, what was said."""
        done = run(*self.argv("--stdin", *more, **how), check=False, stdin=data)
        return counts_of(done.stderr), done.returncode, done.stderr.decode()

    @staticmethod
    def pending(process):
        """Bytes in a process's standard input that it has not read."""
        return struct.unpack("i", fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, b"\0\0\0\0"))[0]

    def file(self, name, data):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def consume(self, topic=None):
        return kafka.consume(topic or self.topic)


def ndjson(lines):
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def counts(accepted, rejected=0, published=None, failed=0):
    return {"accepted": accepted, "rejected": rejected, "published": accepted if published is None else published, "failed": failed}


class Signals(PerceptionTest):
    def test_what_goes_in_comes_out_framed_keyed_and_in_order(self):
        lines = [signal_line(i, event_id=f"id-{i}", metadata={"n": str(i)}) for i in range(1000)]
        said, code, _ = self.feed(ndjson(lines))
        self.assertEqual((said, code), (counts(1000), 0))
        records = self.consume()
        self.assertEqual(len(records), 1000)
        self.assertGreater(len({r["partition"] for r in records}), 3)
        last, seen = {}, set()
        for r in sorted(records, key=lambda r: (r["partition"], r["offset"])):
            s = decode(r)
            n = int(s["metadata"]["n"])
            self.assertEqual((s["rim_node_id"], s["event_id"], s["price"]), (lines[n]["rim_node_id"], f"id-{n}", lines[n]["price"]))
            self.assertEqual(s["vector_timestamp"]["event_ts_ms"], lines[n]["vector_timestamp"]["event_ts_ms"])
            self.assertEqual(r["key"].decode(), s["rim_node_id"])
            self.assertEqual(r["partition"], (murmur2(r["key"]) & 0x7FFFFFFF) % 6)
            self.assertLess(last.get(r["key"], -1), n, "a node's signals are in order")
            last[r["key"]] = n
            seen.add(n)
        self.assertEqual(len(seen), 1000)

    def test_the_fast_path_has_the_partitions_of_the_catalogue(self):
        said, code, _ = self.feed(ndjson([signal_line(i) for i in range(100)]), topic=FAST_PATH)
        self.assertEqual((said, code), (counts(100), 0))
        for r in self.consume(FAST_PATH):
            self.assertEqual(r["partition"], (murmur2(r["key"]) & 0x7FFFFFFF) % 12)

    def test_what_is_missing_is_filled_in(self):
        before = int(time.time() * 1000)
        self.feed(ndjson([{"rim_node_id": "rim:entity:a:b", "vector_timestamp": {"event_ts_ms": 5}}] * 50))
        ids, clocks = [], []
        for r in self.consume():
            s = decode(r)
            ids.append(uuid.UUID(s["event_id"]))
            clocks.append(s["vector_timestamp"]["logical_clock"])
            self.assertTrue(before <= s["vector_timestamp"]["ingest_ts_ms"] <= time.time() * 1000 + 1)
            self.assertEqual((s["status"], s["price"], s["critical_metrics"]), ("ACTIVE", None, {}))
        self.assertEqual({i.version for i in ids}, {7})
        self.assertEqual((ids, clocks), (sorted(set(ids)), sorted(set(clocks))))
        self.assertLess(abs((ids[0].int >> 80) - before), 60000)

    def test_bad_lines_are_named_and_the_others_go_through(self):
        good = signal_line(1)
        lines = [good, b"nonsense", b"", {**good, "rim_node_id": "rim:planet:a:b"}, {**good, "colour": "red"}, b'{"rim_node_id":"\xff"}', good,
                 {**good, "stress": 2}, b"[1]", {**good, "metadata": {"x": "y" * 2000}}, good, b'{"rim_node_id":1,"rim_node_id":2}']
        said, code, text = self.feed(ndjson(lines), "--line-bytes-max", "1KiB")
        self.assertEqual((said, code), (counts(3, 8), 1))
        self.assertEqual(text.splitlines()[-1], "accepted=3 rejected=8 published=3 failed=0")
        for number, reason in [(2, "column 8: invalid token"), (4, "nodeType is none of"), (5, "colour: the schema has no such field"), (6, "unable to decode byte 0xff"),
                               (8, "stress 2 is not within 0 to 1"), (9, "it is no JSON object"), (10, "the line is longer than 1"), (12, "duplicate")]:
            self.assertRegex(text, rf"(?m)^line {number}: .*{re.escape(reason)}")
        self.assertEqual(len(self.consume()), 3)

    def test_strict_stops_at_the_first_bad_line(self):
        said, code, _ = self.feed(ndjson([signal_line(0), signal_line(1), b"bad", signal_line(2)]), "--strict")
        self.assertEqual((said, code), (counts(2, 1), 1))
        self.assertEqual(len(self.consume()), 2)

    def test_nothing_is_nothing(self):
        self.assertEqual(self.feed(b"")[:2], (counts(0), 0))
        self.assertEqual(self.feed(b"\n \n\n")[:2], (counts(0), 0))

    def test_gzip_and_a_last_line_without_its_newline(self):
        data = ndjson([signal_line(i) for i in range(300)]).rstrip(b"\n")
        half = data.index(b"\n", len(data) // 2)
        path = self.file("two-members.gz", gzip.compress(data[:half]) + gzip.compress(data[half:]))
        done = run(*self.argv("--file", path), check=False)
        self.assertEqual((counts_of(done.stderr), done.returncode), (counts(300), 0))
        cut = self.file("cut.gz", gzip.compress(data)[:-20])
        done = run(*self.argv("--file", cut), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"the gzip data is cut off", done.stderr)

    def test_a_rate_is_kept_from_above(self):
        """The clock may be late on a busy machine but never early: n signals at r a second cannot take less than (n - 1) / r."""
        start = time.monotonic()
        self.assertEqual(self.feed(ndjson([signal_line(i) for i in range(101)]), "--rate", "100")[:2], (counts(101), 0))
        self.assertGreaterEqual(time.monotonic() - start, 1.0)

    def test_progress_is_shown_on_a_terminal_and_only_there(self):
        path = self.file("in.ndjson", ndjson([signal_line(i) for i in range(120)] + [b"bad"]))
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(PERCEPTION, self.argv("--file", path, "--rate", "100"))
        seen = b""
        while True:
            try:
                got = os.read(fd, 65536)
            except OSError:
                break
            if not got:
                break
            seen += got
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 1)
        self.assertRegex(seen.decode(), r"\r\x1b\[K\d+ published, 0 rejected, \d+/s, \d\.\d MB read")
        self.assertRegex(seen.decode(), r"line 121: ")
        self.assertIn("accepted=120 rejected=1 published=120 failed=0", seen.decode())
        _, _, text = self.feed(ndjson([signal_line(i) for i in range(60)]), "--rate", "100")
        self.assertNotIn("\x1b[K", text)


class Tables(PerceptionTest):
    def test_the_ecb_table_becomes_what_was_made_independently(self):
        done = run(*self.argv("--file", os.path.join(ECB, "eurofxref-hist.csv.gz"), "--map", os.path.join(ECB, "map.json")), check=False)
        expected = load(os.path.join(ECB, "expected.json"))
        self.assertEqual(done.returncode, 0, done.stderr[-500:])
        records = [decode(r) for r in self.consume()]
        self.assertEqual(counts_of(done.stderr)["published"], len(records))
        wanted = {}  # by Python's own csv
        with gzip.open(os.path.join(ECB, "eurofxref-hist.csv.gz"), "rt", encoding="utf-8-sig") as f:
            for row in csv.DictReader(f):
                for column, cell in row.items():
                    if column and column != "Date" and cell not in ("", "N/A", None):
                        wanted[f"rim:metric:finance:EUR{column}:{row['Date']}"] = float(cell)
        self.assertEqual({r["event_id"]: r["price"] for r in records}, wanted)
        self.assertEqual(len(records), len(wanted))
        self.assertIn(str(len(wanted)), json.dumps(expected))
        times = {}
        for r in records:
            t = r["vector_timestamp"]["event_ts_ms"]
            self.assertGreater(t, times.get(r["rim_node_id"], -10 ** 15), "oldest first")
            times[r["rim_node_id"]] = t
            self.assertEqual(t % 86400000, 15 * 3600000)
            self.assertEqual((r["vector_timestamp"]["ingest_ts_ms"], r["vector_timestamp"]["logical_clock"]), (t, 0))

    def test_the_same_table_twice_is_the_same_bytes_twice(self):
        table = b"Date,USD\n2024-06-03,1.5\n2024-06-04,1.25\n"
        for _ in range(2):
            self.assertEqual(self.feed(table, "--map", os.path.join(ECB, "map.json"))[:2], (counts(2), 0))
        values = [r["value"] for r in self.consume()]
        self.assertEqual((len(values), len(set(values))), (4, 2))

    def test_a_long_table_and_its_bad_rows(self):
        path = self.file("map.json", json.dumps({
            "shape": "long", "delimiter": ";", "time": {"column": "when", "format": "rfc3339"}, "node": "rim:entity:stocks:{sym}",
            "event_id": "{sym}-{when}", "fields": {"price": "close", "metadata.note": "note"}, "constants": {"status": "STALE"}}).encode())
        table = (b'when;sym;close;note\r\n2024-06-01T10:00:00Z;AAPL;192.5;"two\nlines; and ""quotes"""\r\n2024-06-01T10:00:00Z;AAPL;dear;\r\n'
                 b'2024-06-01T10:00:00Z;AA PL;1;\r\n2024-06-01T10:00:01Z;AAPL;193\r\nsoon;AAPL;1;\r\n2024-06-01T12:00:02+02:00;MSFT;;x\r\n')
        said, code, text = self.feed(table, "--map", path)
        self.assertEqual((said, code), (counts(2, 4), 1))
        for number, reason in [(4, 'price: "dear" is no number'), (5, "localId has byte 0x20"), (6, "the row has 3 fields, the header 4"),
                               (7, "no time")]:
            self.assertRegex(text, rf"(?m)^line {number}: .*{re.escape(reason)}" if number != 7 else r"(?m)^line 7: ")
        by_node = {s["rim_node_id"]: s for s in map(decode, self.consume())}
        apple, soft = by_node["rim:entity:stocks:AAPL"], by_node["rim:entity:stocks:MSFT"]
        self.assertEqual((apple["price"], apple["metadata"], apple["status"]), (192.5, {"note": 'two\nlines; and "quotes"'}, "STALE"))
        self.assertEqual((soft["price"], soft["vector_timestamp"]["event_ts_ms"]), (None, 1717236002000))

    def test_a_table_without_the_maps_columns_is_refused_as_a_whole(self):
        said, code, text = self.feed(b"date,USD\n2024-06-03,1\n", "--map", os.path.join(ECB, "map.json"))
        self.assertEqual((said, code), (counts(0), 1))
        self.assertIn('line 1: the table has no column "Date"', text)


class Ends(PerceptionTest):
    def test_exit_codes_2_3_and_4(self):
        def ended(*argv):
            done = run(*argv, check=False)
            return done.returncode, done.stderr.decode().splitlines()[-1]
        self.assertEqual(ended(PERCEPTION, "--nonsense")[0], 2)
        self.assertEqual(ended(PERCEPTION)[0], 2)
        self.assertEqual(ended(*self.argv("--stdin", topic="UPPER")), (3, 'perception: topic: "UPPER" is not like {domain}.{event-type}'))
        self.assertEqual(ended(*self.argv("--file", "/nowhere/x"))[0], 3)
        self.assertEqual(ended(*self.argv("--stdin", "--map", "/nowhere/map.json"))[0], 3)
        self.assertEqual(ended(*self.argv("--listen", "0.0.0.0:0"))[0], 3)
        code, words = ended(*self.argv("--stdin", "--start-timeout", "1s", bootstrap="127.0.0.1:1"))
        self.assertEqual((code, "kafka is away" in words), (4, True), words)
        done = run(PERCEPTION, "--stdin", "--bootstrap", kafka.bootstrap, "--registry", "http://127.0.0.1:1", "--start-timeout", "1s", check=False)
        self.assertEqual((done.returncode, b"registry is away" in done.stderr), (4, True), done.stderr)

    def test_a_schema_that_the_registry_refuses_is_a_setting(self):
        self.feed(b"")
        other = self.file("other.avsc", json.dumps({"type": "record", "name": "Other", "fields": [{"name": "rim_node_id", "type": "string"},
                                                                                                 {"name": "more", "type": "string"}]}).encode())
        done = run(PERCEPTION, "--stdin", "--topic", self.topic, "--schema", other, "--bootstrap", kafka.bootstrap, "--registry", registry.url, check=False)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn(b"ncompatible", done.stderr)

    def test_sigterm_flushes_and_the_counts_add_up(self):
        process = subprocess.Popen(self.argv("--stdin", "--linger", "2000"), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(ndjson([signal_line(i, event_id=f"t-{i}") for i in range(500)]) + b'{"half a li')
        process.stdin.flush()
        wait_until(lambda: self.pending(process) == 0, "all was read")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60 * SLOW)
        self.assertEqual((counts_of(err), process.returncode), (counts(500), 0), err[-500:])
        self.assertEqual(len(self.consume()), 500)


class Outages(PerceptionTest):
    """A broker of its own, which is frozen."""

    def setUp(self):
        super().setUp()
        self.broker = Kafka(os.path.join(self.dir, "kafka"))
        self.pid = load(os.path.join(self.dir, "kafka/pid"))
        self.addCleanup(self.broker.stop)
        self.addCleanup(os.kill, self.pid, signal.SIGCONT)

    def start(self, *more, stdin=subprocess.PIPE):
        return subprocess.Popen(self.argv(*more, bootstrap=self.broker.bootstrap), stdin=stdin, stderr=subprocess.PIPE)

    def test_a_frozen_broker_holds_the_reader_back_and_nothing_is_lost(self):
        lines = [signal_line(i, event_id=f"f-{i}", metadata={"fill": "x" * 300}) for i in range(20000)]
        process = self.start("--stdin", "--in-flight-max", "500")
        data, written = ndjson(lines), 0
        first = len(ndjson(lines[:100]))
        process.stdin.write(data[:first])
        process.stdin.flush()
        wait_until(lambda: len(self.broker.consume(self.topic)) == 100, "the first signals are there")
        os.kill(self.pid, signal.SIGSTOP)
        os.set_blocking(process.stdin.fileno(), False)
        written, still = first, 0
        while still < 20:  # until the pipe takes no more for two seconds
            _, ready, _ = select.select([], [process.stdin], [], 0.1)
            still = 0 if ready else still + 1
            if ready:
                written += os.write(process.stdin.fileno(), data[written:written + 65536])
        self.assertLess(written, len(data) // 2, "standard input blocks")
        os.kill(self.pid, signal.SIGCONT)
        os.set_blocking(process.stdin.fileno(), True)
        process.stdin.write(data[written:])
        _, err = process.communicate(timeout=120 * SLOW)
        self.assertEqual((counts_of(err), process.returncode), (counts(20000), 0), err[-500:])
        ids = [decode(r)["event_id"] for r in self.broker.consume(self.topic)]
        self.assertEqual((len(ids), len(set(ids))), (20000, 20000))

    def test_what_is_not_acknowledged_in_time_counts_as_failed(self):
        process = self.start("--stdin", "--delivery-timeout", "1s")
        process.stdin.write(ndjson([signal_line(0)]))
        process.stdin.flush()
        wait_until(lambda: len(self.broker.consume(self.topic)) == 1, "the first signal is there")
        os.kill(self.pid, signal.SIGSTOP)
        _, err = process.communicate(ndjson([signal_line(i) for i in range(1, 11)]), timeout=120 * SLOW)
        said = counts_of(err)
        self.assertEqual((said["accepted"], said["published"] + said["failed"], process.returncode), (11, 11, 1), err[-800:])
        self.assertEqual(said["failed"], 10)
        self.assertIn(b"event=delivery_failed", err)


class Checkpoints(PerceptionTest):
    LINES = 60000

    def start(self, path, checkpoint, *more):
        return subprocess.Popen(self.argv("--file", path, "--checkpoint", checkpoint, "--linger", "5", *more), stderr=subprocess.PIPE)

    def killed_until_done(self, path, *more):
        """Killed again and again, each time a little further on; how often."""
        checkpoint, kills, done = os.path.join(self.dir, "checkpoint"), 0, 0
        while kills < 3:
            process = self.start(path, checkpoint, "--rate", "20000", *more)
            wait_until(lambda: os.path.exists(checkpoint) and load(checkpoint)["done"] > done or process.poll() is not None, "it went on")
            process.kill()
            process.communicate()
            done, kills = load(checkpoint)["done"], kills + 1
            self.assertLess(0, done)
        last = self.start(path, checkpoint, *more)
        _, err = last.communicate(timeout=120 * SLOW)
        self.assertEqual(last.returncode, 0, err[-500:])
        self.assertLess(counts_of(err)["accepted"], self.LINES, "it did not begin anew")
        self.assertIn(b"event=resuming", err)
        self.assertEqual(load(checkpoint)["done"], self.LINES)
        again = run(*self.argv("--file", path, "--checkpoint", checkpoint, *more))
        self.assertEqual(counts_of(again.stderr), counts(0))

    def check_whole(self):
        """Every record is there; whatever is there twice has the same bytes."""
        values = {}
        for r in self.consume():
            values.setdefault(decode(r)["price"], set()).add(r["value"])
        self.assertEqual(set(values), {float(i) for i in range(self.LINES)})
        self.assertEqual({len(v) for v in values.values()}, {1})

    def test_killed_and_resumed_nothing_is_lost_and_overlap_is_the_same_bytes(self):
        lines = [{"rim_node_id": f"rim:entity:a:n{i % 50}", "vector_timestamp": {"event_ts_ms": i}, "price": i} for i in range(self.LINES)]
        self.killed_until_done(self.file("in.gz", gzip.compress(ndjson(lines), 1)))
        self.check_whole()
        ids = {decode(r)["event_id"] for r in self.consume()}
        self.assertEqual((len(ids), {uuid.UUID(i).version for i in ids}), (self.LINES, {8}))

    def test_a_table_that_goes_out_newest_last_resumes_too(self):
        map_path = self.file("map.json", json.dumps({"shape": "long", "newest_first": True, "time": {"column": "t", "format": "epoch_ms"},
                                                     "node": "rim:entity:a:n{n}", "fields": {"price": "p"}}).encode())
        rows = "".join(f"{i},{i % 50},{i}\n" for i in reversed(range(self.LINES)))
        path = self.file("in.csv", ("t,n,p\n" + rows).encode())
        self.killed_until_done(path, "--map", map_path)
        self.check_whole()
        with open(path, "a") as f:
            f.write("1,1,1\n")
        done = run(*self.argv("--file", path, "--checkpoint", os.path.join(self.dir, "checkpoint"), "--map", map_path), check=False)
        self.assertEqual((done.returncode, b"has changed" in done.stderr), (3, True), done.stderr)

    def test_a_file_that_grows_goes_on_and_another_file_is_refused(self):
        path, checkpoint = self.file("in", ndjson([signal_line(i) for i in range(10)])), os.path.join(self.dir, "c")
        argv = self.argv("--file", path, "--checkpoint", checkpoint)
        self.assertEqual(counts_of(run(*argv).stderr), counts(10))
        with open(path, "ab") as f:
            f.write(ndjson([signal_line(i) for i in range(5)]))
        self.assertEqual(counts_of(run(*argv).stderr), counts(5))
        self.file("in", ndjson([signal_line(i) for i in range(100, 120)]))
        done = run(*argv, check=False)
        self.assertEqual((done.returncode, b"it is of another file" in done.stderr), (3, True), done.stderr)
        self.file("c", b"{}")
        done = run(*argv, check=False)
        self.assertEqual((done.returncode, b"is no checkpoint" in done.stderr), (3, True), done.stderr)

    def test_what_failed_is_behind_the_checkpoint(self):
        """A bad line is done with, reported once."""
        path, checkpoint = self.file("in", ndjson([signal_line(0), b"bad", signal_line(1)])), os.path.join(self.dir, "c")
        argv = self.argv("--file", path, "--checkpoint", checkpoint)
        first, second = run(*argv, check=False), run(*argv, check=False)
        self.assertEqual((counts_of(first.stderr), first.returncode), (counts(2, 1), 1))
        self.assertEqual((counts_of(second.stderr), second.returncode), (counts(0), 0))


def stop_all(pid):
    """SIGSTOP, and every thread has taken notice: until then a broker may still acknowledge something."""
    os.kill(pid, signal.SIGSTOP)

    def state(task):
        with open(f"/proc/{pid}/task/{task}/stat") as f:
            return f.read().rsplit(") ", 1)[1][0]
    wait_until(lambda: all(state(t) == "T" for t in os.listdir(f"/proc/{pid}/task")), "it stands still", step=0.01)


class FromTopic(PerceptionTest):
    def setUp(self):
        super().setUp()
        self.raw = f"raw-json-{topics}"
        lines = [{"rim_node_id": f"rim:entity:a:n{i % 50}", "vector_timestamp": {"event_ts_ms": i}, "price": i} for i in range(20000)]
        self.produce(ndjson(lines))

    def produce(self, data):
        run("kcat", "-P", "-b", kafka.bootstrap, "-t", self.raw, "-X", "acks=all", stdin=data)

    def start(self, *more):
        endpoints = os.path.join(self.dir, f"endpoints-{time.monotonic_ns()}")
        process = subprocess.Popen(self.argv("--from-topic", self.raw, "--group", f"g-{self.raw}", "--metrics-port", "0", "--endpoints-file",
                                             endpoints, *more), stderr=subprocess.PIPE)
        return process, wait_until(lambda: load(endpoints)["http"], "it serves its metrics")

    @staticmethod
    def metric(url, name):
        with urllib.request.urlopen(url + "/metrics", timeout=20) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[-1])
        return 0.0

    def test_killed_and_restarted_nothing_is_lost_and_overlap_is_the_same_bytes(self):
        process, url = self.start("--in-flight-max", "1000")
        accepted = 'perception_signals_total{source="topic",outcome="accepted"}'
        rate = 'perception_signals_per_second{source="topic"}'  # of ten seconds: looked at while signals come, it may be zero again later
        wait_until(lambda: self.metric(url, accepted) > 3000 and self.metric(url, rate) > 0, "some went through")
        process.kill()
        process.communicate()
        self.produce(b'nonsense\n{"rim_node_id":"rim:planet:a:b"}\n')
        process, url = self.start()
        wait_until(lambda: self.metric(url, 'perception_signals_total{source="topic",outcome="rejected"}') == 2, "the bad ones were passed by", 90)
        wait_until(lambda: len({decode(r)["price"] for r in self.consume()}) == 20000, "all are there", 90, 1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60 * SLOW)
        said = counts_of(err)
        self.assertEqual((said["rejected"], said["failed"], said["published"], process.returncode), (2, 0, said["accepted"], 1), err[-500:])
        self.assertRegex(err.decode(), rf"event=rejected .*topic={self.raw} partition=\d+ offset=\d+")
        values = {}
        for r in self.consume():
            s = decode(r)
            values.setdefault(s["price"], set()).add(r["value"])
            self.assertEqual(uuid.UUID(s["event_id"]).version, 8)
        self.assertEqual({len(v) for v in values.values()}, {1})
        process, url = self.start()  # everything was committed: nothing comes again
        self.produce(ndjson([signal_line(1)]))
        wait_until(lambda: self.metric(url, accepted) >= 1, "the new one went through")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(counts_of(process.communicate(timeout=60 * SLOW)[1]), counts(1))

    def test_ids_come_from_headers_before_they_are_derived(self):
        kafka.produce(self.raw, json.dumps({"rim_node_id": "rim:entity:a:b", "vector_timestamp": {"event_ts_ms": 1}, "price": -1}).encode(),
                      headers=[("ce_id", "from-header")])
        process, url = self.start()
        wait_until(lambda: self.metric(url, 'perception_signals_total{source="topic",outcome="published"}') == 20001, "all went through", 90)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60 * SLOW)
        self.assertEqual([s["event_id"] for s in map(decode, self.consume()) if s["price"] == -1], ["from-header"])


class Http(PerceptionTest):
    def setUp(self):
        super().setUp()
        self.process = None

    def serve(self, *more, bootstrap=None):
        endpoints = os.path.join(self.dir, "endpoints.json")
        self.log = open(os.path.join(self.dir, "log"), "wb")
        self.addCleanup(self.log.close)
        self.process = subprocess.Popen(self.argv("--listen", "127.0.0.1:0", "--endpoints-file", endpoints, *more, bootstrap=bootstrap), stderr=self.log)
        self.url = wait_until(lambda: load(endpoints)["perception"], "perception serves")
        self.addCleanup(self.end)

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(180 * SLOW)
        with open(self.log.name, "rb") as f:
            return f.read()

    def call(self, method, path, body=None, headers={}):
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60 * SLOW) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as e:
            return e.code, e.read(), e.headers

    def post(self, body, **headers):
        status, answer, _ = self.call("POST", "/v1/signals", body, headers)
        return status, json.loads(answer)

    def metric(self, line):
        for text in self.call("GET", "/metrics")[1].decode().splitlines():
            if text.startswith(line + " "):
                return float(text.split()[-1])
        return None

    def test_signals_are_accepted_when_kafka_has_them(self):
        self.serve()
        status, said = self.post(ndjson([signal_line(i, event_id=f"h-{i}") for i in range(700)]))
        self.assertEqual((status, said["accepted"], said["rejected"]), (202, 700, []))
        self.assertEqual({decode(r)["event_id"] for r in self.consume()}, {f"h-{i}" for i in range(700)})
        status, said = self.post(ndjson([signal_line(1), b"bad", b"", signal_line(2)])[:-1])
        self.assertEqual((status, said["accepted"], [r["line"] for r in said["rejected"]], said["rejected_count"]), (202, 2, [2], 1))
        self.assertIn("column 3", said["rejected"][0]["reason"])
        self.assertEqual(self.post(b"")[1]["accepted"], 0)
        self.assertEqual(self.call("GET", "/livez")[0], 200)
        self.assertEqual(self.call("GET", "/readyz")[0], 200)
        log = self.end()
        self.assertEqual((counts_of(log), self.process.returncode), (counts(702, 1), 0))

    def test_many_at_once(self):
        self.serve()
        answers = []

        def client(n):
            for i in range(10):
                answers.append(self.post(ndjson([signal_line(j, event_id=f"m-{n}-{i}-{j}") for j in range(100)])))
        clients = [threading.Thread(target=client, args=(n,)) for n in range(8)]
        for c in clients:
            c.start()
        for c in clients:
            c.join()
        self.assertEqual({(status, said["accepted"]) for status, said in answers}, {(202, 100)})
        ids = [decode(r)["event_id"] for r in self.consume()]
        self.assertEqual((len(ids), len(set(ids))), (8000, 8000))

    def test_a_queue_that_stays_full_answers_429_and_takes_nothing(self):
        broker = Kafka(os.path.join(self.dir, "kafka"))
        self.addCleanup(broker.stop)
        pid = load(os.path.join(self.dir, "kafka/pid"))
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        self.serve("--in-flight-max", "100", "--queue-wait", "200ms", "--delivery-timeout", "60s", bootstrap=broker.bootstrap)
        self.assertEqual(self.post(ndjson([signal_line(i, event_id="first") for i in range(10)]))[0], 202)
        stop_all(pid)
        held = []
        blocked = threading.Thread(target=lambda: held.append(self.post(ndjson([signal_line(i, event_id="held") for i in range(95)]))))
        blocked.start()
        wait_until(lambda: self.metric("perception_queued") == 95, "the queue is nearly full")
        status, problem, headers = self.call("POST", "/v1/signals", ndjson([signal_line(i, event_id="refused") for i in range(6)]))
        self.assertEqual((status, headers["Retry-After"], headers["Content-Type"]), (429, "1", "application/problem+json"), problem)
        self.assertIn("nothing of the body was taken", json.loads(problem)["detail"])
        self.assertEqual(self.metric('perception_waits_total{reason="refused"}'), 1)
        os.kill(pid, signal.SIGCONT)
        blocked.join()
        self.assertEqual((held[0][0], held[0][1]["accepted"]), (202, 95))
        self.assertEqual(self.post(ndjson([signal_line(i, event_id="big") for i in range(300)]))[1]["accepted"], 300)  # more than fit, alone
        self.assertEqual(self.metric("perception_queued"), 0)
        ids = [decode(r)["event_id"] for r in broker.consume(self.topic)]
        self.assertEqual({i: ids.count(i) for i in set(ids)}, {"first": 10, "held": 95, "big": 300})

    def test_kafka_that_does_not_acknowledge_answers_503(self):
        broker = Kafka(os.path.join(self.dir, "kafka"))
        self.addCleanup(broker.stop)
        pid = load(os.path.join(self.dir, "kafka/pid"))
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        self.serve("--delivery-timeout", "1s", bootstrap=broker.bootstrap)
        self.assertEqual(self.post(ndjson([signal_line(0)]))[0], 202)
        stop_all(pid)
        status, problem = self.post(ndjson([signal_line(i) for i in range(5)]))
        self.assertEqual(status, 503, problem)
        self.assertIn("5 of 5 signals were not acknowledged", problem["detail"])
        self.assertEqual(self.call("GET", "/readyz")[0], 503)
        self.assertEqual(self.metric('perception_signals_total{source="http",outcome="failed"}'), 5)
        log = self.end()
        self.assertEqual((counts_of(log)["failed"], self.process.returncode), (5, 1))

    def test_limits(self):
        self.serve("--body-bytes-max", "64k", "--line-bytes-max", "1KiB")
        self.assertEqual(self.call("POST", "/v1/signals", b"x" * 70000)[0], 413)
        status, said = self.post(ndjson([signal_line(0, metadata={"x": "y" * 2000}), signal_line(1)]))
        self.assertEqual((status, said["accepted"]), (202, 1))
        self.assertEqual(said["rejected"], [{"line": 1, "reason": "the line is longer than 1024 bytes"}])
        status, said = self.post(b"\n".join([b"x"] * 3000))
        self.assertEqual((status, said["accepted"], len(said["rejected"]), said["rejected_count"]), (202, 0, 1000, 3000))
        self.assertEqual(self.call("POST", "/v1/signals", b"x", {"Content-Encoding": "gzip"})[0], 415)
        self.assertEqual(self.call("GET", "/v1/signals")[0], 405)
        self.assertEqual(self.call("GET", "/v1/nothing")[0], 404)
        status, problem, headers = self.call("POST", "/v1/signals?colour=red", b"")
        self.assertEqual((status, headers["Content-Type"]), (400, "application/problem+json"))
        self.assertIn("colour", json.loads(problem)["detail"])


if __name__ == "__main__":
    unittest.main()
