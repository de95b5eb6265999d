#!/usr/bin/env python3
"""What analysts have: the page of queries, partition pruning, frozen sets, roles; the page of curl lines; the Python client."""
import json
import os
import subprocess
import sys
import unittest

import pages
from harness import FAST_PATH, HOME, SystemTest, id_of_text, run, signal_line, wait_until

sys.path.insert(0, os.path.join(HOME, "clients/python"))
sys.dont_write_bytecode = True
from butterfly import Capsule, CapsuleError, Incomplete  # noqa: E402

JUNE = 1717236000000  # 2024-06-01T10:00:00Z


def line(number, node, minute, price, **more):
    when = JUNE + minute * 60000
    out = signal_line(number, f"rim:entity:finance:{node}", when, price=price, event_id=f"order-{number}", **more)
    out["vector_timestamp"].update(ingest_ts_ms=when + 4, logical_clock=number)
    return out


LINES = [line(1, "EURUSD", 0, 1.0852, stress=0.12), line(2, "EURUSD", 15, 1.0861, stress=0.2), line(3, "EURGBP", 20, 0.8514),
         line(4, "EURUSD", 90, 1.0849, stress=0.4), line(5, "EURJPY", 24 * 60, 170.61), line(6, "EURGBP", 24 * 60 + 5, 0.8521)]


