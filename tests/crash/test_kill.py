#!/usr/bin/env python3
"""kill -9 of every part at random moments under load; at the end the producers' ledger, Kafka, LMDB (over HTTP) and PostgreSQL are compared.

Nothing may be lost, nothing may be there twice, and what was derived must be what it would have been without any crash.
BF_KILLS: how many (default 12). BF_SEED: repeat a run.
"""
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system"))
from harness import BIN, DECISION, FAST_PATH, REFLEX, SystemTest, signal_line, wait_until  # noqa: E402

KILLS = int(os.environ.get("BF_KILLS", "240" if os.environ.get("BF_TORTURE") == "1" else "12"))
BATCH = 400
VICTIMS = ["capsule"] * 5 + ["odyssey", "plato", "registry", "perception"]


class Load(threading.Thread):
    """Publishes batches with known ids until told to stop; a batch that was not acknowledged whole is sent again, as it was."""

    def __init__(self, stack):
        super().__init__(daemon=True)
        self.stack, self.stopping, self.ledger, self.again, self.trouble = stack, threading.Event(), {}, 0, None

    def batch(self, number):
        lines = []
        for i in range(number * BATCH, (number + 1) * BATCH):
            line = signal_line(i, event_id=f"load-{i}", stress=0.9 if i % 200 == 17 else 0.1)
            line["vector_timestamp"]["ingest_ts_ms"] = line["vector_timestamp"]["event_ts_ms"] + 1  # the same bytes each time
            lines.append(line)
        return lines

    def publish(self, lines):
        argv = [os.path.join(BIN, "perception"), "--stdin", "--format", "ndjson", "--topic", FAST_PATH, "--rate", "2500", "--bootstrap",
                self.stack.endpoints["kafka"], "--registry", self.stack.endpoints["registry"]]
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return subprocess.run(argv, input=data, capture_output=True, timeout=120)

    def run(self):
        number = 0
        while not self.stopping.is_set():
            lines = self.batch(number)
            done = self.publish(lines)
            for _ in range(60):
                if done.returncode == 0:
                    break
                if done.returncode not in (1, 4):  # 4: the registry was just away
                    self.trouble = done.stderr.decode(errors="replace")[-2000:]
                    return
                self.again += 1
                time.sleep(0.5)
                done = self.publish(lines)
            if done.returncode != 0:
                self.trouble = "a batch never came through: " + done.stderr.decode(errors="replace")[-2000:]
                return
            for line in lines:
                self.ledger[line["event_id"]] = line
            number += 1


class Kill(SystemTest):
    def kill_at_random(self, rng, load):
        """KILLS kills; after each the victim has to come back before it can be hit again."""
        told = {}
        for n in range(KILLS):
            time.sleep(rng.uniform(0.05, 1.5))
            self.assertIsNone(load.trouble)
            victim = rng.choice(VICTIMS)
            before = self.stack.pid(victim)
            self.stack.kill9(victim)
            told[victim] = told.get(victim, 0) + 1
            wait_until(lambda: self.stack.pid(victim) != before, f"{victim} comes back after kill {n + 1}")
            if victim == "capsule" and rng.random() < 0.7:  # else it may be hit while it recovers
                wait_until(lambda: self.stack.raw("/readyz")[0] == 200, "capsule is ready again")
        return told

    def test_nothing_is_lost_and_nothing_is_twice(self):
        seed = int(os.environ.get("BF_SEED", time.time_ns() % 1000000))
        print(f"seed {seed}", file=sys.stderr)
        load = Load(self.stack)
        load.start()
        told = self.kill_at_random(random.Random(seed), load)
        load.stopping.set()
        load.join(300)
        self.assertIsNone(load.trouble)
        self.assertFalse(load.is_alive())
        wait_until(lambda: self.stack.raw("/readyz")[0] == 200, "capsule is ready")
        in_kafka = self.broker.consume(FAST_PATH)
        self.stack.wait_taken(len(in_kafka))
        self.stack.wait_quiet(quiet=4.0)
        print(f"{sum(told.values())} kills {told}, {len(load.ledger)} signals, {load.again} batches sent again", file=sys.stderr)
        self.compare_signals(load.ledger, in_kafka)
        self.compare_derived(load.ledger)
        report = json.loads(self.stack.butterfly("verify", "--json").stdout)
        self.assertEqual((report["ok"], report["lost-before-read"], report["quarantined"]), (True, 0, 0))

    def compare_signals(self, ledger, in_kafka):
        wanted = set(ledger)
        # LMDB, over HTTP
        events, _ = self.stack.replay(topic=FAST_PATH)
        self.assertEqual(len(events), len(wanted), "events over HTTP")
        self.assertEqual({e["source_id"] for e in events}, wanted)
        self.assertEqual({e["revision"] for e in events}, {1})
        # PostgreSQL
        rows = self.stack.psql("select source_id, kafka_partition, kafka_offset, encode(sha256(raw), 'hex') from capsule.events "
                               f"where topic = '{FAST_PATH}'")
        self.assertEqual(len(rows), len(wanted), "rows in PostgreSQL")
        self.assertEqual({r[0] for r in rows}, wanted)
        # both against Kafka's bytes: same coordinates, same content
        kafka = {(r["partition"], r["offset"]): hashlib.sha256(r["value"]).hexdigest() for r in in_kafka}
        self.assertEqual({(int(p), int(o)): digest for _, p, o, digest in rows}, {k: kafka[k] for k in ((int(r[1]), int(r[2])) for r in rows)})
        self.assertEqual({(e["partition"], e["offset"]) for e in events}, {(int(r[1]), int(r[2])) for r in rows})
        # every offset in Kafka is accounted for, once
        self.assertEqual(sum(self.stack.dispositions(FAST_PATH).values()), len(in_kafka))
        coverage = self.stack.psql("select sum(to_offset - from_offset) from capsule.coverage where topic = "
                                   f"'{FAST_PATH}' and disposition in ('stored', 'duplicate')")
        self.assertEqual(int(coverage[0][0]), len(in_kafka))

    def compare_derived(self, ledger):
        """Each stressed signal of a node that was calm before caused its reflexes once, whatever was reprocessed; each is judged once."""
        reflexes, decisions = self.stack.pages("/v1/events", topic=REFLEX), self.stack.pages("/v1/events", topic=DECISION)
        stressed = {source for source, line in ledger.items() if line["stress"] == 0.9}
        by_id = {e["event_id"]: e["source_id"] for e in self.stack.replay(topic=FAST_PATH)[0]}
        critical = [by_id[r["payload"]["cause_id"]] for r in reflexes if r["payload"]["regime_to"] == "CRITICAL"]
        self.assertEqual(sorted(critical), sorted(stressed))
        self.assertEqual(sorted(d["payload"]["cause_id"] for d in decisions), sorted(r["event_id"] for r in reflexes))
        self.assertEqual(len({d["event_id"] for d in decisions}), len(decisions))


if __name__ == "__main__":
    unittest.main()
