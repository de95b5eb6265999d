#!/usr/bin/env python3
"""The embedded broker by itself: topics of the catalogue, offsets over restarts, fillers, and PERCEPTION holding back for a group that reads slowly."""
import base64
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

from harness import BIN, HOME, SLOW, Kafka, counts_of, run, signal_line, wait_until


class Broker(Kafka):
    def __init__(self, directory, *more):
        self.dir, self.more = directory, more
        self.start()

    def start(self):
        endpoints = os.path.join(self.dir, "endpoints.json")
        if os.path.exists(endpoints):
            os.unlink(endpoints)
        self.process = subprocess.Popen([os.path.join(BIN, "devbroker"), "--schemas-dir", os.path.join(HOME, "schemas"), "--endpoints-file",
                                         endpoints, *self.more], stderr=subprocess.DEVNULL)

        def bootstrap():
            with open(endpoints) as f:
                return json.load(f)["kafka"]
        self.bootstrap = wait_until(bootstrap, "the broker serves")

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(30 * SLOW)

    def ends(self, topic):
        return {r["partition"]: r["offset"] + 1 for r in self.consume(topic)}


class Devbroker(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        self.broker = Broker(self.dir, "--dir", self.dir + "/state")
        self.addCleanup(self.broker.process.kill)

    def test_topics_of_the_catalogue_have_their_partitions(self):
        topics = {t["topic"]: len(t["partitions"]) for t in json.loads(run("kcat", "-b", self.broker.bootstrap, "-L", "-J").stdout)["topics"]}
        self.assertEqual((topics["rim.fast-path"], topics["odyssey.reflex"], topics["plato.decision"]), (12, 6, 6))

    def test_offsets_go_on_after_a_clean_end(self):
        for i in range(50):
            self.broker.produce("rim.fast-path", b"x", partition=i % 3)
        self.broker.produce("other.topic", b"x", partition=2)
        ends = self.broker.ends("rim.fast-path")
        self.assertEqual((ends, self.broker.stop()), ({0: 17, 1: 17, 2: 16}, 0))
        self.broker.start()
        self.addCleanup(self.broker.process.kill)
        records = self.broker.consume("rim.fast-path")
        self.assertEqual({(r["value"], r["headers"]) for r in records}, {(None, "butterfly-filler=")})
        self.assertEqual(self.broker.ends("rim.fast-path"), ends)
        self.assertEqual(self.broker.ends("other.topic"), {2: 1})
        self.broker.produce("rim.fast-path", b"new", partition=0)
        self.assertEqual([r["offset"] for r in self.broker.consume("rim.fast-path") if r["value"] == b"new"], [17])

    def test_no_offset_is_given_twice_after_a_kill(self):
        for _ in range(20):
            self.broker.produce("rim.fast-path", b"x", partition=0)
        def written():
            with open(self.dir + "/state/offsets") as f:
                return "rim.fast-path 0 1020" in f.read()
        wait_until(written, "the offsets are written down")
        self.broker.stop(signal.SIGKILL)
        self.broker.start()
        self.addCleanup(self.broker.process.kill)
        self.broker.produce("rim.fast-path", b"new", partition=0)
        self.assertEqual([r["offset"] for r in self.broker.consume("rim.fast-path") if r["value"] == b"new"], [1020])

    def test_a_damaged_file_is_refused(self):
        self.broker.stop()
        with open(self.dir + "/state/offsets", "w") as f:
            f.write("rim.fast-path zero\n")
        done = run(os.path.join(BIN, "devbroker"), "--dir", self.dir + "/state", check=False)
        self.assertEqual((done.returncode, b"is not like" in done.stderr), (3, True), done.stderr)

    def test_perception_holds_back_until_the_group_has_read(self):
        registry = subprocess.Popen([os.path.join(BIN, "registry"), "--dir", self.dir + "/registry", "--port", "0", "--endpoints-file",
                                     self.dir + "/registry.json"], stderr=subprocess.DEVNULL)
        self.addCleanup(registry.kill)

        def url():
            with open(self.dir + "/registry.json") as f:
                return json.load(f)["registry"]
        url = wait_until(url, "the registry serves")
        signals = 300  # 18 MB, which do not compress, into one partition that keeps 5
        lines = b"".join(json.dumps(signal_line(i, node="rim:entity:a:b", event_id=f"e-{i}",
                                                metadata={"fill": base64.b64encode(os.urandom(45000)).decode()})).encode() + b"\n"
                         for i in range(signals))
        with open(self.dir + "/in", "wb") as f:
            f.write(lines)
        feeder = subprocess.Popen([os.path.join(BIN, "perception"), "--file", self.dir + "/in", "--bootstrap", self.broker.bootstrap, "--registry",
                                   url, "--hold-back-group", "slow"], stderr=subprocess.PIPE)
        self.addCleanup(feeder.kill)
        time.sleep(1.5 * SLOW)
        self.assertIsNone(feeder.poll(), "it waits for a group that has read nothing")
        taken = run("kcat", "-b", self.broker.bootstrap, "-G", "slow", "-c", str(signals), "-q", "-f", "%S\n", "-X", "auto.offset.reset=earliest", "-X",
                    "auto.commit.interval.ms=100", "rim.fast-path", timeout=60)
        _, err = feeder.communicate(timeout=60 * SLOW)
        self.assertEqual(counts_of(err), {"accepted": signals, "rejected": 0, "published": signals, "failed": 0})
        self.assertEqual(len(taken.stdout.splitlines()), signals, "nothing was overwritten before it was read")


if __name__ == "__main__":
    unittest.main()
