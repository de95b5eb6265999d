#!/usr/bin/env python3
"""Quarantined records are taken in after all: in place, in order, visible as such, in both stores; a late schema; dry run; a crash in between."""
import os
import unittest

from line import SCHEMA, WHEN, LineTest, Tool, framed, reading, wait_until

NODE = "rim:entity:test:late"


class Redrive(LineTest):
    def setUp(self):
        super().setUp()
        self.database, conninfo = self.line.database()
        self.topic = self.line.topic(1)
        self.c = self.capsule(conninfo, extra=["--schema-retry", "0s"])
        self.late = 100 + self.line.names
        self.publish()
        self.c.start()
        self.c.wait_through(self.topic, {0: 30})

    def publish(self):
        """By turns a known schema, a late one, and junk; one late record is a revision of a good one, one its duplicate."""
        tool = Tool(self.line.kafka.bootstrap)
        for n in range(30):
            schema, ident = (self.late if n % 3 == 1 else 11), f"r-{n}"
            value = framed(schema, reading(NODE, ident, WHEN + n, float(n), "note")) if n % 3 != 2 else b"junk"
            tool.send(self.topic, value, NODE, 0, [("origin", f"h{n}")])
        tool.flush()
        tool.close()

    def post(self, **params):
        import urllib.parse
        return self.c.post("/v1/quarantine/redrive?" + urllib.parse.urlencode(params), None)

    def totals(self):
        answer = self.c.get("/v1/coverage", topic=self.topic)
        self.assertTrue(answer["complete"])
        return {k: v for k, v in answer["coverage"][0]["totals"].items() if v}

    def test_a_late_schema(self):
        self.assertEqual(self.totals(), {"stored": 10, "quarantined": 20})
        known_by = self.c.status()["recorded_through"]
        before = self.c.replay(topic=self.topic, known_by=known_by)
        status, answer = self.post(topic=self.topic, schema_id=self.late)
        self.assertEqual((status, answer["found"], answer["redriven"]), (200, 10, 0))
        self.assertEqual({r["outcome"] for r in answer["results"]}, {"refused"})
        self.line.registry.schemas[self.late] = SCHEMA

        def dry():
            answer = self.post(topic=self.topic, schema_id=self.late, dry_run="true")[1]
            return answer["redriven"] == 10 and answer
        answer = wait_until(dry, "the registry's answer is believed no more", 30, 0.5)
        self.assertEqual(self.totals(), {"stored": 10, "quarantined": 20})  # dry
        one = self.post(topic=self.topic, partition=0, offset=13)[1]
        self.assertEqual([(r["offset"], r["outcome"], r["revision"]) for r in one["results"]], [(13, "stored", 1)])
        answer = self.post(topic=self.topic, reason="schema")[1]
        self.assertEqual([(r["offset"], r["outcome"]) for r in answer["results"]], [(n, "stored") for n in range(1, 30, 3) if n != 13])
        self.assertEqual(self.post(topic=self.topic, reason="schema")[1]["found"], 0)
        wait_until(lambda: self.c.status()["archived_through"] >= self.c.status()["recorded_through"], "archived")

        self.assertEqual(self.totals(), {"stored": 20, "quarantined": 10})
        events = self.c.replay(topic=self.topic)
        self.assertEqual(sorted(e["offset"] for e in events), [n for n in range(30) if n % 3 != 2])
        self.assertEqual([e["offset"] for e in sorted(events, key=lambda e: e["offset"]) if e.get("redriven") is True], list(range(1, 30, 3)))
        self.assertEqual({e.get("redriven") for e in before}, {None})
        told = self.line.psql(self.database, "select kafka_offset from capsule.current_events where redriven order by 1")
        self.assertEqual(told, [[str(n)] for n in range(1, 30, 3)])
        by_offset = self.c.replay(topic=self.topic, partition=0, from_offset=0, to_offset=30)
        self.assertEqual([e["offset"] for e in by_offset], [n for n in range(30) if n % 3 != 2])
        self.assertEqual(self.c.replay(topic=self.topic, known_by=known_by), before)  # what was known then
        gone = self.c.get("/v1/quarantine", topic=self.topic, redriven="true")["quarantined"]
        self.assertEqual(sorted(q["offset"] for q in gone), list(range(1, 30, 3)))
        rows = self.line.psql(self.database, "select kafka_offset, source_id, quarantine_reason, recorded_at = redriven_at from capsule.redriven_events order by 1")
        self.assertEqual(rows, [[str(n), f"r-{n}", "schema", "t"] for n in range(1, 30, 3)])
        cold = self.line.psql(self.database, f"select sum(to_offset - from_offset), disposition from capsule.coverage where topic = '{self.topic}' group by 2 order by 2")
        self.assertEqual(cold, [["10", "quarantined"], ["20", "stored"]])
        # a new hot store learns the same, an evicted one answers the same
        self.assertEqual(self.c.stop(), 0)
        os.rename(self.c.dir, self.c.dir + ".old")
        self.c.start()
        wait_until(self.c.ready, "ready")
        self.assertEqual(self.c.replay(topic=self.topic), events)
        self.assertEqual(self.totals(), {"stored": 20, "quarantined": 10})

    def test_a_crash_in_between(self):
        self.line.registry.schemas[self.late] = SCHEMA
        self.c.kill9()
        self.c.start("redrive.after-hot=kill@4")
        wait_until(self.c.ready, "ready")
        try:
            self.post(topic=self.topic, schema_id=self.late)
        except OSError:
            pass
        except Exception as e:  # noqa: BLE001 the connection is cut
            self.assertIn("Remote", type(e).__name__)
        self.assertEqual(self.c.wait_exit(), -9)
        self.c.start()
        wait_until(self.c.ready, "ready")
        answer = self.post(topic=self.topic, schema_id=self.late)[1]
        self.assertEqual(answer["redriven"], 6)
        self.c.wait_through(self.topic, {0: 30})
        wait_until(lambda: self.c.status()["archived_through"] >= self.c.status()["recorded_through"], "archived")
        rows = self.line.psql(self.database, f"select kafka_offset, revision from capsule.events where topic = '{self.topic}' order by 1")
        self.assertEqual(rows, [[str(n), "1"] for n in range(30) if n % 3 != 2])
        self.assertEqual(self.totals(), {"stored": 20, "quarantined": 10})


if __name__ == "__main__":
    unittest.main()
