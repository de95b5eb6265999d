#!/usr/bin/env python3
"""ODYSSEY and PLATO on a real Kafka: the chain of causes with its trace, limits, four eyes, judging again, CAPSULE away, poison, metrics."""
import json
import os
import signal
import time
import unittest
import urllib.error
import urllib.request

from harness import DECISION, FAST_PATH, REFLEX, SystemTest, fast_event, framed, signal_line, wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
MINUTE_MS = 60000


def http(url, body=None):
    """(status, JSON or text)"""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as e:
        status, text = e.code, e.read()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text.decode()


class Services(SystemTest):
    def metric(self, service, name):
        """The sum over a metric's series that begin so."""
        _, text = http(self.stack.read_endpoints()[service] + "/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def moves(self, node, count, headers=()):
        """Prices that go up and down by more than 3 %, a minute apart."""
        schema = self.stack.schema_id()
        for i in range(count + 1):
            self.broker.produce(FAST_PATH, framed(schema, fast_event(node, 1717236000000 + i * MINUTE_MS, event_id=f"{node}-{i}", price=100.0 + 10 * (i % 2))),
                                key=node, headers=headers)

    def decisions_of(self, node, count):
        def there():
            found = self.stack.pages("/v1/events", topic=DECISION, node=node)
            return found if len(found) >= count else None
        return wait_until(there, f"{count} decisions about {node}")

    def test_1_signal_reflex_and_decision_are_one_chain_with_one_trace(self):
        node = "rim:metric:chain:a"
        self.moves(node, 1, headers=(("traceparent", PARENT),))
        decision = self.decisions_of(node, 1)[0]
        reflex = self.stack.get("/v1/events/" + decision["payload"]["cause_id"], topic=REFLEX)
        cause = self.stack.get("/v1/events/" + reflex["payload"]["cause_id"], topic=FAST_PATH)
        self.assertEqual((cause["source_id"], reflex["payload"]["rule"]), (f"{node}-1", "price-move-3-percent"))
        self.assertEqual([e["trace_id"] for e in (cause, reflex, decision)], [TRACE] * 3)
        self.assertEqual(reflex["payload"]["trace_id"], TRACE)
        for topic, event in ((REFLEX, reflex), (DECISION, decision)):
            sent = [r["headers"] for r in self.broker.consume(topic) if r["key"] == node.encode()]
            self.assertEqual(sent, [f"traceparent=00-{TRACE}-{event['event_id'].replace('-', '')[16:]}-01"])
        for start in (cause, reflex, decision):
            tree = json.loads(self.stack.butterfly("trace", start["event_id"], "--json").stdout)
            self.assertEqual(tree["event_id"], cause["event_id"])
            self.assertEqual([r["event_id"] for r in tree["caused"]], [reflex["event_id"]])
            self.assertEqual([d["event_id"] for d in tree["caused"][0]["caused"]], [decision["event_id"]])
        shown = self.stack.butterfly("trace", reflex["event_id"]).stdout.decode()
        self.assertRegex(shown, rf"(?m)^\s*{FAST_PATH} .*\n\s*{REFLEX} \* .*\n\s*{DECISION} ")
        self.assertEqual(self.stack.butterfly("trace", "never-was", check=False).returncode, 1)

    def test_2_limits_count_within_the_window_and_every_decision_can_be_judged_again(self):
        node = "rim:metric:limits:a"
        self.moves(node, 5)
        decisions = sorted(self.decisions_of(node, 5), key=lambda d: d["event_time"])
        self.assertEqual([d["payload"]["verdict"] for d in decisions], ["allow"] * 3 + ["escalate"] * 2)
        self.assertEqual([d["payload"]["evidence"]["earlier"] for d in decisions], ["0", "1", "2", "3", "4"])
        self.assertEqual({d["payload"]["policy"] for d in decisions}, {"moves"})
        for d in decisions:
            again = json.loads(self.stack.butterfly("rejudge", d["event_id"], "--json").stdout)
            self.assertEqual((again["same"], again["again"]["verdict"], again["kept"]), (True, d["payload"]["verdict"], again["again"]))
            evidence = d["payload"]["evidence"]
            state = self.stack.get(f"/v1/nodes/{node}/state", as_of=evidence["as_of"], known_by=evidence["known_by"], topic=FAST_PATH)["states"]
            self.assertEqual([e["event_id"] for e in state], [evidence["state"]])
        self.assertEqual(self.stack.butterfly("rejudge", "never-was", check=False).returncode, 1)

    def test_3_an_escalated_decision_gets_its_second_once(self):
        node = "rim:metric:eyes:a"
        self.stack.perception([signal_line(i, node=node, event_id=f"eyes-{i}", stress=[0.1, 0.85][i]) for i in range(2)])
        first = self.decisions_of(node, 1)[0]
        self.assertEqual((first["payload"]["verdict"], first["payload"]["policy"]), ("escalate", "critical-needs-a-person"))
        second = self.stack.read_endpoints()["plato"] + f"/v1/decisions/{first['event_id']}/second"
        good = {"verdict": "allow", "by": "Ada", "reason": "seen on the floor"}
        for bad, word in (({**good, "verdict": "escalate"}, "verdict"), ({**good, "by": ""}, "by"), ({"verdict": "deny", "by": "x"}, "reason"), ([], "verdict")):
            status, problem = http(second, bad)
            self.assertEqual((status, word in problem["detail"]), (400, True), problem)
        self.assertEqual(http(second.replace(first["event_id"], "00000000-0000-7000-8000-000000000000"), good)[0], 404)
        status, made = http(second, good)
        self.assertEqual((status, made["verdict"]), (201, "allow"), made)
        self.assertEqual(http(second, {**good, "verdict": "deny", "by": "Bob"})[0], 409)
        event = wait_until(lambda: self.stack.get("/v1/events/" + made["event_id"], topic=DECISION), "the second decision")
        self.assertEqual((event["cause_id"], event["payload"]["policy"], event["payload"]["evidence"]["by"]), (first["event_id"], "four-eyes", "Ada"))
        self.assertEqual(http(second, good)[0], 409)
        self.assertEqual(http(second.replace(first["event_id"], made["event_id"]), good)[0], 409)  # it is no escalation
        tree = json.loads(self.stack.butterfly("trace", made["event_id"], "--json").stdout)
        self.assertEqual(tree["caused"][0]["caused"][0]["caused"][0]["event_id"], made["event_id"])

    def test_4_while_capsule_is_away_decisions_wait_in_order(self):
        node = "rim:metric:away:a"
        pid = self.stack.pid("capsule")
        self.moves(node, 1)
        self.decisions_of(node, 1)
        os.kill(pid, signal.SIGSTOP)
        try:
            schema = self.stack.schema_id()
            for i in range(6):
                self.broker.produce(FAST_PATH, framed(schema, fast_event(node, 1717300000000 + i * MINUTE_MS, event_id=f"away-{i}", price=50.0 + 10 * (i % 2))), key=node)
            wait_until(lambda: sum(r["key"] == node.encode() for r in self.broker.consume(REFLEX)) == 7, "reflexes go on without CAPSULE")
            time.sleep(1)
            self.assertEqual(sum(r["key"] == node.encode() for r in self.broker.consume(DECISION)), 1)
        finally:
            os.kill(pid, signal.SIGCONT)
        decisions = self.decisions_of(node, 7)
        in_kafka = [r["offset"] for r in self.broker.consume(DECISION) if r["key"] == node.encode()]
        self.assertEqual(len(in_kafka), 7)
        by_offset = sorted(decisions, key=lambda d: d["offset"])
        self.assertEqual([d["event_time"] for d in by_offset], sorted(d["event_time"] for d in decisions))

    def test_5_what_cannot_be_read_is_counted_and_passed_by(self):
        before = self.metric("odyssey", 'odyssey_rejected_total{reason="framing"}')
        for garbage in (b"nonsense", b"\x01\x02\x03"):
            self.broker.produce(FAST_PATH, garbage, key="rim:metric:poison:a")
        self.broker.produce(REFLEX, b"nonsense", key="rim:metric:poison:a")
        self.moves("rim:metric:poison:a", 1)
        self.decisions_of("rim:metric:poison:a", 1)
        self.assertEqual(self.metric("odyssey", 'odyssey_rejected_total{reason="framing"}'), before + 2)
        self.assertEqual(self.metric("plato", 'plato_rejected_total{reason="framing"}'), 1)
        self.assertEqual(self.stack.log("odyssey").count("event=rejected"), 1)

    def test_6_metrics_tell_of_lag_nodes_and_work(self):
        self.assertEqual(self.metric("odyssey", "odyssey_partitions"), 12)
        wait_until(lambda: self.metric("odyssey", "odyssey_consumer_lag_messages") == 0, "no lag")
        self.assertGreater(self.metric("odyssey", "odyssey_nodes"), 3)
        self.assertGreater(self.metric("odyssey", "odyssey_state_bytes"), 300)
        self.assertGreater(self.metric("odyssey", 'odyssey_signals_total{outcome="taken"}'), 10)
        self.assertGreater(self.metric("plato", "plato_decisions_total"), 10)
        self.assertEqual(http(self.stack.endpoints["plato"] + "/livez")[0], 200)


if __name__ == "__main__":
    unittest.main()
