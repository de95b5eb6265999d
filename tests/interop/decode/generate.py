"""Random schemas, random Avro bytes of them, and what they mean, one pair a line: schema, bytes in hex, JSON; between tabs.

The bytes come from an encoder of our own that uses what the format allows (several blocks, negative counts with sizes); Apache Avro's Python
library reads them, and the JSON form of an event (bf_avro.h) is rendered here from what it read. Usage: generate.py PAIRS SEED
"""
import io
import json
import math
import random
import struct
import sys

sys.path.append("/usr/lib/python3/dist-packages")  # Debian's python3-avro, also for another python3
import avro.io
import avro.schema

VALUES_PER_SCHEMA = 10
PLAIN = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
LOGICAL = [("int", "date"), ("int", "time-millis"), ("long", "time-micros"), ("long", "timestamp-millis"), ("long", "timestamp-micros"),
           ("long", "local-timestamp-millis"), ("string", "uuid"), ("string", "nobody-knows-this"), ("bytes", "uuid")]
CHARS = "abcXYZ019_ -/\"\\\b\f\n\r\t\x00\x01\x1f\x7f\x80\xe9\u20ac\ud7ff\ue000\uffff\U0001f41b\U0010ffff"


class SchemaMaker:
    def __init__(self, rnd):
        self.rnd, self.count, self.known, self.open = rnd, 0, [], []
        self.spaces = rnd.choice([[""], ["n.", "n.m."]])  # all or none: what has no namespace cannot be named where there is one

    def name(self):
        self.count += 1
        return f"{self.rnd.choice(self.spaces)}T{self.count}"

    def decimal(self, of):
        of.update(logicalType="decimal", precision=self.rnd.choice([0, 1, 2, 3, 9, 18, 19, 38, 400]))
        if self.rnd.random() < 0.8:
            of["scale"] = self.rnd.choice([0, 0, 1, 2, 5, 18])
        return of

    def fixed(self):
        schema = {"type": "fixed", "name": self.name(), "size": self.rnd.choice([0, 1, 2, 4, 8, 12, 16, 33])}
        self.known.append(schema["name"])
        return self.decimal(schema) if self.rnd.random() < 0.5 else schema

    def enum(self):
        schema = {"type": "enum", "name": self.name(), "symbols": [f"S_{i}" for i in range(self.rnd.randint(1, 5))]}
        self.known.append(schema["name"])
        return schema

    def record(self, depth):
        schema = {"type": "record", "name": self.name(), "fields": []}
        self.open.append(schema["name"])
        for i in range(self.rnd.randint(0, 6)):
            field = {"name": self.rnd.choice(["f", "Field_", "_x"]) + str(i), "type": self.any(depth + 1)}
            if self.rnd.random() < 0.2:
                field["doc"] = "what it is"
            schema["fields"].append(field)
        self.known.append(self.open.pop())
        return schema

    def union(self, depth):
        branches, kinds = [], set()
        for _ in range(self.rnd.randint(1, 5)):
            known = list(self.known)
            if self.open and self.rnd.random() < 0.3:
                branch = self.rnd.choice(self.open)  # recursion
            else:
                branch = self.any(depth + 1, union_ok=False)
            kind = branch if isinstance(branch, str) else branch["type"]
            kind = branch["name"] if kind in ("record", "enum", "fixed") else kind
            if kind not in kinds:
                kinds.add(kind)
                branches.append(branch)
            else:
                self.known = known  # what it defined goes with it
        if any(b in self.open for b in branches if isinstance(b, str)) and "null" not in kinds:
            branches.insert(self.rnd.randint(0, len(branches)), "null")
        return branches

    def any(self, depth, union_ok=True):
        dice = self.rnd.random()
        if depth > 4 or dice < 0.30:
            return self.rnd.choice(PLAIN)
        if dice < 0.36:
            return dict(zip(("type", "logicalType"), self.rnd.choice(LOGICAL)))
        if dice < 0.42:
            return self.decimal({"type": "bytes"})
        if dice < 0.48:
            return self.fixed()
        if dice < 0.53:
            return self.enum()
        if dice < 0.58 and self.known:
            return self.rnd.choice(self.known)
        if dice < 0.66:
            item = self.rnd.choice(self.open) if self.open and self.rnd.random() < 0.3 else self.any(depth + 1)
            return {"type": "array", "items": item}
        if dice < 0.74:
            item = self.rnd.choice(self.open) if self.open and self.rnd.random() < 0.3 else self.any(depth + 1)
            return {"type": "map", "values": item}
        if dice < 0.86 and union_ok:
            return self.union(depth)
        return self.record(depth)


