#!/usr/bin/env python3
"""A topic that did not exist when CAPSULE started: found while running, with a schema of its own; names that are not event topics are left alone."""
import unittest

from harness import SystemTest, avro_string, framed, wait_until, zigzag

SCHEMA = {"type": "record", "name": "Sighting", "namespace": "test", "fields": [
    {"name": "rim_node_id", "type": "string"}, {"name": "event_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "weight", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}}]}


def sighting(i):
    weight = (1500 + i).to_bytes(2, "big", signed=True)
    return (avro_string(f"rim:actor:zoo:animal-{i}") + avro_string(f"sighting-{i}") + zigzag(1717236000000 + i) + zigzag(len(weight)) + weight)


class NewTopic(SystemTest):
    def test_a_topic_that_appears_is_taken_in(self):
        schema = self.stack.register("zoo.sighting-value", SCHEMA)
        for i in range(5):
            self.broker.produce("zoo.sighting", framed(schema, sighting(i)), key=f"rim:actor:zoo:animal-{i}")
        for other in ("Zoo.Sighting", "sightings", "zoo.sighting.dlq", "replay.zoo"):
            self.broker.produce(other, framed(schema, sighting(9)), key="rim:actor:zoo:animal-9")
        self.stack.wait_taken(5, "zoo.sighting", timeout=60)
        self.stack.wait_quiet()
        events, _ = self.stack.replay(topic="zoo.sighting")
        self.assertEqual([(e["source_id"], e["payload"]["weight"], e["event_time"]) for e in events],
                         [(f"sighting-{i}", f"1.50{i}", f"2024-06-01T10:00:00.00{i}000Z") for i in range(5)])
        topics = {t["topic"] for t in self.stack.get("/v1/topics")["topics"]}
        self.assertIn("zoo.sighting", topics)
        self.assertFalse(topics & {"Zoo.Sighting", "sightings", "zoo.sighting.dlq", "replay.zoo"})
        rows = self.stack.psql("select source_id, domain from (select source_id, split_part(topic, '.', 1) as domain from capsule.events "
                               "where topic = 'zoo.sighting') e order by 1")
        self.assertEqual(rows, [[f"sighting-{i}", "zoo"] for i in range(5)])
        kept = self.stack.get(f"/v1/schemas/{schema}")
        self.assertIn("Sighting", kept["schema"])
        wait_until(lambda: self.stack.get("/v1/lag")["lag_messages"] == 0, "no lag")


if __name__ == "__main__":
    unittest.main()
