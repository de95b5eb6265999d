#!/usr/bin/env python3
"""Each of {LMDB, PostgreSQL, Kafka} behind, ahead, missing, restored from an older backup, or another one's: the rules of docs/recovery.md. After each
the independent checker compares all three, or CAPSULE refuses with exit code 5 and says what to do."""
import os
import re
import shutil
import unittest

from line import Kafka, LineTest, Proxy, run, wait_until

COUNT = 500


class Recovery(LineTest):
    def setUp(self):
        super().setUp()
        self.database, self.conninfo = self.line.database()
        self.topic = self.line.topic(2)
        self.ledgers = []
        self.c = self.capsule(self.conninfo)

    def publish(self):
        n = len(self.ledgers)
        self.ledgers.append(self.send(self.topic, range(n * COUNT, (n + 1) * COUNT)))

    def cycle(self):
        """Start, take in some, stop."""
        self.c.start()
        self.publish()
        self.c.wait_through(self.topic, self.line.ends(self.topic))
        self.assertEqual(self.c.stop(), 0)

    def whole(self):
        """It runs again, takes in more, and everything adds up."""
        self.c.start()
        wait_until(self.c.ready, "ready")
        self.publish()
        counts = self.checker(self.database, self.topic, *self.ledgers).check(self.c)
        self.assertEqual(counts, {"stored": COUNT * len(self.ledgers)})
        self.assertEqual(self.c.stop(), 0)

    def refuses(self, *words, extra=()):
        self.c.start(wait=False, extra=extra)
        self.assertEqual(self.c.wait_exit(), 5, self.c.log()[-2000:])
        for word in words:
            self.assertIn(word, self.c.log())

    def save_hot(self):
        shutil.copytree(self.c.dir, self.c.dir + ".saved")

    def restore_hot(self):
        shutil.rmtree(self.c.dir)
        shutil.copytree(self.c.dir + ".saved", self.c.dir)

    def dump(self):
        run("pg_dump", self.conninfo, "-Fc", "-f", os.path.join(self.line.dir, self.database + ".dump"))

    def restore(self):
        """The database as it was at dump(), in its place."""
        self.line.psql("postgres", f"drop database {self.database} with (force)")
        self.line.psql("postgres", f"create database {self.database}")
        run("pg_restore", "-d", self.conninfo, os.path.join(self.line.dir, self.database + ".dump"))

    # ---- LMDB ----

    def test_lmdb_missing(self):
        self.cycle()
        shutil.rmtree(self.c.dir)
        self.whole()
        self.assertIn("hot_store_rebuilt", self.c.log())

    def test_lmdb_behind(self):
        """Its folder was restored from an older copy."""
        self.cycle()
        self.save_hot()
        self.cycle()
        self.restore_hot()
        self.whole()

    def test_lmdb_ahead(self):
        """Recorded and not archived when everything ended."""
        self.cycle()
        self.c.start("archive.before-commit=sleep:100000")
        self.publish()
        wait_until(lambda: self.c.stored(self.topic) == 2 * COUNT, "it is recorded")
        self.c.kill9()
        self.whole()

    def test_lmdb_ahead_of_an_archive_that_others_went_on_with(self):
        self.cycle()
        self.c.start("archive.before-commit=sleep:100000")
        self.publish()
        wait_until(lambda: self.c.stored(self.topic) == 2 * COUNT, "it is recorded")
        self.c.kill9()
        other = self.capsule(self.conninfo, name="other")
        other.start()
        other.wait_through(self.topic, self.line.ends(self.topic))
        self.assertEqual(other.stop(), 0)
        self.whole()
        self.assertIn("partition_tail_forgotten", self.c.log())

    def corrupt(self, damage, reason):
        self.cycle()
        self.publish()
        damage(os.path.join(self.c.dir, "hot"))
        self.whole()
        self.assertIn("hot_store_discarded", self.c.log())
        self.assertIn(reason, self.c.log())

    def test_lmdb_overwritten(self):
        def damage(hot):
            with open(os.path.join(hot, "data.mdb"), "r+b") as f:
                f.write(os.urandom(8192))
        self.corrupt(damage, "MDB_INVALID")

    def test_lmdb_truncated(self):
        self.cycle()

        def damage(hot):
            path = os.path.join(hot, "data.mdb")
            with open(path, "ab") as f:  # as if it had been larger: too small a store for the limit otherwise
                f.flush()
            os.truncate(path, 16384)
        self.corrupt_small(damage)

    def corrupt_small(self, damage):
        """A store of some megabytes, so that what is missing counts."""
        for _ in range(6):
            self.cycle()
        damage(os.path.join(self.c.dir, "hot"))
        self.whole()
        self.assertIn("hot_store_discarded", self.c.log())

    def test_lmdb_after_an_unclean_end_of_the_machine(self):
        def damage(hot):
            with open(os.path.join(hot, "mark"), "w") as f:
                f.write("open 00000000-0000-0000-0000-000000000000\n")
        self.corrupt(damage, "was open when the machine ended")

    def test_lmdb_is_rebuilt_while_it_serves(self):
        """Answers come from the archive at once, progress is shown, nothing is taken in before every id is known."""
        self.cycle()
        shutil.rmtree(self.c.dir)
        self.publish()
        self.c.start("rebuild.ids=sleep:4000")
        status = self.c.status()["instances"][0]
        self.assertTrue(status["rebuilding"])
        self.assertFalse(status["ingesting"])
        self.assertEqual(len(self.c.replay(topic=self.topic)), COUNT)
        self.assertEqual(self.c.get("/v1/events/e-7", topic=self.topic)["payload"]["price"], 7.0)
        self.assertTrue(self.c.get("/v1/coverage", topic=self.topic)["complete"])
        self.assertEqual(self.c.raw("/v1/nodes")[0], 503)
        self.assertEqual(self.c.raw("/readyz")[0], 503)
        self.assertIn(b"rebuilding", self.c.raw("/readyz")[1])
        wait_until(self.c.ready, "it is rebuilt")
        self.assertEqual(len(self.c.get("/v1/nodes", limit=1000)["nodes"]), 31)
        self.checker(self.database, self.topic, *self.ledgers).check(self.c)

    # ---- PostgreSQL ----

    def test_postgres_restored_from_an_older_backup(self):
        """What it forgot is still hot: archived again."""
        self.cycle()
        self.dump()
        self.cycle()
        self.cycle()
        self.restore()
        self.whole()

    def test_postgres_restored_from_a_backup_older_than_what_is_hot(self):
        self.c.extra = ["--hot-age", "1s"]
        self.cycle()
        self.dump()
        self.c.start()
        self.publish()
        self.c.wait_through(self.topic, self.line.ends(self.topic))
        wait_until(lambda: self.c.status()["instances"][0]["hot_records"] == 0, "all of it is evicted")
        self.assertEqual(self.c.stop(), 0)
        self.restore()
        self.refuses("restored from an older backup", "remove the hot store's folder")
        shutil.rmtree(self.c.dir)  # the remedy: Kafka still has it
        self.whole()

    def test_postgres_is_another_one(self):
        self.cycle()
        self.database, self.conninfo = self.line.database()
        self.c.conninfo = self.conninfo
        self.refuses("was filled beside another database", "--adopt-archive")
        self.c.extra = ["--adopt-archive"]  # the old one is lost for good: all of it is still hot
        self.whole()
        self.c.extra = []
        self.whole()

    def test_postgres_belongs_to_another_kafka(self):
        self.cycle()
        self.line.psql(self.database, "update capsule.cluster set cluster_id = 'another'")
        self.refuses("this database belongs to Kafka cluster another")

    def test_postgres_missing_at_start(self):
        proxy = Proxy(self.line.pg_port)
        self.addCleanup(proxy.close)
        proxy.refuse = True
        c = self.capsule(re.sub(r"port=\d+", f"port={proxy.port}", self.conninfo))
        c.start(wait=False, extra=["--start-timeout", "1s"])
        self.assertEqual(c.wait_exit(), 4)
        c.start(wait=False)
        wait_until(lambda: "start_wait" in c.log() or "for=postgres" in c.log(), "it waits and says so")
        proxy.refuse = False
        wait_until(c.ready, "it starts when PostgreSQL comes")
        self.assertEqual(c.stop(), 0)

    # ---- Kafka (behind: see test_kafka_oddities.py) ----

    def test_kafka_missing_at_start(self):
        self.c.start(wait=False, extra=["--start-timeout", "1s"], bootstrap="127.0.0.1:1")
        self.assertEqual(self.c.wait_exit(), 4)

    def test_kafka_is_another_one(self):
        self.cycle()
        other = Kafka(os.path.join(self.line.dir, "kafka2"))
        try:
            self.c.start(wait=False, bootstrap=other.bootstrap)
            self.assertEqual(self.c.wait_exit(), 5)
            self.assertIn("belongs to Kafka cluster", self.c.log())
            # a hot store of one cluster, a database of the other
            self.database, conninfo = self.line.database()
            fresh = self.capsule(conninfo, name="fresh")
            fresh.start(bootstrap=other.bootstrap)
            self.assertEqual(fresh.stop(), 0)
            fresh.conninfo = self.conninfo
            fresh.start(wait=False)
            self.assertEqual(fresh.wait_exit(), 5)
            self.assertIn("holds events of Kafka cluster", fresh.log())
        finally:
            other.stop()
        self.database = re.search(r"dbname=(\S+)", self.conninfo).group(1)
        self.whole()


if __name__ == "__main__":
    unittest.main()