class Analysts(SystemTest):
    kafka = False
    extra = ("--without", "odyssey,plato")

    @classmethod
    def prepare(cls):
        for one in LINES + [line(2, "EURUSD", 15, 1.0864, stress=0.2), LINES[0]]:  # a correction, and one sent twice
            cls.stack.perception([one])
        cls.stack.wait_taken(8)
        cls.stack.wait_quiet()
        cls.capsule = Capsule(cls.stack.http)

    def sql(self, text):
        return self.stack.psql(text)

    # -- pages --

    def test_0_the_page_of_queries_tells_the_truth(self):
        different = pages.check("sql.md", lambda sql: pages.run_sql(self.stack.endpoints["postgres"], sql), ("sql",))
        self.assertFalse(different, "\n".join(different))

    def test_0_the_page_of_curl_lines_tells_the_truth(self):
        different = pages.check("api.md", lambda line: pages.run_console(line, self.stack.http, self.stack.dir), ("console",))
        self.assertFalse(different, "\n".join(different))

    # -- partitions --

    def touched(self, query, setting=""):
        """The partitions that a query really reads."""
        plan = json.loads("".join(row[0] for row in self.sql(f"{setting} explain (analyze, timing off, format json) {query}") if row[0] != "SET"))
        found, todo = set(), [plan[0]["Plan"]]
        while todo:
            node = todo.pop()
            todo += node.get("Plans", [])
            if node.get("Relation Name", "").startswith("events_") and node["Actual Loops"] > 0:
                found.add(node["Relation Name"])
        return found

    def test_partitions_are_left_out_through_every_view_and_function(self):
        times = ", ".join(f"'2019-{m:02}-05Z'" for m in range(1, 13))
        self.sql(f"select count(*) from capsule.ensure_partitions('rim.fast-path', 'monthly', array[{times}]::timestamptz[])")
        self.assertGreater(len(self.sql("select * from capsule.event_partitions where topic = 'rim.fast-path'")), 12)
        june = {"events_rim_fast_path_p20240601"}
        within = "event_time >= '2024-06-01' and event_time < '2024-07-01'"
        for query in (f"select * from capsule.events where topic = 'rim.fast-path' and {within}",
                      f"select * from capsule.current_events where topic = 'rim.fast-path' and {within}",
                      f"select * from capsule.rim_fast_path where {within}",
                      "select * from capsule.node_history('rim:entity:finance:EURUSD', '2024-06-01', '2024-07-01')"):
            self.assertEqual({t for t in self.touched(query)}, june, query)
        for query in ("select * from capsule.current_events", "select * from capsule.rim_fast_path",
                      "select * from capsule.node_history('rim:entity:finance:EURUSD')"):
            touched = self.touched(query, "set capsule.as_of = '2019-03-01';")
            self.assertTrue(touched <= {f"events_rim_fast_path_p2019{m:02}01" for m in (1, 2, 3)}, (query, touched))
        locked = self.sql("begin; select count(*) from capsule.state_as_of('2019-03-01');"
                          " select c.relname from pg_locks l join pg_class c on c.oid = l.relation"
                          " where l.pid = pg_backend_pid() and c.relkind = 'r' and c.relname like 'events\\_rim\\_fast\\_path\\_p%'; commit")
        self.assertEqual({r[0] for r in locked if r[0].startswith("events_")}, {f"events_rim_fast_path_p2019{m:02}01" for m in (1, 2, 3)})
        self.sql("drop table " + ", ".join(f"capsule.events_rim_fast_path_p2019{m:02}01" for m in range(1, 13)) + ";"
                 " delete from capsule.event_partitions where from_time < '2020-01-01'")

    # -- frozen sets --

    def verify(self, name):
        return self.sql(f"select ok, events_then, events_now, differs from capsule.verify('{name}')")[0]

    def test_z_a_frozen_set_survives_everything_but_a_change(self):
        self.sql("select capsule.freeze('held', null, '2024-01-01', '2024-07-01')")
        self.assertEqual(self.verify("held"), ["t", "7", "7", "{}"])
        taken = self.stack.taken()
        self.stack.perception([line(70, "EURUSD", 3, 9.9), line(3, "EURGBP", 20, 0.9)])  # late data, and a late correction
        self.stack.wait_taken(taken + 2)
        self.stack.wait_quiet()
        self.assertEqual(self.verify("held"), ["t", "7", "7", "{}"])
        part = "capsule.events_rim_fast_path_p20240601"
        self.sql(f"vacuum full {part}")
        self.sql(f"cluster {part} using events_rim_fast_path_p20240601_pkey")
        # moved: the month's rows into two halves of it, elsewhere
        self.sql(f"begin; alter table capsule.events_rim_fast_path detach partition {part};"
                 f" create table capsule.moved_1 (like {part} including all); create table capsule.moved_2 (like {part} including all);"
                 " alter table capsule.events_rim_fast_path attach partition capsule.moved_1 for values from ('2024-06-01Z') to ('2024-06-02Z');"
                 " alter table capsule.events_rim_fast_path attach partition capsule.moved_2 for values from ('2024-06-02Z') to ('2024-07-01Z');"
                 f" insert into capsule.events overriding user value select * from {part} order by random(); commit"
                 .replace("overriding user value select *", "(event_id, revision, kafka_partition, kafka_offset, event_time, kafka_time, recorded_at,"
                          " schema_id, topic, rim_node_id, trace_id, cause_id, source_id, payload, content_hash, key, headers, raw)"
                          " select event_id, revision, kafka_partition, kafka_offset, event_time, kafka_time, recorded_at, schema_id, topic,"
                          " rim_node_id, trace_id, cause_id, source_id, payload, content_hash, key, headers, raw"))
        self.assertEqual(self.verify("held"), ["t", "7", "7", "{}"])
        for change in ("update capsule.events set payload = jsonb_set(payload, '{price}', '7') where source_id = 'order-1'",
                       "update capsule.events set recorded_at = recorded_at - interval '1us' where source_id = 'order-1'",
                       "update capsule.events set raw = raw || '\\x00' where source_id = 'order-5'",
                       "update capsule.events set headers = '' where headers is null",
                       "delete from capsule.events where source_id = 'order-6'",
                       "update capsule.frozen_parts set events = events where false; update capsule.frozen_parts set sha256 = sha256('x')"):
            rows = self.sql(f"begin; {change}; select ok, differs from capsule.verify('held'); rollback")
            answer = [r for r in rows if len(r) == 2][0]
            self.assertEqual(answer[0], "f", change)
            self.assertIn("2024-06", answer[1])
        self.assertEqual(self.verify("held"), ["t", "7", "7", "{}"])

    def test_only_what_is_closed_can_be_frozen(self):
        for call, state in (("capsule.freeze('later', known_by => now() + interval '1 hour')", "55000"),
                            ("capsule.freeze('no', array['no.such'])", "22023"),
                            ("capsule.freeze('no', null, '2024-01-02', '2024-01-01')", "22023"),
                            ("capsule.verify('never')", "P0002")):
            done = run("psql", self.stack.endpoints["postgres"], "-X", "-v", "VERBOSITY=verbose", "-c", f"select {call}", check=False)
            self.assertIn(state, done.stderr.decode(), call)

    # -- the Python client --

    def test_client__single_answers(self):
        event = self.capsule.event("order-2")
        self.assertEqual((event["event_id"], event["revision"]), (id_of_text("order-2"), 2))
        self.assertEqual([r["payload"]["price"] for r in event["revisions"]], [1.0861, 1.0864])
        self.assertEqual(self.capsule.raw("order-2")[0], 0)
        self.assertIn("archived_through", self.capsule.status())
        state = self.capsule.state("rim:entity:finance:EURUSD", as_of="2024-06-01T11:00:00Z", known_by=event["revisions"][0]["recorded_at"])
        self.assertIn("1.0861", json.dumps(state))
        with self.assertRaises(CapsuleError) as caught:
            self.capsule.event("never-sent")
        self.assertEqual(caught.exception.status, 404)
        with self.assertRaises(CapsuleError) as caught:
            list(self.capsule.events(nonsense="1"))
        self.assertEqual(caught.exception.status, 400)

    def test_client__lists_world_and_replay_agree(self):
        known_by = self.capsule.status()["recorded_through"]
        everything = list(self.capsule.events(topic=FAST_PATH, known_by=known_by))
        replay = self.capsule.replay(topic=FAST_PATH, known_by=known_by)
        self.assertEqual({e["event_id"] for e in replay}, {e["event_id"] for e in everything})
        self.assertEqual(replay.trailer["count"], replay.count)
        self.assertEqual(replay.trailer["digest"], replay.digest)
        self.assertEqual(len({e["rim_node_id"] for e in self.capsule.world(as_of="2024-06-03")}), 3)
        history = list(self.capsule.history("rim:entity:finance:EURUSD", limit=2))
        self.assertEqual(len(history), 2)
        self.assertGreaterEqual(history[0]["event_time"], history[1]["event_time"])

    def test_client__a_replay_goes_on_over_a_killed_server(self):
        known_by = self.capsule.status()["recorded_through"]
        whole = [e["event_id"] for e in self.capsule.replay(topic=FAST_PATH, known_by=known_by)]
        replay, got = self.capsule.replay(topic=FAST_PATH, known_by=known_by, speed=1000, max_gap_ms=500, retries=40), []
        for event in replay:
            got.append(event["event_id"])
            if len(got) == 2:
                self.stack.kill9("capsule")
        wait_until(lambda: self.stack.get("/v1/status"), "CAPSULE is back")
        self.assertEqual(got, whole)
        self.assertGreater(replay.cuts, 0)

    def test_client__is_typed_and_stands_alone(self):
        source = os.path.join(HOME, "clients/python/butterfly.py")
        done = run(sys.executable, "-I", "-S", "-W", "error", "-c", f"import runpy; runpy.run_path({source!r})", check=False)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        import ast
        with open(source) as f:
            tree = ast.parse(f.read())
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            untyped = [a.arg for a in function.args.args if a.annotation is None and a.arg != "self"]
            self.assertFalse(untyped, function.name)
            self.assertTrue(function.returns is not None or function.name == "__init__", function.name)


if __name__ == "__main__":
    unittest.main()
