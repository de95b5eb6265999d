#!/usr/bin/env python3
"""Replay into Kafka: a job whose CAPSULE is killed again and again sends each event once, in the replay's order, as it was."""
import json
import os
import random
import sys
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import FAST_PATH, SLOW, SystemTest, signal_line, wait_until  # noqa: E402

EVENTS = 12000
KILLS = int(os.environ.get("BF_KILLS", "40" if os.environ.get("BF_TORTURE") == "1" else "5"))


class Replays(SystemTest):
    extra = ("--without", "odyssey,plato")

    @classmethod
    def prepare(cls):
        counts, _ = cls.stack.perception([signal_line(i, event_id=f"r-{i}") for i in range(EVENTS)])
        assert counts["published"] == EVENTS, counts
        cls.stack.wait_taken(EVENTS)
        cls.stack.wait_quiet()

    def post(self, path, **params):
        query = "?" + urllib.parse.urlencode(params, doseq=True) if params else ""
        request = urllib.request.Request(self.stack.http + path + query, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60 * SLOW) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as e:
            return e.code, json.load(e)

    def begin(self, name, **params):
        status, job = self.post("/v1/replays", name=name, topic=FAST_PATH, **params)
        self.assertEqual(status, 201, job)
        return job

    def job(self, job):
        return self.stack.get(f"/v1/replays/{job['id']}")

    def wait_state(self, job, state, timeout=120):
        return wait_until(lambda: (lambda j: j if j["state"] == state else None)(self.job(job)), f"replay is {state}", timeout)

    @staticmethod
    def header(record, name):
        found = [pair.split("=", 1)[1] for pair in record["headers"].split(",") if pair.startswith(name + "=")]
        return found[0] if found else None

    def check_target(self, job, expected):
        """What a read_committed consumer sees is the replay: each event once, in its order, as it was."""
        records = self.broker.consume(job["topic"])
        source = {(r["partition"], r["offset"]): r for r in self.broker.consume(FAST_PATH)}
        self.assertEqual(len(records), len(expected))
        for record, event in zip(records, expected):
            at = (event["partition"], event["offset"])
            self.assertEqual((int(self.header(record, "capsule-partition")), int(self.header(record, "capsule-offset"))), at)
            self.assertEqual(self.header(record, "capsule-topic"), event["topic"])
            self.assertEqual(self.header(record, "capsule-event-id"), event["event_id"])
            self.assertEqual(self.header(record, "capsule-recorded-at"), event["recorded_at"])
            self.assertEqual(self.header(record, "capsule-event-time"), event["event_time"])
            self.assertEqual(self.header(record, "capsule-replay-id"), job["id"])
            for part in ("key", "value", "time_ms"):
                self.assertEqual(record[part], source[at][part])

    def test_a_job_that_is_killed_again_and_again_sends_each_event_once(self):
        rng = random.Random(int(os.environ.get("BF_SEED", "1")))
        expected, _ = self.stack.replay(topic=FAST_PATH)
        self.assertEqual(len(expected), EVENTS)
        job = self.begin("killed", rate=EVENTS // 10)
        self.assertEqual(job["topic"], "replay.killed")
        for _ in range(KILLS):
            wait_until(lambda: self.job(job)["events_sent"] > 0, "it sends")
            time.sleep(rng.uniform(0.1, 1.0))
            before = self.stack.pid("capsule")
            self.stack.kill9("capsule")
            wait_until(lambda: self.stack.pid("capsule") != before, "capsule comes back")
            wait_until(lambda: self.stack.raw("/livez")[0] == 200, "capsule answers")
        done = self.wait_state(job, "done")
        self.assertEqual(done["events_sent"], EVENTS)
        self.assertEqual(done["progress"], 1)
        self.check_target(job, expected)

    def test_a_job_pauses_resumes_and_is_cancelled(self):
        job = self.begin("paused", rate=2000, by="recorded")
        wait_until(lambda: self.job(job)["events_sent"] > 0, "it sends")
        self.assertEqual(self.post(f"/v1/replays/{job['id']}/pause")[0], 200)
        wait_until(lambda: (lambda a: time.sleep(1.5) or a == self.job(job)["events_sent"])(self.job(job)["events_sent"]), "it rests")
        paused = self.job(job)
        self.assertEqual(paused["state"], "paused")
        self.assertTrue(0 < paused["progress"] < 1)
        self.assertEqual(self.post(f"/v1/replays/{job['id']}/resume")[0], 200)
        self.wait_state(job, "done")
        expected, _ = self.stack.replay(topic=FAST_PATH, by="recorded")
        self.check_target(job, expected)
        self.assertEqual(self.post(f"/v1/replays/{job['id']}/resume")[0], 409)

        job = self.begin("cancelled", rate=100)
        wait_until(lambda: self.job(job)["eta_seconds"], "it knows when it will be done")
        self.assertEqual(self.post(f"/v1/replays/{job['id']}/cancel")[0], 200)
        self.assertEqual(self.post(f"/v1/replays/{job['id']}/resume")[0], 409)
        self.assertEqual(self.job(job)["state"], "cancelled")
        self.assertIn(job["id"], [j["id"] for j in self.stack.get("/v1/replays")["replays"]])

    def test_a_dry_run_counts_and_sends_nothing(self):
        node = "rim:entity:finance:N5"
        expected, _ = self.stack.replay(node=node)
        status, answer = self.post("/v1/replays", name="dry", node=node, dry_run="1")
        self.assertEqual((status, answer["events"], answer["topic"]), (200, len(expected), "replay.dry"))
        self.assertGreater(answer["bytes"], 0)
        for _ in range(2):
            self.assertNotIn("replay.dry", [j["topic"] for j in self.stack.get("/v1/replays")["replays"]])

    def test_the_command_line_starts_shows_and_cancels(self):
        def butterfly(*argv):
            done = self.stack.butterfly("replays", *argv, check=False)
            return done.returncode, done.stdout.decode()
        self.assertIn("events", butterfly("start", "cli", "--topic", FAST_PATH, "--dry-run")[1])
        code, out = butterfly("start", "cli", "--topic", FAST_PATH, "--rate", "50", "--json")
        job = json.loads(out)
        self.assertEqual((code, job["topic"], job["rate"], job["topics"]), (0, "replay.cli", 50, [FAST_PATH]))
        for action, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
            self.assertEqual(json.loads(butterfly(action, job["id"], "--json")[1])["state"], state)
        self.assertEqual(butterfly("resume", job["id"])[0], 1)
        self.assertIn("replay.cli", butterfly()[1])
        self.assertIn("cancelled", butterfly("show", job["id"])[1])
        self.assertEqual(butterfly("show")[0], 2)

    def test_only_into_a_replay_topic(self):
        for name, pointer in (("rim.fast-path", "name"), ("", "name"), ("Upper", "name"), (None, "name")):
            status, problem = self.post("/v1/replays", **({"name": name} if name is not None else {}), topic=FAST_PATH)
            self.assertEqual((status, problem["pointer"]), (400, pointer))
        self.assertEqual(self.post("/v1/replays/00000000-0000-0000-0000-000000000000/pause")[0], 404)
        self.assertEqual(self.post("/v1/replays/x/pause")[0], 400)

    def test_an_empty_range_is_done_at_once(self):
        job = self.begin("empty", to="1971-01-01")
        self.assertEqual(self.wait_state(job, "done")["events_sent"], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
