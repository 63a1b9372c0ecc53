"""Plan of a migration: the mapping of each attribute and value, and attributes that change meaning.

An attribute may change its meaning although its name and values stay. Compared are the settings
that the fingerprint covers (exclusive, applies_to, values_by_category, the category attribute),
the meaning of an unlisted value, and how cells are read (synonyms). Renamed, merged and split
categories and values are followed; added or removed values change nothing else.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attr_extractor.schema import Attribute, Schema

KINDS = ("kept", "renamed", "merged", "split", "added", "removed")  # what happens to a value


@dataclass(frozen=True)
class Source:
    """An old attribute that a new attribute comes from, alone or with others."""

    new: Attribute
    old: Attribute
    old_values: dict[str, list[str]]  # by new value: the old values that it comes from

    @functools.cached_property
    def new_values(self) -> dict[str, list[str]]:
        """By old value: the new values that come from it."""
        new_values: dict[str, list[str]] = {value: [] for value in self.old.values}
        for new_value, old_values in self.old_values.items():
            for old_value in old_values:
                new_values[old_value].append(new_value)
        return new_values


@dataclass(frozen=True)
class Plan:
    """A validated plan from one schema to the next; see `mapping.Mapping.plan`."""

    old: Schema
    new: Schema
    sources: dict[str, list[Source]]  # by new attribute, in the mapping's order; no added ones

    @functools.cached_property
    def targets(self) -> dict[str, list[Source]]:
        """By old attribute: the sources that contain it, one per new attribute."""
        targets: dict[str, list[Source]] = {name: [] for name in self.old.names}
        for source in itertools.chain(*self.sources.values()):
            targets[source.old.name].append(source)
        return targets

    @functools.cached_property
    def changed_meanings(self) -> dict[str, str]:
        """By new attribute that comes from an old one: the first difference in its meaning."""
        by_category = _changes_by_category(self)
        changed = {}
        for name, sources in self.sources.items():
            settings = itertools.chain(*map(_changed_settings, sources))
            changes = [*settings, *by_category.get(name, []), *_changed_readings(sources)]
            if changes:
                changed[name] = changes[0]
        return changed

    def kind(self, name: str, value: str) -> str:
        """Return what happened to a value of a new attribute: one of KINDS, never "removed"."""
        sources = self.sources.get(name, [])
        origins = [(source, old) for source in sources for old in source.old_values[value]]
        if len(origins) != 1:
            return "merged" if origins else "added"
        ((source, old_value),) = origins
        if len(source.new_values[old_value]) > 1:
            return "split"
        return "kept" if old_value == value else "renamed"

    def removed_values(self, name: str) -> list[str]:
        """Return the values of an old attribute that no new value comes from."""
        sources = self.targets[name]
        return [v for v in self.old[name].values if not any(s.new_values[v] for s in sources)]

    @functools.cached_property
    def counts(self) -> dict[str, Counter[str]]:
        """Counts of values by KINDS: of each new attribute, then of each removed old one.

        The removed values of an old attribute are counted once, at the first new one from it.
        """
        counts: dict[str, Counter[str]] = {}
        for attribute in self.new.attributes:
            name = attribute.name
            counts[name] = Counter(self.kind(name, value) for value in attribute.values)
            for source in self.sources.get(name, []):
                if self.targets[source.old.name][0] is source:
                    counts[name].update({"removed": len(self.removed_values(source.old.name))})
        for name, sources in self.targets.items():
            if not sources:
                removed = Counter({"removed": len(self.old[name].values)})
                # an attribute may be removed and another one added under its name
                counts[name] = counts.get(name, Counter()) + removed
        return counts

    def summary(self) -> str:
        """Return a line in total and one per attribute that is not just kept."""
        lines = [f"values: {_describe(sum(self.counts.values(), Counter()))}"]
        for name, counts in self.counts.items():
            origins = [source.old.name for source in self.sources.get(name, [])]
            facts = [_describe(counts)]
            if not origins:
                facts.insert(0, "added" if name in self.new.index else "removed")
            elif origins != [name]:
                facts.insert(0, f"was {' and '.join(origins)}")
            if name in self.changed_meanings:
                facts.append(f"its meaning changes: {self.changed_meanings[name]}")
            if len(facts) > 1 or +counts != Counter({"kept": counts["kept"]}):
                lines.append(f"  {name}: {'; '.join(facts)}")
        return "\n".join(lines)


def _describe(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])


def _changed_settings(source: Source) -> Iterator[str]:
    for key in ("exclusive", "unlisted"):
        before, after = getattr(source.old, key), getattr(source.new, key)
        if before != after:
            yield f"{key} was {str(before).lower()} and is {str(after).lower()}"


def _changes_by_category(plan: Plan) -> dict[str, list[str]]:
    """Return differences in the values that a category may have, by new attribute."""
    old, new = plan.old, plan.new
    categories = plan.sources.get(new.category, [])
    if [source.old.name for source in categories] != [old.category]:
        changes = {
            name: ["the category is another attribute"]
            for name, sources in plan.sources.items()
            if not new.allowed[:, new.slices[name]].all()
            or not all(old.allowed[:, old.slices[source.old.name]].all() for source in sources)
        }
        if categories:
            origins = " and ".join(source.old.name for source in categories)
            changes[new.category] = [f"the category was {old.category} and comes from {origins}"]
        return changes
    of_categories = _made_of(categories[0])
    changes = {}
    for name, sources in plan.sources.items():
        allowed = new.allowed[:, new.slices[name]]
        expected, carried = np.zeros([2, *allowed.shape], bool)
        for source in sources:
            of_values = _made_of(source)
            before = old.allowed[:, old.slices[source.old.name]].astype(np.float32)
            expected |= of_categories @ before @ of_values.T > 0  # bool [new C, new V_t]
            carried |= np.outer(of_categories.any(axis=1), of_values.any(axis=1))
        differs = np.argwhere((expected != allowed) & carried)
        if len(differs):
            c, v = differs[0]
            was, now = ("did", "does not") if expected[c, v] else ("did not", "does")
            changes[name] = [
                f"{new[name].values[v]!r} {was} apply to {new[new.category].values[c]!r} and "
                f"{now} now"
            ]
    return changes


def _made_of(source: Source) -> np.ndarray:
    """Return float32 [new V_t, old V_t]: 1 if a new value comes from an old one."""
    position = {value: i for i, value in enumerate(source.old.values)}
    made_of = np.zeros([len(source.new.values), len(position)], np.float32)
    for i, old_values in enumerate(source.old_values.values()):
        made_of[i, [position[value] for value in old_values]] = 1
    return made_of


def _changed_readings(sources: Sequence[Source]) -> Iterator[str]:
    """Yield spellings that are now read as another value, no longer read, or newly read."""
    new = sources[0].new
    for source in sources:
        old = source.old
        of_old = f" of {old.name}" if len(sources) > 1 else ""
        known = {**{value: value for value in old.values}, **old.synonyms}
        for spelling, value in known.items():
            new_values, now = source.new_values[value], new.value_of(spelling)
            if new_values and now is not None and new.values[now] not in new_values:
                now_read = f"is read as {new.values[now]!r}"
                yield f"{spelling!r}{of_old} was read as {value!r} and {now_read}"
            elif new_values and now is None and spelling in old.synonyms:
                yield f"the synonym {spelling!r} of {value!r}{of_old} was removed"
    for spelling, value in new.synonyms.items():
        origins = [source for source in sources if source.old_values[value]]
        if origins and not any(_reads(source, spelling, value) for source in origins):
            yield f"the synonym {spelling!r} of {value!r} is new"


def _reads(source: Source, spelling: str, new_value: str) -> bool:
    """Return whether the old attribute reads a spelling as an old value of `new_value`."""
    position = source.old.value_of(spelling)
    return position is not None and source.old.values[position] in source.old_values[new_value]
