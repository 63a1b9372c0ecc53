"""Filters on seller's values: `print=floral`, `neck_type!=v-neck`, `color=red|blue`.

`=` matches if at least one of the listed values is among the seller's, `!=` if none is. An empty
cell has no value and therefore matches `!=`. Several filters are combined with AND.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.schema import SEPARATOR, Schema

_FORM = re.compile(r"\s*([^=!]*?)\s*(!?=)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Filter:
    """One condition on one attribute."""

    attribute: str
    values: frozenset[str]  # in the schema's spelling
    wanted: bool  # True for `=`, False for `!=`

    def lets(self, cell: str | None) -> bool:
        """Return whether a cell of photos.parquet, its values separated by |, matches."""
        return self.values.isdisjoint((cell or "").split(SEPARATOR)) != self.wanted


def parse(text: str, schema: Schema) -> Filter:
    """Parse a filter; raise InputError for an unknown attribute or value."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise InputError(f"--filter={text}: write attribute=value or attribute!=value")
    name, sign, listed = match.groups()
    if name not in schema.index:
        raise InputError(
            f"--filter={text}: there is no attribute {name!r}{did_you_mean(name, schema.names)}"
        )
    attribute = schema[name]
    values = set()
    for spelling in listed.split(SEPARATOR):
        value = attribute.value_of(spelling)
        if value is None:
            spelling = spelling.strip()
            guess = did_you_mean(spelling, attribute.values)
            raise InputError(f"--filter={text}: {name} has no value {spelling!r}{guess}")
        values.add(attribute.values[value])
    return Filter(name, frozenset(values), sign == "=")


def parse_all(texts: Sequence[str], schema: Schema) -> list[Filter]:
    """Parse several filters; see `parse`."""
    return [parse(text, schema) for text in texts]
