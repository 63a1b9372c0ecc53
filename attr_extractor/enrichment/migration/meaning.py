"""Attributes whose meaning differs in the new schema, apart from their names and values.

Compared are the settings that the fingerprint covers (exclusive, applies_to, values_by_category,
the category attribute), the meaning of an unlisted value, and how cells are read (synonyms).
Renamed, merged and split categories and values are followed; added or removed values change
nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from attr_extractor.enrichment.migration.plan import Plan, Source


def changes(plan: Plan) -> dict[str, str]:
    """Return the first difference in meaning by new attribute that comes from an old one."""
    rules = _rules(plan)
    found = {}
    for name, sources in plan.sources.items():
        settings = itertools.chain(*map(_settings, sources))
        reasons = [*settings, *rules.get(name, []), *_readings(sources)]
        if reasons:
            found[name] = reasons[0]
    return found


def _settings(source: Source) -> Iterator[str]:
    for key in ("exclusive", "unlisted"):
        before, after = getattr(source.old, key), getattr(source.new, key)
        if before != after:
            yield f"{key} was {str(before).lower()} and is {str(after).lower()}"


def _rules(plan: Plan) -> dict[str, list[str]]:
    """Return differences in the values that a category may have."""
    old, new = plan.old, plan.new
    categories = plan.sources.get(new.category, [])
    if [source.old.name for source in categories] != [old.category]:
        found = {
            name: ["the category is another attribute"]
            for name, sources in plan.sources.items()
            if not new.allowed[:, new.slices[name]].all()
            or not all(old.allowed[:, old.slices[source.old.name]].all() for source in sources)
        }
        if categories:
            made_of = " and ".join(source.old.name for source in categories)
            found[new.category] = [f"the category was {old.category} and comes from {made_of}"]
        return found
    of_categories = _made_of(categories[0])
    found = {}
    for name, sources in plan.sources.items():
        expected, carried = np.zeros([2, *new.allowed[:, new.slices[name]].shape], bool)
        for source in sources:
            of_values = _made_of(source)
            before = old.allowed[:, old.slices[source.old.name]].astype(np.float32)
            expected |= of_categories @ before @ of_values.T > 0  # bool [new C, new V_t]
            carried |= np.outer(of_categories.any(axis=1), of_values.any(axis=1))
        differs = np.argwhere((expected != new.allowed[:, new.slices[name]]) & carried)
        if len(differs):
            c, v = differs[0]
            words = ("did", "does not") if expected[c, v] else ("did not", "does")
            found[name] = [
                f"{new[name].values[v]!r} {words[0]} apply to {new[new.category].values[c]!r} and "
                f"{words[1]} now"
            ]
    return found


def _made_of(source: Source) -> np.ndarray:
    """Return float32 [new V_t, old V_t]: 1 if a new value comes from an old one."""
    position = {value: i for i, value in enumerate(source.old.values)}
    made_of = np.zeros([len(source.new.values), len(position)], np.float32)
    for i, parts in enumerate(source.parts.values()):
        made_of[i, [position[part] for part in parts]] = 1
    return made_of


def _readings(sources: Sequence[Source]) -> Iterator[str]:
    """Yield spellings that are now read as another value, no longer read, or newly read."""
    new = sources[0].new
    for source in sources:
        old = source.old
        of_old = f" of {old.name}" if len(sources) > 1 else ""
        known = {**{value: value for value in old.values}, **old.synonyms}
        for spelling, value in known.items():
            becomes, now = source.becomes[value], new.value_of(spelling)
            if becomes and now is not None and new.values[now] not in becomes:
                now_read = f"is read as {new.values[now]!r}"
                yield f"{spelling!r}{of_old} was read as {value!r} and {now_read}"
            elif becomes and now is None and spelling in old.synonyms:
                yield f"the synonym {spelling!r} of {value!r}{of_old} was removed"
    for spelling, value in new.synonyms.items():
        before = [(s.old.value_of(spelling), s) for s in sources if s.parts[value]]
        if before and all(v is None or s.old.values[v] not in s.parts[value] for v, s in before):
            yield f"the synonym {spelling!r} of {value!r} is new"
