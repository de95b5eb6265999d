#!/usr/bin/env python3
"""Several instances: one that froze and was overtaken writes nothing when it wakes; members that come and go every two seconds under load lose nothing
and repeat nothing. PostgreSQL is what they share, so the checker looks there."""
import collections
import os
import random
import sys
import time
import unittest

from line import SLOW, TORTURE, Capsule, Checker, LineTest, Load, wait_until

CHURN_S = float(os.environ.get("BF_CHURN_S", "600" if TORTURE else "24"))


class Archive(Checker):
    """Without a hot store to look into: members hold parts of it only."""

    def wait_all(self, ends, timeout=120):
        def there():
            have = {int(p): int(o) for p, o in self.sql(f"select kafka_partition, next_offset from capsule.partition_state where topic = '{self.topic}'")}
            return all(have.get(p, -1) >= o for p, o in ends.items() if o > 0)
        wait_until(there, f"{self.topic} is archived up to {ends}", timeout, 0.2)

    def check_archived(self):
        records, ends = self.kafka(), self.line.ends(self.topic)
        self.wait_all(ends)
        self.check_ledgers(records)
        became, _ = self.expect(records)
        self.check_archive(records, became)
        cold = []
        for p, a, b, d in self.sql(f"select kafka_partition, from_offset, to_offset, disposition from capsule.coverage where topic = '{self.topic}'"):
            cold += [((int(p), o), d) for o in range(int(a), int(b))]
        self.same("coverage in PostgreSQL", cold, became.items())
        return collections.Counter(became.values())


class Fencing(LineTest):
    def members(self, conninfo, names, group):
        return [self.capsule(conninfo, name=name, group=group, extra=["--archive-retry-max", "300ms"]) for name in names]

    def test_who_was_frozen_and_overtaken_writes_nothing(self):
        database, conninfo = self.line.database()
        topic, group = self.line.topic(4), self.line.name("group")
        a, b = self.members(conninfo, ("a", "b"), group)
        a.start("archive.after-copy=stop@8", extra=["--archive-events-max", "500", "--batch-events-max", "100"])  # freezes with a chunk half written
        self.frozen = a.status()["instance"]
        load = Load(self.line, topic, rate=1500)
        load.start()
        wait_until(lambda: self.state(a) == "T", "it freezes in the middle of a transaction")
        b.start()
        owners = f"select owner, min(epoch) from capsule.partition_state where topic = '{topic}' group by owner"
        wait_until(lambda: [r[0] for r in self.line.psql(database, owners)] == [b.status()["instance"]], "the other takes over", 90)
        wait_until(lambda: self.through(database, b) > self.through(database, a), "the other archives")
        # Either the partitions' rows are locked, or events that it copied and the other has to record again. PostgreSQL's own limits leave it a minute.
        wait_until(lambda: "event=frozen_owner_ended" in b.log(), "its sessions are ended", 45)
        a.wake()
        time.sleep(3 * SLOW)
        ledger = load.finish()
        counts = Archive(self.line, database, topic, [ledger]).check_archived()
        print(dict(counts), file=sys.stderr)
        log = a.log()
        self.assertTrue("fence_lost" in log or "partition_tail_forgotten" in log or "lost=1" in log, log[-2000:])
        for c in (a, b):
            self.assertTrue(c.alive(), c.log()[-3000:])
            self.assertEqual(c.stop(), 0)
        Archive(self.line, database, topic, [ledger]).check_archived()

    @staticmethod
    def state(c):
        with open(f"/proc/{c.process.pid}/stat") as f:
            return f.read().rsplit(") ", 1)[1].split()[0]

    def through(self, database, c):
        instance = self.frozen if self.state(c) == "T" else c.status()["instance"]
        rows = self.line.psql(database, f"select archived_through from capsule.instances where owner = '{instance}'")
        return rows[0][0] if rows else ""

    def test_members_come_and_go_under_load(self):
        seed = int(os.environ.get("BF_SEED", time.time_ns() % 1000000))
        print(f"seed {seed}", file=sys.stderr)
        rng = random.Random(seed)
        database, conninfo = self.line.database()
        topic, group = self.line.topic(6), self.line.name("group")
        members = self.members(conninfo, ("a", "b", "c"), group)
        members[0].start()
        wait_until(members[0].ready, "the first is ready")
        load = Load(self.line, topic, rate=1500, seed=seed)
        load.start()
        give_up, told = time.monotonic() + CHURN_S * SLOW, collections.Counter()
        while time.monotonic() < give_up:
            m = rng.choice(members)
            if not m.alive():
                m.start(wait=False)
                told["came"] += 1
            elif rng.random() < 0.4:
                m.kill9()
                told["killed"] += 1
            elif rng.random() < 0.3:
                m.freeze()
                time.sleep(rng.uniform(0.5, 8))
                m.wake()
                told["froze"] += 1
            else:
                self.assertEqual(m.stop(), 0, m.log()[-3000:])
                told["left"] += 1
            time.sleep(2)
        ledger = load.finish()
        for m in members:
            if not m.alive():
                m.start(wait=False)
        counts = Archive(self.line, database, topic, [ledger]).check_archived()
        print(f"{dict(told)}, {Capsule.starts} starts, {dict(counts)}, 0 lost, 0 doubled", file=sys.stderr)
        for m in members:
            self.assertEqual(m.stop(), 0, m.log()[-3000:])


if __name__ == "__main__":
    unittest.main()
