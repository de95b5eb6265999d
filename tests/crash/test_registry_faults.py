#!/usr/bin/env python3
"""The schema registry is away, slow, wrong or failing: only the partition whose next record needs it waits. What is known goes on, nothing is
quarantined, and when the registry is well again nothing is missing and the order is kept."""
import time
import unittest

from line import SCHEMA, WHEN, LineTest, Tool, framed, reading, wait_until

LATE = 21  # met in the outage for the first time


class RegistryFaults(LineTest):
    def setUp(self):
        super().setUp()
        self.database, conninfo = self.line.database()
        self.known, self.late = self.line.topic(2), self.line.topic(1)
        self.c = self.capsule(conninfo, extra=["--schema-retry", "300ms"])
        self.c.start()
        wait_until(self.c.ready, "ready")
        self.ledger = self.send(self.known, range(50))  # its schema is kept now
        self.c.wait_through(self.known, self.line.ends(self.known))
        self.id = LATE + self.line.names
        self.line.registry.schemas[self.id] = SCHEMA

    def publish_late(self):
        """One partition: known, then unknown, then known again."""
        tool = Tool(self.line.kafka.bootstrap)
        for n in range(30):
            schema = self.id if 10 <= n < 20 else 11
            tool.send(self.late, framed(schema, reading("rim:entity:test:late", f"late-{n}", WHEN + n, float(n))), "rim:entity:test:late")
        tool.flush()
        tool.close()

    def through(self, mode):
        self.line.registry.mode = mode
        asked = self.line.registry.asked
        self.publish_late()
        wait_until(lambda: self.c.stored(self.late) == 10 and self.line.registry.asked > asked, "it waits at the unknown schema")
        self.ledger.update(self.send(self.known, range(50, 1050)))
        wait_until(lambda: self.c.stored(self.known) == 1050, "what is known goes on")
        time.sleep(1.5)  # longer than an unknown id is asked for again
        self.assertEqual(self.c.stored(self.late), 10)
        self.assertEqual(self.c.get("/v1/quarantine")["quarantined"], [])
        self.assertEqual(self.c.raw("/readyz")[0], 200)
        self.line.registry.mode = "ok"
        self.c.wait_through(self.late, {0: 30})
        events = self.c.replay(topic=self.late)
        self.assertEqual([(e["offset"], e["source_id"]) for e in events], [(n, f"late-{n}") for n in range(30)])
        self.assertEqual([e["recorded_at"] for e in events], sorted(e["recorded_at"] for e in events))
        self.checker(self.database, self.known, self.ledger).check(self.c)
        self.assertEqual(self.c.metric("capsule_dlq_records_total"), 0)
        self.assertEqual(self.c.stop(), 0)

    def test_away(self):
        self.through("away")

    def test_slow(self):
        self.through("slow")

    def test_wrong(self):
        self.through("wrong")

    def test_failing(self):
        self.through("failing")


if __name__ == "__main__":
    unittest.main()
