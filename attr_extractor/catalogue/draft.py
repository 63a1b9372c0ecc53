"""A first schema as a file to edit: YAML with every guess in its header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attr_extractor import ownership, storage
from attr_extractor.catalogue.columns import Column, one_line, percent
from attr_extractor.schema import Schema


@dataclass(frozen=True)
class Draft:
    """An inferred schema, and what a person should look at before using it."""

    schema: Schema
    rows: int
    attributes: dict[str, Column]  # by attribute name, in schema order
    left_out: dict[str, str]  # column -> why it is not an attribute
    findings: list[str]

    def to_yaml(self) -> str:
        """The schema as YAML that `Schema.parse` gives back equal, with comments for its editor."""
        header = [
            f"A first draft, inferred from {self.rows} rows. Check before building records:",
            "- that each attribute can be seen on a photo; delete those that cannot",
            "- the values: several spellings of one belong in `synonyms: {spelling: value}`",
            "- `exclusive: false` is for attributes of which one product may have several values",
            "- `applies_to`: for other categories an empty cell counts as known to be absent",
            "- `missing_values`: cells that say nothing, in every column",
            *(["Columns left out:"] if self.left_out else []),
            *(f"- {column}: {reason}" for column, reason in self.left_out.items()),
            *(["Found in the table:"] if self.findings else []),
            *(f"- {finding}" for finding in self.findings),
        ]
        lines = [f"# {one_line(line)}" for line in header]
        columns = iter(self.attributes.values())
        for line in self.schema.to_yaml().splitlines():
            if line.startswith("- name: "):
                column = next(columns)
                filled = percent(column.filled, self.rows)
                line += f"  # {filled} filled, {len(column.values)} values"
            lines.append(line)
        return "\n".join(lines) + "\n"

    def write(self, path: str | Path) -> None:
        """Writes `to_yaml`, whole; raises InputError where the file exists or cannot be made."""
        with ownership.new_file(path, "--output") as new:
            storage.write(new, self.to_yaml().encode())

    def summary(self) -> str:
        """A compact table of the attributes, then the columns left out and the findings."""
        table = [("attribute", "column", "values", "filled", "")]
        for attribute, column in zip(self.schema.attributes, self.attributes.values()):
            kind = "exclusive" if attribute.exclusive else "several"
            kind = "category" if attribute.name == self.schema.category else kind
            filled = percent(column.filled, self.rows)
            table.append((attribute.name, column.name, str(len(column.values)), filled, kind))
        width = [max(len(one_line(row[i])) for row in table) for i in range(5)]
        lines = [
            f"{a:{width[0]}}  {one_line(c):{width[1]}}  {v:>{width[2]}}  {f:>{width[3]}}  {k}"
            for a, c, v, f, k in table
        ]
        lines += [f"left out: {column}: {why}" for column, why in self.left_out.items()]
        lines += [f"check: {finding}" for finding in self.findings]
        return "\n".join([*lines[: len(table)], *map(one_line, lines[len(table) :])])
