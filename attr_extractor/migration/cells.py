"""One attribute's cells of a seller's table, said in the words of the new schema."""

from __future__ import annotations

import functools

from attr_extractor import labels
from attr_extractor.migration.plan import Source
from attr_extractor.schema import SEPARATOR, Schema

SAME, REWRITTEN, SPLIT, REMOVED, ELSEWHERE, UNKNOWN = (
    *("same", "rewritten", "split", "removed", "elsewhere", "unknown"),
)


class Cells:
    """Rewrites the cells of an attribute; each distinct one is looked at once."""

    def __init__(self, old: Schema, new: Schema, source: Source, elsewhere: frozenset[str]):
        """`elsewhere`: old values that only another new attribute is made of."""
        self._old, self._new, self._source, self._elsewhere = old, new, source, elsewhere
        self.rewrite = functools.lru_cache(maxsize=200_000)(self._rewrite)

    def _rewrite(self, cell: str) -> tuple[str, str]:
        """The new cell and what happened to it.

        SAME: the new schema reads it as it should. UNKNOWN: the old schema could not use it, so it
        stays. SPLIT, REMOVED, ELSEWHERE: it is empty now, as nobody knows which of the values it
        is, its values are gone, or they belong to another attribute. Where unlisted values are
        absent, one split value empties a whole cell: the rest would deny all that it was split in.
        """
        old, new = self._source.old, self._source.new
        if self._old.is_missing(cell):
            return (cell, SAME) if self._new.is_missing(cell) else ("", REWRITTEN)
        found, issue = labels.parse(old, cell, self._old)
        values = [old.values[i] for i in found]
        becomes = [self._source.becomes[value] for value in values]
        if issue or (old.exclusive and len(found) > 1 and any(len(b) != 1 for b in becomes)):
            return cell, UNKNOWN
        is_split = any(len(b) > 1 for b in becomes)
        if is_split and new.unlisted == "absent":
            return "", SPLIT
        names = list(dict.fromkeys(b[0] for b in becomes if len(b) == 1))
        if not names:
            gone = REMOVED if self._elsewhere.isdisjoint(values) else ELSEWHERE
            return "", SPLIT if is_split else gone
        again, issue = labels.parse(new, cell, self._new)
        if not issue and {new.values[i] for i in again} == set(names):
            return cell, SAME
        return SEPARATOR.join(names), REWRITTEN
