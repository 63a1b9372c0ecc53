"""A source's answers in compact columns: 8 bytes per answered value, grouped by product.

An answer is an int32 code. With V values of T attributes, codes below V are values in schema order,
V + t says that attribute t has no value, and V + T + t marks a cell that cannot be used. A million
products with 49 answers each take 0.6 GB with their ids, and 1 GB while they are read.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from attr_extractor import labels
from attr_extractor.errors import nearest
from attr_extractor.schema import SEPARATOR, Schema

UNKNOWN_ATTRIBUTE, UNKNOWN_VALUE = "unknown attribute", labels.UNKNOWN_VALUE
SEVERAL_VALUES = "several values of an exclusive attribute"
ROWS_DISAGREE = "rows disagree"
OUTSIDE, UNREADABLE = "confidence outside 0 to 1", "unreadable confidence"
NO_PRODUCT = "no product_id"
NO_VALUE = "(no value)"  # in the list of issues
MOST_LISTED = 200  # issues of a source, the most frequent ones
MOST_COUNTED = 10_000  # distinct issues that are counted one by one
LONGEST_VALUE = 100  # characters of a value in the list of issues
_ANSWERS_PER_BLOCK = 2**20


@dataclass(frozen=True)
class SourceIssue:
    """Cells of a source that give no answer, and why."""

    kind: str
    attribute: str
    value: str  # as the table writes it
    nearest: str  # known value or attribute with the closest spelling; "" if none is close
    count: int  # cells


class IssueCounts:
    """Counts of issues in bounded memory: exact by kind, of the first distinct ones one by one."""

    def __init__(self, schema: Schema):
        self.totals: Counter[str] = Counter()  # cells by kind
        self._schema = schema
        self._cells: Counter[tuple[str, str, str]] = Counter()

    def add(self, kind: str, attribute: str, value: str, count: int) -> None:
        """Count cells of one kind of issue."""
        self.totals[kind] += count
        key = (kind, attribute[:LONGEST_VALUE], value[:LONGEST_VALUE])
        if key in self._cells or len(self._cells) < MOST_COUNTED:
            self._cells[key] += count

    def listed(self) -> list[SourceIssue]:
        """Return the most frequent issues, at most MOST_LISTED."""
        return [
            SourceIssue(*key, self._nearest(*key), count)
            for key, count in self._cells.most_common(MOST_LISTED)
        ]

    def _nearest(self, kind: str, attribute: str, value: str) -> str:
        if kind == UNKNOWN_ATTRIBUTE:
            return nearest(attribute, self._schema.names) or ""
        if kind == UNKNOWN_VALUE:
            _, issue = labels.parse(self._schema[attribute], value, self._schema)
            return issue.nearest if issue else ""
        return ""


def similar_attribute(column: str, schema: Schema) -> bool:
    """Return whether a column's name is nearly that of an attribute, such as `neck_typ`."""
    return bool(difflib.get_close_matches(column, schema.names, n=1, cutoff=0.8))


