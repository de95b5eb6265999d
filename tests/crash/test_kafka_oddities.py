#!/usr/bin/env python3
"""What a real Kafka does to offsets: transaction marks and aborted records, compaction holes, retention that overtakes us, more partitions, new topics,
topics made anew, a log that was cut back. The coverage adds up after each."""
import os
import subprocess
import time
import unittest

from line import HOME, SCHEMA_ID, WHEN, LineTest, Tool, framed, reading, wait_until

JARS = os.path.join(HOME, ".cache/kafka/4.3.1/*")


def value(n, note="", name="e"):
    return framed(SCHEMA_ID, reading(f"rim:entity:test:N{n % 5}", f"{name}-{n}", WHEN + n * 1000, float(n), note))


class KafkaOddities(LineTest):
    def setUp(self):
        super().setUp()
        self.database, conninfo = self.line.database()
        self.c = self.capsule(conninfo)

    def put(self, topic, numbers, partition=0, name="e", note=""):
        for n in numbers:
            self.line.admin.send(topic, value(n, note, name), f"rim:entity:test:N{n % 5}", partition)
        self.line.admin.flush()

    def totals(self, topic):
        answer = self.c.get("/v1/coverage", topic=topic)
        self.assertTrue(answer["complete"], answer)
        return [c["totals"] for c in answer["coverage"]]

    def test_transactions(self):
        """Marks and aborted records are control; what an open transaction holds back is waited for."""
        topic = self.line.topic(1)
        self.c.start()
        tool = Tool(self.line.kafka.bootstrap, "tx-" + topic)
        for n, end in enumerate(("commit", "abort", "commit", "abort", "commit")):
            tool.ask("begin")
            for i in range(n * 10, n * 10 + 10):
                tool.send(topic, value(i), "rim:entity:test:N1", 0)
            tool.ask("flush")
            tool.ask(end)
        self.c.wait_through(topic, {0: 55})
        counts = self.checker(self.database, topic).check(self.c, ends={0: 55})
        self.assertEqual(counts, {"stored": 30})
        self.assertEqual(self.totals(topic)[0]["control"], 25)
        tool.ask("begin")
        tool.send(topic, value(900), "rim:entity:test:N1", 0)
        tool.ask("flush")
        self.put(topic, [901])  # behind the open one: not to be read yet
        time.sleep(0.5)
        self.assertEqual(self.c.stored(topic), 30)
        tool.ask("abort")
        tool.close()
        self.c.wait_through(topic, {0: 58})
        self.checker(self.database, topic).check(self.c, ends={0: 58})
        self.assertEqual(self.c.stored(topic), 31)

    def test_compaction_holes(self):
        topic = self.line.topic(1, cleanup_policy="compact", segment_ms="1000", min_cleanable_dirty_ratio="0.01", max_compaction_lag_ms="1000",
                                min_compaction_lag_ms="0", delete_retention_ms="0")
        for round_ in range(4):
            self.put(topic, range(round_ * 20, round_ * 20 + 20))
            time.sleep(1.1)
        self.put(topic, range(100, 105))  # rolls the segment
        end = self.line.ends(topic)[0]
        wait_until(lambda: len(self.line.kafka.consume(topic)) < end - 30, "the broker compacts", 90, 0.5)
        self.c.start()
        self.c.wait_through(topic, {0: end})
        totals = self.totals(topic)[0]
        self.assertEqual(sum(totals.values()), end)
        self.assertGreater(totals["control"], 30)
        self.assertEqual(totals["stored"] + totals["control"], end)
        self.assertEqual(self.c.stop(), 0)

    def test_retention_overtakes_us(self):
        topic = self.line.topic(1)
        self.put(topic, range(100))
        self.c.start()
        self.c.wait_through(topic, {0: 100})
        self.assertEqual(self.c.stop(), 0)
        self.put(topic, range(100, 200))
        self.line.admin.ask("trim", topic, 0, 150)
        self.c.start()
        self.c.wait_through(topic, {0: 200})
        self.assertEqual(self.totals(topic), [{"stored": 150, "duplicate": 0, "quarantined": 0, "control": 0, "lost-before-read": 50}])
        self.assertEqual(self.line.psql(self.database, f"select from_offset, to_offset from capsule.coverage where topic = '{topic}' and "
                                        "disposition = 'lost-before-read'"), [["100", "150"]])
        self.assertEqual(self.c.metric("capsule_records_total", topic=topic, disposition="lost"), 50)
        self.put(topic, range(200, 210))
        self.c.wait_through(topic, {0: 210})
        self.assertEqual(self.c.stored(topic), 160)

    def test_retention_while_it_runs(self):
        """The broker drops what is just being waited for, below and above where we stand."""
        topic = self.line.topic(1)
        self.c.start()
        self.put(topic, range(50))
        self.c.wait_through(topic, {0: 50})
        self.c.freeze()
        self.put(topic, [50])  # answers the fetch that was under way
        time.sleep(0.5)
        self.put(topic, range(51, 100))
        self.line.admin.ask("trim", topic, 0, 80)
        self.c.wake()
        self.put(topic, range(100, 120))
        self.c.wait_through(topic, {0: 120})
        totals = self.totals(topic)[0]
        self.assertEqual(sum(totals.values()), 120)
        self.assertEqual(totals["stored"] + totals["lost-before-read"], 120)
        self.assertGreater(totals["lost-before-read"], 0)

    def test_more_partitions_and_new_topics_while_it_runs(self):
        topic = self.line.topic(1)
        self.c.start()
        first = self.send(topic, range(100))
        self.c.wait_through(topic, {0: 100})
        self.line.admin.ask("grow", topic, 4)
        late = self.line.topic(2)
        ledgers = [first, self.send(topic, range(100, 400))]
        other = self.send(late, range(50))
        self.assertEqual(len({p for p, _ in ledgers[1]}), 4)
        self.checker(self.database, topic, *ledgers).check(self.c)
        self.checker(self.database, late, other).check(self.c)

    def incarnations(self, topic):
        return self.line.psql(self.database, "select kafka_partition, from_offset, to_offset from capsule.log_cuts "
                              f"where topic = '{topic}' order by cut_at, kafka_partition")

    def all_there(self, topic, names):
        """Every id ever acknowledged is there once, in both stores."""
        rows = self.line.psql(self.database, f"select source_id, revision from capsule.events where topic = '{topic}'")
        self.assertEqual(sorted(r[0] for r in rows), sorted(names))
        self.assertEqual(sorted(e["source_id"] for e in self.c.replay(topic=topic)), sorted(names))
        ends = self.line.ends(topic)
        for c in self.c.get("/v1/coverage", topic=topic)["coverage"]:
            self.assertEqual((c["complete"], c["next_offset"]), (True, ends[c["partition"]]))

    def made_anew(self, stopped):
        topic = self.line.topic(1)
        self.c.start()
        self.put(topic, range(60), name="old")
        self.c.wait_through(topic, {0: 60})
        if stopped:
            self.assertEqual(self.c.stop(), 0)
        self.line.admin.ask("delete", topic)
        wait_until(lambda: self.create(topic), "the topic is made anew", 30, 0.3)
        return topic

    def create(self, topic):
        self.line.admin.ask("create", topic, 1)
        return True

    def test_a_topic_made_anew_that_is_longer(self):
        """The old offsets exist in the new log, with other records: only the bytes tell."""
        topic = self.made_anew(stopped=True)
        self.put(topic, range(90), name="new")
        self.c.start()
        self.c.wait_through(topic, {0: 90})
        wait_until(lambda: self.c.stored(topic) == 90, "all of the new log is read")
        self.assertEqual(self.incarnations(topic), [["0", "0", "60"]])
        self.all_there(topic, [f"old-{n}" for n in range(60)] + [f"new-{n}" for n in range(90)])
        self.assertEqual(self.line.psql(self.database, "select from_offset, to_offset, disposition from capsule.coverage_before_cuts "
                                        f"where topic = '{topic}'"), [["0", "60", "stored"]])
        self.c.kill9()  # and it stays so
        self.c.start()
        wait_until(self.c.ready, "ready")
        self.put(topic, range(90, 95), name="new")
        self.c.wait_through(topic, {0: 95})
        self.assertEqual(len(self.incarnations(topic)), 1)

    def test_a_topic_made_anew_that_is_shorter_while_it_runs(self):
        topic = self.made_anew(stopped=False)
        self.put(topic, range(20), name="new")
        wait_until(lambda: len(self.incarnations(topic)) == 1, "it is noticed", 90)
        self.c.wait_through(topic, {0: 20})
        wait_until(lambda: self.c.next_offsets(topic) == {0: 20}, "the new log's end")
        self.all_there(topic, [f"old-{n}" for n in range(60)] + [f"new-{n}" for n in range(20)])

    def cut_log(self, topic, keep):
        """What an unclean election does: the broker's own log ends earlier, and goes on with other records."""
        self.line.kafka.stop()
        folder = os.path.join(self.line.dir, "kafka", "data", topic + "-0")
        segment = next(f for f in sorted(os.listdir(folder)) if f.endswith(".log"))
        dump = subprocess.run(["java", "-Xmx128m", "-cp", JARS, "org.apache.kafka.tools.DumpLogSegments", "--files", os.path.join(folder, segment)],
                              capture_output=True).stdout.decode()
        position = next(int(line.split("position: ")[1].split()[0]) for line in dump.splitlines() if f"baseOffset: {keep} " in line)
        os.truncate(os.path.join(folder, segment), position)
        for f in os.listdir(folder):
            if f.endswith((".index", ".timeindex", ".snapshot")) or f == "leader-epoch-checkpoint":
                os.unlink(os.path.join(folder, f))
        for f in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint", ".kafka_cleanshutdown"):
            path = os.path.join(self.line.dir, "kafka", "data", f)
            if os.path.exists(path):
                os.unlink(path)
        self.line.kafka.__init__(self.line.kafka.dir)
        self.line.admin.close()
        self.line.admin = Tool(self.line.kafka.bootstrap)

    def test_a_log_that_was_cut_back(self):
        topic = self.line.topic(1)
        self.c.start()
        for n in range(40):
            self.put(topic, [n])  # batches of one: any offset can be cut at
        self.c.wait_through(topic, {0: 40})
        self.assertEqual(self.c.stop(), 0)
        self.cut_log(topic, 25)
        self.put(topic, range(100, 130))
        self.assertEqual(self.line.ends(topic), {0: 55})
        self.c.start()
        wait_until(lambda: len(self.incarnations(topic)) == 1, "it is noticed", 60)
        self.c.wait_through(topic, {0: 55})
        self.assertEqual(self.incarnations(topic), [["0", "25", "40"]])
        self.all_there(topic, [f"e-{n}" for n in list(range(40)) + list(range(100, 130))])
        self.assertEqual(self.totals(topic), [{"stored": 55, "duplicate": 0, "quarantined": 0, "control": 0, "lost-before-read": 0}])


if __name__ == "__main__":
    unittest.main()
