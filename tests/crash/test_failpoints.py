#!/usr/bin/env python3
"""CAPSULE dies at every step of its write path, and at random moments, under load; in between its hot store is lost. At the end the independent
checker compares the producers' ledger, Kafka, LMDB and PostgreSQL byte for byte.

BF_KILLS: how many (default 100; 1000 under BF_TORTURE=1). BF_SEED: repeat a run.
"""
import collections
import os
import random
import shutil
import sys
import time
import unittest

from line import SLOW, TORTURE, LineTest, Load, wait_until

KILLS = int(os.environ.get("BF_KILLS", "1000" if TORTURE else "100"))

# Where it may die: (name, the most times it is passed by before).
POINTS = [
    ("ingest.before-commit", 12), ("ingest.after-commit", 12), ("hot.before-commit", 30), ("hot.after-commit", 30),
    ("archive.after-partitions", 3), ("archive.after-fence", 4), ("archive.after-copy", 4), ("archive.before-commit", 4),
    ("archive.after-commit", 4), ("archive.after-write", 4), ("archive.after-offsets", 4),
    ("take.after-archive", 1), ("take.after-hot", 1), ("evict.before", 2), ("evict.after", 2),
    ("dlq.before-send", 2), ("dlq.after-send", 2),
]
REBUILD = ["rebuild.ids", "rebuild.before-mark"]  # only passed by when the hot store is new
MIGRATE = ["migrate.before-commit", "migrate.after-commit"]


class Failpoints(LineTest):
    def die_at(self, capsule, point, at=1, timeout=30):
        """Start with this failpoint and wait for the end; True if it was the failpoint's."""
        capsule.start(f"{point}=kill@{at}", wait=False)
        give_up = time.monotonic() + timeout * SLOW
        while time.monotonic() < give_up:
            if not capsule.alive():
                self.assertEqual(capsule.process.returncode, -9, f"{point}: it ended otherwise\n{capsule.log()[-3000:]}")
                return True
            time.sleep(0.01)
        capsule.kill9()
        return False

    def one_kill(self, capsule, rng, told):
        if rng.random() < 0.25:
            capsule.start(wait=False)
            time.sleep(rng.uniform(0, 1.6) * SLOW)
            self.assertTrue(capsule.alive(), capsule.log()[-3000:])
            capsule.kill9()
            told["at random"] += 1
            return
        if rng.random() < 0.06:
            if os.path.exists(capsule.dir):  # it may have died before it made one
                shutil.rmtree(capsule.dir)
            told["hot store deleted"] += 1
            point, at = rng.choice(REBUILD), 1
        else:
            point, most = POINTS[told["turn"] % len(POINTS)]
            told["turn"] += 1
            at = rng.randint(1, most)
        told[point if self.die_at(capsule, point, at) else point + " (not reached)"] += 1

    def test_nothing_is_lost_or_doubled_wherever_it_dies(self):
        seed = int(os.environ.get("BF_SEED", time.time_ns() % 1000000))
        print(f"seed {seed}", file=sys.stderr)
        rng, told = random.Random(seed), collections.Counter()
        database, conninfo = self.line.database()
        topic = self.line.topic(4)
        capsule = self.capsule(conninfo, extra=["--hot-age", "1s", "--archive-events-max", "500", "--batch-events-max", "400"])
        for point in MIGRATE * 2:
            told[point] += self.die_at(capsule, point, 1)
        load = Load(self.line, topic, rate=1500, seed=seed)
        load.start()
        while sum(told.values()) - told["turn"] - told["hot store deleted"] < KILLS:
            self.one_kill(capsule, rng, told)
            self.assertIsNone(load.trouble)
        ledger = load.finish()
        capsule.start()
        wait_until(capsule.ready, "capsule is ready")
        counts = self.checker(database, topic, ledger).check(capsule)
        print(f"{dict(told)}\n{dict(counts)}, 0 lost, 0 doubled", file=sys.stderr)
        missed = [p for p, n in told.items() if "not reached" in p and n > told[p.split(" ")[0]]]
        self.assertEqual(missed, [], "failpoints that are hardly ever reached")
        self.assertEqual(capsule.stop(), 0)


if __name__ == "__main__":
    unittest.main()
