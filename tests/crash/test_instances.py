#!/usr/bin/env python3
"""Two instances in one group: each holds some of the partitions, and each answers for all of them, with the same bytes, while data arrives, while both stand
still, and when only one is left."""
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse

from line import BIN, SLOW, TORTURE, LineTest, Load, wait_until


def body_of(c, path, **params):
    """Status, body, and the headers that say how far the answer goes."""
    where = urllib.parse.urlsplit(c.http)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60 * SLOW)
    try:
        connection.request("GET", path + ("?" + urllib.parse.urlencode(params) if params else ""))
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def closed(c):
    return body_of(c, "/v1/nodes", limit=1)[2]["capsule-archived-through"]


class Watch(threading.Thread):
    """Asks one instance again and again how far it answers: never less far than before, whoever comes or goes."""

    def __init__(self, c):
        super().__init__(daemon=True)
        self.c, self.over, self.back, self.looks = c, threading.Event(), [], 0

    def run(self):
        last = ""
        while not self.over.is_set():
            status, _, headers = body_of(self.c, "/v1/events", limit=1)
            if status == 200:
                now = headers["capsule-recorded-through"]
                if now < last:
                    self.back.append((last, now))
                last, self.looks = max(last, now), self.looks + 1

    def end(self):
        self.over.set()
        self.join(60 * SLOW)
        return self.back


