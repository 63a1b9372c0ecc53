"""mapping.yaml: how names of the old schema map to the new one, checked to be complete.

Names that are the same in both schemas carry over without an entry. Every other old name must
have a target or be listed as removed, and every other new name a source or be listed as added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Dict, List, Union

from attr_extractor import yaml_files
from attr_extractor.enrichment.migration.plan import Plan, Source
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.schema import Schema


class Mapping(yaml_files.Model):
    """The content of a mapping file; listed values are written as `attribute=value`.

    The old values of a new value may be written without the attribute: this means the value of
    every old attribute that the new attribute comes from and that has it.
    """

    attributes: Dict[str, Union[str, List[str]]] = {}  # new name: old name or names
    values: Dict[str, Dict[str, List[str]]] = {}  # by new attribute: new value: old values
    added: List[str] = []  # new names
    removed: List[str] = []  # old names
    changed: List[str] = []  # new attributes whose meaning changed

    @classmethod
    def read(cls, path: str | Path) -> Mapping:
        """Return the mapping of a YAML file; an InputError names the file, the key and the fix."""
        content = yaml_files.read_mapping(path, "the mapping file")
        return yaml_files.validate(cls, content, str(path))

    def plan(self, old: Schema, new: Schema, origin: str) -> Plan:
        """Return the complete plan for every old attribute and value.

        Raises:
          InputError: if the mapping is invalid. The line names `origin`, the first problem and the
            number of others: unknown names, then contradictions, then names without a mapping.
        """
        _require_none(origin, self._unknown_names(old, new))
        _require_none(origin, self._contradictions(old, new))
        plan = Plan(old, new, self._sources(old, new))
        unlisted = [
            f"{name}: {change}; list it under changed"
            for name, change in plan.changed_meanings.items()
            if name not in self.changed
        ]
        _require_none(origin, [*self._unmapped(plan), *unlisted])
        return plan

    def _origins(self, name: str, old: Schema) -> list[str]:
        """Return the old attributes that a new one comes from, [] for an added one."""
        if name in self.attributes:
            listed = self.attributes[name]
            return [listed] if isinstance(listed, str) else listed
        return [name] if name in old.index and name not in self.added else []

    def _sources(self, old: Schema, new: Schema) -> dict[str, list[Source]]:
        sources = {}
        for attribute in new.attributes:
            pairs = {v: self._old_pairs(attribute.name, v, old) for v in attribute.values}
            of_attribute = [
                Source(
                    attribute,
                    old[origin],
                    {v: [part for name, part in pairs[v] if name == origin] for v in pairs},
                )
                for origin in self._origins(attribute.name, old)
            ]
            if of_attribute:
                sources[attribute.name] = of_attribute
        return sources

    def _old_pairs(self, name: str, value: str, old: Schema) -> list[tuple[str, str]]:
        """Return the (old attribute, old value) pairs that a new value comes from."""
        origins, listed = self._origins(name, old), self.values.get(name, {}).get(value)
        if listed is not None:
            return [pair for text in listed for pair in _parse_pairs(text, origins, old)]
        if f"{name}={value}" in self.added:
            return []
        return [(origin, value) for origin in origins if value in old[origin].values]

    def _unknown_names(self, old: Schema, new: Schema) -> list[str]:
        problems = []

        def require(name: str, known: Collection[str], where: str, what: str) -> bool:
            if name not in known:
                problems.append(f"{where}: {name!r} is not {what}{did_you_mean(name, known)}")
            return name in known

        for name in self.attributes:
            require(name, new.names, "attributes", "an attribute of the new schema")
            for origin in self._origins(name, old):
                require(origin, old.names, f"attributes.{name}", "an attribute of the old schema")
        for name, values in self.values.items():
            if not require(name, new.names, "values", "an attribute of the new schema"):
                continue
            origins = [origin for origin in self._origins(name, old) if origin in old.index]
            known = [value for origin in origins for value in old[origin].values]
            for value, parts in values.items():
                where = f"values.{name}"
                require(value, new[name].values, where, f"a value of {name} in the new schema")
                for part in parts if origins else ():  # no origins: reported elsewhere
                    if not _parse_pairs(part, origins, old):
                        what = f"a value of {' or '.join(origins)} in the old schema"
                        require(part, known, f"{where}.{value}", what)
        for key, schema, which in (("added", new, "new"), ("removed", old, "old")):
            for text in getattr(self, key):
                name, equals, value = text.partition("=")
                if (
                    require(name, schema.names, key, f"an attribute of the {which} schema")
                    and equals
                ):
                    what = f"a value of {name} in the {which} schema"
                    require(value, schema[name].values, key, what)
        for name in self.changed:
            require(name, new.names, "changed", "an attribute of the new schema")
        return problems

    def _contradictions(self, old: Schema, new: Schema) -> list[str]:
        problems = []
        for name in new.names:
            origins = self._origins(name, old)
            if name in self.added and origins:
                problems.append(
                    f"{name} is added, but attributes maps it from {' and '.join(origins)}"
                )
            if self.attributes.get(name) == []:
                problems.append(f"attributes maps {name} from nothing; remove that line")
            for origin, count in Counter(origins).items():
                if count > 1:
                    problems.append(f"{name} is mapped from {origin} twice")
                if origin in self.removed:
                    problems.append(
                        f"{origin} is removed, but {name} of the new schema comes from it; "
                        "if only its name is the same, list it under added too"
                    )
            if not origins:
                problems += [
                    f"{name} comes from no old attribute, but {key} names it"
                    for key in ("values", "changed")
                    if name in getattr(self, key)
                ]
                continue
            for value in new[name].values:
                listed = self.values.get(name, {}).get(value)
                if listed is not None and f"{name}={value}" in self.added:
                    problems.append(f"{name}={value} is added, but values maps it from {listed}")
                if listed == []:
                    problems.append(f"{name}={value} is mapped from nothing; list it under added")
                for (origin, part), count in Counter(self._old_pairs(name, value, old)).items():
                    if count > 1:
                        problems.append(f"{name}={value} is mapped from {part!r} twice")
                    if f"{origin}={part}" in self.removed:
                        others = "if only its name is the same, list it under added too"
                        if len(origins) > 1:
                            others = "list its old values under values"
                        problems.append(
                            f"{origin}={part} is removed, but {name}={value} of the new schema "
                            f"comes from it; {others}"
                        )
        return problems

    def _unmapped(self, plan: Plan) -> list[str]:
        problems = []
        for attribute in plan.new.attributes:
            name = attribute.name
            if name not in plan.sources and name not in self.added:
                problems.append(
                    f"the new attribute {name} has no source; name its old one under "
                    "attributes, or list it under added"
                )
            for value in attribute.values if name in plan.sources else ():
                if plan.kind(name, value) == "added" and f"{name}={value}" not in self.added:
                    problems.append(
                        f"the new value {name}={value} has no source; name its old values "
                        "under values, or list it under added"
                    )
        for name, sources in plan.targets.items():
            if name in self.removed:
                continue
            if not sources:
                problems.append(
                    f"the old attribute {name} has no target; name its new one under attributes, "
                    "or list it under removed"
                )
                continue
            problems += [
                f"the old value {name}={value} has no target; name it under values, or list it "
                "under removed"
                for value in plan.removed_values(name)
                if f"{name}={value}" not in self.removed
            ]
        return problems


def _parse_pairs(text: str, origins: Sequence[str], old: Schema) -> list[tuple[str, str]]:
    """Return the (attribute, value) pairs of a text, `attribute=value` or `value` alone."""
    attribute, _, value = text.partition("=")
    named = attribute in origins and value in old[attribute].values
    alone = [(origin, text) for origin in origins if text in old[origin].values]
    return [(attribute, value)] if named and (len(origins) > 1 or not alone) else alone


def _require_none(origin: str, problems: list[str]) -> None:
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"{origin}: {problems[0]}{more}")
