#!/usr/bin/env python3
"""Pairs of Avro schemas, one "reader TAB writer" a line, the same for the same seed.

Two thirds are a schema and a mutation of it (the kinds of change that people make), in both directions; the others are two schemas of
their own. Names come from small pools, so that unrelated types meet. A few schemas are invalid on purpose.
"""
import copy
import json
import random
import sys

PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
NAMES = ["A", "B", "C", "Order", "Node", "Pair"]
SPACES = [None, None, "x", "x.y", "z"]
FIELDS = ["a", "b", "c", "d", "id", "next", "value"]
SYMBOLS = ["RED", "GREEN", "BLUE", "BLACK", "WHITE"]
LOGICAL = [("int", "date", {}), ("long", "timestamp-millis", {}), ("long", "timestamp-micros", {}), ("string", "uuid", {}),
           ("bytes", "decimal", {"precision": 9, "scale": 2}), ("bytes", "decimal", {"precision": 4}), ("int", "time-millis", {}),
           ("long", "no-such-type", {}), ("string", "date", {})]


class Maker:
    """One schema: remembers which names are taken, and by what, in the namespace that holds."""

    def __init__(self, rng):
        self.rng = rng
        self.types = {}  # full name -> (definition or None while it is open)

    def full(self, name, space):
        return name if space is None else space + "." + name

    def fresh_name(self, space):
        for _ in range(20):
            name, own = self.rng.choice(NAMES), self.rng.choice(SPACES)
            effective = own if own is not None else space
            if self.full(name, effective) not in self.types:
                return name, own, effective
        name = "T%d" % len(self.types)
        return name, None, space

    def header(self, kind, space):
        name, own, effective = self.fresh_name(space)
        node = {"type": kind, "name": name}
        if own is not None:
            if self.rng.random() < 0.3:
                node["name"] = own + "." + name
            else:
                node["namespace"] = own
        if self.rng.random() < 0.15:
            node["aliases"] = self.rng.sample(["A", "B", "x.C", "z.Order", "Old"], self.rng.randint(1, 2))
        if self.rng.random() < 0.1:
            node["doc"] = "text"
        full = self.full(name, effective)
        self.types[full] = None
        return node, full, effective

    def make(self, depth, space=None, in_union=False):
        r = self.rng.random()
        if depth <= 0 or r < 0.35:
            return self.primitive()
        if r < 0.43 and self.types:
            return self.reference(space)
        if r < 0.50 and not in_union:
            return self.union(depth, space)
        if r < 0.58:
            return {"type": "array", "items": self.make(depth - 1, space)}
        if r < 0.65:
            return {"type": "map", "values": self.make(depth - 1, space)}
        if r < 0.73:
            return self.enum(space)
        if r < 0.80:
            node, full, _ = self.header("fixed", space)
            node["size"] = self.rng.choice([1, 4, 8, 16])
            self.types[full] = node
            return node
        return self.record(depth, space)

    def primitive(self):
        if self.rng.random() < 0.12:
            base, logical, extra = self.rng.choice(LOGICAL)
            return {"type": base, "logicalType": logical, **extra}
        return self.rng.choice(PRIMITIVES)

    def reference(self, space):
        full = self.rng.choice(sorted(self.types))
        prefix = "" if space is None else space + "."
        if space is not None and full.startswith(prefix) and "." not in full[len(prefix):] and self.rng.random() < 0.5:
            return full[len(prefix):]
        return full

    def enum(self, space):
        node, full, _ = self.header("enum", space)
        node["symbols"] = self.rng.sample(SYMBOLS, self.rng.randint(1, 4))
        if self.rng.random() < 0.35:
            node["default"] = self.rng.choice(node["symbols"])
        self.types[full] = node
        return node

    def union(self, depth, space):
        seen, branches = set(), []
        if self.rng.random() < 0.6:
            branches.append("null")
            seen.add("null")
        for _ in range(self.rng.randint(1, 3)):
            b = self.make(depth - 1, space, in_union=True)
            key = b if isinstance(b, str) else b["type"]
            if key in ("record", "enum", "fixed"):
                key = b.get("namespace", "") + b["name"]
            if key not in seen:
                seen.add(key)
                branches.append(b)
        self.rng.shuffle(branches)
        return branches

    def record(self, depth, space):
        node, full, effective = self.header("record", space)
        names = self.rng.sample(FIELDS, self.rng.randint(0, 4))
        node["fields"] = []
        for name in names:
            f = {"name": name, "type": self.make(depth - 1, effective)}
            if self.rng.random() < 0.45:
                self.add_default(f)
            if self.rng.random() < 0.1:
                f["aliases"] = self.rng.sample(FIELDS, self.rng.randint(1, 2))
            if self.rng.random() < 0.05:
                f["order"] = self.rng.choice(["ascending", "descending", "ignore"])
            node["fields"].append(f)
        self.types[full] = node
        return node

    def add_default(self, field):
        value = self.default(field["type"])
        if value is not NotImplemented:
            field["default"] = value

    def default(self, t):
        if isinstance(t, list):
            return self.default(self.rng.choice(t)) if t else NotImplemented
        if isinstance(t, dict) and t["type"] in PRIMITIVES:
            t = t["type"]
        if isinstance(t, str):
            plain = {"null": None, "boolean": True, "int": 7, "long": 2**40, "float": 1.5, "double": 2, "bytes": "\u00ff", "string": "s"}
            return plain.get(t, NotImplemented)
        kind = t["type"]
        if kind == "array":
            return []
        if kind == "map":
            return {}
        if kind == "enum":
            return self.rng.choice(t["symbols"])
        if kind == "fixed":
            return "\u0001" * t["size"]
        value = {}
        for f in t["fields"]:
            if "default" in f and self.rng.random() < 0.5:
                continue
            one = self.default(f["type"])
            if one is NotImplemented:
                return NotImplemented
            value[f["name"]] = one
        return value


