#!/usr/bin/env python3
"""PostgreSQL goes and comes back while data flows: recording and hot answers go on, and the archive catches up without loss or repeat."""
import unittest

from harness import FAST_PATH, SystemTest, signal_line, wait_until

COUNT = 2000


class PostgresAway(SystemTest):
    def publish(self, first):
        self.stack.perception([signal_line(i, event_id=f"signal-{i}") for i in range(first, first + COUNT)])

    def test_an_outage_is_waited_out(self):
        self.publish(0)
        self.stack.wait_taken(COUNT)
        self.stack.wait_quiet()
        archived = self.stack.get("/v1/status")["archived_through"]

        self.stack.postgres("stop")
        self.publish(COUNT)
        self.stack.wait_taken(2 * COUNT)
        status = self.stack.get("/v1/status")
        self.assertEqual(status["archived_through"], archived)
        self.assertGreater(status["recorded_through"], archived)
        wait_until(lambda: self.stack.get("/v1/status")["dependencies"]["postgres"] == "away", "the outage is shown")
        self.assertNotEqual(self.stack.butterfly("status", check=False).returncode, 0)
        # what is hot can be asked for without the archive
        newest = self.stack.get("/v1/nodes/rim:entity:finance:N1/history", limit=1)["events"]
        self.assertTrue(newest)
        self.assertEqual(self.stack.raw("/readyz")[0], 200)
        # an outage is no poison
        self.assertEqual(self.stack.get("/v1/quarantine")["quarantined"], [])

        self.stack.postgres("start")
        self.publish(2 * COUNT)
        self.stack.wait_taken(3 * COUNT)
        self.stack.wait_quiet()
        self.assertEqual(self.stack.dispositions(FAST_PATH)["stored"], 3 * COUNT)
        self.assertEqual(self.stack.psql("select count(*), count(distinct event_id) from capsule.events "
                                         f"where topic = '{FAST_PATH}'"), [[str(3 * COUNT)] * 2])
        self.stack.butterfly("verify")
        self.stack.butterfly("status")


if __name__ == "__main__":
    unittest.main()
