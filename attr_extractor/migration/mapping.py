"""mapping.yaml: what the two schemas do not say of themselves, and the plan that comes of it.

Names that are the same on both sides carry over by themselves. For the rest every old name must
go somewhere or be listed as removed, every new one come from somewhere or be listed as added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Dict, List

from attr_extractor import yaml_files
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.migration import meaning
from attr_extractor.migration.plan import Plan, Source
from attr_extractor.schema import Schema


class Mapping(yaml_files.Model):
    """The content of a mapping file; a value stands as `attribute=value` where it is listed."""

    attributes: Dict[str, str] = {}  # new name: old name
    values: Dict[str, Dict[str, List[str]]] = {}  # by new attribute: new value: old values
    added: List[str] = []  # new names
    removed: List[str] = []  # old names
    changed: List[str] = []  # new attributes whose meaning is another one

    @classmethod
    def read(cls, path: str | Path) -> Mapping:
        """The mapping in a YAML file; raises InputError naming the file, the key and the cure."""
        content = yaml_files.read_mapping(path, "the mapping file")
        return yaml_files.validate(cls, content, str(path))

    def plan(self, old: Schema, new: Schema, origin: str) -> Plan:
        """What becomes of each old attribute and value; nothing is left open.

        Raises:
          InputError: a line that names `origin`, the first thing that is wrong, and how many more:
            unknown names, then contradictions, then what the mapping does not cover.
        """
        _require_none(origin, self._unknown_names(old, new))
        _require_none(origin, self._contradictions(old, new))
        plan = Plan(old, new, self._sources(old, new), {})
        changes = meaning.changes(plan)
        silent = [
            f"{name}: {change}; list it under changed"
            for name, change in changes.items()
            if name not in self.changed
        ]
        _require_none(origin, [*self._uncovered(plan), *silent])
        return Plan(old, new, plan.sources, changes)

    def _source_of(self, name: str, old: Schema) -> str | None:
        """The old attribute that a new one comes from, None for one that is added."""
        if name in self.attributes:
            return self.attributes[name]
        return name if name in old.index and name not in self.added else None

    def _sources(self, old: Schema, new: Schema) -> dict[str, Source]:
        sources = {}
        for attribute in new.attributes:
            name = attribute.name
            origin = self._source_of(name, old)
            if origin is None:
                continue
            parts = {
                value: self.values.get(name, {}).get(value)
                or ([value] if self._carries_over(name, value, old, origin) else [])
                for value in attribute.values
            }
            sources[name] = Source(attribute, old[origin], parts)
        return sources

    def _carries_over(self, name: str, value: str, old: Schema, origin: str) -> bool:
        return value in old[origin].values and f"{name}={value}" not in self.added

    def _unknown_names(self, old: Schema, new: Schema) -> list[str]:
        problems = []

        def require(name: str, known: Collection[str], where: str, what: str) -> bool:
            if name not in known:
                problems.append(f"{where}: {name!r} is no {what}{did_you_mean(name, known)}")
            return name in known

        for name, origin in self.attributes.items():
            require(name, new.names, "attributes", "attribute of the new schema")
            require(origin, old.names, f"attributes.{name}", "attribute of the old schema")
        for name, values in self.values.items():
            if not require(name, new.names, "values", "attribute of the new schema"):
                continue
            source = self._source_of(name, old)
            for value, parts in values.items():
                where = f"values.{name}"
                require(value, new[name].values, where, f"value of {name} in the new schema")
                if source not in old.index:
                    continue  # told above, or a contradiction
                for part in parts:
                    require(
                        part,
                        old[source].values,
                        f"{where}.{value}",
                        f"value of {source} in the old schema",
                    )
        for key, schema, which in (("added", new, "new"), ("removed", old, "old")):
            for text in getattr(self, key):
                name, equals, value = text.partition("=")
                known = require(name, schema.names, key, f"attribute of the {which} schema")
                if known and equals:
                    what = f"value of {name} in the {which} schema"
                    require(value, schema[name].values, key, what)
        for name in self.changed:
            require(name, new.names, "changed", "attribute of the new schema")
        return problems

    def _contradictions(self, old: Schema, new: Schema) -> list[str]:
        problems = []
        for name in new.names:
            source = self._source_of(name, old)
            if name in self.added and source is not None:
                problems.append(f"{name} is added, and attributes makes it of {source}")
            if source is None:
                problems += [
                    f"{name} comes from no old attribute, and {key} names it"
                    for key in ("values", "changed")
                    if name in getattr(self, key)
                ]
                continue
            if source in self.removed:
                problems.append(
                    f"{source} is removed, and {name} of the new schema comes from it; "
                    "list one that only has the same name under added too"
                )
            for value in new[name].values:
                listed = self.values.get(name, {}).get(value)
                if listed is not None and f"{name}={value}" in self.added:
                    problems.append(f"{name}={value} is added, and values makes it of {listed}")
                if listed == []:
                    problems.append(f"{name}={value} is made of nothing; list it under added")
                twice = [part for part, count in Counter(listed or []).items() if count > 1]
                problems += [f"{name}={value} is made of {part!r} twice" for part in twice]
                same = [value] if self._carries_over(name, value, old, source) else []
                problems += [
                    f"{source}={part} is removed, and {name}={value} of the new schema is made of "
                    "it; list a value that only has the same name under added too"
                    for part in (same if listed is None else listed)
                    if f"{source}={part}" in self.removed
                ]
        return problems

    def _uncovered(self, plan: Plan) -> list[str]:
        problems = []
        for attribute in plan.new.attributes:
            name = attribute.name
            source = plan.sources.get(name)
            if source is None and name not in self.added:
                problems.append(
                    f"the new attribute {name} comes from nowhere; name its old one under "
                    "attributes, or list it under added"
                )
            for value, parts in source.parts.items() if source else ():
                if not parts and f"{name}={value}" not in self.added:
                    problems.append(
                        f"the new value {name}={value} comes from nowhere; name its old values "
                        "under values, or list it under added"
                    )
        for name, sources in plan.becomes.items():
            if name in self.removed:
                continue
            if not sources:
                problems.append(
                    f"the old attribute {name} goes nowhere; name its new one under attributes, "
                    "or list it under removed"
                )
                continue
            problems += [
                f"the old value {name}={value} goes nowhere; name it under values, or list it "
                "under removed"
                for value in plan.removed_values(name)
                if f"{name}={value}" not in self.removed
            ]
        return problems


def _require_none(origin: str, problems: list[str]) -> None:
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"{origin}: {problems[0]}{more}")
