"""The seller's table under the new schema: columns renamed, cells rewritten, the rest unchanged.

`attr-extractor build --relabel` reads it together with the new schema.
"""

from __future__ import annotations

import enum
import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from attr_extractor import labels
from attr_extractor.catalogue import table
from attr_extractor.catalogue.csv_rows import write_csv
from attr_extractor.enrichment.migration.plan import Plan, Source
from attr_extractor.errors import InputError
from attr_extractor.schema import SEPARATOR


class Outcome(enum.Enum):
    """What happened to a cell, in the words of the summary."""

    SAME = "same"
    REWRITTEN = "rewritten"
    SPLIT = "emptied, their value was split"
    REMOVED = "emptied, their value was removed"
    ELSEWHERE = "emptied, their value belongs to another attribute"
    UNKNOWN = "unchanged, invalid under the old schema"
    INCOMPLETE = "emptied, another attribute that they come from is missing"
    MISPLACED = "emptied, the filled attribute did not apply to the category"
    CONTRADICTION = "left with two values of an exclusive attribute, to be decided"


class NewCell(NamedTuple):
    """A cell of the new table."""

    text: str
    outcome: Outcome


@dataclass
class MigrationSummary:
    """Summary of a migrated table."""

    rows: int = 0
    added: list[str] = field(default_factory=list)  # columns, empty
    dropped: list[str] = field(default_factory=list)  # columns
    cells: dict[str, Counter[Outcome]] = field(default_factory=dict)  # by new attribute

    def text(self, output: str | Path) -> str:
        """Return a line for the table and one for each attribute with changed cells."""
        lines = [f"{output}: {self.rows:,} rows"]
        for name, counts in self.cells.items():
            changes = [
                f"{counts[outcome]:,} {outcome.value}"
                for outcome in Outcome
                if counts[outcome] and outcome is not Outcome.SAME
            ]
            lines += [f"  cells of {name}: {'; '.join(changes)}"] if changes else []
        for what, columns in (("added, empty", self.added), ("left out", self.dropped)):
            lines += [f"  columns {what}: {', '.join(columns)}"] if columns else []
        return "\n".join(lines)


def migrate_table(plan: Plan, catalogue: str | Path, output: str | Path) -> MigrationSummary:
    """Write the table as CSV, its columns in order.

    The column of a removed attribute is left out. That of an added one is appended and empty,
    unless the table has a column of that name.

    Raises:
      InputError: if the table is invalid under the old schema, or two columns get the same name.
    """
    summary, chunks = MigrationSummary(), table.chunks(catalogue, plan.old)
    first = next(chunks)
    columns = _columns(plan, list(first.columns), catalogue, summary)

    def rows() -> Iterator[tuple[str, ...]]:
        for chunk in itertools.chain([first], chunks):
            summary.rows += len(chunk)
            categories = chunk[plan.old.category].tolist()
            yield from zip(*(column.cells(chunk, categories, summary) for column in columns))

    write_csv(output, [column.name for column in columns], rows())
    return summary


@dataclass(frozen=True)
class _Column:
    """A column of the new table."""

    name: str
    origins: tuple[str, ...] = ()  # the chunk's columns that it comes from; (): empty
    attribute: str = ""
    rewriter: _Rewriter | None = None

    def cells(
        self, chunk: pd.DataFrame, categories: Iterable[str], summary: MigrationSummary
    ) -> list[str]:
        old_cells = [chunk[name].tolist() for name in self.origins]
        if self.rewriter is None:
            return old_cells[0] if old_cells else [""] * len(chunk)
        new_cells = [self.rewriter.rewrite(*row) for row in zip(zip(*old_cells), categories)]
        summary.cells[self.attribute].update(cell.outcome for cell in new_cells)
        return [cell.text for cell in new_cells]


def _columns(
    plan: Plan, names: Sequence[str], catalogue: str | Path, summary: MigrationSummary
) -> list[_Column]:
    """Return the columns; an attribute takes the place of the first column that it comes from."""
    old, new = plan.old, plan.new
    columns, others = [], []
    for name in names:
        if name in (table.PRODUCT_ID, table.IMAGE):
            columns.append(_Column(new.column(name), (name,)))
        elif name not in old.index:
            columns.append(_Column(name, (name,)))
            others.append(name)
        elif not plan.targets[name]:
            summary.dropped.append(old.column(name))
        for source in plan.targets.get(name, []):
            attribute = source.new.name
            if attribute not in summary.cells:
                origins = tuple(each.old.name for each in plan.sources[attribute])
                rewriter = _Rewriter(plan, attribute)
                columns.append(_Column(new.column(attribute), origins, attribute, rewriter))
                summary.cells[attribute] = Counter()
    for name in new.names:
        if name not in plan.sources and new.column(name) not in others:
            columns.append(_Column(new.column(name)))
            summary.added.append(new.column(name))
    counts = Counter(column.name for column in columns)
    internal = [table.PRODUCT_ID, table.IMAGE, *new.names]
    for name, count in counts.items():
        # second case: the new schema reads the attribute under another column name
        if count > 1 or (name in others and name in internal and new.column(name) != name):
            raise InputError(
                f"{catalogue}: the column {name!r} conflicts with an attribute of the new "
                "schema; rename or drop it, or rename the attribute's column under `columns`"
            )
    return columns


