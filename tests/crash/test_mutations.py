#!/usr/bin/env python3
"""Records that are wrong in every way, through the whole line: valid ones of two schemas are cut, flipped, spliced, swollen and framed anew. CAPSULE does not
end, every offset has one disposition, and the bytes that Kafka has are the bytes that PostgreSQL keeps, whether as event, duplicate or quarantined.

BF_MUTATIONS: how many (default 30,000; a million and more under BF_TORTURE=1). BF_SEED: repeat a run.
"""
import collections
import hashlib
import os
import random
import struct
import sys
import time
import unittest

from line import SCHEMA_ID, TORTURE, WHEN, LineTest, Tool, avro_string, framed, reading, wait_until, zigzag

COUNT = int(os.environ.get("BF_MUTATIONS", "1050000" if TORTURE else "30000"))
PART = 35000  # a topic holds so many
RICH_ID, UNKNOWN_ID = 31, 77
RICH = {"type": "record", "name": "Rich", "namespace": "test", "fields": [
    {"name": "rim_node_id", "type": "string"}, {"name": "event_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "tags", "type": {"type": "map", "values": ["null", "string", "double"]}},
    {"name": "list", "type": {"type": "array", "items": {"type": "record", "name": "Item", "fields": [
        {"name": "id", "type": {"type": "fixed", "name": "Four", "size": 4}}, {"name": "next", "type": ["null", "Item"]}]}}},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B", "C"]}},
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    {"name": "on", "type": "boolean"}, {"name": "small", "type": "float"}, {"name": "day", "type": {"type": "int", "logicalType": "date"}}]}


def item(rng, depth=0):
    inner = zigzag(0) if depth > 3 or rng.random() < 0.5 else zigzag(1) + item(rng, depth + 1)
    return rng.randbytes(4) + inner


def rich(rng, node, ident, when_ms):
    """The Avro bytes of a Rich; blocks with and without their size in bytes."""
    tags = b"".join(avro_string(f"t{i}") + rng.choice((zigzag(0), zigzag(1) + avro_string("v"), zigzag(2) + struct.pack("<d", rng.random())))
                    for i in range(3))
    items = [item(rng) for _ in range(rng.randrange(1, 4))]
    block = zigzag(-len(items)) + zigzag(sum(map(len, items))) if rng.random() < 0.5 else zigzag(len(items))
    return (avro_string(node) + avro_string(ident) + zigzag(when_ms * 1000) + zigzag(3) + tags + zigzag(0) + block + b"".join(items) + zigzag(0) +
            zigzag(rng.randrange(3)) + avro_string(rng.randbytes(3)) + bytes([rng.randrange(2)]) + struct.pack("<f", 1.5) + zigzag(19000))


# ---- what can be wrong: each takes (rng, bytes of a framed record, another one) ----

def flip(rng, data, _):
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at = rng.randrange(5, len(out))
        out[at] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(rng, data, _):
    return data[:rng.randrange(len(data))]


def longer(rng, data, _):
    return data + rng.randbytes(rng.choice((1, 2, 9, 100)))


def splice(rng, data, other):
    return data[:rng.randrange(len(data))] + other[rng.randrange(len(other)):]


def overwrite(rng, data, _):
    """Bytes that mean much in Avro: endless and largest varints, negative counts, not-a-number."""
    what = rng.choice((b"\xff" * 10, b"\x80" * 12, b"\xfe\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x01", b"\x00", b"\x00" * 8,
                       b"\xff" * 8, b"\x7f\xf8" * 4, b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"))
    at = rng.randrange(5, len(data))
    return data[:at] + what + data[at + len(what):]


def insert(rng, data, _):
    at = rng.randrange(5, len(data))
    return data[:at] + rng.randbytes(rng.randrange(1, 6)) + data[at:]


def drop(rng, data, _):
    at = rng.randrange(5, len(data))
    return data[:at] + data[at + rng.randrange(1, 6):]


def frame(rng, data, _):
    return rng.choice((b"\x01" + data[1:], data[1:], b"\x00" + data, framed(RICH_ID, data[5:]), framed(SCHEMA_ID, data[5:]), framed(0, data[5:]),
                       framed(-1, data[5:]), framed(UNKNOWN_ID, data[5:]), framed(2 ** 31 - 1, data[5:])))


def nothing(rng, _data, _other):
    return rng.choice((None, b"", b"\x00", b"\x00" * 5, b"\x00" * 400, rng.randbytes(rng.randrange(1, 300))))


def right(_rng, data, _other):
    return data


MUTATIONS = (flip, flip, flip, cut, longer, splice, overwrite, overwrite, insert, drop, frame, nothing, right)


class Maker:
    def __init__(self, seed):
        self.rng, self.count, self.last, self.made = random.Random(seed), 0, framed(SCHEMA_ID, reading("rim:entity:test:N0", "first", WHEN)), None

    def valid(self):
        n, rng = self.count, self.rng
        node, ident = f"rim:entity:test:N{n % 97}", f"m-{n if rng.random() < 0.9 else n // 2}"
        if rng.random() < 0.5:
            return framed(SCHEMA_ID, reading(node, ident, WHEN + n, rng.choice((float(n), float("nan"), float("inf"))), "note"))
        return framed(RICH_ID, rich(rng, node, ident, WHEN + n))

    def one(self):
        """(key, value, headers)"""
        rng, data = self.rng, self.valid()
        if self.made and rng.random() < 0.05:
            return self.made
        value = rng.choice(MUTATIONS)(rng, data, self.last)
        self.last, self.count = data, self.count + 1
        key = rng.choice((None, b"", b"rim:entity:test:N1", rng.randbytes(9), b"\xff\xfe", b"k" * 3000 if rng.random() < 0.01 else b"k"))
        headers = [("traceparent", rng.choice(("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "00-zz", ""))), ("n", "\0\x7f")] if rng.random() < 0.1 else []
        self.made = key, value, headers
        return self.made


def digest(data):
    return None if data is None else hashlib.sha256(data).hexdigest()


class Mutations(LineTest):
    def setUp(self):
        super().setUp()
        self.line.registry.schemas[RICH_ID] = RICH
        self.database, conninfo = self.line.database()
        self.c = self.capsule(conninfo, extra=["--schema-retry", "0s"])

    def send_part(self, maker, count):
        """A topic with so many; its name and {(partition, offset): digest of the value}."""
        topic, tool, sent = self.line.topic(3), Tool(self.line.kafka.bootstrap), {}
        for n in range(count):
            tool.send(topic, *(lambda k, v, h: (v, k, -1, h))(*maker.one()))
            if n % 5000 == 4999:
                tool.flush()
        tool.flush()
        self.assertEqual(tool.lost, [])
        for (key, value), place in ((tool.queued[i][1:], place) for i, place in tool.sent.items()):
            sent[place] = (digest(key), digest(value))
        tool.close()
        self.assertEqual(len(sent), count)
        return topic, sent

    def account(self, topic, sent, told):
        """Every place is there once, with its bytes."""
        self.c.wait_through(topic, self.line.ends(topic), 300)
        kept = collections.Counter()
        sha = "encode(sha256({0}), 'hex')"
        for table, columns in (("events", f"{sha.format('key')}, {sha.format('raw')}"), ("quarantine", f"{sha.format('key')}, {sha.format('raw')}")):
            for partition, offset, key, raw in self.line.psql(self.database, f"select kafka_partition, kafka_offset, {columns} from capsule.{table} where topic = '{topic}'"):
                place = int(partition), int(offset)
                kept[place] += 1
                told[table] += 1
                self.assertEqual((key or None, raw or None), sent[place], f"{topic} {place} in {table}")
        for partition, offset, raw in self.line.psql(
                self.database, f"select d.kafka_partition, d.kafka_offset, {sha.format('e.raw')} from capsule.duplicates d join capsule.events e "
                f"on e.topic = d.topic and e.event_id = d.event_id and e.revision = d.revision where d.topic = '{topic}'"):
            place = int(partition), int(offset)
            kept[place] += 1
            told["duplicates"] += 1
            self.assertEqual(raw or None, sent[place][1], f"{topic} {place} is a duplicate of other bytes")
        self.assertEqual([p for p in sent if kept[p] != 1][:5], [], "places that are not kept once")
        self.assertEqual(set(kept), set(sent))
        answer = self.c.get("/v1/coverage", topic=topic)
        self.assertTrue(answer["complete"])
        totals = collections.Counter()
        for c in answer["coverage"]:
            totals.update(c["totals"])
        self.assertEqual((sum(totals.values()), totals["control"], totals["lost-before-read"]), (len(sent), 0, 0))

    def test_every_one_is_accounted_for(self):
        seed = int(os.environ.get("BF_SEED", time.time_ns() % 1000000))
        print(f"seed {seed}", file=sys.stderr)
        maker, told, left = Maker(seed), collections.Counter(), COUNT
        self.c.start()
        while left > 0:
            count = min(left, PART)
            left -= count
            topic, sent = self.send_part(maker, count)
            wait_until(self.c.ready, "ready")
            self.account(topic, sent, told)
            print(f"{COUNT - left} of {COUNT}: {dict(told)}", file=sys.stderr, flush=True)
        self.assertTrue(self.c.alive())
        self.assertTrue(min(told["events"], told["quarantine"]) > COUNT / 10, told)
        self.assertGreater(told["duplicates"], 0)
        reasons = self.line.psql(self.database, "select reason, count(*) from capsule.quarantine group by 1 order by 2 desc")
        print(f"quarantined: {reasons}", file=sys.stderr)
        stored = self.line.psql(self.database, f"select count(*) from capsule.events where topic = '{topic}'")
        self.assertEqual(len(self.c.replay(topic=topic)), int(stored[0][0]))
        self.assertEqual(self.c.stop(), 0)


if __name__ == "__main__":
    unittest.main()
