"""Seeded damage to files: of their bytes, and of what JSON, YAML, arrays and tables hold."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ODD = [
    *(None, True, [], {}, "", 0, -1, 2, 2**53, 10**30, -(10**400), 0.5, -0.5, 1e308, 1e-308),
    *("x", "a/../../b", "0", "none", "é\u2028\x85", "x" * 5000, [None], [[]], {"": 0}, [1, "1"]),
]
TEXTS = [  # what JSON or YAML may choke on; some are neither
    *(
        "NaN",
        "-Infinity",
        "1e999",
        '"\\ud83d"',
        "[" * 3000 + "]" * 3000,
        '{"a":' * 3000 + "}" * 3000,
    ),
    *(
        "9" * 5000,
        "!!bool maybe",
        "!!int ''",
        "!!float ''",
        "!!timestamp abc",
        "!!binary é",
        "!!set x",
    ),
    *(
        "0x" + "f" * 5000,
        "1:1:1",
        "&a [*a]",
        "*b",
        "!!python/name:os.system ''",
        "? [a]\n: b",
        "<<: 3",
    ),
    *(
        "2024-13-45",
        "=",
        "|\n  x",
        "'",
        '"',
        "{",
        "]",
        "\t",
        "%YAML 9.9\n---",
        "...\n",
        "\x00",
        "\ufeff",
    ),
]

Mutation = Callable[[bytes, random.Random], bytes]


def flip(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def overwrite(data: bytes, draw: random.Random) -> bytes:
    start, length = draw.randrange(len(data) + 1), draw.choice((1, 2, 4, 8, 100))
    fill = draw.choice((b"\x00", b"\xff", b"\x7f", b"[", b"9", None))
    new = draw.randbytes(length) if fill is None else fill * length
    return data[:start] + new + data[start + length :]


def cut(data: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.1:
        return b""
    start = draw.randrange(len(data) + 1)
    end = len(data) if draw.random() < 0.5 else start + draw.choice((1, 2, 4, 100))
    return data[:start] + data[end:]


def repeat(data: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(data) + 1)
    piece = data[start : start + draw.choice((1, 4, 100, 4000))]
    return data[:start] + piece * draw.choice((2, 3, 50)) + data[start + len(piece) :]


def insert_text(data: bytes, draw: random.Random) -> bytes:
    """Puts a text where a value could stand."""
    places = [i + 1 for i, byte in enumerate(data) if byte in b":,[{ \n"] or [0]
    start = draw.choice(places)
    end = start
    while end < len(data) and draw.random() < 0.9 and data[end] not in b",]}\n":
        end += 1
    return data[:start] + draw.choice(TEXTS).encode() + data[end:]


BYTES: list[Mutation] = [flip, overwrite, cut, repeat]


def change(content: Any, draw: random.Random) -> Any:
    """The content with an odd value somewhere in it, or without a part of it."""
    places: list[tuple[Any, Any]] = []
    stack = [content]
    while stack:
        parent = stack.pop()
        keys = parent if isinstance(parent, dict) else range(len(parent))
        for key in keys:
            places.append((parent, key))
            if isinstance(parent[key], (dict, list)):
                stack.append(parent[key])
    if not places or draw.random() < 0.02:
        return draw.choice(ODD)
    parent, key = draw.choice(places)
    if draw.random() < 0.3:
        del parent[key]
    elif isinstance(parent, dict) and draw.random() < 0.2:
        parent[draw.choice(("x", "", "é", "../x", "details", "name"))] = parent.pop(key)
    elif isinstance(parent[key], (int, float)) and draw.random() < 0.4:
        parent[key] = draw.choice((parent[key] + 1, -parent[key], 10**6, str(parent[key])))
    else:
        parent[key] = draw.choice([*ODD, draw.choice(places)[0]])
    return content


def change_json(data: bytes, draw: random.Random) -> bytes:
    text = json.dumps(_acyclic(change(json.loads(data), draw)))
    return text.encode()


def change_yaml(data: bytes, draw: random.Random) -> bytes:
    content = _acyclic(change(yaml.safe_load(data), draw))
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()


def _acyclic(content: Any, depth: int = 0) -> Any:
    """A copy: a part that was put into itself ends at some depth."""
    if isinstance(content, dict):
        return {k: _acyclic(v, depth + 1) for k, v in content.items()} if depth < 20 else {}
    if isinstance(content, list):
        return [_acyclic(v, depth + 1) for v in content] if depth < 20 else []
    return content


def change_arrays(data: bytes, draw: random.Random) -> bytes:
    """An npz file with an odd array, or zipped in another way."""
    arrays = dict(np.load(io.BytesIO(data)))
    name = draw.choice(list(arrays))
    array = arrays.pop(name)
    odd = [
        *(array.astype(str), array.astype(complex), array.astype("M8[s]"), array.astype(bool)),
        *(array.astype(np.float64), array.astype(np.int8), array.T[..., None], array.ravel()),
        *(array * np.nan, array + np.inf, np.float32(3), np.zeros(0, np.float32)),
        *(np.array([None, {}], object), np.zeros(2, [("a", "f4"), ("b", "S3")])),
    ]
    out = io.BytesIO()
    chosen = draw.randrange(len(odd) + 5)
    if chosen < len(odd):
        arrays[name] = odd[chosen]
    elif chosen == len(odd):
        np.save(out, array)
        return out.getvalue()
    elif chosen == len(odd) + 1:
        arrays[draw.choice(("x", "../x", "é", name + "/0"))] = array
    if chosen < len(odd) + 2:
        np.savez(out, **arrays)
        return out.getvalue()
    header = {
        "descr": "<f4",
        "fortran_order": False,
        "shape": draw.choice(((2**40,), (2**62, 4), (-1,))),
    }
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, header)
    with zipfile.ZipFile(out, "w") as file:
        for other, kept in arrays.items():
            file.writestr(f"{other}.npy", _npy(kept))
        file.writestr(f"{name}.npy", huge.getvalue() if chosen == len(odd) + 2 else _npy(array))
    changed = bytearray(out.getvalue())
    if chosen == len(odd) + 4:  # another way of packing, or a password
        start = changed.rindex(b"PK\x01\x02")
        changed[start + draw.choice((8, 10))] |= draw.choice((1, 8, 12, 99))
    return bytes(changed)


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def change_table(data: bytes, draw: random.Random) -> bytes:
    """A Parquet file with another column, row or metadata."""
    table = pq.read_table(io.BytesIO(data))
    metadata = dict(table.schema.metadata or {})
    i = draw.randrange(table.num_columns)
    name, column = table.column_names[i], table.column(i)
    kind = draw.randrange(8)
    if kind == 0:
        table = table.drop_columns([name])
    elif kind == 1:
        table = table.set_column(i, name, pa.nulls(len(table), column.type))
    elif kind == 2:
        table = table.set_column(i, name, pa.array([draw.choice(("x", None, "é"))] * len(table)))
    elif kind == 3:
        table = table.slice(draw.randrange(len(table) + 1), draw.randrange(5))
    elif kind == 4:
        table = pa.concat_tables([table, table])
    elif kind == 5:
        table = table.rename_columns([draw.choice((c, "x")) for c in table.column_names])
    elif kind == 6 and metadata:
        metadata.pop(draw.choice(list(metadata)))
    else:
        for key, value in metadata.items():
            if value.startswith(b"{"):
                metadata[key] = draw.choice((change_json, flip, insert_text))(value, draw)
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), out)
    return out.getvalue()


def of_name(name: str) -> list[Mutation]:
    """The mutations that fit a file of this name."""
    if name.endswith(".json"):
        return [*BYTES, insert_text, change_json, change_json, change_json]
    if name.endswith((".yaml", ".yml")):
        return [*BYTES, insert_text, insert_text, change_yaml, change_yaml]
    if name.endswith((".md", ".csv", ".jsonl", ".html", ".txt")):
        return [*BYTES, insert_text]
    if name.endswith(".npz"):
        return [*BYTES, change_arrays]
    if name.endswith(".parquet"):
        return [*BYTES, change_table]
    return BYTES