def names_of(schema, names):
    """Every named type below; here all names are full, or of the space around that is the same as none given."""
    if isinstance(schema, list):
        for branch in schema:
            names_of(branch, names)
    elif isinstance(schema, dict):
        if "name" in schema:
            names[schema["name"]] = schema
        for inner in [schema.get("items"), schema.get("values")] + [f["type"] for f in schema.get("fields", [])]:
            names_of(inner, names)
    return names


def varint(v):
    z, out = (v << 1) ^ (v >> 63), bytearray()
    while z >= 0x80:
        out.append(z & 0x7F | 0x80)
        z >>= 7
    out.append(z)
    return bytes(out)


class Encoder:
    def __init__(self, rnd, names):
        self.rnd, self.names = rnd, names

    def integer(self, bits):
        v = self.rnd.getrandbits(self.rnd.randint(1, bits)) - (1 << self.rnd.randint(0, bits - 1))
        edges = [0, -1, 1, (1 << bits - 1) - 1, -(1 << bits - 1)]
        v = self.rnd.choice(edges) if self.rnd.random() < 0.2 else v
        return max(-(1 << bits - 1), min((1 << bits - 1) - 1, v))

    def real(self):
        dice = self.rnd.random()
        if dice < 0.1:
            return self.rnd.choice([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1e15, 1e-5, 1e22, 2.0**53, 0.1])
        if dice < 0.4:
            return round(self.rnd.uniform(-2000, 2000), self.rnd.randint(0, 8))
        if dice < 0.6:
            return 2.0 ** self.rnd.randint(-1074, 1023)
        return struct.unpack("<d", self.rnd.randbytes(8))[0]

    def text(self):
        return "".join(self.rnd.choice(CHARS) for _ in range(self.rnd.choice([0, 1, 3, 8, 9, 20]))).encode()

    def blocks(self, items):
        out = b""
        while items:
            take = self.rnd.randint(1, len(items))
            part = b"".join(items[:take])
            items = items[take:]
            out += varint(take) if self.rnd.random() < 0.5 else varint(-take) + varint(len(part))
            out += part
        return out + b"\0"

    def count(self, depth):
        return 0 if depth > 8 else self.rnd.choice([0, 1, 1, 2, 3, 5]) if depth < 4 else self.rnd.choice([0, 0, 1])

    def keys(self, count):
        return list({self.text() for _ in range(count)})

    def any(self, schema, depth=0):
        if isinstance(schema, list):
            index = self.rnd.randrange(len(schema))
            if depth > 8 and "null" in schema:
                index = schema.index("null")
            return varint(index) + self.any(schema[index], depth + 1)
        if isinstance(schema, str) and schema in self.names:
            schema = self.names[schema]
        kind = schema if isinstance(schema, str) else schema["type"]
        if kind == "null":
            return b""
        if kind == "boolean":
            return self.rnd.choice([b"\0", b"\1"])
        if kind in ("int", "long"):
            return varint(self.integer(32 if kind == "int" else 64))
        if kind == "float":
            return self.rnd.randbytes(4) if self.rnd.random() < 0.7 else struct.pack("<f", round(self.rnd.uniform(-99, 99), 2))
        if kind == "double":
            return struct.pack("<d", self.real())
        if kind == "string":
            text = self.text()
            return varint(len(text)) + text
        if kind == "bytes":
            run = self.rnd.randbytes(self.rnd.choice([0, 1, 2, 3, 5, 8, 17]))
            return varint(len(run)) + run
        if kind == "fixed":
            return self.rnd.randbytes(schema["size"])
        if kind == "enum":
            return varint(self.rnd.randrange(len(schema["symbols"])))
        if kind == "array":
            return self.blocks([self.any(schema["items"], depth + 1) for _ in range(self.count(depth))])
        if kind == "map":
            return self.blocks([varint(len(k)) + k + self.any(schema["values"], depth + 1) for k in self.keys(self.count(depth))])
        return b"".join(self.any(f["type"], depth + 1) for f in schema["fields"])


