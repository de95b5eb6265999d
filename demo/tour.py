#!/usr/bin/env python3
"""Publish the demo's data, then ask every kind of question, show command and answer, and compare with demo/ecb/expected.json.

Standard library only. The commands that are shown are the ones that are run: each can be typed again.

  tour.py publish --dir D   through PERCEPTION; returns when CAPSULE has archived all of it and the reflexes are judged
  tour.py show --dir D      the tour; exit 1 if any answer is wrong
  tour.py readme --dir D    run what README.md's console blocks show and compare; --write puts today's outputs in their place
"""
import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter, defaultdict
from decimal import Decimal

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA = "demo/ecb/eurofxref-hist.csv.gz"
TOPIC, REFLEXES, DECISIONS = "rim.fast-path", "odyssey.reflex", "plato.decision"
USD = "rim:metric:finance:EURUSD"
SATURDAY = "2008-10-11T12:00:00Z"
WAIT_S = 900
QUIET_S = 2.0


class Place:
    """Where things listen, from endpoints.json; and what expected.json says."""

    def __init__(self, directory):
        self.dir = directory
        with open(os.path.join(directory, "endpoints.json")) as f:
            endpoints = json.load(f)
        self.http, self.kafka, self.registry = endpoints["http"], endpoints["kafka"], endpoints["registry"]
        with open(os.path.join(HOME, "demo/ecb/expected.json")) as f:
            self.expected = json.load(f)

    def get(self, path, **params):
        query = "?" + urllib.parse.urlencode(params) if params else ""
        with urllib.request.urlopen(self.http + path + query, timeout=120) as answer:
            return json.load(answer)

    def topics(self):
        return {t["topic"]: t for t in self.get("/v1/topics")["topics"]}

    def offsets_taken(self):
        t = self.topics().get(TOPIC)
        return sum(t["dispositions"].values()) if t else 0


# ---- publish ----

def perception_command(place):
    return ["build/bin/perception", "--stdin", "--format", "csv", "--map", "demo/ecb/map.json", "--topic", TOPIC,
            "--bootstrap", place.kafka, "--registry", place.registry]


def publish(place):
    before = place.offsets_taken()
    command = perception_command(place)
    print(f"$ gzip -dc {DATA} | {' '.join(command)}", flush=True)
    feeder = subprocess.Popen(["gzip", "-dc", DATA], cwd=HOME, stdout=subprocess.PIPE)
    code = subprocess.run(command, cwd=HOME, stdin=feeder.stdout).returncode
    feeder.stdout.close()
    if feeder.wait() != 0 or code != 0:
        sys.exit(f"error: perception ended with exit code {code}")
    wait_archived(place, before + place.expected["events"])


def wait_archived(place, offsets):
    """Until CAPSULE took that many offsets of the topic, and then nothing new came (reflexes, judgements) and all is archived."""
    start, still_since, last = time.monotonic(), None, None
    while True:
        now, status, taken = time.monotonic(), place.get("/v1/status"), place.offsets_taken()
        done = taken >= offsets and status["lag_messages"] == 0 and status["archived_through"] >= status["recorded_through"]
        if not done or status["recorded_through"] != last:
            still_since = now
        last = status["recorded_through"]
        print(f"\r  {taken:>9,} of {offsets:,} taken in, {status['lag_messages']:>7,} behind, archived through {status['archived_through']}",
              end="", flush=True)
        if done and now - still_since > QUIET_S:
            print(f"\n  archived after {now - start:.1f} s")
            return
        if now - start > WAIT_S:
            sys.exit(f"\nerror: not archived after {WAIT_S} s")
        time.sleep(0.25)


# ---- the tour ----