class Instances(LineTest):
    def setUp(self):
        super().setUp()
        self.database, self.conninfo = self.line.database()
        self.topic, group = self.line.topic(4), self.line.name("group")
        self.a, self.b = (self.capsule(self.conninfo, name=n, group=group, extra=["--archive-retry-max", "300ms"]) for n in "ab")

    def tearDown(self):
        super().tearDown()
        self.line.admin.ask("delete", self.topic)  # else the next test's partitions could all be one instance's, and these the other's

    def there(self, topic):
        listed = subprocess.run(["kcat", "-L", "-J", "-b", self.line.kafka.bootstrap], capture_output=True, check=True, timeout=30 * SLOW)
        return topic in {t["topic"] for t in json.loads(listed.stdout)["topics"]}

    def owners(self, topic=None):
        rows = self.line.psql(self.database, f"select owner, count(*) from capsule.partition_state where topic = '{topic or self.topic}' group by owner")
        return {r[0] for r in rows}

    def both_hold(self):
        return self.owners() == {self.a.status()["instance"], self.b.status()["instance"]}

    def questions(self, known_by, nodes):
        yield "/v1/events", {"topic": self.topic, "known_by": known_by, "limit": 500}
        yield "/v1/events", {"topic": self.topic, "known_by": known_by, "limit": 500, "order": "desc"}
        yield "/v1/state", {"known_by": known_by, "as_of": known_by, "topic": self.topic}
        yield "/v1/replay", {"known_by": known_by, "topic": self.topic, "by": "event_time"}
        yield "/v1/replay", {"known_by": known_by, "topic": self.topic, "by": "recorded"}
        for node in nodes:
            quoted = urllib.parse.quote(node, safe=":")
            yield f"/v1/nodes/{quoted}/history", {"known_by": known_by, "limit": 200}
            yield f"/v1/nodes/{quoted}/state", {"known_by": known_by, "as_of": known_by}

    def same_answers(self, known_by, members):
        """What they say, by question."""
        said = {}
        nodes = sorted(r[0] for r in self.line.psql(self.database, f"select distinct rim_node_id from capsule.node_topics where topic = '{self.topic}' limit 12"))
        for path, params in self.questions(known_by, nodes):
            first = None
            for c in members:
                status, body, headers = body_of(c, path, **params)
                self.assertEqual(status, 200, (path, params, body[:300]))
                self.assertIn("etag", headers, (path, params, headers))
                first = first or body
                self.assertEqual(body, first, (path, params))
            said[path, json.dumps(params, sort_keys=True)] = first
        return said

    def count(self, known_by):
        return int(self.line.psql(self.database, f"select count(*) from capsule.events where topic = '{self.topic}' and recorded_at <= '{known_by}'")[0][0])

    def wait_archived(self):
        end = sum(self.line.ends(self.topic).values())
        wait_until(lambda: sum(int(r[0]) for r in self.line.psql(self.database, "select next_offset from capsule.partition_state where topic = "
                                                                 f"'{self.topic}'")) == end, "all is archived", 90)

    def test_each_answers_for_all(self):
        self.a.start()
        load = Load(self.line, self.topic, rate=1000)
        load.start()
        wait_until(lambda: self.a.ready() and self.count("infinity") > 300, "the first has archived")
        watch = Watch(self.a)
        watch.start()
        self.b.start()
        wait_until(self.both_hold, "both hold partitions", 90)
        rounds, last = 0, ""
        wait_until(lambda: "event=not_alone" in self.a.log() and "event=not_alone" in self.b.log(), "they know of each other")
        give_up = time.monotonic() + 8 * SLOW
        while time.monotonic() < give_up:  # while data arrives
            known_by = min(closed(self.a), closed(self.b))
            self.assertGreaterEqual(known_by, last)
            self.same_answers(known_by, (self.a, self.b))
            for one, other in ((self.a, self.b), (self.b, self.a)):  # what one has just answered for, the other knows at once
                question = {"topic": self.topic, "order": "desc", "limit": 50}
                _, body, headers = body_of(one, "/v1/events", **question)
                status, again, _ = body_of(other, "/v1/events", known_by=headers["capsule-recorded-through"], **question)
                self.assertEqual((status, again), (200, body))
            rounds, last = rounds + 1, known_by
        load.finish()
        self.wait_archived()
        everything = self.line.psql(self.database, f"select max(recorded_at) from capsule.events where topic = '{self.topic}'")[0][0]
        wait_until(lambda: all(self.line.psql(self.database, f"select '{closed(c)}'::timestamptz >= '{everything}'")[0][0] == "t" for c in (self.a, self.b)),
                   "and both say so, though nothing comes any more")
        known_by = min(closed(self.a), closed(self.b))
        said = self.same_answers(known_by, (self.a, self.b))
        whole = [json.loads(l) for l in next(b for (p, q), b in said.items() if p == "/v1/replay").splitlines()]
        self.assertEqual(len({(e["topic"], e["partition"], e["offset"]) for e in whole if "event_id" in e}), self.count(known_by))
        for c in (self.a, self.b):  # a node of the other's is there, too
            self.assertEqual({n["rim_node_id"] for n in self.all_nodes(c)},
                             {r[0] for r in self.line.psql(self.database, "select distinct rim_node_id from capsule.node_topics")})
            self.ledger_of_all(c)
        self.assertEqual(self.b.stop(), 0)
        wait_until(lambda: "event=alone" in self.a.log(), "the first is alone again", 90)
        self.assertEqual(self.same_answers(known_by, (self.a,)), said)
        self.assertEqual(watch.end(), [])
        self.assertGreater(watch.looks, 100)
        self.assertEqual(self.a.stop(), 0)
        print(f"{rounds} rounds of questions while data arrived", file=sys.stderr)
        self.assertGreater(rounds, 0)

    def cut_between_two_of_one_microsecond(self):
        """Events of two instances can share a place in every order. A line's cursor goes on with exactly what follows that line, on the other instance, too."""
        count = sum(self.line.ends(self.topic).values())
        wait_until(lambda: self.count("infinity") == count, "all is archived", 60)
        self.line.psql(self.database, "update capsule.events e set recorded_at = p.recorded_at, event_time = p.event_time from (select kafka_partition, kafka_offset,"
                       " first_value(recorded_at) over (partition by place) recorded_at, first_value(event_time) over (partition by place) event_time from (select *,"
                       f" row_number() over (order by recorded_at) / 3 place from capsule.events where topic = '{self.topic}') x) p where"
                       f" e.topic = '{self.topic}' and (e.kafka_partition, e.kafka_offset) = (p.kafka_partition, p.kafka_offset)")
        last = self.line.psql(self.database, "select max(recorded_at) from capsule.events")[0][0]
        wait_until(lambda: all(self.line.psql(self.database, f"select '{closed(c)}'::timestamptz > '{last}'")[0][0] == "t" for c in (self.a, self.b)), "both say so", 60)
        for by in ("recorded", "event_time"):
            question = {"topic": self.topic, "by": by, "known_by": min(closed(self.a), closed(self.b))}
            whole = body_of(self.a, "/v1/replay", **question)[1].splitlines()
            self.assertEqual(len(whole), count + 1)
            self.assertEqual(len({json.loads(l)["recorded_at"] for l in whole[:-1]}), count // 3 + 1)
            for n in [*range(20), *range(30, count, count // 40)]:
                rest = body_of((self.a, self.b)[n % 2], "/v1/replay", cursor=json.loads(whole[n])["cursor"], **question)[1].splitlines()
                self.assertEqual(rest[:-1], whole[n + 1:-1], (by, n))

    def test_a_clock_that_is_behind_holds_up_nobody(self):
        """Answers go as far as all have archived, by their clocks."""
        self.b.move_clock(-30)
        for c in (self.a, self.b):
            c.start()
        self.send(self.topic, range(100))
        wait_until(self.both_hold, "both hold partitions", 90)
        wait_until(lambda: "event=not_alone" in self.a.log() and "event=not_alone" in self.b.log(), "they know of each other")
        load = Load(self.line, self.topic, rate=500)
        load.start()
        try:
            for n in range(1, 6):  # while both record
                told = wait_until(lambda: (x := self.count("infinity")) >= 300 * n and x, "more is archived")
                for c in (self.a, self.b):
                    wait_until(lambda: len(c.replay(topic=self.topic)) >= told, "what is archived is shown", 10)
        finally:
            load.finish()
        self.wait_archived()  # and while nobody does
        told = self.count("infinity")
        for c in (self.a, self.b):
            wait_until(lambda: len(c.replay(topic=self.topic)) == told, "all that is archived is shown", 10)
        self.same_answers(min(closed(self.a), closed(self.b)), (self.a, self.b))
        for c in (self.a, self.b):
            self.assertEqual(c.stop(), 0)

    @unittest.skipUnless(TORTURE, "takes minutes: tools/test --torture")
    def test_a_replay_into_kafka_outlives_its_instance(self):
        """Whichever instance dies while a job runs, another goes on, and who reads what was committed sees each event once, in the order asked for."""
        members = [self.a, self.b]
        for c in members:
            c.start()
        self.send(self.topic, range(3000))
        wait_until(self.both_hold, "both hold partitions", 90)
        wait_until(lambda: self.count("infinity") == 3000, "all is archived", 60)
        wait_until(lambda: "event=not_alone" in self.a.log() and "event=not_alone" in self.b.log(), "they know of each other")
        name = self.line.name("twice")
        status, job = self.a.post(f"/v1/replays?name={name}&topic={self.topic}&by=event_time&rate=150", None)
        self.assertEqual(status, 201, job)
        look = lambda c: c.get(f"/v1/replays/{job['id']}")
        kills = 0
        while kills < 2:
            done = look(members[0])["events_sent"]
            wait_until(lambda: look(members[0])["events_sent"] > done + 300, "it goes on", 90)
            runner = self.line.psql(self.database, f"select owner from capsule.replay_jobs where id = '{job['id']}'")[0][0]
            c = next(c for c in members if c.status()["instance"] == runner)
            c.kill9()
            members.remove(c)
            wait_until(lambda: look(members[0])["events_sent"] > done + 600, "the other goes on", 90)
            c.start()
            members.append(c)
            kills += 1
        wait_until(lambda: look(members[0])["state"] == "done", "it is done", 180)
        sent = self.line.kafka.consume(job["topic"])
        at = [(int(r["capsule-partition"]), int(r["capsule-offset"])) for r in (dict(h.split("=", 1) for h in record["headers"].split(",")) for record in sent)]
        self.assertEqual(at, [(e["partition"], e["offset"]) for e in members[0].replay(topic=self.topic, by="event_time")])
        for c in (self.a, self.b):
            self.assertEqual(c.stop(), 0)

    def ledger_of_all(self, c):
        """Coverage, topics and lag of every partition, whoever holds it: as long as the log, without a hole, and as many events as psql counts."""
        ends, me = self.line.ends(self.topic), c.status()["instance"]
        holder = {int(p): o for p, o in self.line.psql(self.database, f"select kafka_partition, owner from capsule.partition_state where topic = '{self.topic}'")}
        answer = c.get("/v1/coverage", topic=self.topic)
        self.assertIs(answer["complete"], True, answer)
        self.assertEqual({p["partition"]: p["next_offset"] for p in answer["coverage"]}, ends)
        for p in answer["coverage"]:
            self.assertEqual(p["holes"], [])
            self.assertEqual(sum(p["totals"].values()), p["offsets"])
            self.assertEqual(p["intervals"][0]["from"], p["first_offset"])
        topic = c.get(f"/v1/topics/{self.topic}")
        for held in (answer["coverage"], topic["partitions"], c.get("/v1/lag")["lag"]):
            self.assertEqual({p["partition"]: p.get("instance", me) for p in held if p.get("topic", self.topic) == self.topic}, holder)
        for p in topic["partitions"]:
            self.assertEqual("instance" in p, p["high_watermark"] is None, p)
            self.assertEqual(p["archived_offset"], ends[p["partition"]])
        listed = next(t for t in c.get("/v1/topics")["topics"] if t["topic"] == self.topic)
        self.assertEqual((listed["partitions"], listed["events"], topic["events"]), (4, self.count("infinity"), self.count("infinity")))
        verified = subprocess.run([os.path.join(BIN, "butterfly"), "verify", "--url", c.http], capture_output=True, timeout=60 * SLOW)
        self.assertEqual(verified.returncode, 0, verified)

    @staticmethod
    def all_nodes(c):
        page, nodes = c.get("/v1/nodes", limit=40), []
        while True:
            nodes += page["nodes"]
            if not page["next"]:
                return nodes
            page = c.get("/v1/nodes", limit=40, cursor=page["next"])

    def test_a_follower_sees_what_the_other_records(self):
        for c in (self.a, self.b):
            c.start()
        self.send(self.topic, range(200))
        wait_until(self.both_hold, "both hold partitions", 90)
        wait_until(lambda: "event=not_alone" in self.a.log(), "it knows of the other")
        where = urllib.parse.urlsplit(self.a.http)
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60 * SLOW)
        connection.request("GET", f"/v1/replay?by=recorded&follow=1&topic={self.topic}")
        answer = connection.getresponse()
        seen = []

        def read(count):
            while len(seen) < count:
                line = json.loads(answer.readline())
                if "event_id" in line:
                    seen.append((line["partition"], line["offset"]))
        read(200)
        for n in range(10):
            self.send(self.topic, range(200 + 30 * n, 230 + 30 * n))
            read(230 + 30 * n)
        self.assertEqual(len(set(seen)), len(seen))
        self.assertEqual({p for p, _ in seen}, {0, 1, 2, 3})
        connection.close()
        ends = self.line.ends(self.topic)
        for p in range(4):  # up to an offset that is not there yet, whoever holds the partition
            connection.request("GET", f"/v1/replay?topic={self.topic}&partition={p}&from_offset=0&to_offset={ends[p] + 3}&follow=1")
            answer = connection.getresponse()
            first = answer.readline()
            self.send(self.topic, range(1000 + 200 * p, 1200 + 200 * p))
            lines = [json.loads(l) for l in [first] + answer.read().splitlines()]
            self.assertEqual([e["offset"] for e in lines if "event_id" in e], list(range(ends[p] + 3)))
            self.assertIs(lines[-1]["complete"], True)
            ends = self.line.ends(self.topic)
        connection.close()
        self.cut_between_two_of_one_microsecond()
        for c in (self.a, self.b):
            self.assertEqual(c.stop(), 0)

    def test_who_held_only_what_is_gone_does_not_count(self):
        """A topic was deleted and the hot store lost: its owner stands beside partitions for ever that nobody takes."""
        gone = self.line.topic(2)
        self.a.start()
        self.send(gone, range(50))
        self.send(self.topic, range(50))
        for topic in (gone, self.topic):
            self.a.wait_through(topic, self.line.ends(topic))
        self.assertEqual(self.a.stop(), 0)
        self.line.admin.ask("delete", gone)
        wait_until(lambda: not self.there(gone), "it is gone", 30, 0.5)
        self.b.start()  # its hot store is another one
        wait_until(lambda: self.owners() == {self.b.status()["instance"]}, "the new one holds what there is", 90)
        self.assertNotEqual(self.owners(gone), self.owners())
        wait_until(lambda: "event=not_alone" in self.b.log(), "at first it cannot know")
        self.send(self.topic, range(50, 80))
        wait_until(lambda: self.b.status()["instances"][0]["alone"], "it is alone", 90)
        wait_until(lambda: len(self.b.replay(topic=self.topic)) == 80, "what came since is answered", 20)
        self.assertEqual(len(self.b.replay(topic=gone)), 50)
        self.assertEqual(self.b.stop(), 0)


if __name__ == "__main__":
    unittest.main()
