#!/usr/bin/env python3
"""The machine's wall clock was an hour ahead and is set right while CAPSULE runs: nothing waits for that hour, recorded_at goes on ascending, and what was
answered before is answered again. The clock of CAPSULE alone is moved (tests/support/wall_clock.c)."""
import datetime
import time
import unittest

from line import SCHEMA, WHEN, LineTest, Tool, framed, reading, wait_until

AHEAD_S = 3600
LATE = 31  # a schema that is met only when the registry is well again


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Clock(LineTest):
    def poison(self, count):
        tool = Tool(self.line.kafka.bootstrap)
        for _ in range(count):
            tool.send(self.topic, b"junk", "rim:entity:test:N1")
        tool.flush()
        self.ledger.update(tool.ledger(self.topic))
        tool.close()
        self.poisons += count

    def letters(self):
        return len(self.line.kafka.consume(self.topic + ".dlq")) == self.poisons

    def late(self, first, count):
        """A partition whose next record needs a schema that is not known yet."""
        tool = Tool(self.line.kafka.bootstrap)
        for n in range(first, first + count):
            tool.send(self.waiting, framed(LATE, reading("rim:entity:test:late", f"late-{n}", WHEN + n, float(n))), "rim:entity:test:late")
        tool.flush()
        tool.close()

    def all_there(self):
        self.c.wait_through(self.topic, self.line.ends(self.topic))
        wait_until(self.letters, "dead letters", 60)

    def test_an_hour_ahead_and_set_right(self):
        self.database, conninfo = self.line.database()
        self.topic, self.waiting, self.ledger, self.poisons = self.line.topic(3), self.line.topic(1), {}, 0
        self.c = self.capsule(conninfo, extra=["--schema-retry", "300ms"])
        self.c.move_clock(AHEAD_S)
        self.c.start()
        wait_until(self.c.ready, "ready")
        self.ledger.update(self.send(self.topic, range(500)))
        self.poison(3)
        self.all_there()
        ahead = self.c.status()["recorded_through"]
        self.assertGreater(seconds(ahead), time.time() + AHEAD_S - 300)
        states = self.c.raw("/v1/state")[1]
        self.late(0, 5)  # the registry does not know it: asked again and again
        wait_until(lambda: self.line.registry.asked > 2, "it is asked")
        time.sleep(0.5)

        self.c.move_clock(0)
        self.line.registry.schemas[LATE] = SCHEMA
        self.ledger.update(self.send(self.topic, range(500, 1000)))
        self.poison(3)
        self.all_there()
        self.c.wait_through(self.waiting, {0: 5})
        self.assertLess(self.c.get("/v1/status")["uptime_seconds"], 600)
        self.assertEqual(self.c.raw("/v1/state", known_by=ahead)[1], states)
        state = self.c.get("/v1/nodes/rim:entity:test:N1/state")
        self.assertEqual(state["as_of"], state["known_by"])
        self.assertEqual(state["states"][0]["source_id"], "e-993")  # the last of N1, recorded since
        self.assertEqual(self.c.post(f"/v1/quarantine/redrive?topic={self.topic}&dry_run=true", None)[0], 200)

        self.assertEqual(self.c.stop(), 0)  # and nothing of it is forgotten by a restart
        self.c.start()
        self.ledger.update(self.send(self.topic, range(1000, 1200)))
        self.all_there()
        self.assertEqual(self.c.raw("/v1/state", known_by=ahead)[1], states)
        recorded = [e["recorded_at"] for e in self.c.replay(topic=self.topic, by="recorded")]
        self.assertEqual(len(recorded), 1200)
        self.assertEqual(recorded, sorted(set(recorded)))
        self.assertGreater(recorded[500], ahead)
        self.checker(self.database, self.topic, self.ledger).check(self.c)
        self.assertEqual(self.c.stop(), 0)


if __name__ == "__main__":
    unittest.main()
