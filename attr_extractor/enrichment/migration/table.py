"""The seller's table under the new schema: columns renamed, cells rewritten, the rest unchanged.

`build_tfrecords.py --relabel` reads it together with the new schema.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from attr_extractor.catalogue import table
from attr_extractor.catalogue.csv_rows import write_csv
from attr_extractor.enrichment.migration import cells
from attr_extractor.enrichment.migration.cells import Cells
from attr_extractor.enrichment.migration.plan import Plan
from attr_extractor.errors import InputError

_WORDS = {
    cells.REWRITTEN: "rewritten",
    cells.SPLIT: "emptied, their value was split",
    cells.REMOVED: "emptied, their value was removed",
    cells.ELSEWHERE: "emptied, their value belongs to another attribute",
    cells.UNKNOWN: "unchanged, invalid under the old schema",
    cells.INCOMPLETE: "emptied, another attribute that they come from is missing",
    cells.MISPLACED: "emptied, the filled attribute did not apply to the category",
    cells.CONTRADICTION: "left with two values of an exclusive attribute, to be decided",
}


@dataclass
class MigrationSummary:
    """Summary of a migrated table."""

    rows: int = 0
    added: list[str] = field(default_factory=list)  # columns, empty
    dropped: list[str] = field(default_factory=list)  # columns
    cells: dict[str, Counter[str]] = field(default_factory=dict)  # by attribute and what happened

    def text(self, output: str | Path) -> str:
        """Return a line for the table and one for each attribute with changed cells."""
        lines = [f"{output}: {self.rows:,} rows"]
        for name, counts in self.cells.items():
            said = [f"{counts[kind]:,} {words}" for kind, words in _WORDS.items() if counts[kind]]
            lines += [f"  cells of {name}: {'; '.join(said)}"] if said else []
        for what, columns in (("added, empty", self.added), ("left out", self.dropped)):
            lines += [f"  columns {what}: {', '.join(columns)}"] if columns else []
        return "\n".join(lines)


def migrate(plan: Plan, catalogue: str | Path, output: str | Path) -> MigrationSummary:
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
    read: tuple[str, ...] = ()  # the chunk's columns that it comes from; (): empty
    attribute: str = ""
    rewriter: Cells | None = None

    def cells(
        self, chunk: pd.DataFrame, categories: Iterable[str], summary: MigrationSummary
    ) -> list[str]:
        before = [chunk[name].tolist() for name in self.read]
        if self.rewriter is None:
            return before[0] if before else [""] * len(chunk)
        rewritten = [self.rewriter.rewrite(*row) for row in zip(zip(*before), categories)]
        summary.cells[self.attribute].update(kind for _, kind in rewritten)
        return [cell for cell, _ in rewritten]


def _columns(
    plan: Plan, given: list[str], catalogue: str | Path, summary: MigrationSummary
) -> list[_Column]:
    """Return the columns; an attribute takes the place of the first column that it comes from."""
    old, new = plan.old, plan.new
    columns, others = [], []
    for name in given:
        if name in (table.PRODUCT_ID, table.IMAGE):
            columns.append(_Column(new.column(name), (name,)))
        elif name not in old.index:
            columns.append(_Column(name, (name,)))
            others.append(name)
        elif not plan.becomes[name]:
            summary.dropped.append(old.column(name))
        for source in plan.becomes.get(name, []):
            attribute = source.new.name
            if attribute not in summary.cells:
                read = tuple(each.old.name for each in plan.sources[attribute])
                cells_of_it = Cells(plan, attribute)
                columns.append(_Column(new.column(attribute), read, attribute, cells_of_it))
                summary.cells[attribute] = Counter()
    for name in new.names:
        if name not in plan.sources and new.column(name) not in others:
            columns.append(_Column(new.column(name)))
            summary.added.append(new.column(name))
    counts = Counter(column.name for column in columns)
    ours = [table.PRODUCT_ID, table.IMAGE, *new.names]
    for name, count in counts.items():
        # second case: the new schema reads the attribute under another column name
        if count > 1 or (name in others and name in ours and new.column(name) != name):
            raise InputError(
                f"{catalogue}: the column {name!r} conflicts with an attribute of the new "
                "schema; rename or drop it, or rename the attribute's column under `columns`"
            )
    return columns