class Tour:
    def __init__(self, place):
        self.place, self.expected = place, place.expected
        self.wrong, self.right, self.number = [], 0, 0

    def title(self, text):
        self.number += 1
        print(f"\n\033[1m{self.number}. {text}\033[0m", flush=True)

    def run(self, command, show=12, width=170):
        """Show and run a command line; its standard output, shown shortened."""
        print(f"$ {command}", flush=True)
        done = subprocess.run(["bash", "-c", "set -o pipefail; " + command], cwd=HOME, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        for line in lines[:show]:
            print("  " + (line if len(line) <= width else line[:width] + " …"))
        if len(lines) > show:
            print(f"  … {len(lines) - show} more lines")
        if done.returncode != 0:
            print("  " + done.stderr.strip().replace("\n", "\n  "))
        self.check(f"exit code of: {command}", done.returncode, 0)
        return done.stdout

    def check(self, what, got, wanted):
        if got == wanted:
            self.right += 1
        else:
            self.wrong.append(what)
            print(f"  \033[31mWRONG\033[0m {what}: got {str(got)[:300]}, expected {str(wanted)[:300]}")

    def said(self, text):
        print(f"  \033[32m✓\033[0m {text}")

    def curl(self, path):
        return f"curl -sS --fail-with-body '{self.place.http}{path}'"

    def butterfly(self, rest):
        return f"build/bin/butterfly {rest} --dir {self.place.dir}"

    def psql(self, sql, show=12, flags="-At -F ' | '"):
        """Rows as lists of text."""
        out = self.run(f"psql \"$(jq -r .postgres {self.place.dir}/endpoints.json)\" "
                       f"{flags} -c \"{sql}\"", show)
        return [line.split(" | ") for line in out.splitlines()]


def event_facts(ev):
    return {"event_time": ev["event_time"], "price": ev["payload"]["price"]}


def show_counts(t):
    t.title("What is held: every rate since 1999, and what it led to")
    t.run(t.butterfly("topics"))
    topics = t.place.topics()
    t.check(f"events of {TOPIC}", topics[TOPIC]["events"], t.expected["events"])
    t.check("quarantined", [x["dispositions"]["quarantined"] for x in topics.values()], [0] * len(topics))
    t.check("lost before read", [x["dispositions"]["lost-before-read"] for x in topics.values()], [0] * len(topics))
    t.said(f"{t.expected['events']:,} events of {t.expected['nodes']} nodes, none lost, none refused")


def show_node(t):
    t.title("A history: the dollar, newest first")
    t.run(t.butterfly(f"history {USD} --limit 5"))
    page = json.loads(t.run(t.curl(f"/v1/nodes/{USD}/history?limit=1&order=asc"), show=1))
    want = t.expected["per_node"][USD]
    t.check("first event of the dollar", page["events"][0]["event_time"], want["first"])
    for node, want in t.expected["per_node"].items():
        got = t.place.get("/v1/nodes/" + node)
        counted = next(x["events"] for x in got["topics"] if x["topic"] == TOPIC)
        newest = t.place.get(f"/v1/nodes/{node}/history", topic=TOPIC, limit=1)["events"][0]["event_time"]
        oldest = t.place.get(f"/v1/nodes/{node}/history", topic=TOPIC, limit=1, order="asc")["events"][0]["event_time"]
        t.check(f"count, first and last of {node}", [counted, oldest, newest], [want["events"], want["first"], want["last"]])
    t.said(f"count, first and last event of all {len(t.expected['per_node'])} nodes")


def show_state(t):
    t.title("A state as of a Saturday: there was no fixing, so Friday's rate is what was true")
    t.run(t.butterfly(f"state {USD} --as-of {SATURDAY} --topic {TOPIC}"))
    state = json.loads(t.run(t.curl(f"/v1/nodes/{USD}/state?as_of={SATURDAY}&topic={TOPIC}"), show=1))
    t.check("the dollar on that Saturday", event_facts(state["states"][0]), t.expected["state_as_of"][SATURDAY][USD])
    t.said(f"{t.expected['state_as_of'][SATURDAY][USD]['price']} of {t.expected['state_as_of'][SATURDAY][USD]['event_time']}")


def show_world(t):
    t.title("The world as of a date: every currency at once")
    t.run(t.butterfly(f"world --as-of {SATURDAY} --topic {TOPIC}"), show=8)
    for moment, want in t.expected["state_as_of"].items():
        command = t.butterfly(f"world --as-of {moment} --topic {TOPIC} --json") + " 2>/dev/null"
        lines = [json.loads(line) for line in t.run(command, show=0).splitlines()]
        trailer, rows = lines[-1], lines[:-1]
        t.check(f"world as of {moment}: the stream's end", [trailer.get("end"), trailer.get("count")], [True, len(want)])
        t.check(f"world as of {moment}", {r["rim_node_id"]: event_facts(r) for r in rows}, want)
    t.said("the world at " + ", ".join(f"{m} ({len(w)})" for m, w in t.expected["state_as_of"].items()))


def show_replay(t):
    t.title("A replay: October 2008 again, in order, its digest checked")
    out = os.path.join(t.place.dir, "october-2008.ndjson")
    t.run(t.butterfly(f"replay --topic {TOPIC} --from 2008-10-01 --to 2008-11-01 --output {out}") + " 2>&1")
    digest = t.run(f"head -n -1 {out} | sha256sum").split()[0]
    trailer = json.loads(t.run(f"tail -n 1 {out}"))
    t.check("digest of the replay", "sha256:" + digest, trailer["digest"])
    lines = open(os.path.join(HOME, out), "rb").read().splitlines(keepends=True)
    t.check("digest, counted here", "sha256:" + hashlib.sha256(b"".join(lines[:-1])).hexdigest(), trailer["digest"])
    times = [json.loads(line)["event_time"] for line in lines[:-1]]
    t.check("order of the replay", times, sorted(times))
    t.check("range of the replay", [min(times)[:7], max(times)[:7], len(times)], ["2008-10", "2008-10", trailer["count"]])
    t.check("the same digest when asked again", json.loads(t.run(t.butterfly(
        f"replay --topic {TOPIC} --from 2008-10-01 --to 2008-11-01") + " 2>/dev/null | tail -n 1", show=1))["digest"], trailer["digest"])
    t.said(f"{trailer['count']} events, {trailer['digest']}")


def show_everything_again(t):
    t.title("All of it once more, and every figure recomputed from the stream alone")
    out = os.path.join(t.place.dir, "everything.ndjson")
    t.run(t.butterfly(f"replay --topic {TOPIC} --output {out}") + " 2>&1")
    per_node, years, usd, ids = {}, Counter(), Decimal(0), set()
    with open(os.path.join(HOME, out), "rb") as f:
        for line in f:
            ev = json.loads(line, parse_float=Decimal, parse_int=int)
            if ev.get("end"):
                break
            node, when, price = ev["rim_node_id"], ev["event_time"], Decimal(ev["payload"]["price"])
            n = per_node.setdefault(node, {"events": 0, "first": when, "last": when, "min": price, "max": price})
            n["events"] += 1
            n["first"], n["last"] = min(n["first"], when), max(n["last"], when)
            n["min"], n["max"] = min(n["min"], price), max(n["max"], price)
            years[when[:4]] += 1
            ids.add(ev["event_id"])
            if node == USD:
                usd += price
    os.unlink(os.path.join(HOME, out))
    for n in per_node.values():
        n["min"], n["max"] = float(n["min"]), float(n["max"])
    t.check("per node, from the replay", per_node, t.expected["per_node"])
    t.check("per year, from the replay", dict(years), t.expected["per_year"])
    t.check("different ids", len(ids), t.expected["events"])
    t.check("exact sum of the dollar, from the replay", usd, Decimal(t.expected["usd_sum_exact"]))
    t.said(f"{len(ids):,} different ids; counts, first, last, least and most of every node; counts of {len(years)} years; "
           f"sum of all dollar rates exactly {usd}")


def show_psql(t):
    t.title("The same answers in psql")
    e = t.expected
    rows = t.psql("select rim_node_id, count(*), to_char(min(event_time) at time zone 'UTC', 'YYYY-MM-DD'), "
                  "to_char(max(event_time) at time zone 'UTC', 'YYYY-MM-DD'), min((payload->>'price')::float8), max((payload->>'price')::float8) "
                  f"from capsule.current_events where topic = '{TOPIC}' group by 1 order by 1", show=4)
    t.check("per node, in psql", {r[0]: [int(r[1]), r[2], r[3], float(r[4]), float(r[5])] for r in rows},
            {k: [v["events"], v["first"][:10], v["last"][:10], v["min"], v["max"]] for k, v in e["per_node"].items()})
    rows = t.psql("select to_char(event_time at time zone 'UTC', 'YYYY'), count(*) from capsule.events "
                  f"where topic = '{TOPIC}' group by 1 order by 1", show=4)
    t.check("per year, in psql", {r[0]: int(r[1]) for r in rows}, e["per_year"])
    rows = t.psql(f"select sum(price::text::numeric) from capsule.rim_fast_path where rim_node_id = '{USD}'")
    t.check("exact sum of the dollar, in psql", Decimal(rows[0][0]), Decimal(e["usd_sum_exact"]))
    for moment, want in e["state_as_of"].items():
        rows = t.psql("select rim_node_id, to_char(event_time at time zone 'UTC', 'YYYY-MM-DD\\\"T\\\"HH24:MI:SS.US\\\"Z\\\"'), payload->>'price' "
                      f"from capsule.state_as_of('{moment}') where topic = '{TOPIC}' order by 1", show=3 if moment == SATURDAY else 0)
        t.check(f"world as of {moment}, in psql", {r[0]: {"event_time": r[1], "price": float(r[2])} for r in rows}, want)
    rows = t.psql(f"select event_time, payload->>'price' from capsule.node_history('{USD}', '2008-10-06', '2008-10-11') "
                  f"where topic = '{TOPIC}' order by event_time", show=5)
    t.check("a week's history, in psql", len(rows), 5)
    t.said("nodes, years, the exact sum, and the world at five moments")


def all_events(t, topic):
    """Every page of a topic."""
    cursor, events = None, []
    while True:
        page = t.place.get("/v1/events", topic=topic, limit=1000, **({"cursor": cursor} if cursor else {}))
        events += page["events"]
        cursor = page["next"]
        if not cursor:
            return events


def show_reflexes(t):
    t.title("Reflexes: moves of 3 % or more, found by ODYSSEY, judged by PLATO")
    want = t.expected["moves_of_3_percent_or_more"]
    moves = [r for r in all_events(t, REFLEXES) if r["payload"]["kind"] == "percent_move"]
    per_node = Counter(r["rim_node_id"] for r in moves)
    t.check("reflexes to moves of 3 %", len(moves), want["total"])
    t.check("reflexes per node", dict(per_node), {k: v for k, v in want.items() if k != "total"})
    decisions = defaultdict(list)
    for d in all_events(t, DECISIONS):
        decisions[d["payload"]["cause_id"]].append(d)
    t.check("each reflex is judged once", [len(decisions[r["event_id"]]) for r in moves], [1] * len(moves))
    biggest = max(moves, key=lambda r: (abs(r["payload"]["value"] or 0), r["event_id"]))
    node = max((n for n in want if n != "total"), key=lambda n: abs(t.expected["largest_move"][n]["percent"]))
    t.check("the largest move of all", [biggest["rim_node_id"], biggest["event_time"][:10]], [node, t.expected["largest_move"][node]["date"]])
    t.run(t.butterfly(f"event {biggest['event_id']}"), show=24)
    t.run(t.curl(f"/v1/events?topic={DECISIONS}&cause={biggest['event_id']}"), show=1, width=900)
    judged = json.loads(subprocess.run(["bash", "-c", t.curl(f"/v1/events?topic={DECISIONS}&cause={biggest['event_id']}")], cwd=HOME,
                                       capture_output=True, text=True).stdout)["events"]
    t.check("PLATO's judgement of it", [len(judged), judged[0]["payload"]["cause_id"] if judged else None], [1, biggest["event_id"]])
    cause = t.place.get("/v1/events/" + biggest["payload"]["cause_id"], topic=TOPIC)
    t.check("its cause is the signal of that day", [cause["rim_node_id"], cause["event_time"]], [node, biggest["event_time"]])
    if judged:
        p = judged[0]["payload"]
        t.said(f"{want['total']} reflexes, as many judgements; the largest, {biggest['payload']['message']}: "
               f"PLATO says {p['verdict']} ({p['policy']}: {p['reason']})")


def show_proof(t):
    t.title("The proof that nothing is missing")
    t.run(t.butterfly("verify"))
    t.run(t.butterfly("status"), show=40)


def show(place):
    t = Tour(place)
    for step in (show_counts, show_node, show_state, show_world, show_replay, show_everything_again, show_psql, show_reflexes, show_proof):
        try:
            step(t)
        except (KeyError, IndexError, TypeError, ValueError, OSError, StopIteration) as e:
            t.wrong.append(f"{step.__name__}: {type(e).__name__}: {e}")
            print(f"  \033[31mWRONG\033[0m {t.wrong[-1]}")
    print(f"\n{t.right} answers right, {len(t.wrong)} wrong")
    for what in t.wrong:
        print(f"  wrong: {what}")
    print("Data: European Central Bank, euro foreign exchange reference rates.")
    return 1 if t.wrong else 0


# ---- README.md ----

def readme_steps(text):
    """(start, end, command, lines shown) of each command in the console blocks; offsets are of the lines shown."""
    for block in re.finditer(r"^```console\n(.*?)^```$", text, re.M | re.S):
        for step in re.finditer(r"^\$ (.+(?:\\\n.+)*)\n((?:(?!\$ ).*\n)*)", block[1], re.M):
            at = block.start(1) + step.start(2)
            yield at, at + len(step[2]), step[1], step[2].splitlines()


def same_lines(got, shown):
    """A line of dots stands for any number of lines; what differs from run to run (digests, moments of recording) is not compared."""
    def plain(line):
        return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "<moment>", re.sub(r"[0-9a-f]{64}", "<sha256>", line)) + "\n"
    pattern = "".join(r"(?:.*\n)*" if line == "…" else re.escape(plain(line)) for line in shown)
    return re.fullmatch(pattern, "".join(map(plain, got))) is not None


