"""README.md's five minutes, typed again on the demo's data and the embedded broker: every command works and answers what is shown."""
import os
import shutil
import sys
import tempfile
import unittest

from harness import HOME, Stack, run


class Readme(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="butterfly-readme.")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def test_every_command_answers_what_the_readme_shows(self):
        stack = Stack(os.path.join(self.dir, "d")).up()
        self.addCleanup(stack.down, check=False)
        tour = os.path.join(HOME, "demo/tour.py")
        run(sys.executable, tour, "publish", "--dir", stack.dir, timeout=600)
        done = run(sys.executable, tour, "readme", "--dir", stack.dir, check=False)
        self.assertEqual(done.returncode, 0, (done.stdout + done.stderr).decode())


if __name__ == "__main__":
    unittest.main()
