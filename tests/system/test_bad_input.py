#!/usr/bin/env python3
"""Poison in Kafka: each bad record is quarantined with its reason and published to the dead letters; its neighbours come through."""
import unittest

from harness import FAST_PATH, SystemTest, avro_string, fast_event, framed, wait_until, zigzag

WHEN = 1717236000000
RECURSIVE = {"type": "record", "name": "Deep", "namespace": "test", "fields": [
    {"name": "rim_node_id", "type": "string"}, {"name": "inner", "type": ["null", "Deep"], "default": None}]}


def deep(levels):
    """A record of RECURSIVE nested so deep."""
    out = b""
    for _ in range(levels):
        out += avro_string("rim:entity:test:deep") + zigzag(1)
    return out + avro_string("rim:entity:test:deep") + zigzag(0)


class BadInput(SystemTest):
    @classmethod
    def prepare(cls):
        cls.schema = cls.stack.schema_id()
        cls.recursive = cls.stack.register("test.deep-value", RECURSIVE)
        cls.publish()

    @classmethod
    def publish(cls):
        """Good and bad by turns, all with one key: one partition, so that each bad record lies between two good ones."""
        good = [framed(cls.schema, fast_event("rim:entity:test:good", WHEN + i, f"good-{i}", float(i))) for i in range(40)]
        whole = fast_event("rim:entity:test:bad", WHEN, "bad", 1.0)
        cls.bad = {  # name: (value, key or None for the usual one, reason)
            "garbage": (b"\xff\xfe this is no frame", None, "framing"),
            "header only": (b"\x00\x00\x00", None, "framing"),
            "unknown schema": (framed(987654, whole), None, "schema"),
            "truncated": (framed(cls.schema, whole[:len(whole) // 2]), None, "avro"),
            "one byte short": (framed(cls.schema, whole[:-1]), None, "avro"),
            "trailing bytes": (framed(cls.schema, whole + b"\x00"), None, "avro"),
            "union out of range": (framed(cls.schema, avro_string("rim:entity:test:bad") + zigzag(9)), None, "avro"),
            "negative length": (framed(cls.schema, zigzag(-5) + b"xxxxx"), None, "avro"),
            "huge length": (framed(cls.schema, zigzag(1 << 40) + b"x"), None, "avro"),
            "bad node id": (framed(cls.schema, fast_event("rim:planet:x:y", WHEN, "bad-node", 1.0)), None, "node_id"),
            "empty node id": (framed(cls.schema, fast_event("", WHEN, "no-node", 1.0)), None, "node_id"),
            "invalid utf-8": (framed(cls.schema, fast_event("rim:entity:test:bad", WHEN, "bad-utf8", 1.0, status=b"\xc3\x28")), None, "utf8"),
            "16 MiB": (framed(cls.schema, fast_event("rim:entity:test:bad", WHEN, "big", 1.0, metadata={"x": "y" * (16 << 20)})), None, "limit"),
            "deep nesting": (framed(cls.recursive, deep(100)), None, "limit"),
            "deeper nesting": (framed(cls.recursive, deep(100000)), None, "limit"),
        }
        for i, (value, key, _) in enumerate(cls.bad.values()):
            cls.broker.produce(FAST_PATH, good[i], key="rim:entity:test:good")
            cls.broker.produce(FAST_PATH, value, key=key or "rim:entity:test:good", headers=[("origin", f"bad-{i}")])
        cls.broker.produce(FAST_PATH, good[len(cls.bad)], key="rim:entity:test:good")
        cls.good = len(cls.bad) + 1
        cls.stack.wait_taken(cls.good + len(cls.bad))
        cls.stack.wait_quiet()

    def in_order(self):
        """Quarantined records in the order of publication."""
        return sorted(self.stack.pages("/v1/quarantine", "quarantined", topic=FAST_PATH), key=lambda q: q["offset"])

    def test_each_bad_record_is_quarantined_with_its_reason(self):
        rows = self.in_order()
        self.assertEqual(dict(zip(self.bad, (r["reason"] for r in rows))), {name: reason for name, (_, _, reason) in self.bad.items()})
        for row in rows:
            self.assertTrue(row["detail"], row)
            self.assertNotIn("redriven_at", row)

    def test_good_neighbours_are_unharmed(self):
        events, _ = self.stack.replay(topic=FAST_PATH)
        self.assertEqual(sorted(e["payload"]["price"] for e in events), [float(i) for i in range(self.good)])
        self.assertEqual(self.stack.dispositions(FAST_PATH), {"stored": self.good, "duplicate": 0, "quarantined": len(self.bad), "control": 0,
                                                              "lost-before-read": 0})

    def test_the_bytes_are_kept(self):
        for row, (name, (value, _, _)) in zip(self.in_order(), self.bad.items()):
            status, body = self.stack.raw(f"/v1/quarantine/{row['topic']}/{row['partition']}/{row['offset']}/raw")
            self.assertEqual((status, body == value, len(body)), (200, True, len(value)), name)
        row, (name, (value, _, _)) = next((r, b) for r, b in zip(self.in_order(), self.bad.items()) if b[1][0])
        place = (row["topic"], str(row["partition"]), str(row["offset"]))
        self.assertEqual(self.stack.butterfly("quarantine", *place, "--raw").stdout, value, name)
        self.assertIn(row["reason"], self.stack.butterfly("quarantine", *place).stdout.decode())
        self.assertEqual(self.stack.butterfly("quarantine", place[0], check=False).returncode, 2)
        archived = self.stack.psql("select kafka_offset, reason, length(raw) from capsule.quarantine order by kafka_offset")
        self.assertEqual([r[1] for r in archived], [reason for _, _, reason in self.bad.values()])
        self.assertEqual([int(r[2]) for r in archived], [len(value) for value, _, _ in self.bad.values()])

    def test_dead_letters_carry_connects_headers(self):
        letters = wait_until(lambda: (found := self.broker.consume(FAST_PATH + ".dlq")) and len(found) >= len(self.bad) and found, "dead letters")
        self.assertEqual(len(letters), len(self.bad))
        by_origin = {r["headers"].split("origin=", 1)[1].split(",", 1)[0]: r for r in letters}
        for i, (row, (name, (value, _, reason))) in enumerate(zip(self.in_order(), self.bad.items())):
            letter = by_origin[f"bad-{i}"]
            for header in (f"__connect.errors.topic={FAST_PATH}", f"__connect.errors.partition={row['partition']}",
                           f"__connect.errors.offset={row['offset']}", "__connect.errors.exception.message=", f"capsule.{reason}"):
                self.assertIn(header, letter["headers"], name)
            if name != "16 MiB":  # too large for a producer's usual limit: the letter says so instead
                self.assertEqual(letter["value"] or b"", value, name)

    def test_it_is_counted_and_the_ledger_has_no_hole(self):
        metrics = self.stack.raw("/metrics")[1].decode()
        line = next(x for x in metrics.splitlines() if x.startswith("capsule_records_total{") and f'topic="{FAST_PATH}"' in x and "quarantined" in x)
        self.assertEqual(float(line.split()[-1]), len(self.bad))
        self.stack.butterfly("verify")
        table = self.stack.butterfly("quarantine", "--reason", "utf8").stdout.decode()
        self.assertEqual(table.count("utf8"), 1, table)

    def test_redrive_says_of_each_why_it_still_cannot_be_taken_in(self):
        done = self.stack.butterfly("quarantine", "redrive", "--topic", FAST_PATH, "--dry-run", "true")
        self.assertEqual(done.stdout.count(b"refused"), len(self.bad), done.stdout)
        self.assertIn(f"0 of {len(self.bad)} could be taken in".encode(), done.stderr)


class BadSignals(SystemTest):
    """What perception refuses never reaches Kafka; the others go through."""

    def test_bad_lines_are_named_and_the_rest_goes_through(self):
        lines = [b'{"rim_node_id":"rim:entity:test:ok","vector_timestamp":{"event_ts_ms":1717236000000},"price":1}',
                 b"this is not JSON",
                 b'{"rim_node_id":"rim:planet:a:b","vector_timestamp":{"event_ts_ms":1}}',
                 b'{"vector_timestamp":{"event_ts_ms":1}}',
                 b'{"rim_node_id":"rim:entity:test:ok","vector_timestamp":{"event_ts_ms":"soon"}}',
                 b'{"rim_node_id":"rim:entity:test:ok","vector_timestamp":{"event_ts_ms":1717236000001},"stress":7}',
                 b'{"rim_node_id":"rim:entity:test:ok","vector_timestamp":{"event_ts_ms":1717236000002},"status":"\xff"}',
                 b'{"rim_node_id":"rim:entity:test:ok","vector_timestamp":{"event_ts_ms":1717236000003},"price":2}']
        counts, done = self.stack.perception(lines, check=False)
        self.assertEqual((done.returncode, counts), (1, {"accepted": 2, "rejected": 6, "published": 2, "failed": 0}), done.stderr.decode())
        text = done.stderr.decode(errors="replace")
        for number in (2, 3, 4, 5, 6, 7):
            self.assertRegex(text, rf"(?m)\b{number}\b.*", f"line {number} is named")
        self.stack.wait_taken(2)
        events, _ = self.stack.replay(topic=FAST_PATH)
        self.assertEqual([e["payload"]["price"] for e in events], [1, 2])


if __name__ == "__main__":
    unittest.main()
