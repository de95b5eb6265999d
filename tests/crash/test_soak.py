#!/usr/bin/env python3
"""A soak: signals over HTTP at an even rate for ten minutes; no service's memory grows, nothing is lost, nobody lags at the end.

Only with BF_TORTURE=1 or BF_SOAK_S, the seconds. Anonymous memory is compared: pages of LMDB's file come and go with the page cache.
"""
import json
import os
import sys
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "system"))
from harness import FAST_PATH, SystemTest, signal_line, wait_until  # noqa: E402

SECONDS = int(os.environ.get("BF_SOAK_S", "600" if os.environ.get("BF_TORTURE") == "1" else "0"))
RATE = int(os.environ.get("BF_SOAK_RATE", "2000"))
BATCH, NODES, BURST = 200, 2000, 200000  # BURST: as fast as they are taken, before anything is compared: so the largest commits have been
SERVICES = ("registry", "capsule", "odyssey", "plato", "perception")
GROWTH, ALLOWED_KB = 1.05, 4096  # what the last quarter may have more than the second: arenas settle late


class Load(threading.Thread):
    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.sent, self.trouble, self.stopping = url, 0, None, threading.Event()

    def post(self, lines):
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        with urllib.request.urlopen(urllib.request.Request(self.url + "/v1/signals", body), timeout=60) as answer:
            told = json.load(answer)
        if told["accepted"] != len(lines):
            raise ValueError(f"{told}")

    def run(self):
        begun = 0.0
        try:
            while not self.stopping.is_set():
                if self.sent == BURST:
                    begun = time.monotonic()
                now_ms = int(time.time() * 1000)
                # every node is stressed in one of twenty rounds
                self.post([signal_line(i, node=f"rim:metric:soak:n{i * 7919 % NODES}", when_ms=now_ms, event_id=f"soak-{i}", price=100.0,
                                       stress=0.95 if (i + i // NODES) % 20 == 0 else 0.1) for i in range(self.sent, self.sent + BATCH)])
                self.sent += BATCH
                if self.sent > BURST:
                    time.sleep(max(0.0, begun + (self.sent - BURST) / RATE - time.monotonic()))
        except (OSError, ValueError) as e:
            self.trouble = repr(e)


def anonymous_kb(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon:"))


class Soak(SystemTest):
    def test_memory_is_flat(self):
        pids = {name: self.stack.pid(name) for name in SERVICES}
        samples = {name: [] for name in SERVICES}
        load = Load(self.stack.endpoints["perception"])
        load.start()
        wait_until(lambda: load.trouble or load.sent > BURST, "the burst is over", 120)
        self.stack.wait_taken(BURST, timeout=120)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            self.assertIsNone(load.trouble)
            for name, pid in pids.items():
                samples[name].append(anonymous_kb(pid))
            time.sleep(min(2.0, SECONDS / 40))
        load.stopping.set()
        load.join(120)
        self.assertIsNone(load.trouble)
        self.assertEqual({name: self.stack.pid(name) for name in SERVICES}, pids, "a service was started again")
        for name, kb in samples.items():
            eighth = max(1, len(kb) // 8)
            print(f"{name}: {kb[0]} kB at first, at most {[max(kb[i:i + eighth]) for i in range(0, eighth * 8, eighth)]} in each eighth of the time",
                  file=sys.stderr)
        self.stack.wait_taken(load.sent, timeout=120)
        self.stack.wait_quiet(timeout=120, quiet=3.0)
        print(f"{load.sent} signals; {self.stack.dispositions('odyssey.reflex')} reflexes", file=sys.stderr)
        self.assertEqual(self.stack.dispositions(FAST_PATH).get("stored"), load.sent)
        reflexes = self.stack.dispositions("odyssey.reflex").get("stored")
        self.assertGreater(reflexes, 0)
        wait_until(lambda: self.stack.dispositions("plato.decision").get("stored") == reflexes, "each reflex is judged")
        for name, kb in samples.items():
            quarter = len(kb) // 4
            self.assertLess(max(kb[-quarter:]), max(kb[quarter:2 * quarter]) * GROWTH + ALLOWED_KB, f"{name} grows")


if __name__ == "__main__":
    if SECONDS == 0:
        print("ten minutes: only with --torture, or with BF_SOAK_S")
        sys.exit(77)
    unittest.main()
