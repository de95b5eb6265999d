#!/usr/bin/env python3
"""Ingest, archiver, evictor, dead letters and HTTP together under the thread sanitizer, with PostgreSQL going away in between. Only under BF_TORTURE=1: the
programs are built anew for it."""
import os
import subprocess
import sys
import threading
import unittest

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if os.environ.get("BF_TORTURE") != "1" and "tsan" not in os.environ.get("BF_BIN_DIR", ""):
    print("only with --torture: builds CAPSULE with the thread sanitizer")
    sys.exit(77)
if "tsan" not in os.environ.get("BF_BIN_DIR", ""):
    subprocess.run([os.path.join(HOME, "tools/build"), "--sanitize-thread", "--werror"], check=True)
    os.environ["BF_BIN_DIR"] = os.path.join(HOME, "build-tsan/bin")
os.environ["TSAN_OPTIONS"] = f"suppressions={HOME}/tests/crash/tsan.supp exitcode=66 second_deadlock_stack=1"

from line import Failed, LineTest, Load, Proxy, wait_until  # noqa: E402


class Threads(LineTest):
    def ask(self, capsule, stop, troubles):
        """What readers do, all the time."""
        paths = ["/v1/status", "/v1/topics", "/v1/lag", "/v1/coverage", "/v1/nodes", "/metrics", "/readyz", "/v1/quarantine", "/v1/events",
                 "/v1/nodes/rim:entity:test:N1/history", "/v1/nodes/rim:entity:test:N1/state", "/v1/state", "/v1/replay"]
        while not stop.is_set():
            for path in paths:
                try:
                    status, _ = capsule.raw(path, **({"topic": self.topic} if path == "/v1/replay" else {}))
                    if status not in (200, 404, 503):
                        troubles.append((path, status))
                except (OSError, Failed) as e:
                    troubles.append((path, str(e)))
                    return

    def test_no_data_race_is_found(self):
        proxy = Proxy(self.line.pg_port)
        self.addCleanup(proxy.close)
        database, conninfo = self.line.database(proxy)
        self.topic = self.line.topic(4)
        c = self.capsule(conninfo, extra=["--hot-age", "2s", "--archive-events-max", "500", "--archive-retry-max", "300ms"])
        c.start()
        wait_until(c.ready, "ready", 120)
        load, stop, troubles = Load(self.line, self.topic, rate=800), threading.Event(), []
        load.start()
        readers = [threading.Thread(target=self.ask, args=(c, stop, troubles), daemon=True) for _ in range(3)]
        for r in readers:
            r.start()
        for _ in range(4):
            stop.wait(4)
            proxy.refuse = True
            proxy.cut()
            stop.wait(2)
            proxy.refuse = False
        ledger = load.finish()
        self.checker(database, self.topic, ledger).check(c)
        stop.set()
        for r in readers:
            r.join(60)
        self.assertEqual(c.stop(180), 0, c.log()[-5000:])
        self.assertNotIn("WARNING: ThreadSanitizer", c.log())
        self.assertEqual([t for t in troubles if not isinstance(t[1], str)], [])


if __name__ == "__main__":
    unittest.main()
