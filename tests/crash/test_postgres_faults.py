#!/usr/bin/env python3
"""PostgreSQL fails in every way we know of while data flows: recording and hot answers go on, nothing goes to quarantine, and all of it is archived
afterwards, once. A TCP proxy stands between where the network is at fault."""
import os
import re
import shutil
import signal
import subprocess
import unittest

from line import SCHEMA_ID, TORTURE, WHEN, Checker, Failed, LineTest, Proxy, Tool, framed, reading, wait_until

COUNT = 1000


class PostgresFaults(LineTest):
    def setUp(self):
        super().setUp()
        self.proxy = Proxy(self.line.pg_port)
        self.addCleanup(self.proxy.close)
        self.database, conninfo = self.line.database(self.proxy)
        self.topic = self.line.topic(2)
        self.c = self.capsule(conninfo, extra=["--archive-retry-max", "500ms"])
        self.ledgers = []

    def publish(self):
        n = len(self.ledgers)
        self.ledgers.append(self.send(self.topic, range(n * COUNT, (n + 1) * COUNT)))

    def hot(self, count):
        """So many are recorded and can be asked for, whatever the archive does."""
        wait_until(lambda: self.c.stored(self.topic) >= count, f"{count} events are recorded")
        self.assertEqual(self.c.raw("/readyz")[0], 200)
        newest = self.c.get("/v1/nodes/rim:entity:test:N1/history", limit=1)["events"]
        self.assertEqual(len(newest), 1)
        self.assertEqual(self.c.get("/v1/quarantine")["quarantined"], [])

    def away(self):
        wait_until(lambda: self.c.status()["dependencies"]["postgres"] == "away", "the outage is shown", 90)

    def outage(self, begin, end, shown=True):
        """Some before, some while it lasts, some after; then everything must add up."""
        self.c.start()
        wait_until(self.c.ready, "ready")
        self.publish()
        self.c.wait_through(self.topic, self.line.ends(self.topic))
        archived = self.c.status()["archived_through"]
        begin()
        self.publish()
        self.hot(2 * COUNT)
        if shown:
            self.away()
            self.assertEqual(self.c.status()["archived_through"], archived)
        end()
        self.publish()
        counts = self.checker(self.database, self.topic, *self.ledgers).check(self.c)
        self.assertEqual(counts, {"stored": 3 * COUNT})
        self.assertEqual(self.line.psql(self.database, "select count(*) from capsule.quarantine"), [["0"]])
        self.assertEqual(self.c.metric("capsule_dlq_records_total"), 0)
        self.assertEqual(self.c.stop(), 0)

    def test_stopped(self):
        self.outage(lambda: self.line.postgres("stop"), lambda: self.line.postgres("start"))

    def test_killed(self):
        def crash():
            os.kill(self.line.postmaster(), signal.SIGQUIT)  # immediate: no shutdown checkpoint, recovery at the next start
            wait_until(lambda: not os.path.exists(os.path.join(self.line.dir, "postgres", "data", "postmaster.pid")), "it is gone")
        self.outage(crash, lambda: self.line.postgres("start"))

    def test_unreachable_and_cut(self):
        def begin():
            self.proxy.refuse = True
            self.proxy.cut()

        def end():
            self.proxy.refuse = False
        self.outage(begin, end)

    # -- what the server itself answers: a trigger that raises it, in the phase where it hurts --

    def answer(self, sqlstate, table="capsule.partition_state", when="before update"):
        self.line.psql(self.database, f"""create or replace function capsule.test_refuse() returns trigger language plpgsql as
            $$begin raise exception 'a test says {sqlstate}' using errcode = '{sqlstate}'; end$$;
            create trigger test_refuse {when} on {table} for each row execute function capsule.test_refuse()""")

    def answer_no_more(self, table="capsule.partition_state"):
        for attempt in range(10):  # PostgreSQL may find that it and the archiver's COPY wait for each other, and end this one
            try:
                self.line.psql(self.database, f"drop trigger test_refuse on {table}; drop function capsule.test_refuse()")
                return
            except Failed as failure:
                if "deadlock detected" not in str(failure) or attempt == 9:
                    raise

    def test_each_answer_that_waiting_cures(self):
        """One after another: the archiver waits, and when the cause is gone it goes on by itself."""
        self.c.start()
        wait_until(self.c.ready, "ready")
        states = ["25006", "25P03", "55P03", "55006", "3D000", "08006", "28000", "40001", "40P01", "53000", "53100", "53200", "53300", "57014",
                  "57P01", "58030"]
        for n, state in enumerate(states):
            where = ("capsule.events", "before insert") if n % 2 else ("capsule.partition_state", "before update")
            self.answer(state, *where)
            self.ledgers.append(self.send(self.topic, range(n * 100, (n + 1) * 100)))
            self.hot((n + 1) * 100)
            wait_until(lambda: f"a test says {state}" in self.c.log(), f"{state} is said in the log")
            self.assertTrue(self.c.alive(), state)
            self.answer_no_more(where[0])
            self.c.wait_through(self.topic, self.line.ends(self.topic))
        counts = self.checker(self.database, self.topic, *self.ledgers).check(self.c)
        self.assertEqual(counts, {"stored": 100 * len(states)})
        self.assertEqual(self.c.metric("capsule_dlq_records_total"), 0)

    def test_rows_that_are_refused_are_quarantined_alone(self):
        """A rule of the database's own refuses some events (23514, 22P02 …): found by bisection, kept with the reason in both stores, published to the
        dead letters; their neighbours are archived."""
        self.c.start()
        wait_until(self.c.ready, "ready")
        self.publish()
        self.c.wait_through(self.topic, self.line.ends(self.topic))
        self.line.psql(self.database, """create function capsule.test_refuse() returns trigger language plpgsql as
            $$begin if new.payload ->> 'note' = 'refuse me' then raise exception 'not this one' using errcode = '22P02'; end if; return new; end$$;
            create trigger test_refuse before insert on capsule.events for each row execute function capsule.test_refuse()""")
        tool = Tool(self.line.kafka.bootstrap)
        bad = (0, 17, 18, 399)
        for n in range(400):
            node = f"rim:entity:test:N{n % 31}"
            tool.send(self.topic, framed(SCHEMA_ID, reading(node, f"x-{n}", WHEN + n, 1.0, "refuse me" if n in bad else "")), node)
        tool.flush()
        ledger = tool.ledger(self.topic)
        tool.close()
        refused = [place for place, (_, value) in ledger.items() if b"refuse me" in value]

        class WithRefused(Checker):
            def expect(self, records):
                became, revisions = super().expect(records)
                became.update((place, "quarantined") for place in refused)
                return became, revisions
        counts = WithRefused(self.line, self.database, self.topic, self.ledgers + [ledger]).check(self.c)
        self.assertEqual(counts, {"stored": COUNT + 400 - len(bad), "quarantined": len(bad)})
        kept = self.c.get("/v1/quarantine", reason="refused")["quarantined"]
        self.assertEqual(sorted((q["partition"], q["offset"]) for q in kept), sorted(refused))
        self.assertIn("not this one", kept[0]["detail"])
        letters = wait_until(lambda: (x := self.line.kafka.consume(self.topic + ".dlq")) and len(x) >= len(bad) and x, "dead letters")
        self.assertEqual({r["value"] for r in letters}, {ledger[p][1] for p in refused})
        # the same id, taken in once the rule is gone, is a first revision
        self.line.psql(self.database, "drop trigger test_refuse on capsule.events")
        self.line.admin.send(self.topic, framed(SCHEMA_ID, reading("rim:entity:test:N17", "x-17", WHEN + 17, 2.0, "")), "rim:entity:test:N17")
        self.line.admin.flush()
        found = wait_until(lambda: self.c.raw("/v1/events/x-17")[0] == 200 and self.c.get("/v1/events/x-17"), "it is taken in")
        self.assertEqual((found["revision"], found["payload"]["price"]), (1, 2.0))

    def test_the_hot_store_fills_up_meanwhile(self):
        """Fetching pauses, membership and reads stay; when PostgreSQL is back it makes room and goes on by itself."""
        self.c.extra = ["--archive-retry-max", "500ms", "--hot-bytes-max", "64MiB", "--batch-events-max", "2000"]
        self.c.start()
        wait_until(self.c.ready, "ready")
        self.publish()
        self.c.wait_through(self.topic, self.line.ends(self.topic))
        self.line.postgres("stop")
        self.addCleanup(self.line.postgres, "start")
        count = 12000
        self.ledgers.append(self.send(self.topic, range(COUNT, COUNT + count), note="x" * 8000))
        wait_until(lambda: self.c.status()["instances"][0]["paused"], "fetching pauses", 90)
        self.assertLess(self.c.stored(self.topic), COUNT + count)
        held = self.c.status()["instances"][0]
        self.assertLess(held["hot_bytes"], held["hot_bytes_max"])
        self.assertEqual(self.c.raw("/readyz")[0], 200)
        found = self.c.get("/v1/events", topic=self.topic, recorded_from=held["hot_from"], limit=5)["events"]
        self.assertEqual(len(found), 5)  # what is hot is answered; what was evicted is not made up
        self.line.postgres("start")
        self.checker(self.database, self.topic, *self.ledgers).check(self.c, sample=50)
        self.assertEqual(self.c.metric("capsule_pauses_total", reason="full") > 0, True)
        self.assertNotIn("event=revoked", self.c.log())
        self.assertEqual(self.c.metric("capsule_dlq_records_total"), 0)
        self.assertEqual(self.c.stop(), 0)

    def test_the_disk_is_full(self):
        """The database lies on a small file system that somebody else fills."""
        mount = os.path.join(self.line.dir, "small")
        os.mkdir(mount)
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", mount], capture_output=True).returncode:
            self.skipTest("no file system can be mounted here")
        self.addCleanup(lambda: subprocess.run(["umount", "-l", mount], capture_output=True))
        shutil.chown(mount, "postgres", "postgres")
        os.chmod(mount, 0o700)
        self.line.psql("postgres", f"create tablespace small location '{mount}'")
        self.line.psql("postgres", f"alter database {self.database} set tablespace small")
        filler = os.path.join(mount, "filler")

        def begin():
            with open(filler, "wb", buffering=0) as f:
                try:
                    while f.write(b"\0" * 65536):
                        pass
                except OSError:
                    pass

        def end():
            os.unlink(filler)

        def drop():
            self.c.kill9()
            self.line.psql("postgres", f"drop database {self.database} with (force)")
            self.line.psql("postgres", "drop tablespace small")
        self.addCleanup(drop)
        self.outage(begin, end)
        self.assertIn("No space left", self.c.log())

    def test_out_of_connections(self):
        """Others have taken every connection that the server has (53300)."""
        others = []

        def begin():
            self.proxy.refuse = True
            self.proxy.cut()
            limit = int(self.line.psql("postgres", "show max_connections")[0][0])
            others.extend(subprocess.Popen(["psql", self.line.conninfo, "-X", "-q"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL) for _ in range(limit + 5))
            wait_until(lambda: sum(p.poll() is not None for p in others) >= 5, "no connection is left")
            self.proxy.refuse = False
            wait_until(lambda: "too many clients" in self.c.log(), "it hears why")

        def end():
            for p in others:
                p.kill()
                p.wait()
                p.stdin.close()
            others.clear()
        self.addCleanup(end)
        self.outage(begin, end)

    def test_frozen(self):
        """Every process of it stops running: no answer, no error, connections stay open. The archiver's own deadline finds out."""
        pids = []

        def begin():
            pids.extend(self.backends())
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)

        def end():
            if TORTURE:  # the deadline of a statement is a minute
                wait_until(lambda: "no answer in time" in self.c.log(), "the archiver waits no longer", 90)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        self.addCleanup(lambda: [os.kill(pid, signal.SIGCONT) for pid in pids if os.path.exists(f"/proc/{pid}")])
        self.outage(begin, end, shown=TORTURE)

    def backends(self):
        """The postmaster and its children."""
        root = self.line.postmaster()
        children = [int(p) for p in os.listdir("/proc") if p.isdigit() and self.parent(int(p)) == root]
        return [root] + children

    @staticmethod
    def parent(pid):
        try:
            with open(f"/proc/{pid}/stat") as f:
                return int(re.sub(r"^.*\) \S+ (\d+) .*$", r"\1", f.read().strip(), flags=re.S))
        except (OSError, ValueError):
            return 0

    def test_slow(self):
        """10 ms there and 10 ms back, each piece."""
        def begin():
            self.proxy.delay_s = 0.01

        def end():
            pass
        self.outage(begin, end, shown=False)

    def test_the_answer_to_commit_is_lost(self):
        """The server commits and nobody hears of it: the stored watermark tells, nothing is written twice."""
        self.commit_cut("swallow_after")

    def test_commit_itself_is_lost(self):
        self.commit_cut("cut_at")

    def commit_cut(self, how):
        self.c.start()
        wait_until(self.c.ready, "ready")
        for _ in range(6):
            setattr(self.proxy, how, b"commit\0")
            self.publish()
            wait_until(lambda: getattr(self.proxy, how) is None, "a commit is cut")
        self.assertEqual(self.proxy.cuts, 6)
        counts = self.checker(self.database, self.topic, *self.ledgers).check(self.c)
        self.assertEqual(counts, {"stored": 6 * COUNT})
        self.assertEqual(self.line.psql(self.database, "select count(*) from capsule.duplicates"), [["0"]])
        self.assertEqual(self.c.stop(), 0)


if __name__ == "__main__":
    unittest.main()
