#!/usr/bin/env python3
"""butterfly replay into a file: killed, cut and truncated anywhere, the same command again ends with the bytes of an uninterrupted run."""
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import BIN, FAST_PATH, SystemTest, run, signal_line, wait_until  # noqa: E402

EVENTS = 20000
CUTS = int(os.environ.get("BF_CUTS", "300" if os.environ.get("BF_TORTURE") == "1" else "12"))


class ReplayFile(SystemTest):
    extra = ("--without", "odyssey,plato")

    @classmethod
    def prepare(cls):
        text = 'a "quoted", comma\nand a line'  # what CSV has to quote
        lines = [signal_line(i, event_id=f"f-{i}", status=text if i % 7 == 0 else "ACTIVE") for i in range(EVENTS)]
        counts, _ = cls.stack.perception(lines)
        assert counts["published"] == EVENTS, counts
        cls.stack.wait_taken(EVENTS)
        cls.stack.wait_quiet()
        cls.known_by = cls.stack.get("/v1/status")["recorded_through"]

    def command(self, path, *more):
        return [os.path.join(BIN, "butterfly"), "replay", "--url", self.stack.http, "--topic", FAST_PATH, "--to", path, *more]

    def whole(self, path, *more):
        done = run(*self.command(path, "--known-by", self.known_by, *more))
        with open(path, "rb") as f:
            content = f.read()
        self.assertIn(f"complete: {EVENTS} events", done.stderr.decode())
        self.assertFalse(os.path.exists(path + ".part") or os.path.exists(path + ".part.question"))
        return content

    def cut_and_finish(self, path, whole, rng):
        """Kill the command at random moments, and cut its part at random places, until it gets through."""
        for _ in range(CUTS):
            child = subprocess.Popen(self.command(path, "--known-by", self.known_by), stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.12)
            child.send_signal(signal.SIGKILL)
            child.wait()
            if os.path.exists(path):
                os.rename(path, path + ".part")
                with open(path + ".part.question", "w") as f:
                    f.write(self.question)
            elif not os.path.exists(path + ".part"):
                continue
            if os.path.getsize(path + ".part") and not os.path.exists(path + ".part.question"):
                self.fail("a part without its question")
            with open(path + ".part.question") as f:
                self.question = f.read() or self.question
            os.truncate(path + ".part", rng.randrange(os.path.getsize(path + ".part") + 1))
        done = run(*self.command(path, "--known-by", self.known_by))
        with open(path, "rb") as f:
            self.assertEqual(hashlib.sha256(f.read()).hexdigest(), hashlib.sha256(whole).hexdigest(), done.stderr.decode())

    def check(self, ending):
        rng = random.Random(int(os.environ.get("BF_SEED", "1")))
        self.question = ""
        whole = self.whole(os.path.join(self.dir, "whole." + ending))
        self.cut_and_finish(os.path.join(self.dir, "cut." + ending), whole, rng)
        return whole

    def test_ndjson(self):
        lines = self.check("ndjson").splitlines(keepends=True)
        end = json.loads(lines[-1])
        self.assertEqual((end["count"], end["digest"]), (EVENTS, "sha256:" + hashlib.sha256(b"".join(lines[:-1])).hexdigest()))

    def test_csv(self):
        import csv
        import io
        rows = list(csv.DictReader(io.StringIO(self.check("csv").decode(), newline="")))
        self.assertEqual(len(rows), EVENTS)

    def test_avro__read_by_another_library(self):
        whole = self.check("avro")
        self.assertEqual(whole[:4], b"Obj\x01")
        path = os.path.join(self.dir, "whole.avro")
        # Debian's avro package of Python, in a process of its own: its reader is not ours
        code = ("import sys, avro.datafile, avro.io\n"
                "r = avro.datafile.DataFileReader(open(sys.argv[1], 'rb'), avro.io.DatumReader())\n"
                "ids = [(e['topic'], e['partition'], e['offset']) for e in r]\nprint(len(ids), len(set(ids)))")
        done = run("/usr/bin/python3", "-c", code, path)
        self.assertEqual(done.stdout.split(), [str(EVENTS).encode()] * 2)

    def test_the_server_is_killed_meanwhile(self):
        path = os.path.join(self.dir, "killed.csv")
        child = subprocess.Popen(self.command(path, "--known-by", self.known_by, "--speed", "1000", "--resumes", "200"),
                                 stderr=subprocess.PIPE)
        wait_until(lambda: os.path.exists(path + ".part") and os.path.getsize(path + ".part") > 0 or os.path.exists(path), "the first bytes")
        self.stack.kill9("capsule")
        _, stderr = child.communicate(timeout=120)
        self.assertEqual(child.returncode, 0, stderr.decode())
        wait_until(lambda: self.stack.get("/v1/status"), "CAPSULE is back")
        with open(path, "rb") as f:
            self.assertEqual(f.read(), self.whole(os.path.join(self.dir, "again.csv")))

    def test_another_question_is_not_mixed_in(self):
        path = os.path.join(self.dir, "mixed.ndjson")
        with open(path + ".part", "wb") as f:
            f.write(b'{"cursor":"x"}\n')
        done = run(*self.command(path), check=False)
        self.assertEqual((done.returncode, b"--force" in done.stderr), (2, True), done.stderr)
        with open(path + ".part.question", "w") as f:
            f.write("/v1/replay?topic=other&format=ndjson\n\n")
        done = run(*self.command(path), check=False)
        self.assertEqual((done.returncode, b"another question" in done.stderr), (2, True), done.stderr)
        self.assertTrue(os.path.exists(path + ".part"))
        run(*self.command(path, "--force"))
        with open(path, "rb") as f:
            self.assertEqual(f.read().count(b"\n"), EVENTS + 1)

    def test_follow_shows_what_comes(self):
        child = subprocess.Popen([os.path.join(BIN, "butterfly"), "replay", "--url", self.stack.http, "--topic", FAST_PATH, "--by", "recorded",
                                  "--from", self.known_by, "--follow"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        give_up = threading.Timer(60, child.kill) # an event that never comes ends the output, and the test
        give_up.start()
        try:
            # --from is inclusive: what was recorded exactly then, if anything, comes first
            self.stack.perception([signal_line(EVENTS, event_id="f-live")])
            for line in child.stdout:
                if json.loads(line).get("source_id") == "f-live":
                    break
            else:
                self.fail("the live event did not come")
        finally:
            give_up.cancel()
            child.send_signal(signal.SIGINT)
            child.wait()
            child.stdout.close()


if __name__ == "__main__":
    unittest.main()