class _Rewriter:
    """Rewriter of the cells of a new attribute; each distinct combination is computed once."""

    def __init__(self, plan: Plan, name: str):
        self._plan, self._attribute = plan, plan.new[name]
        self._origins = [_Origin(plan, source) for source in plan.sources[name]]
        self.rewrite = functools.lru_cache(maxsize=200_000)(self._rewrite)

    def _rewrite(self, cells: tuple[str, ...], category: str) -> NewCell:
        """Return the new cell; see also `_Origin.rewrite`.

        If several attributes became one, only those that apply to the row are used. INCOMPLETE:
        emptied, because one of them is missing and its values would become absent. MISPLACED:
        emptied, because only attributes that do not apply were filled, which the old schema
        rejected. CONTRADICTION: two values of an exclusive attribute, kept for a person to decide.

        Args:
          cells: the cells of the old attributes that it comes from, in order.
          category: the row's category under the old schema.
        """
        old, new = self._plan.old, self._attribute
        filled = [i for i, cell in enumerate(cells) if not old.is_missing(cell)]
        if len(cells) == 1 or not filled:
            return self._origins[0].rewrite(cells[0])
        apply = [i for i, origin in enumerate(self._origins) if origin.applies(category)]
        used = [i for i in filled if i in apply]
        if not used:
            return NewCell("", Outcome.MISPLACED)
        rewritten = [self._origins[i].rewrite(cells[i]) for i in used]
        outcomes = [cell.outcome for cell in rewritten]
        text = SEPARATOR.join(cell.text for cell in rewritten if cell.text)
        if Outcome.UNKNOWN in outcomes:
            return NewCell(text, Outcome.UNKNOWN)
        if Outcome.SPLIT in outcomes and new.unlisted == "absent":
            return NewCell("", Outcome.SPLIT)
        if not text:
            return NewCell("", outcomes[0])
        if new.unlisted == "absent" and not new.exclusive and len(used) < len(apply):
            return NewCell("", Outcome.INCOMPLETE)
        if len(rewritten) == 1:
            return rewritten[0]
        values, _ = labels.parse(new, text, self._plan.new)
        if new.exclusive and len(values) > 1:
            return NewCell(text, Outcome.CONTRADICTION)
        return NewCell(SEPARATOR.join(new.values[i] for i in values), Outcome.REWRITTEN)


class _Origin:
    """The contribution of an old attribute to the cells of a new one."""

    def __init__(self, plan: Plan, source: Source):
        self._old, self._new, self._source = plan.old, plan.new, source
        removed = plan.removed_values(source.old.name)
        # old values that only another new attribute comes from
        self._elsewhere = {
            value for value, new in source.new_values.items() if not new and value not in removed
        }

    def applies(self, category: str) -> bool:
        """Return whether a row of `category` may have a value; True if the category is unknown."""
        position, _ = labels.encode_category(self._old, category)
        where = self._old.slices[self._source.old.name]
        return position is None or bool(self._old.allowed[position, where].any())

    def rewrite(self, cell: str) -> NewCell:
        """Return the new cell.

        SAME: the new schema reads it correctly. UNKNOWN: unchanged, because the old schema could
        not use it. SPLIT, REMOVED, ELSEWHERE: emptied, because its value was split and the part is
        unknown, its values were removed, or they belong to another attribute. If unlisted values
        are absent, one split value empties the whole cell: the remaining values would imply that
        all parts of the split are absent.
        """
        old, new = self._source.old, self._source.new
        if self._old.is_missing(cell):
            if self._new.is_missing(cell):
                return NewCell(cell, Outcome.SAME)
            return NewCell("", Outcome.REWRITTEN)
        positions, issue = labels.parse(old, cell, self._old)
        values = [old.values[i] for i in positions]
        new_values = [self._source.new_values[value] for value in values]
        one_to_one = all(len(each) == 1 for each in new_values)
        if issue or (old.exclusive and len(values) > 1 and not one_to_one):
            return NewCell(cell, Outcome.UNKNOWN)
        is_split = any(len(each) > 1 for each in new_values)
        if is_split and new.unlisted == "absent":
            return NewCell("", Outcome.SPLIT)
        names = list(dict.fromkeys(each[0] for each in new_values if len(each) == 1))
        if not names and is_split:
            return NewCell("", Outcome.SPLIT)
        if not names:
            is_removed = self._elsewhere.isdisjoint(values)
            return NewCell("", Outcome.REMOVED if is_removed else Outcome.ELSEWHERE)
        positions, issue = labels.parse(new, cell, self._new)
        if not issue and {new.values[i] for i in positions} == set(names):
            return NewCell(cell, Outcome.SAME)
        return NewCell(SEPARATOR.join(names), Outcome.REWRITTEN)