class Reader(avro.io.DatumReader):
    """Apache Avro's reader; of a union it also tells which branch it was."""

    def read_union(self, writers_schema, readers_schema, decoder):
        index = int(decoder.read_long())
        branch = writers_schema.schemas[index]
        return index, self.read_data(branch, branch, decoder)


def without_logical(schema):
    if isinstance(schema, list):
        return [without_logical(s) for s in schema]
    if isinstance(schema, dict):
        return {k: without_logical(v) for k, v in schema.items() if k not in ("logicalType", "precision", "scale")}
    return schema


def is_decimal(schema):
    if not isinstance(schema, dict) or schema.get("logicalType") != "decimal":
        return False
    precision, scale = schema["precision"], schema.get("scale", 0)
    most = 2466 if schema["type"] == "bytes" else len(str(2 ** (8 * schema["size"] - 1))) - 1 if schema["size"] > 0 else 0
    return 1 <= precision <= most and scale <= precision


def decimal_text(run, scale):
    n = int.from_bytes(run, "big", signed=True)
    digits = str(abs(n)).rjust(scale + 1, "0")
    return ("-" if n < 0 else "") + (digits if scale == 0 else digits[:-scale] + "." + digits[-scale:])


def real_text(v):
    """Short decimals between 1e-5 and 1e15 in full, else the first of 15, 16, 17 digits that reads back; see bf_double.c."""
    if not math.isfinite(v):
        return '"NaN"' if math.isnan(v) else '"Infinity"' if v > 0 else '"-Infinity"'
    size = abs(v)
    if size == 0 or 1e-5 <= size < 1e15:
        for k in range(10):
            if size * 10.0**k >= 1e15:
                break
            if float(round(size * 10.0**k)) / 10.0**k == size:
                return f"{v:.{max(k, 1)}f}"
    for digits in range(15 if size >= sys.float_info.min else 1, 18):
        text = f"{v:.{digits}g}"
        if float(text) == v:
            break
    return text if "." in text or "e" in text else text + ".0"


BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def base64_text(run):
    bits = "".join(f"{b:08b}" for b in run)
    bits += "0" * (-len(bits) % 6)
    text = "".join(BASE64[int(bits[i:i + 6], 2)] for i in range(0, len(bits), 6))
    return text + "=" * (-len(text) % 4)


def string_text(s):
    return json.dumps(s, ensure_ascii=False)


def render(schema, value, names):
    if isinstance(schema, list):
        return render(schema[value[0]], value[1], names)
    if isinstance(schema, str) and schema in names:
        schema = names[schema]
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "null":
        return "null"
    if kind == "boolean":
        return "true" if value else "false"
    if kind in ("int", "long"):
        return str(int(value))
    if kind in ("float", "double"):
        return real_text(value)
    if kind in ("string", "enum"):
        return string_text(value)
    if kind in ("bytes", "fixed"):
        return string_text(decimal_text(value, schema.get("scale", 0)) if is_decimal(schema) else base64_text(value))
    if kind == "array":
        return "[" + ",".join(render(schema["items"], v, names) for v in value) + "]"
    if kind == "map":
        return "{" + ",".join(string_text(k) + ":" + render(schema["values"], v, names) for k, v in value.items()) + "}"
    return "{" + ",".join(string_text(f["name"]) + ":" + render(f["type"], value[f["name"]], names) for f in schema["fields"]) + "}"


def main():
    pairs, seed = int(sys.argv[1]), int(sys.argv[2])
    rnd = random.Random(seed)
    made = 0
    while made < pairs:
        maker = SchemaMaker(rnd)
        schema = maker.record(0) if rnd.random() < 0.8 else maker.any(0)
        names = names_of(schema, {})
        text = json.dumps(schema)
        parsed = avro.schema.parse(json.dumps(without_logical(schema)))
        reader, encoder = Reader(parsed, parsed), Encoder(rnd, names)
        for _ in range(VALUES_PER_SCHEMA):
            run = encoder.any(schema)
            if len(run) > 20000:
                continue
            source = io.BytesIO(run)
            value = reader.read(avro.io.BinaryDecoder(source))
            assert source.tell() == len(run)
            print(text, run.hex(), render(schema, value, names), sep="\t")
            made += 1


main()
