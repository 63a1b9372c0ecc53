"""Conversion between cells of products and labels, `int8[V]`: 1 present, 0 absent, -1 missing.

An attribute is known as a whole or missing as a whole (the paper's mask is per sample and
attribute); `unlisted: missing` is the only exception. An attribute that does not apply to the
product's category is known to be absent: every value is 0, the negative of the paper's section 5.
A contradiction makes its attribute missing (-1) and is reported; the product's other labels are
kept.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attr_extractor.errors import nearest
from attr_extractor.schema import SEPARATOR, Attribute, Schema, fold

PRESENT, ABSENT, MISSING = 1, 0, -1
UNKNOWN_VALUE: Literal["unknown value"] = "unknown value"

Kind = Literal[
    "unknown value",
    "does not apply",
    "several values of an exclusive attribute",
    "value not allowed for the category",
    "two categories",
]


@dataclass(frozen=True)
class Issue:
    """The reason why a filled cell was not used."""

    attribute: str
    cell: str
    kind: Kind
    nearest: str = ""


def encode(schema: Schema, cells: Mapping[str, str]) -> tuple[np.ndarray, list[Issue]]:
    """Return the labels of one product and the issues of its cells.

    Args:
      cells: the cell's text by attribute name; a missing name means an empty cell.

    Returns:
      int8[V] in schema order, and one `Issue` for every cell that could not be used.
    """
    encoded = Encoder(schema).encode({name: [cell] for name, cell in cells.items()}, rows=1)
    return encoded.labels[0], [issue for _, issue in encoded.issues]


@dataclass(frozen=True)
class Encoded:
    """The labels of R products."""

    labels: np.ndarray  # int8 [R, V] in schema order
    category: np.ndarray  # int64 [R], position; -1 if missing, unknown or contradictory
    issues: list[tuple[int, Issue]]  # row from 0, and why its cell was not used


class Encoder:
    """Encoder for chunks of a table: Python parses each distinct cell once, NumPy broadcasts it."""

    def __init__(self, schema: Schema):
        self.schema = schema
        self._cell = functools.lru_cache(maxsize=200_000)(self._encode_cell)

    def encode(self, columns: Mapping[str, Sequence[str]], rows: int) -> Encoded:
        """Return the labels of a chunk of products.

        Args:
          columns: the cells of all products by attribute name; a missing name means empty cells.
          rows: R, the number of products.
        """
        schema, empty = self.schema, [""] * rows
        result = np.empty([rows, schema.num_values], np.int8)
        codes, cells = distinct(columns.get(schema.category, empty))
        known = [encode_category(schema, cell)[0] for cell in cells]
        category = np.array([-1 if c is None else c for c in known], np.int64)[codes]
        issues: list[tuple[int, Issue]] = []
        num_categories = len(schema.allowed)
        for attribute in schema.attributes:
            codes, cells = distinct(columns.get(attribute.name, empty))
            # a cell's labels also depend on the row's category
            pairs = codes * (num_categories + 1) + category + 1
            pairs, pair_of_row = np.unique(pairs, return_inverse=True)
            states = np.empty([len(pairs), len(attribute.values)], np.int8)
            for pair, (code, c) in enumerate(
                zip(*(part.tolist() for part in np.divmod(pairs, num_categories + 1)))
            ):
                states[pair], issue = self._cell(attribute.name, cells[code], c - 1)
                if issue:
                    issues += [(row, issue) for row in np.flatnonzero(pair_of_row == pair).tolist()]
            result[:, schema.slices[attribute.name]] = states[pair_of_row]
        issues.sort(key=lambda issue: issue[0])
        return Encoded(result, category, issues)

    def _encode_cell(self, name: str, cell: str, category: int) -> tuple[np.ndarray, Issue | None]:
        """Return int8 [V_t] of a cell of a product of `category`, and why it could not be used."""
        schema, attribute = self.schema, self.schema[name]
        states = np.full(len(attribute.values), MISSING, np.int8)
        if schema.is_missing(cell):
            if category >= 0 and not schema.allowed[category, schema.slices[name]].any():
                states[:] = ABSENT
            return states, None
        if name == schema.category:
            value, issue = encode_category(schema, cell)
            present = [] if value is None else [value]
        else:
            present, issue = parse(attribute, cell, schema)
            issue = issue or _contradiction(schema, attribute, cell, present, category)
        if not issue:
            states[:] = MISSING if attribute.unlisted == "missing" else ABSENT
            states[present] = PRESENT
        return states, issue


def distinct(cells: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return each row's index into the distinct cells, int64 [R], and the distinct cells."""
    index: dict[str, int] = {}
    codes = [index.setdefault(cell, len(index)) for cell in cells]
    return np.array(codes, np.int64), list(index)


def decode(schema: Schema, labels: np.ndarray) -> dict[str, list[str] | None]:
    """Return the present values by attribute: [] if known to have none, None if missing."""
    cells: dict[str, list[str] | None] = {}
    for attribute in schema.attributes:
        states = labels[schema.slices[attribute.name]]
        present = [value for value, state in zip(attribute.values, states) if state == PRESENT]
        cells[attribute.name] = None if (states == MISSING).all() else present
    return cells


def category_of(labels: np.ndarray, schema: Schema) -> np.ndarray:
    """Return the position of each row's category: int8 [R, V] -> int64 [R]; -1 if unknown."""
    present = labels[:, schema.slices[schema.category]] == PRESENT
    return np.where(present.any(axis=1), present.argmax(axis=1), -1)


def states(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return bool [R, T, 3]: whether each attribute is answered, not applicable, missing.

    Args:
      codes: int8 [R, V], labels.
      sizes: number of values of each of the T attributes.
    """
    starts = np.cumsum([0, *sizes[:-1]])
    answered = np.logical_or.reduceat(codes == PRESENT, starts, axis=1)
    missing = np.logical_and.reduceat(codes == MISSING, starts, axis=1)
    return np.stack([answered, ~answered & ~missing, missing], axis=2)


def encode_category(schema: Schema, cell: str) -> tuple[int | None, Issue | None]:
    """Return the category's position, None if it is missing, unknown or contradictory."""
    if schema.is_missing(cell):
        return None, None
    values, issue = parse(schema[schema.category], cell, schema)
    if not issue and len(values) > 1:
        issue = Issue(schema.category, cell, "two categories")
    return (None, issue) if issue else (values[0], None)


def parse(attribute: Attribute, cell: str, schema: Schema) -> tuple[list[int], Issue | None]:
    """Return positions of the distinct values of a filled cell, or the first unknown value."""
    positions: list[int] = []
    for spelling in cell.split(SEPARATOR):
        if schema.is_missing(spelling):
            continue
        value = attribute.value_of(spelling)
        if value is None:
            folded = {fold(known): known for known in attribute.values}
            guess = folded.get(nearest(fold(spelling), folded) or "", "")
            return [], Issue(attribute.name, spelling.strip(), UNKNOWN_VALUE, guess)
        if value not in positions:
            positions.append(value)
    return positions, None


def _contradiction(
    schema: Schema, attribute: Attribute, cell: str, present: list[int], category: int
) -> Issue | None:
    if category >= 0:
        allowed = schema.allowed[category, schema.slices[attribute.name]]
        if not allowed.any():
            return Issue(attribute.name, cell, "does not apply")
        if not allowed[present].all():
            return Issue(attribute.name, cell, "value not allowed for the category")
    if attribute.exclusive and len(present) > 1:
        return Issue(attribute.name, cell, "several values of an exclusive attribute")
    return None