def readme(place, write):
    path = os.path.join(HOME, "README.md")
    with open(path) as f:
        text = f.read()
    wrong, put = 0, []
    for start, end, command, shown in readme_steps(text):
        here = command.replace("--dir run", f"--dir {place.dir}").replace(" run/", f" {place.dir}/").replace("http://127.0.0.1:8480", place.http)
        done = subprocess.run(["bash", "-c", "set -o pipefail; " + here], cwd=HOME, capture_output=True, text=True)
        got = [line.rstrip() for line in done.stdout.splitlines()]
        if write:
            put.append((start, end, "".join(line + "\n" for line in (got[:12] + ["…"] if len(got) > 12 else got))))
        if done.returncode != 0 or not (write or same_lines(got, shown)):
            wrong += 1
            print("\n    ".join([f"README.md: $ {command}", f"exit code {done.returncode}; shown:", *shown, "answered:", *got[:20], done.stderr]))
    for start, end, lines in reversed(put):
        text = text[:start] + lines + text[end:]
    if write:
        with open(path, "w") as f:
            f.write(text)
    print(f"README.md: {sum(1 for _ in readme_steps(text))} commands, {wrong} wrong")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["publish", "show", "readme"])
    parser.add_argument("--dir", required=True, help="the folder given to butterfly up")
    parser.add_argument("--write", action="store_true", help="with readme: keep the outputs in place of comparing them")
    args = parser.parse_args()
    place = Place(args.dir)
    sys.exit(publish(place) if args.what == "publish" else show(place) if args.what == "show" else readme(place, args.write))


if __name__ == "__main__":
    main()
