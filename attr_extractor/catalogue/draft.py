"""Draft schema as a YAML file to edit, with every guess listed in its header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attr_extractor import ownership, storage
from attr_extractor.catalogue.columns import Column, one_line, percent
from attr_extractor.schema import Schema


@dataclass(frozen=True)
class Draft:
    """An inferred schema with the findings that a person should review before using it."""

    schema: Schema
    rows: int
    attributes: dict[str, Column]  # by attribute name, in schema order
    left_out: dict[str, str]  # column -> why it is not an attribute
    findings: list[str]

    def to_yaml(self) -> str:
        """Return the schema as YAML with comments for its editor; `Schema.parse` restores it."""
        header = [
            f"A first draft, inferred from {self.rows} rows. Check before building records:",
            "- that each attribute is visible in a photo; delete those that are not",
            "- the values: other spellings of a value belong in `synonyms: {spelling: value}`",
            "- `exclusive: false` is for attributes that may have several values per product",
            "- `applies_to`: in other categories an empty cell means absent, not unknown",
            "- `missing_values`: cells that mean missing, in every column",
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
        """Write `to_yaml` atomically; raise InputError if the file exists or cannot be created."""
        with ownership.new_file(path, "--output") as new:
            storage.write(new, self.to_yaml().encode())

    def summary(self) -> str:
        """Return a compact table of the attributes, then the columns left out and the findings."""
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
