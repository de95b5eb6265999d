#!/usr/bin/env python3
"""The embedded broker and the supervisor: up --once, two folders side by side, a child that dies, a supervisor that is killed, down and up again."""
import json
import os
import signal
import tempfile
import unittest

from harness import BIN, FAST_PATH, HOME, REFLEX, Stack, SystemTest, run, signal_line, wait_until


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read()
    except OSError:
        return b""


class Once(unittest.TestCase):
    def test_up_once_starts_everything_and_leaves_nothing_behind(self):
        with tempfile.TemporaryDirectory() as d:
            os.chmod(d, 0o755)
            done = run(os.path.join(BIN, "butterfly"), "up", "--dir", d + "/x", "--once", "--http-port", "0", "--home", HOME, timeout=240)
            self.assertIn(b"CAPSULE", done.stdout)
            for name in ("postgres", "devbroker", "registry", "capsule", "odyssey", "plato", "perception"):
                self.assertRegex(done.stderr.decode(), rf"(?m)^{name} +ready")
                self.assertRegex(done.stderr.decode(), rf"(?m)^{name} +stopped")
            self.assertFalse(os.path.exists(d + "/x/endpoints.json"))
            left = [p for p in os.listdir("/proc") if p.isdigit() and d.encode() in command_line(p)]
            self.assertEqual(left, [])


class Supervisor(SystemTest):
    kafka = False

    def test_1_signals_flow_and_reflexes_come(self):
        self.stack.perception([signal_line(i, event_id=f"one-{i}", stress=0.95 if i == 7 else 0.1) for i in range(500)])
        self.stack.wait_taken(500)
        wait_until(lambda: [r for r in self.stack.pages("/v1/events", topic=REFLEX) if r["payload"]["regime_to"] == "CRITICAL"], "a reflex")
        self.stack.wait_quiet()
        self.assertEqual(len(self.stack.pages("/v1/events", topic=FAST_PATH)), 500)
        self.stack.butterfly("status")
        self.stack.butterfly("verify")

    def test_2_a_folder_that_runs_is_not_started_twice(self):
        done = run(os.path.join(BIN, "butterfly"), "up", "--dir", self.stack.dir, "--home", HOME, check=False)
        self.assertEqual((done.returncode, b"runs already" in done.stderr), (1, True), done)
        self.assertEqual(self.stack.raw("/livez")[0], 200)

    def test_3_two_folders_run_side_by_side(self):
        other = Stack(os.path.join(self.dir, "other"), None, ["--without", "odyssey,plato,perception"])
        try:
            other.up()
            self.assertNotEqual(other.http, self.stack.http)
            self.assertNotIn("perception", other.endpoints)
            self.assertEqual(set(other.endpoints["pids"]), {"supervisor", "devbroker", "registry", "capsule"})
            self.assertEqual(other.get("/v1/topics").get("topics", [])[:0], [])
            self.assertEqual(other.taken(), 0)
        finally:
            other.down()

    def test_4_endpoints_are_the_contract_and_private(self):
        endpoints = self.stack.read_endpoints()
        self.assertTrue({"http", "perception", "kafka", "registry", "postgres", "pids"} <= set(endpoints))
        self.assertIn("dbname=butterfly", endpoints["postgres"])
        self.assertEqual(os.stat(self.stack.dir + "/endpoints.json").st_mode & 0o077, 0)
        for pid in endpoints["pids"].values():
            self.assertTrue(alive(pid))

    def test_5_a_child_that_dies_is_started_again_at_its_address(self):
        for name in ("capsule", "registry", "odyssey", "plato", "perception"):
            before = self.stack.pid(name)
            self.stack.kill9(name)
            wait_until(lambda: self.stack.pid(name) != before, f"{name} is started again")
        http = self.stack.http
        wait_until(lambda: self.stack.raw("/readyz")[0] == 200, "capsule is ready")
        self.assertEqual(self.stack.read_endpoints()["http"], http)
        self.stack.perception([signal_line(i, event_id=f"five-{i}") for i in range(100)])
        self.stack.wait_taken(600)
        self.assertIn("service_ended", self.stack.log("butterfly"))

    def test_6_signals_over_http(self):
        import urllib.request
        body = b"\n".join(json.dumps(signal_line(i, event_id=f"six-{i}")).encode() for i in range(20)) + b"\nnonsense\n"
        request = urllib.request.Request(self.stack.read_endpoints()["perception"] + "/v1/signals", body, {"Content-Type": "application/x-ndjson"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            self.assertEqual(answer.status, 202)
            said = json.load(answer)
        self.assertEqual((said["accepted"], [r["line"] for r in said["rejected"]]), (20, [21]))
        self.stack.wait_taken(620)

    def test_7_down_and_up_again_keeps_everything(self):
        self.stack.wait_quiet()
        _, before = self.stack.replay()
        pids = self.stack.read_endpoints()["pids"]
        self.stack.down()
        for name, pid in pids.items():
            self.assertFalse(alive(pid), name)
        self.assertFalse(os.path.exists(self.stack.dir + "/endpoints.json"))
        self.stack.up()
        _, after = self.stack.replay()
        self.assertEqual((after["count"], after["digest"]), (before["count"], before["digest"]))
        self.stack.perception([signal_line(i, event_id=f"seven-{i}") for i in range(50)])
        wait_until(lambda: self.stack.get("/v1/events/seven-49"), "new signals after the start")
        self.stack.wait_quiet()
        self.assertEqual(self.stack.dispositions(FAST_PATH)["lost-before-read"], 0)
        self.stack.butterfly("verify")

    def test_8_a_killed_supervisor_is_cleaned_up_after(self):
        pids = self.stack.read_endpoints()["pids"]
        os.kill(pids["supervisor"], signal.SIGKILL)
        self.stack.down()
        for name, pid in pids.items():
            wait_until(lambda: not alive(pid), f"{name} is gone")
        self.assertEqual(run(os.path.join(HOME, "tools/postgres"), "status", self.stack.dir + "/postgres", check=False).returncode, 1)
        self.assertEqual(self.stack.down().returncode, 0)  # once more: fine
        self.stack.up()
        self.assertEqual(len(self.stack.pages("/v1/events", topic=FAST_PATH)), 670)


if __name__ == "__main__":
    unittest.main()
