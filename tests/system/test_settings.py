#!/usr/bin/env python3
"""Bad settings end with exit code 3 and the key's name; a dependency that is away at the start with 4 after --start-timeout; usage with 2."""
import os
import socket
import tempfile
import time
import unittest

from harness import BIN, HOME, SLOW, run

PROGRAMS = ("capsule", "perception", "odyssey", "plato", "registry", "devbroker", "butterfly")


def program(name, *argv, env=None):
    return run(os.path.join(BIN, name), *argv, check=False, env=env, timeout=60)


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Settings(unittest.TestCase):
    def capsule(self, directory, *argv, env=None):
        return program("capsule", "--dir", os.path.join(directory, "d"), "--schemas-dir", os.path.join(HOME, "schemas"),
                       "--migrations-dir", os.path.join(HOME, "migrations"), *argv, env=env)

    def test_every_program_tells_about_itself(self):
        for name in PROGRAMS:
            for flag, word in (("--help", b"--"), ("--version", b"0.")):
                done = program(name, flag)
                self.assertEqual((done.returncode, word in done.stdout), (0, True), f"{name} {flag}: {done}")

    def test_unknown_flags_are_usage(self):
        for name in PROGRAMS:
            done = program(name, "--no-such-thing")
            self.assertEqual((done.returncode, b"no-such-thing" in done.stderr), (2, True), f"{name}: {done}")

    def test_values_that_are_wrong_name_their_key(self):
        with tempfile.TemporaryDirectory() as d:
            for argv, key in ((("--http-port", "70000"), b"http-port"), (("--http-port", "many"), b"http-port"), (("--hot-bytes-max", "1"), b"hot-bytes-max"),
                              (("--log-level", "loud"), b"log-level"), (("--http-host", "0.0.0.0"), b"http-host"),
                              (("--http-host", "127.0.0.1.example.com"), b"http-host"), (("--http-host", "::"), b"http-host"),
                              (("--tokens-file", os.path.join(d, "nowhere")), b"tokens-file"), (("--tls-cert", "x"), b"tls-cert"),
                              (("--tls-key", "x"), b"tls-key")):
                done = self.capsule(d, "--postgres", "host=127.0.0.1", *argv)
                self.assertEqual((done.returncode, key in done.stderr), (3, True), f"{argv}: {done}")

    def test_what_is_required_is_named(self):
        with tempfile.TemporaryDirectory() as d:
            done = self.capsule(d)
            self.assertEqual((done.returncode, b"postgres" in done.stderr), (3, True), done)

    def test_the_environment_is_checked_too(self):
        with tempfile.TemporaryDirectory() as d:
            done = self.capsule(d, "--postgres", "host=127.0.0.1", env={"CAPSULE_HTTP_PORT": "-7"})
            self.assertEqual((done.returncode, b"http-port" in done.stderr), (3, True), done)

    def test_dump_config_masks_secrets(self):
        with tempfile.TemporaryDirectory() as d:
            done = self.capsule(d, "--postgres", "host=127.0.0.1 password=hunter2", "--dump-config")
            self.assertEqual((done.returncode, b"hunter2" in done.stdout, b"http-port" in done.stdout), (0, False, True), done)

    def test_kafka_away_at_the_start_is_exit_4_after_the_timeout(self):
        with tempfile.TemporaryDirectory() as d:
            start = time.monotonic()
            done = self.capsule(d, "--postgres", "host=127.0.0.1", "--bootstrap", f"127.0.0.1:{closed_port()}", "--start-timeout", "3s")
            took = time.monotonic() - start
            self.assertEqual((done.returncode, b"kafka" in done.stderr), (4, True), done)
            self.assertTrue(2.5 < took < 30 * SLOW, took)
            self.assertIn(b"start_wait", done.stderr)

    def test_up_says_what_is_wrong(self):
        with tempfile.TemporaryDirectory() as d:
            done = program("butterfly", "up", "--dir", d, "--without", "capsule", "--home", HOME)
            self.assertEqual((done.returncode, b"without" in done.stderr), (3, True), done)
            done = program("butterfly", "up", "--dir", d, "--home", d)
            self.assertEqual((done.returncode, b"home" in done.stderr), (3, True), done)
            done = program("butterfly", "up")
            self.assertEqual((done.returncode, b"dir" in done.stderr), (3, True), done)

    def test_a_server_that_is_away_is_exit_4_and_one_line(self):
        for command in ("topics", "lag", "coverage", "quarantine", "verify", "status", "search", "replay", "world"):
            done = program("butterfly", command, "--url", f"http://127.0.0.1:{closed_port()}")
            self.assertEqual((done.returncode, done.stderr.count(b"error:"), done.stdout), (4, 1, b""), f"{command}: {done}")

    def test_unknown_commands_are_usage(self):
        done = program("butterfly", "fly")
        self.assertEqual((done.returncode, b"fly" in done.stderr), (2, True), done)


if __name__ == "__main__":
    unittest.main()
