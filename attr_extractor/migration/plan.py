"""What becomes of each attribute and value of a schema in the next one."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass

from attr_extractor.schema import Attribute, Schema

KINDS = ("kept", "renamed", "merged", "split", "added", "removed")  # what happens to a value


@dataclass(frozen=True)
class Source:
    """Where one attribute of the new schema comes from."""

    new: Attribute
    old: Attribute
    parts: dict[str, list[str]]  # by each new value, the old ones it is made of; none where added

    @functools.cached_property
    def becomes(self) -> dict[str, list[str]]:
        """By each old value, the new ones of this attribute that are made of it."""
        found: dict[str, list[str]] = {value: [] for value in self.old.values}
        for value, parts in self.parts.items():
            for part in parts:
                found[part].append(value)
        return found

    def kind(self, value: str) -> str:
        """What happened to a new value: one of KINDS, never "removed"."""
        parts = self.parts[value]
        if len(parts) != 1:
            return "merged" if parts else "added"
        if len(self.becomes[parts[0]]) > 1:
            return "split"
        return "kept" if parts[0] == value else "renamed"


@dataclass(frozen=True)
class Plan:
    """A whole step from one schema to the next, checked: see `mapping.Mapping.plan`."""

    old: Schema
    new: Schema
    sources: dict[str, Source]  # by new attribute; none where it is added
    changed: dict[str, str]  # new attribute -> how its meaning changes

    @functools.cached_property
    def becomes(self) -> dict[str, list[Source]]:
        """By each old attribute, the new ones that come from it."""
        found: dict[str, list[Source]] = {name: [] for name in self.old.names}
        for source in self.sources.values():
            found[source.old.name].append(source)
        return found

    def removed_values(self, name: str) -> list[str]:
        """The values of an old attribute that no new value is made of."""
        sources = self.becomes[name]
        return [v for v in self.old[name].values if not any(s.becomes[v] for s in sources)]

    @functools.cached_property
    def counts(self) -> dict[str, Counter[str]]:
        """Values by KINDS: of each new attribute, then of each old one that is gone.

        What an old attribute loses is counted once, at the first that comes from it.
        """
        counts: dict[str, Counter[str]] = {}
        for attribute in self.new.attributes:
            source = self.sources.get(attribute.name)
            kinds = [source.kind(v) if source else "added" for v in attribute.values]
            counts[attribute.name] = Counter(kinds)
            if source and self.becomes[source.old.name][0] is source:
                lost = len(self.removed_values(source.old.name))
                counts[attribute.name].update({"removed": lost})
        for name, sources in self.becomes.items():
            if not sources:
                gone = Counter({"removed": len(self.old[name].values)})
                # an attribute may be dropped and another one added under its name
                counts[name] = counts.get(name, Counter()) + gone
        return counts

    def text(self) -> str:
        """What moves, a line for the whole and one for each attribute that is not just kept."""
        lines = [f"values: {_say(sum(self.counts.values(), Counter()))}"]
        for name, counts in self.counts.items():
            source, facts = self.sources.get(name), [_say(counts)]
            if source and source.old.name != name:
                facts.insert(0, f"was {source.old.name}")
            if source is None:
                facts.insert(0, "added" if name in self.new.index else "removed")
            if name in self.changed:
                facts.append(f"its meaning changes: {self.changed[name]}")
            if len(facts) > 1 or +counts != Counter({"kept": counts["kept"]}):
                lines.append(f"  {name}: {'; '.join(facts)}")
        return "\n".join(lines)


def _say(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])
