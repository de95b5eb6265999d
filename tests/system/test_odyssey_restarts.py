#!/usr/bin/env python3
"""ODYSSEY killed again and again while signals come makes the same reflexes, byte for byte, as one that read them all in one go; a new rule file is
taken on SIGHUP, a wrong one is not; without CAPSULE it does not begin."""
import json
import os
import random
import signal
import subprocess
import threading
import time
import unittest

from harness import BIN, FAST_PATH, HOME, REFLEX, SLOW, SystemTest, run, signal_line, wait_until

NODES, RATE = 24, 600
SECONDS = 90 if os.environ.get("BF_TORTURE") == "1" else 14
RULES = {"rules": [
    {"name": "hot", "kind": "threshold", "field": "stress", "above": 0.9},
    {"name": "move", "kind": "percent_move", "field": "price", "percent": 20},
    {"name": "drift", "kind": "percent_move", "field": "price", "percent": 40, "window": "8s", "cooldown": "1s"},
    {"name": "rate", "kind": "rate_of_change", "field": "price", "above": 2000, "per": "1s"},
    {"name": "odd", "kind": "zscore", "field": "critical_metrics.spread", "above": 2.5, "window": "7s"},
    {"name": "gone", "kind": "silence", "after": "4s"},
    {"name": "regime", "kind": "regime", "hysteresis": 0.05, "min_dwell": "500ms"},
    {"name": "both", "kind": "all", "of": [{"kind": "threshold", "field": "stress", "above": 0.6}, {"kind": "percent_move", "field": "price", "percent": 10}]}]}


