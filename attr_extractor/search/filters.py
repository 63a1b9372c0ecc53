"""Filters by what the seller wrote: `print=floral`, `neck_type!=v-neck`, `color=red|blue`.

`=` asks that one of the values listed is among the seller's, `!=` that none is; an empty cell holds
no value, so `!=` lets it through. Of several filters all must hold.
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
    wanted: bool  # False: none of them

    def lets(self, cell: str | None) -> bool:
        """Whether a cell of photos.parquet, its values parted by |, fulfils it."""
        return self.values.isdisjoint((cell or "").split(SEPARATOR)) != self.wanted


def parse(text: str, schema: Schema) -> Filter:
    """A filter as it is written; raises InputError for an unknown attribute or value."""
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
    """Several filters; see `parse`."""
    return [parse(text, schema) for text in texts]
