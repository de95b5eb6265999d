"""Pages in docs/ whose examples are run: each ```sql or ```console block that a ```text or ```json block follows must give that answer.

What differs from run to run (moments of today, cursors, digests, ports) is made equal on both sides before they are compared.
BF_UPDATE_PAGES=1 writes the answers into the page.
"""
import os
import re
import subprocess

from harness import BIN, HOME

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.M | re.S)
VOLATILE = [
    (re.compile(r"20(?:2[5-9]|[3-9]\d)-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d)?"), "<now>"),
    (re.compile(r'("(?:cursor|next)": ?")[^"]+"'), r'\1<cursor>"'),
    (re.compile(r"cursor=[A-Za-z0-9_.-]+"), "cursor=<cursor>"),
    (re.compile(r"sha256:[0-9a-f]{64}|\\x[0-9a-f]{64}"), "<digest>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:8480"),
    (re.compile(r'("(?:instance|owner)": ?")[0-9a-f-]{36}"'), r'\1<instance>"'),
]


def stable(text):
    for pattern, instead in VOLATILE:
        text = pattern.sub(instead, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def shown(text):
    """As it goes into the page: what is stable stays as it is, addresses become the default one."""
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8480", "\n".join(line.rstrip() for line in text.rstrip().splitlines())) + "\n"


def run_sql(conninfo, sql):
    done = subprocess.run(["psql", conninfo, "-X", "-q", "-v", "VERBOSITY=terse", "-P", "null=", "-f", "-"], input=sql.encode(),
                          capture_output=True, env={**os.environ, "PGTZ": "UTC", "PGOPTIONS": "-c search_path=capsule,public"}, timeout=120)
    return re.sub(r"^psql:<stdin>:\d+: ", "", (done.stdout + done.stderr).decode(), flags=re.M)


def run_console(command, url, directory):
    done = subprocess.run(["bash", "-c", command.replace("127.0.0.1:8480", url.split("//")[1])], capture_output=True, cwd=HOME, timeout=120,
                          env={**os.environ, "PATH": BIN + os.pathsep + os.environ["PATH"], "D": directory})
    return (done.stdout + done.stderr).decode()


def check(page, run_one, languages):
    """Differences as text; [] when the page tells the truth. run_one(code) gives what a block prints."""
    path = os.path.join(HOME, "docs", page)
    with open(path) as f:
        text = f.read()
    blocks, different, answers = list(BLOCK.finditer(text)), [], []
    for code, answer in zip(blocks, blocks[1:]):
        if code[1] not in languages or answer[1] not in ("text", "json"):
            continue
        got = run_one(code[2])
        answers.append((answer.span(2), shown(got)))
        if stable(got) != stable(answer[2]):
            different.append(f"{code[2]}--- the page says\n{answer[2]}--- it is\n{got}")
    if os.environ.get("BF_UPDATE_PAGES"):
        for (start, end), new in reversed(answers):
            text = text[:start] + new + text[end:]
        with open(path, "w") as f:
            f.write(text)
        return []
    return different if answers else ["the page has no examples"]
