"""confluent-kafka's schema registry client and Avro serialisers against the registry at argv[1]. One line a check; exit 1 at the first that fails."""
import json
import sys
import traceback

from confluent_kafka.schema_registry import RegisteredSchema, Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

URL = sys.argv[1]


def client():
    return SchemaRegistryClient({"url": URL})


def record(*fields):
    return json.dumps({"type": "record", "name": "Order", "namespace": "shop", "fields": list(fields)})


ID = {"name": "id", "type": "string"}
NUMBER = {"name": "n", "type": "int"}
NUMBER_DEFAULT = {"name": "n", "type": "int", "default": 0}
CHECKS = []


def check(run):
    CHECKS.append(run)
    return run


def refused(status, code, run, *args, **named):
    try:
        run(*args, **named)
    except SchemaRegistryError as e:
        assert (e.http_status_code, e.error_code) == (status, code), (e.http_status_code, e.error_code, str(e))
        return
    raise AssertionError("was not refused")


@check
def registers_and_again_with_the_same_id():
    first = client().register_schema("orders-value", Schema(record(ID), "AVRO"))
    assert client().register_schema("orders-value", Schema(record(ID), "AVRO")) == first
    full = client().register_schema_full_response("orders-value", Schema(record(ID), "AVRO"))
    assert isinstance(full, RegisteredSchema) and full.schema_id == first and full.guid


@check
def reads_by_id_guid_version_and_latest():
    c = client()
    latest = c.get_latest_version("orders-value")
    assert latest.version == 1 and json.loads(latest.schema.schema_str) == json.loads(record(ID))
    assert c.get_version("orders-value", 1).schema_id == latest.schema_id
    assert json.loads(c.get_schema(latest.schema_id).schema_str)["name"] == "Order"
    assert json.loads(client().get_schema_by_guid(latest.guid).schema_str)["name"] == "Order"
    assert c.get_subjects() == ["orders-value"]
    assert c.get_versions("orders-value") == [1]
    assert c.lookup_schema("orders-value", Schema(record(ID), "AVRO")).version == 1


@check
def serialises_and_deserialises():
    context = SerializationContext("orders", MessageField.VALUE)
    data = AvroSerializer(client(), record(ID))({"id": "a-1"}, context)
    assert data[0] == 0
    assert AvroDeserializer(client())(data, context) == {"id": "a-1"}


@check
def serialises_with_references():
    address = json.dumps({"type": "record", "name": "Address", "namespace": "shop", "fields": [{"name": "city", "type": "string"}]})
    client().register_schema("address", Schema(address, "AVRO"))
    schema = Schema(record(ID, {"name": "to", "type": "shop.Address"}), "AVRO", [SchemaReference("shop.Address", "address", 1)])
    context = SerializationContext("sent", MessageField.VALUE)
    value = {"id": "a", "to": {"city": "Berne"}}
    data = AvroSerializer(client(), schema)(value, context)
    assert AvroDeserializer(client())(data, context) == value


@check
def tests_and_enforces_compatibility():
    c = client()
    assert c.test_compatibility("orders-value", Schema(record(ID, NUMBER_DEFAULT), "AVRO"))
    assert not c.test_compatibility("orders-value", Schema(record(ID, NUMBER), "AVRO"))
    refused(409, 409, c.register_schema, "orders-value", Schema(record(ID, NUMBER), "AVRO"))
    assert c.get_compatibility() == "BACKWARD"
    c.set_compatibility("orders-value", "NONE")
    assert c.get_compatibility("orders-value") == "NONE"
    c.register_schema("orders-value", Schema(record(ID, NUMBER), "AVRO"))
    assert c.get_versions("orders-value") == [1, 2]


@check
def error_codes_arrive_as_codes():
    c = client()
    refused(404, 40401, c.get_latest_version, "nobody")
    refused(404, 40402, c.get_version, "orders-value", 99)
    refused(404, 40403, c.get_schema, 99999)
    refused(404, 40408, c.get_compatibility, "nobody")
    refused(422, 42201, c.register_schema, "bad", Schema('{"type":"nonsense"}', "AVRO"))
    refused(422, 42203, c.set_compatibility, "bad", "SIDEWAYS")


@check
def deletes_in_two_steps():
    c = client()
    assert c.delete_version("orders-value", 2) == 2
    assert c.get_versions("orders-value") == [1]
    assert c.delete_subject("orders-value", permanent=False) == [1]
    assert c.delete_subject("orders-value", permanent=True) == [1, 2]
    assert "orders-value" not in client().get_subjects()


for run in CHECKS:
    name = run.__name__.replace("_", " ")
    try:
        run()
    except Exception:
        print(f"FAILED confluent-kafka: {name}: {traceback.format_exc()}", flush=True)
        sys.exit(1)
    print(f"ok confluent-kafka: {name}", flush=True)
