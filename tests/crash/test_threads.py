#!/usr/bin/env python3
"""Ingest, archiver, evictor, dead letters, the log of reads, replays and HTTP at once, under the thread sanitizer: it has nothing to say.

The sanitized CAPSULE is built by `tools/build --sanitize-thread`; without it this is skipped. BF_THREADS_S: for how long (default 25 s).
"""
import os
import subprocess
import sys
import threading
import time
import unittest

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ.setdefault("BF_BIN_DIR", os.path.join(HOME, "build-tsan/bin"))
from line import BIN, TORTURE, LineTest, Load, wait_until  # noqa: E402

SECONDS = float(os.environ.get("BF_THREADS_S", "300" if TORTURE else "25"))
REPORT = "WARNING: ThreadSanitizer"


class Threads(LineTest):
    def ask_on(self, make, stopping, told):
        """One question after another until told to stop."""
        n = 0
        while not stopping.is_set():
            try:
                path, params = make(n)
                status, _ = self.c.raw(path, **params)
                told[status] = told.get(status, 0) + 1
            except OSError:
                told["cut"] = told.get("cut", 0) + 1
            n += 1

    def questions(self, topic):
        node = "rim:entity:test:N{0}".format
        return [
            lambda n: (f"/v1/nodes/{node(n % 211)}/history", {"limit": 50}),
            lambda n: (f"/v1/nodes/{node(n % 211)}/state", {}),
            lambda n: (f"/v1/events/r-{n}", {"topic": topic}),
            lambda n: ("/v1/state", {"prefix": node(n % 20)}),
            lambda n: ("/v1/replay", {"topic": topic, "from_offset": n * 7, "to_offset": n * 7 + 3000, "partition": n % 4, "format": ("ndjson", "csv", "avro")[n % 3]}),
            lambda n: (("/v1/status", "/metrics", "/v1/coverage", "/v1/topics", "/v1/lag", "/v1/quarantine", "/v1/reads", "/v1/nodes", "/readyz")[n % 9], {}),
            lambda n: ("/v1/events", {"topic": topic, "limit": 200, "order": ("asc", "desc")[n % 2]}),
        ]

    def test_the_sanitizer_has_nothing_to_say(self):
        _, conninfo = self.line.database()
        topic, stopping, told = self.line.topic(4), threading.Event(), {}
        os.environ["TSAN_OPTIONS"] = f"halt_on_error=0 second_deadlock_stack=1 exitcode=66 suppressions={HOME}/tests/support/tsan_suppressions"
        self.c = self.capsule(conninfo, extra=["--hot-age", "3s", "--archive-events-max", "500", "--batch-events-max", "400", "--archive-retry-max", "300ms"])
        self.c.start()
        wait_until(self.c.ready, "ready", 120)
        load = Load(self.line, topic, rate=1000)
        load.start()
        askers = [threading.Thread(target=self.ask_on, args=(q, stopping, told), daemon=True) for q in self.questions(topic)]
        for a in askers:
            a.start()
        time.sleep(SECONDS / 2)
        self.line.postgres("stop")
        time.sleep(3)
        self.line.postgres("start")
        self.c.post("/v1/quarantine/redrive?dry_run=true", None)
        self.c.post(f"/v1/replays?name=threads&topic={topic}", None)
        time.sleep(SECONDS / 2)
        ledger = load.finish()
        stopping.set()
        for a in askers:
            a.join(60)
        self.c.wait_through(topic, self.line.ends(topic), 180)
        evicted = self.c.metric("capsule_evicted_records_total")
        code = self.c.stop(120)
        log = self.c.log()
        print(f"{len(ledger)} records, answers {told}, {evicted:.0f} evicted, exit {code}", file=sys.stderr)
        at = log.find(REPORT)
        self.assertEqual(log.count(REPORT), 0, log[at:at + 6000])
        self.assertEqual(code, 0)
        self.assertGreater(evicted, 0)
        self.assertGreater(told.get(200, 0), 100)


if __name__ == "__main__":
    if not os.path.exists(os.path.join(BIN, "capsule")):
        print("there is no build-tsan: tools/build --sanitize-thread")
        sys.exit(77)
    if subprocess.run(["setarch", "-R", "true"], capture_output=True).returncode != 0:
        print("the address space cannot be laid out plainly here, as the sanitizer wants it: setarch -R is refused")
        sys.exit(77)
    unittest.main()