def places(node, path=()):
    """Every place where a type stands, as (holder, key)."""
    if isinstance(node, list):
        for i, b in enumerate(node):
            yield node, i
            yield from places(b, path)
    elif isinstance(node, dict):
        kind = node.get("type")
        if kind == "array":
            yield node, "items"
            yield from places(node["items"])
        elif kind == "map":
            yield node, "values"
            yield from places(node["values"])
        elif kind == "record":
            for f in node["fields"]:
                yield f, "type"
                yield from places(f["type"])


def nodes(root, kind):
    box = [root]
    return [h[k] for h, k in [(box, 0), *places(root)] if isinstance(h[k], dict) and h[k].get("type") == kind]


PROMOTE = {"int": ["long", "float", "double"], "long": ["float", "double", "int"], "float": ["double"], "string": ["bytes"],
           "bytes": ["string"], "double": ["float"]}


def mutate(rng, schema):
    root = [copy.deepcopy(schema)]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        change(rng, root)
    return root[0]


def change(rng, root):
    spots = [(root, 0), *places(root[0])]
    records, enums, fixeds = nodes(root[0], "record"), nodes(root[0], "enum"), nodes(root[0], "fixed")
    kind = rng.randrange(13)
    if kind <= 1:
        h, k = rng.choice(spots)
        if isinstance(h[k], str) and h[k] in PROMOTE:
            h[k] = rng.choice(PROMOTE[h[k]])
    elif kind == 2 and records:
        r = rng.choice(records)
        free = [n for n in FIELDS if n not in [f["name"] for f in r["fields"]]]
        if free:
            f = {"name": rng.choice(free), "type": Maker(rng).primitive()}
            if rng.random() < 0.6:
                Maker(rng).add_default(f)
            r["fields"].insert(rng.randint(0, len(r["fields"])), f)
    elif kind == 3 and records:
        r = rng.choice(records)
        if r["fields"]:
            r["fields"].pop(rng.randrange(len(r["fields"])))
    elif kind == 4 and records:
        r = rng.choice(records)
        if r["fields"]:
            f = rng.choice(r["fields"])
            old, f["name"] = f["name"], rng.choice(FIELDS) + "2"
            if rng.random() < 0.7:
                f["aliases"] = [old]
    elif kind == 5 and enums:
        e = rng.choice(enums)
        e["symbols"] = rng.sample(SYMBOLS, rng.randint(1, 5))
        e.pop("default", None)
        if rng.random() < 0.5:
            e["default"] = rng.choice(e["symbols"])
    elif kind == 6 and fixeds:
        rng.choice(fixeds)["size"] = rng.choice([1, 4, 8, 16])
    elif kind == 7 and records + enums + fixeds:
        n = rng.choice(records + enums + fixeds)
        n["aliases"] = n.get("aliases", []) + [n["name"]]
        n["name"] = n["name"].split(".")[-1] + "New"
    elif kind == 8 and records + enums + fixeds:
        n = rng.choice(records + enums + fixeds)
        n["namespace"] = rng.choice(["x", "other.space", ""])
    elif kind == 9:
        h, k = rng.choice(spots)
        if not isinstance(h[k], list) and not isinstance(h, list):
            h[k] = rng.choice([[h[k], "null"], ["null", h[k]], [h[k]], [h[k], "string"]])
            if isinstance(h, dict):
                h.pop("default", None)
    elif kind == 10:
        unions = [(h, k) for h, k in spots if isinstance(h[k], list)]
        if unions:
            h, k = rng.choice(unions)
            branches = h[k]
            if rng.random() < 0.4 and len(branches) > 1:
                branches.pop(rng.randrange(len(branches)))
            elif rng.random() < 0.5:
                rng.shuffle(branches)
            else:
                branches.append(rng.choice(PRIMITIVES))
    elif kind == 11 and records:
        r = rng.choice(records)
        for f in r["fields"]:
            if rng.random() < 0.5:
                f.pop("default", None)
        rng.shuffle(r["fields"])
    else:
        h, k = rng.choice(spots)
        h[k] = Maker(rng).primitive()


