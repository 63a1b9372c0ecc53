"""Cells of a seller's table, rewritten for the new schema."""

from __future__ import annotations

import functools

from attr_extractor import labels
from attr_extractor.enrichment.migration.plan import Plan, Source
from attr_extractor.schema import SEPARATOR

SAME, REWRITTEN, SPLIT, REMOVED, ELSEWHERE, UNKNOWN = (
    *("same", "rewritten", "split", "removed", "elsewhere", "unknown"),
)
INCOMPLETE, MISPLACED, CONTRADICTION = "incomplete", "misplaced", "contradiction"


class Cells:
    """Rewriter for the cells of a new attribute; each distinct combination is computed once."""

    def __init__(self, plan: Plan, name: str):
        self._plan, self._attribute = plan, plan.new[name]
        self._origins = [_Origin(plan, source) for source in plan.sources[name]]
        self.rewrite = functools.lru_cache(maxsize=200_000)(self._rewrite)

    def _rewrite(self, cells: tuple[str, ...], category: str) -> tuple[str, str]:
        """Return the new cell and what happened to it; see also `_Origin.rewrite`.

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
            return "", MISPLACED
        found = [self._origins[i].rewrite(cells[i]) for i in used]
        kinds = [kind for _, kind in found]
        text = SEPARATOR.join(cell for cell, _ in found if cell)
        if UNKNOWN in kinds:
            return text, UNKNOWN
        if SPLIT in kinds and new.unlisted == "absent":
            return "", SPLIT
        if not text:
            return "", kinds[0]
        if new.unlisted == "absent" and not new.exclusive and len(used) < len(apply):
            return "", INCOMPLETE
        if len(found) == 1:
            return found[0]
        values, _ = labels.parse(new, text, self._plan.new)
        if new.exclusive and len(values) > 1:
            return text, CONTRADICTION
        return SEPARATOR.join(new.values[i] for i in values), REWRITTEN


class _Origin:
    """The contribution of an old attribute to the cells of a new one."""

    def __init__(self, plan: Plan, source: Source):
        self._old, self._new, self._source = plan.old, plan.new, source
        gone = plan.removed_values(source.old.name)
        # old values that only another new attribute comes from
        self._elsewhere = {v for v, new in source.becomes.items() if not new and v not in gone}

    def applies(self, category: str) -> bool:
        """Return whether a row of `category` may have a value; True if the category is unknown."""
        position, _ = labels.encode_category(self._old, category)
        where = self._old.slices[self._source.old.name]
        return position is None or bool(self._old.allowed[position, where].any())

    def rewrite(self, cell: str) -> tuple[str, str]:
        """Return the new cell and what happened to it.

        SAME: the new schema reads it correctly. UNKNOWN: unchanged, because the old schema could
        not use it. SPLIT, REMOVED, ELSEWHERE: emptied, because its value was split and the part is
        unknown, its values were removed, or they belong to another attribute. If unlisted values
        are absent, one split value empties the whole cell: the remaining values would imply that
        all parts of the split are absent.
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
