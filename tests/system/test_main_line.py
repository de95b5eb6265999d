#!/usr/bin/env python3
"""The main line on a real Kafka: signals in, the same bytes out of Kafka, HTTP and PostgreSQL, reflexes judged, nothing twice."""
import hashlib
import json
import random
import unittest
import uuid

from harness import DECISION, FAST_PATH, REFLEX, SystemTest, id_of_text, signal_line

COUNT = 3000


def make_lines():
    rng = random.Random(4)
    lines = []
    for i in range(COUNT):
        more = {"metadata": {"venue": "Zürich — 東京", "n": str(i)}, "critical_metrics": {"spread": rng.random()},
                "volume": float(i) if i % 3 else None}
        if i % 5 == 0:
            more["event_id"] = str(uuid.UUID(int=rng.getrandbits(128)))
        elif i % 5 == 1:
            more["event_id"] = f"order-{i}/ü"
        if i % 500 == 499:
            more["stress"] = 0.95
        lines.append(signal_line(i, **more))
    return lines


class MainLine(SystemTest):
    @classmethod
    def prepare(cls):
        cls.lines = make_lines()
        cls.counts, cls.published = cls.stack.perception(cls.lines)
        cls.stack.wait_taken(COUNT)
        cls.stack.wait_quiet()
        cls.in_kafka = cls.broker.consume(FAST_PATH)

    def test_1_every_signal_is_acknowledged_and_counted(self):
        self.assertEqual(self.counts, {"accepted": COUNT, "rejected": 0, "published": COUNT, "failed": 0})
        self.assertEqual(len(self.in_kafka), COUNT)
        self.assertEqual(self.stack.dispositions(FAST_PATH)["stored"], COUNT)
        self.assertEqual(self.stack.psql(f"select count(*) from capsule.events where topic = '{FAST_PATH}'"), [[str(COUNT)]])

    def test_2_postgres_holds_the_bytes_that_kcat_reads(self):
        rows = self.stack.psql("select kafka_partition, kafka_offset, encode(raw, 'hex'), rim_node_id from capsule.events "
                               f"where topic = '{FAST_PATH}'")
        archived = {(int(p), int(o)): (raw, node) for p, o, raw, node in rows}
        seen = {(r["partition"], r["offset"]): (r["value"].hex(), r["key"].decode()) for r in self.in_kafka}
        self.assertEqual(archived, seen)

    def test_3_http_gives_the_bytes_that_kcat_reads(self):
        events, trailer = self.stack.replay(topic=FAST_PATH)
        self.assertEqual(trailer["count"], COUNT)
        where = {(e["partition"], e["offset"]): e["event_id"] for e in events}
        for record in random.Random(5).sample(self.in_kafka, 100):
            event_id = where[(record["partition"], record["offset"])]
            self.assertEqual(self.stack.raw(f"/v1/events/{event_id}/raw"), (200, record["value"]))
            self.assertEqual(self.stack.raw(f"/v1/events/{event_id}/raw", part="key"), (200, record["key"]))

    def test_4_ids_are_kept_derived_or_made(self):
        events, _ = self.stack.replay(topic=FAST_PATH)
        self.assertEqual(len({e["event_id"] for e in events}), COUNT)
        by_number = {e["payload"]["metadata"]["n"]: e for e in events}
        for i, line in enumerate(self.lines):
            event = by_number[str(i)]
            if i % 5 == 0:
                self.assertEqual(event["event_id"], line["event_id"])
                self.assertNotIn("source_id", event)
            elif i % 5 == 1:
                self.assertEqual(event["event_id"], id_of_text(line["event_id"]))
                self.assertEqual(event["source_id"], line["event_id"])
            else:
                self.assertEqual(uuid.UUID(event["event_id"]).version, 7)

    def test_5_the_payload_is_what_was_said(self):
        events, _ = self.stack.replay(topic=FAST_PATH)
        by_number = {e["payload"]["metadata"]["n"]: e for e in events}
        for i, line in enumerate(self.lines):
            payload = by_number[str(i)]["payload"]
            for name in ("rim_node_id", "price", "volume", "status", "metadata", "critical_metrics"):
                self.assertEqual(payload[name], line.get(name), name)
            self.assertEqual(payload["vector_timestamp"]["event_ts_ms"], line["vector_timestamp"]["event_ts_ms"])

    def test_6_an_id_can_be_asked_for_either_way(self):
        text = next(line["event_id"] for line in self.lines if line.get("event_id", "").startswith("order-"))
        one, other = self.stack.get("/v1/events/" + id_of_text(text)), self.stack.get("/v1/events/" + text.replace("/", "%2F").replace("ü", "%C3%BC"))
        self.assertEqual(one, other)
        self.assertEqual([s["disposition"] for s in one["seen"]], ["stored"])

    def test_7_stress_makes_reflexes_and_each_is_judged(self):
        reflexes = self.stack.pages("/v1/events", topic=REFLEX)
        decisions = self.stack.pages("/v1/events", topic=DECISION)
        stressed = {e["event_id"] for e in self.stack.replay(topic=FAST_PATH)[0] if e["payload"]["stress"] == 0.95}
        self.assertEqual(len(stressed), COUNT // 500)
        self.assertEqual({r["payload"]["cause_id"] for r in reflexes if r["payload"]["regime_to"] == "CRITICAL"}, stressed)
        self.assertEqual(sorted(d["payload"]["cause_id"] for d in decisions), sorted(r["event_id"] for r in reflexes))
        for d in decisions:
            self.assertIn(d["payload"]["verdict"], ("allow", "escalate", "deny"))
            self.assertTrue(d["payload"]["reason"])
        caused = self.stack.get("/v1/events", topic=REFLEX, cause=sorted(stressed)[0])["events"]
        self.assertTrue(caused)

    def test_8_the_same_answers_in_psql_over_http_and_on_the_command_line(self):
        node, as_of = "rim:entity:finance:N5", "2024-06-01T10:05:00Z"
        state = self.stack.get(f"/v1/nodes/{node}/state", as_of=as_of, topic=FAST_PATH)["states"]
        rows = self.stack.psql(f"select event_id, payload from capsule.state_as_of('{as_of}') where rim_node_id = '{node}' and topic = '{FAST_PATH}'")
        self.assertEqual([e["event_id"] for e in state], [r[0] for r in rows])
        self.assertEqual(json.loads(rows[0][1])["price"], state[0]["payload"]["price"])
        cli = json.loads(self.stack.butterfly("state", node, "--as-of", as_of, "--topic", FAST_PATH, "--json").stdout)
        self.assertEqual(cli["states"], state)
        table = self.stack.butterfly("history", node, "--limit", "5").stdout.decode()
        self.assertEqual(table.count(node), 5, table)

    def test_9_republication_adds_nothing(self):
        named = [line for line in self.lines if "event_id" in line]
        _, before = self.stack.replay(topic=FAST_PATH)
        # ingest_ts_ms is when perception took it: say the same as the first time, so that the content is the same
        first = {e["payload"]["event_id"]: e["payload"]["vector_timestamp"] for e in self.stack.replay(topic=FAST_PATH)[0]}
        again = [{**line, "vector_timestamp": {**line["vector_timestamp"], **first[line["event_id"]]}} for line in named]
        self.stack.perception(again)
        self.stack.wait_taken(COUNT + len(named))
        self.stack.wait_quiet()
        self.assertEqual(self.stack.dispositions(FAST_PATH)["duplicate"], len(named))
        _, after = self.stack.replay(topic=FAST_PATH)
        self.assertEqual((after["count"], after["digest"]), (before["count"], before["digest"]))
        seen = self.stack.get("/v1/events/" + named[0]["event_id"])["seen"]
        self.assertEqual([s["disposition"] for s in seen], ["stored", "duplicate"])

    def test_a_verify_and_status_say_that_all_is_well(self):
        report = json.loads(self.stack.butterfly("verify", "--json").stdout)
        self.assertEqual((report["ok"], report["lost-before-read"], report["quarantined"]), (True, 0, 0))
        self.stack.butterfly("status")

    def test_b_the_command_line_replays_into_a_file_with_its_digest(self):
        out = self.dir + "/replay.ndjson"
        self.stack.butterfly("replay", "--topic", FAST_PATH, "--output", out)
        with open(out, "rb") as f:
            lines = f.read().splitlines(keepends=True)
        trailer = json.loads(lines[-1])
        self.assertEqual(trailer["digest"], "sha256:" + hashlib.sha256(b"".join(lines[:-1])).hexdigest())
        self.assertEqual(trailer["count"], COUNT)

    def test_c_the_command_line_lists_nodes_schemas_and_reads(self):
        nodes = [n["rim_node_id"] for n in json.loads(self.stack.butterfly("nodes", "--json", "--limit", "10000").stdout)["nodes"]]
        self.assertTrue(nodes)
        self.assertIn(FAST_PATH, self.stack.butterfly("nodes", nodes[0]).stdout.decode())
        event = self.stack.get("/v1/events", topic=FAST_PATH, limit=1)["events"][0]
        schema = json.loads(self.stack.butterfly("schema", str(event["schema_id"])).stdout)
        self.assertEqual(schema["type"], "record")
        self.assertEqual(self.stack.butterfly("schema", check=False).returncode, 2)
        reads = json.loads(self.stack.butterfly("reads", "--json", "--limit", "10000").stdout)["reads"]
        self.assertIn("/v1/events", [r["route"] for r in reads])
        self.assertIn("QUESTION", self.stack.butterfly("reads", "--limit", "1").stdout.decode())


if __name__ == "__main__":
    unittest.main()
