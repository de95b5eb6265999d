#!/usr/bin/env python3
"""`butterfly token new` and what it is for: the server's file, and the command line's --token, BUTTERFLY_TOKEN and --ca."""
import hashlib
import http.server
import json
import os
import re
import tempfile
import threading
import unittest

from harness import BIN, HOME, run


def butterfly(*argv, env=None):
    return run(os.path.join(BIN, "butterfly"), *argv, check=False, env=env, timeout=60)


class Refusing(http.server.BaseHTTPRequestHandler):
    seen = []

    def do_GET(self):
        self.seen.append(self.headers.get("Authorization"))
        body = json.dumps({"type": "about:blank", "title": "Unauthorized", "status": 401, "detail": "this token is not known"}).encode()
        self.send_response(401)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Tokens(unittest.TestCase):
    def test_new_prints_a_token_and_the_line_with_its_hash(self):
        seen = set()
        for extra, ending in (((), ""), (("--scopes", "read,audit", "--topics", "rim.fast-path", "--node-prefix", "rim:metric:finance:"),
                                         " topics=rim.fast-path nodes=rim:metric:finance:")):
            done = butterfly("token", "new", "--name", "jane", *extra)
            self.assertEqual(done.returncode, 0, done)
            token, line = re.fullmatch(r"token: (bfly_[A-Za-z0-9_-]{43})\nline:  (.*)\n", done.stdout.decode()).groups()
            scopes = extra[1] if extra else "read"
            self.assertEqual(line, f"jane {scopes} sha256:{hashlib.sha256(token.encode()).hexdigest()}{ending}")
            seen.add(token)
        self.assertEqual(len(seen), 2)
        told = json.loads(butterfly("token", "new", "--name", "jane", "--json").stdout)
        self.assertIn(hashlib.sha256(told["token"].encode()).hexdigest(), told["line"])

    def test_new_refuses_what_the_file_would(self):
        for argv in (("--name", "a b"), ("--name", "a", "--scopes", "write"), ("--name", "a", "--topics", "X"), ("--name", "a", "--node-prefix", "finance")):
            done = butterfly("token", "new", *argv)
            self.assertEqual((done.returncode, done.stdout), (3, b""), done)
        self.assertEqual(butterfly("token", "old", "--name", "a").returncode, 2)

    def test_the_token_is_sent_and_never_shown(self):
        server = http.server.HTTPServer(("127.0.0.1", 0), Refusing)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for argv, env in ((("--token", "bfly_secret"), None), ((), {"BUTTERFLY_TOKEN": "bfly_secret"})):
            done = butterfly("topics", "--url", url, *argv, env=env)
            self.assertEqual((done.returncode, done.stderr), (1, b"error: this token is not known\n"), done)
        self.assertEqual(Refusing.seen, ["Bearer bfly_secret"] * 2)
        done = butterfly("topics", "--dump-config", env={"BUTTERFLY_TOKEN": "bfly_secret"})
        self.assertEqual((done.returncode, b"bfly_secret" in done.stdout), (0, False), done)
        server.shutdown()

    def test_a_server_with_tokens_may_listen_anywhere(self):
        with tempfile.TemporaryDirectory() as d:
            line = json.loads(butterfly("token", "new", "--name", "jane", "--json").stdout)["line"]
            file = os.path.join(d, "tokens")
            for mode, code, word in ((0o644, 3, b"chmod 600"), (0o600, 4, b"kafka")):
                with open(file, "w", encoding="ascii") as f:
                    f.write(line + "\n")
                os.chmod(file, mode)
                done = run(os.path.join(BIN, "capsule"), "--dir", os.path.join(d, "d"), "--schemas-dir", os.path.join(HOME, "schemas"), "--migrations-dir",
                           os.path.join(HOME, "migrations"), "--postgres", "host=127.0.0.1", "--bootstrap", "127.0.0.1:1", "--start-timeout", "1s",
                           "--http-host", "0.0.0.0", "--tokens-file", file, check=False, timeout=60)
                self.assertEqual((done.returncode, word in done.stderr), (code, True), done)


if __name__ == "__main__":
    unittest.main(verbosity=2)