def spoil(rng, schema):
    """Make it wrong, mostly: what both sides must refuse, or both accept."""
    root = [copy.deepcopy(schema)]
    spots = [(root, 0), *places(root[0])]
    h, k = rng.choice(spots)
    kind = rng.randrange(12)
    records = nodes(root[0], "record")
    if kind == 0:
        h[k] = "NoSuchType"
    elif kind == 1:
        h[k] = ["null", "null"]
    elif kind == 2:
        h[k] = [["null"]]
    elif kind == 3:
        h[k] = {"type": "enum", "name": "E1", "symbols": ["A", "A"]}
    elif kind == 4:
        h[k] = {"type": "enum", "name": "E1", "symbols": ["A"], "default": "B"}
    elif kind == 5:
        h[k] = {"type": "record", "name": rng.choice(["1bad", "bad-name", "x..y", ""]), "fields": []}
    elif kind == 6 and records:
        records[0]["fields"].append({"name": "q", "type": rng.choice(PRIMITIVES), "default": rng.choice([None, 1, "s", True, 1.5, [], {}])})
    elif kind == 7 and records and records[0]["fields"]:
        records[0]["fields"].append(copy.deepcopy(records[0]["fields"][0]))
    elif kind == 8:
        h[k] = {"type": "fixed", "name": "F1", "size": rng.choice([-1, "4", 2**40, 0])}
    elif kind == 9:
        h[k] = rng.choice([{"type": "array"}, {"type": "map"}, {"type": "record", "name": "R1"}, {"type": "enum", "name": "E2"}, {}, 5, None])
    elif kind == 10:
        h[k] = {"type": "record", "name": "R2", "fields": [{"name": "f", "type": ["int", "string"], "default": rng.choice([1, "s", None, 1.5])}]}
    else:
        h[k] = {"type": "record", "name": "Self", "fields": [{"name": "me", "type": rng.choice(["Self", ["null", "Self"]]),
                                                               "default": rng.choice([None, {}])}]}
    return root[0]


def pair(rng):
    one = Maker(rng).make(rng.choice([1, 2, 3, 4]))
    r = rng.random()
    if r < 0.66:
        other = mutate(rng, one)
    elif r < 0.94:
        other = Maker(rng).make(rng.choice([1, 2, 3, 4]))
    else:
        other = spoil(rng, one)
    if rng.random() < 0.5:
        one, other = other, one
    return one, other


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(seed)
    for _ in range(count):
        reader, writer = pair(rng)
        print(json.dumps(reader, ensure_ascii=False, separators=(",", ":")) + "\t" +
              json.dumps(writer, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
