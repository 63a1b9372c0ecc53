"""One product's cells <-> its labels, `int8[V]`: 1 present, 0 absent, -1 missing.

An attribute is known as a whole or missing as a whole (the paper's mask is per sample and
attribute); `unlisted: missing` is the one exception. An attribute that does not apply to the
product's category is known to be absent: every value is 0, the negative of the paper's section 5.
A contradiction costs its attribute (-1) and is reported; the rest of the product stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attr_extractor.errors import nearest
from attr_extractor.schema import SEPARATOR, Attribute, Schema, fold

PRESENT, ABSENT, MISSING = 1, 0, -1

Kind = Literal[
    "unknown value",
    "does not apply",
    "several values of an exclusive attribute",
    "value not allowed for the category",
    "two categories",
]


@dataclass(frozen=True)
class Issue:
    """Why one filled cell was not used."""

    attribute: str
    cell: str
    kind: Kind
    nearest: str = ""


def encode(schema: Schema, cells: Mapping[str, str]) -> tuple[np.ndarray, list[Issue]]:
    """The labels of one product and what was wrong with its cells.

    Args:
      cells: the cell's text per attribute name; an absent name is an empty cell.

    Returns:
      int8[V] in schema order, and one `Issue` for every cell that could not be used.
    """
    labels = np.full(schema.num_values, MISSING, np.int8)
    issues: list[Issue] = []

    category, category_issue = encode_category(schema, cells.get(schema.category, ""))
    for attribute in schema.attributes:
        where = schema.slices[attribute.name]
        cell = cells.get(attribute.name, "")
        applies = category is None or schema.allowed[category, where].any()
        if schema.is_missing(cell):
            labels[where] = MISSING if applies else ABSENT
            continue
        if attribute.name == schema.category:
            issue = category_issue
            present = [] if category is None else [category]
        else:
            present, issue = parse(attribute, cell, schema)
            issue = issue or _contradiction(schema, attribute, cell, present, category)
        if issue:
            issues.append(issue)
            continue
        labels[where] = MISSING if attribute.unlisted == "missing" else ABSENT
        labels[where][present] = PRESENT
    return labels, issues


def decode(schema: Schema, labels: np.ndarray) -> dict[str, list[str] | None]:
    """The values present per attribute; [] where known to have none, None where missing."""
    cells: dict[str, list[str] | None] = {}
    for attribute in schema.attributes:
        states = labels[schema.slices[attribute.name]]
        present = [value for value, state in zip(attribute.values, states) if state == PRESENT]
        cells[attribute.name] = None if (states == MISSING).all() else present
    return cells


def encode_category(schema: Schema, cell: str) -> tuple[int | None, Issue | None]:
    """The category's position; None where it is missing, unknown or in contradiction."""
    if schema.is_missing(cell):
        return None, None
    values, issue = parse(schema[schema.category], cell, schema)
    if not issue and len(values) > 1:
        issue = Issue(schema.category, cell, "two categories")
    return (None, issue) if issue else (values[0], None)


def parse(attribute: Attribute, cell: str, schema: Schema) -> tuple[list[int], Issue | None]:
    """Positions of the distinct values that a filled cell lists, or the first unknown one."""
    found: list[int] = []
    for spelling in cell.split(SEPARATOR):
        if schema.is_missing(spelling):
            continue
        value = attribute.value_of(spelling)
        if value is None:
            folded = {fold(known): known for known in attribute.values}
            guess = folded.get(nearest(fold(spelling), folded) or "", "")
            return [], Issue(attribute.name, spelling.strip(), "unknown value", guess)
        if value not in found:
            found.append(value)
    return found, None


def _contradiction(
    schema: Schema, attribute: Attribute, cell: str, present: list[int], category: int | None
) -> Issue | None:
    if category is not None:
        allowed = schema.allowed[category, schema.slices[attribute.name]]
        if not allowed.any():
            return Issue(attribute.name, cell, "does not apply")
        if not allowed[present].all():
            return Issue(attribute.name, cell, "value not allowed for the category")
    if attribute.exclusive and len(present) > 1:
        return Issue(attribute.name, cell, "several values of an exclusive attribute")
    return None
