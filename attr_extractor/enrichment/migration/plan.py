"""Plan of a migration: the mapping of each attribute and value between two schemas."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from dataclasses import dataclass

from attr_extractor.schema import Attribute, Schema

KINDS = ("kept", "renamed", "merged", "split", "added", "removed")  # what happens to a value


@dataclass(frozen=True)
class Source:
    """An old attribute that a new attribute comes from, alone or with others."""

    new: Attribute
    old: Attribute
    parts: dict[str, list[str]]  # by new value: its old values of this attribute

    @functools.cached_property
    def becomes(self) -> dict[str, list[str]]:
        """By old value: the new values of this attribute that come from it."""
        found: dict[str, list[str]] = {value: [] for value in self.old.values}
        for value, parts in self.parts.items():
            for part in parts:
                found[part].append(value)
        return found


@dataclass(frozen=True)
class Plan:
    """A validated plan from one schema to the next; see `mapping.Mapping.plan`."""

    old: Schema
    new: Schema
    sources: dict[str, list[Source]]  # by new attribute, in the mapping's order; no added ones
    changed: dict[str, str]  # new attribute -> how its meaning changes

    @functools.cached_property
    def becomes(self) -> dict[str, list[Source]]:
        """By old attribute: the sources of the new attributes that come from it."""
        found: dict[str, list[Source]] = {name: [] for name in self.old.names}
        for source in itertools.chain(*self.sources.values()):
            found[source.old.name].append(source)
        return found

    def kind(self, name: str, value: str) -> str:
        """Return what happened to a value of a new attribute: one of KINDS, never "removed"."""
        sources = self.sources.get(name, [])
        made_of = [(source, part) for source in sources for part in source.parts[value]]
        if len(made_of) != 1:
            return "merged" if made_of else "added"
        ((source, part),) = made_of
        if len(source.becomes[part]) > 1:
            return "split"
        return "kept" if part == value else "renamed"

    def removed_values(self, name: str) -> list[str]:
        """Return the values of an old attribute that no new value comes from."""
        sources = self.becomes[name]
        return [v for v in self.old[name].values if not any(s.becomes[v] for s in sources)]

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
                if self.becomes[source.old.name][0] is source:
                    counts[name].update({"removed": len(self.removed_values(source.old.name))})
        for name, sources in self.becomes.items():
            if not sources:
                gone = Counter({"removed": len(self.old[name].values)})
                # an attribute may be dropped and another one added under its name
                counts[name] = counts.get(name, Counter()) + gone
        return counts

    def text(self) -> str:
        """Return a summary: a line in total and one per attribute that is not just kept."""
        lines = [f"values: {_say(sum(self.counts.values(), Counter()))}"]
        for name, counts in self.counts.items():
            origins, facts = [s.old.name for s in self.sources.get(name, [])], [_say(counts)]
            if origins and origins != [name]:
                facts.insert(0, f"was {' and '.join(origins)}")
            if not origins:
                facts.insert(0, "added" if name in self.new.index else "removed")
            if name in self.changed:
                facts.append(f"its meaning changes: {self.changed[name]}")
            if len(facts) > 1 or +counts != Counter({"kept": counts["kept"]}):
                lines.append(f"  {name}: {'; '.join(facts)}")
        return "\n".join(lines)


def _say(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])