class Odyssey:
    """One of our own, beside the stack's."""

    def __init__(self, test, group, rules, *extra):
        self.dir = os.path.join(test.dir, group)
        os.makedirs(self.dir, exist_ok=True)
        self.rules, self.endpoints = os.path.join(self.dir, "rules.json"), os.path.join(self.dir, "endpoints.json")
        with open(self.rules, "w") as f:
            json.dump(rules, f)
        e = test.stack.endpoints
        self.argv = [os.path.join(BIN, "odyssey"), "--rules", self.rules, "--group", group, "--bootstrap", e["kafka"], "--registry", e["registry"],
                     "--schemas-dir", os.path.join(HOME, "schemas"), "--endpoints-file", self.endpoints, *extra]
        self.process = None
        test.addCleanup(self.stop, signal.SIGKILL)  # also when the test failed

    def start(self):
        if os.path.exists(self.endpoints):
            os.unlink(self.endpoints)
        self.log = open(os.path.join(self.dir, "log"), "ab")
        self.process = subprocess.Popen(self.argv, stderr=self.log)
        return self

    def said(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as f:
            return f.read()

    def metric(self, name):
        import urllib.request
        with open(self.endpoints) as f:
            url = json.load(f)["http"]
        with urllib.request.urlopen(url + "/metrics", timeout=20) as answer:
            return sum(float(line.rsplit(" ", 1)[1]) for line in answer.read().decode().splitlines() if line.startswith(name))

    def caught_up(self):
        wait_until(lambda: self.metric("odyssey_partitions") == 12 and self.metric("odyssey_consumer_lag_messages") == 0 and self.metric("odyssey_in_flight") == 0,
                   f"odyssey has caught up\n{self.said()[-1500:]}", 90)

    def stop(self, sig=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(sig)
            code = self.process.wait(60 * SLOW)
            self.log.close()
            self.process = None
            return code
        return None


class Load(threading.Thread):
    """Signals about now, at an even rate; some come twice, some late; some nodes fall silent for a while."""

    def __init__(self, test):
        super().__init__(daemon=True)
        self.test, self.trouble = test, None

    def run(self):
        rng, lines = random.Random(11), []
        start_ms = int(time.time() * 1000)
        for i in range(SECONDS * RATE):
            node, at_ms = rng.randrange(NODES), start_ms + i * 1000 // RATE
            if node < 4 and i % (8 * RATE) > 2 * RATE:
                continue
            more = {"price": 50 + 100 * rng.random(), "stress": rng.random() if rng.random() < 0.5 else None,
                    "critical_metrics": {"spread": rng.gauss(0, 1)}, "event_id": f"restart-{i}"}
            lines.append(signal_line(i, node=f"rim:metric:restart:n{node}", when_ms=at_ms - (300 if rng.random() < 0.05 else 0), **more))
            if rng.random() < 0.05:
                lines.append(lines[rng.randrange(max(0, len(lines) - 200), len(lines))])
        for line in lines:
            line["vector_timestamp"]["ingest_ts_ms"] = 1
        counts, _ = self.test.stack.perception(lines, "--rate", str(RATE))
        if counts["published"] != len(lines):
            self.trouble = counts


class Restarts(SystemTest):
    extra = ("--without", "odyssey,plato")

    def reflexes(self):
        """event id → the values sent under it, from Kafka."""
        found = {}
        for r in self.broker.consume(REFLEX):
            # the event id is the second string of the value; the whole value stands for it
            node_len = r["value"][5] // 2
            at = 6 + node_len + 1
            found.setdefault(r["value"][at:at + 36].decode(), set()).add(r["value"])
        return found

    def test_1_killed_again_and_again_it_says_what_it_would_have_said(self):
        capsule = ("--capsule", self.stack.http)
        killed, load, rng = Odyssey(self, "killed", RULES, *capsule).start(), Load(self), random.Random(5)
        load.start()
        kills = 0
        while load.is_alive():
            time.sleep(rng.uniform(1.0, 2.5))
            killed.stop(signal.SIGKILL if rng.random() < 0.7 else signal.SIGTERM)
            kills += 1
            killed.start()
        self.assertIsNone(load.trouble)
        killed.caught_up()
        time.sleep(6)  # the last silences
        self.assertEqual(killed.stop(), 0)
        self.assertIn("event=warmed", killed.said())
        before = self.reflexes()
        kinds = {e["payload"]["rule"] for e in self.stack.pages("/v1/events", topic=REFLEX)}
        self.assertEqual(kinds, {r["name"] for r in RULES["rules"]})
        straight = Odyssey(self, "straight", RULES, *capsule).start()
        straight.caught_up()
        wait_until(lambda: straight.metric("odyssey_reflexes_total") >= len(before), "the straight one says as much", 20)
        self.assertEqual(straight.metric("odyssey_reflexes_total"), len(before))
        self.assertEqual(straight.stop(), 0)
        after = self.reflexes()
        self.assertGreater(kills, 3)
        self.assertGreater(len(before), 100)
        self.assertEqual(set(after), set(before))
        self.assertEqual({i: len(v) for i, v in after.items() if len(v) > 1}, {}, "one id, one content")
        self.stack.wait_quiet()
        self.assertEqual(self.stack.dispositions(REFLEX)["stored"], len(before))
        self.assertEqual(self.stack.psql(f"select count(*) from capsule.events where topic = '{REFLEX}' and revision > 1"), [["0"]])

    def test_2_a_new_rule_file_is_taken_and_a_wrong_one_is_not(self):
        one = Odyssey(self, "reload", RULES, "--capsule", self.stack.http).start()
        try:
            one.caught_up()
            with open(one.rules, "w") as f:
                f.write('{"rules":[{"name":"x","kind":"threshold"}]}')
            one.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "rules[0].field is missing" in one.said(), "the wrong file is told of")
            with open(one.rules, "w") as f:
                json.dump({"rules": [{"name": "reloaded", "kind": "threshold", "field": "volume", "above": 5, "nodes": {"namespace": "reload"}}]}, f)
            one.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "event=rules_taken" in one.said(), "the good one is taken")
            self.stack.perception([signal_line(1, node="rim:metric:reload:a", event_id="reload-1", volume=9.0, stress=0.99)])
            found = wait_until(lambda: self.stack.get("/v1/events", topic=REFLEX, node="rim:metric:reload:a")["events"], "a reflex under the new rules")
            self.assertEqual([e["payload"]["rule"] for e in found], ["reloaded"])
            self.assertEqual((one.metric('odyssey_reloads_total{result="taken"}'), one.metric('odyssey_reloads_total{result="refused"}')), (1, 1))
        finally:
            self.assertEqual(one.stop(), 0)

    def test_3_what_is_missing_or_wrong_at_the_start_has_its_exit_code(self):
        away = Odyssey(self, "away", RULES, "--capsule", "http://127.0.0.1:1", "--start-timeout", "1s")
        done = run(*away.argv, check=False, timeout=30)
        self.assertEqual((done.returncode, b"start_wait" in done.stderr, b"capsule is away" in done.stderr), (4, True, True), done)
        wrong = Odyssey(self, "wrong", {"rules": [{"name": "a", "kind": "threshold", "field": "prise", "above": 1}]})
        done = run(*wrong.argv, check=False, timeout=30)
        self.assertEqual((done.returncode, b"rules[0].field: 'prise' is no number" in done.stderr), (3, True), done)


if __name__ == "__main__":
    unittest.main()