@dataclass
class SourceTable:
    """The answers of one source; a cell with an issue has none."""

    name: str
    issues: list[SourceIssue]  # the most frequent ones
    issue_totals: dict[str, int]  # cells by kind of issue
    seller_cells: int  # cells of the seller, which are no answers of the source
    schema: Schema = field(repr=False)
    _positions: Mapping[str, int] = field(repr=False)  # of all products in the file
    _named: np.ndarray = field(repr=False)  # bool [P], products that the source names
    _starts: np.ndarray = field(repr=False)  # int64 [P + 1], each product's first answer
    _codes: np.ndarray = field(repr=False)  # int32 [N]
    _confidence: np.ndarray = field(repr=False)  # float32 [N]

    @property
    def products(self) -> pa.Array:
        """The distinct product ids that the source names, in order of appearance."""
        ids = pa.array(list(self._positions), pa.string())  # in the order of the positions
        return ids.take(pa.array(np.flatnonzero(self._named)))

    def of_products(self, product_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the answers for P products; unknown products have none.

        Returns:
          Labels int8 [P, V]: 1 for answered values; 0 for other values of an answered attribute,
          and for all values of an attribute answered to have none; -1 without an answer.
          Confidence float32 [P, V] of the answered values, NaN elsewhere.
        """
        position = np.array([self._positions.get(i, -1) for i in product_ids], np.int64)
        count = np.where(position < 0, 0, self._starts[position + 1] - self._starts[position])
        where = ranges(self._starts[position], count)
        row, code = np.repeat(np.arange(len(position)), count), self._codes[where]
        num_values, owner = self.schema.num_values, self.schema.attribute_of_value
        answered = np.zeros([len(position), len(self.schema.names)], bool)
        answered[row, attribute_of_code(self.schema)[code]] = True
        states = np.where(answered[:, owner], labels.ABSENT, labels.MISSING).astype(np.int8)
        confidence = np.full(states.shape, np.nan, np.float32)
        is_value = code < num_values
        states[row[is_value], code[is_value]] = labels.PRESENT
        confidence[row[is_value], code[is_value]] = self._confidence[where][is_value]
        return states, confidence


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return starts[i], ..., starts[i] + counts[i] - 1 for every i in turn, int64."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))


def attribute_of_code(schema: Schema) -> np.ndarray:
    """Return the attribute of every code, int32 [V + 2 T]."""
    attributes = np.arange(len(schema.names), dtype=np.int32)
    return np.concatenate([schema.attribute_of_value, attributes, attributes])


class SourceRows:
    """Collects the answers of one source."""

    def __init__(self, name: str, schema: Schema):
        self.name, self.issues, self.seller_cells = name, IssueCounts(schema), 0
        self._schema = schema
        self._ungrouped: list[tuple[np.ndarray, ...]] = []  # of the last chunk
        self._parts: list[tuple[np.ndarray, ...]] = []  # see `_by_product`

    def add(self, product: np.ndarray, code: np.ndarray, confidence: np.ndarray) -> None:
        """Add answers: position of the product int32, code int32, confidence float32, [N] each."""
        self._ungrouped.append((product, code, confidence))

    def end_chunk(self) -> None:
        """Group the answers of a chunk of the table by product, which takes less memory."""
        if self._ungrouped:
            product, code, confidence = map(np.concatenate, zip(*self._ungrouped))
            order = np.argsort(product, kind="stable")
            distinct, seen = np.unique(product, return_counts=True)
            self._parts.append((distinct, seen.astype(np.int32), code[order], confidence[order]))
            self._ungrouped.clear()

    def finish(self, positions: Mapping[str, int], named: np.ndarray) -> SourceTable:
        """Return the table; the answers are moved into it.

        Args:
          positions: positions of all products.
          named: bool [P], the products that the source names.
        """
        starts, codes, confidence = _by_product(self._parts, len(positions))
        starts, size = self._resolve(starts, codes, confidence)
        return SourceTable(
            name=self.name,
            issues=self.issues.listed(),
            issue_totals=dict(self.issues.totals.most_common()),
            seller_cells=self.seller_cells,
            schema=self._schema,
            _positions=positions,
            _named=named,
            _starts=starts,
            _codes=codes[:size],
            _confidence=confidence[:size],
        )

    def _resolve(
        self, starts: np.ndarray, codes: np.ndarray, confidence: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """Keep, in place, each value of a cell once, and no answer of an unusable cell.

        Returns:
          Each product's first kept answer, int64 [P + 1], and their number.
        """
        kept, size = np.zeros_like(starts), 0
        first, end = 0, len(starts) - 1
        while first < end:
            last = int(np.searchsorted(starts, starts[first] + _ANSWERS_PER_BLOCK, "right")) - 1
            last = min(max(last, first + 1), end)
            block = slice(starts[first], starts[last])
            counts = np.diff(starts[first : last + 1])
            row, code, sure = self._usable(counts, codes[block], confidence[block])
            codes[size : size + len(code)], confidence[size : size + len(code)] = code, sure
            kept[first + 1 : last + 1] = np.bincount(row, minlength=last - first)
            first, size = last, size + len(code)
        return np.cumsum(kept), size

    def _usable(
        self, counts: np.ndarray, code: np.ndarray, confidence: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return product, code and confidence of the usable answers of consecutive products."""
        num_values, num_attributes = self._schema.num_values, len(self._schema.names)
        attribute = attribute_of_code(self._schema)[code]
        row = np.repeat(np.arange(len(counts)), counts)
        cell = row * num_attributes + attribute
        if (np.diff(cell) > 0).all():  # one answer per cell
            usable = code < num_values + num_attributes
            return row[usable], code[usable], confidence[usable]
        order = np.lexsort((-confidence, code, cell))  # equal answers: the highest confidence first
        row, attribute, cell = row[order], attribute[order], cell[order]
        code, confidence = code[order], confidence[order]
        starts = np.flatnonzero(np.diff(cell, prepend=-1))
        lowest, highest = code[starts], code[np.append(starts[1:], len(code)) - 1]
        exclusive = np.array([each.exclusive for each in self._schema.attributes])
        unusable = highest >= num_values + num_attributes
        disagree = ~unusable & (lowest != highest)
        # several values are one answer, unless the attribute is said to have none as well
        disagree &= exclusive[attribute[starts]] | (highest >= num_values)
        self._count_disagreements(lowest[disagree], highest[disagree])
        sizes = np.diff(np.append(starts, len(code)))
        keep = ~np.repeat(unusable | disagree, sizes)
        keep[1:] &= (np.diff(cell) > 0) | (np.diff(code) > 0)
        return row[keep], code[keep], confidence[keep]

    def _count_disagreements(self, lowest: np.ndarray, highest: np.ndarray) -> None:
        pairs, counts = np.unique(np.stack([lowest, highest]), axis=1, return_counts=True)
        for (a, b), count in zip(pairs.T.tolist(), counts.tolist()):
            name = self._schema.names[attribute_of_code(self._schema)[a]]
            texts = [self._value(code, name) for code in (a, b)]
            self.issues.add(ROWS_DISAGREE, name, SEPARATOR.join(texts), count)

    def _value(self, code: int, name: str) -> str:
        if code >= self._schema.num_values:
            return NO_VALUE
        return self._schema[name].values[code - self._schema.slices[name].start]


def _by_product(
    parts: list[tuple[np.ndarray, ...]], num_products: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group answers by product, in the order of their rows; empties `parts` as it goes.

    Args:
      parts: products and their numbers of answers; codes and confidences, grouped by product.

    Returns:
      Each product's first answer int64 [P + 1], codes int32 [N] and confidences float32 [N].
    """
    counts = np.zeros(num_products + 1, np.int64)
    for product, seen, _, _ in parts:
        counts[product + 1] += seen
    starts = np.cumsum(counts)
    codes, confidence = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)
    free = starts[:-1].copy()  # each product's next place
    parts.reverse()
    while parts:
        product, seen, code, sure = parts.pop()
        place = ranges(free[product], seen)
        codes[place], confidence[place] = code, sure
        free[product] += seen
    return starts, codes, confidence
