"""mapping.yaml: what the two schemas do not say of themselves, and the plan that comes of it.

Names that are the same on both sides carry over by themselves. For the rest every old name must
go somewhere or be listed as removed, every new one come from somewhere or be listed as added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Dict, List, Union

from attr_extractor import yaml_files
from attr_extractor.errors import InputError, did_you_mean
from attr_extractor.migration import meaning
from attr_extractor.migration.plan import Plan, Source
from attr_extractor.schema import Schema


class Mapping(yaml_files.Model):
    """The content of a mapping file; a value stands as `attribute=value` where it is listed.

    An old value that a new one is made of may stand alone: it is then that value of every old
    attribute that the new attribute comes from and that has it.
    """

    attributes: Dict[str, Union[str, List[str]]] = {}  # new name: old name, or several
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

    def _origins(self, name: str, old: Schema) -> list[str]:
        """The old attributes that a new one comes from, none for one that is added."""
        if name in self.attributes:
            listed = self.attributes[name]
            return [listed] if isinstance(listed, str) else listed
        return [name] if name in old.index and name not in self.added else []

    def _sources(self, old: Schema, new: Schema) -> dict[str, list[Source]]:
        sources = {}
        for attribute in new.attributes:
            made_of = {v: self._made_of(attribute.name, v, old) for v in attribute.values}
            found = []
            for origin in self._origins(attribute.name, old):
                parts = {v: [p for o, p in pairs if o == origin] for v, pairs in made_of.items()}
                found.append(Source(attribute, old[origin], parts))
            if found:
                sources[attribute.name] = found
        return sources

    def _made_of(self, name: str, value: str, old: Schema) -> list[tuple[str, str]]:
        """The (old attribute, old value) that a new value is made of."""
        origins, listed = self._origins(name, old), self.values.get(name, {}).get(value)
        if listed is not None:
            return [pair for text in listed for pair in _old_values(text, origins, old)]
        same = [(origin, value) for origin in origins if value in old[origin].values]
        return [] if f"{name}={value}" in self.added else same

    def _unknown_names(self, old: Schema, new: Schema) -> list[str]:
        problems = []

        def require(name: str, known: Collection[str], where: str, what: str) -> bool:
            if name not in known:
                problems.append(f"{where}: {name!r} is no {what}{did_you_mean(name, known)}")
            return name in known

        for name in self.attributes:
            require(name, new.names, "attributes", "attribute of the new schema")
            for origin in self._origins(name, old):
                require(origin, old.names, f"attributes.{name}", "attribute of the old schema")
        for name, values in self.values.items():
            if not require(name, new.names, "values", "attribute of the new schema"):
                continue
            origins = [origin for origin in self._origins(name, old) if origin in old.index]
            known = [value for origin in origins for value in old[origin].values]
            for value, parts in values.items():
                where = f"values.{name}"
                require(value, new[name].values, where, f"value of {name} in the new schema")
                for part in parts if origins else ():  # none: told above, or a contradiction
                    if not _old_values(part, origins, old):
                        what = f"value of {' or '.join(origins)} in the old schema"
                        require(part, known, f"{where}.{value}", what)
        for key, schema, which in (("added", new, "new"), ("removed", old, "old")):
            for text in getattr(self, key):
                name, equals, value = text.partition("=")
                if require(name, schema.names, key, f"attribute of the {which} schema") and equals:
                    what = f"value of {name} in the {which} schema"
                    require(value, schema[name].values, key, what)
        for name in self.changed:
            require(name, new.names, "changed", "attribute of the new schema")
        return problems

    def _contradictions(self, old: Schema, new: Schema) -> list[str]:
        problems = []
        for name in new.names:
            origins = self._origins(name, old)
            if name in self.added and origins:
                problems.append(
                    f"{name} is added, and attributes makes it of {' and '.join(origins)}"
                )
            if self.attributes.get(name) == []:
                problems.append(f"attributes makes {name} of nothing; leave that line out")
            for origin, count in Counter(origins).items():
                if count > 1:
                    problems.append(f"{name} is made of {origin} twice")
                if origin in self.removed:
                    problems.append(
                        f"{origin} is removed, and {name} of the new schema comes from it; "
                        "list one that only has the same name under added too"
                    )
            if not origins:
                problems += [
                    f"{name} comes from no old attribute, and {key} names it"
                    for key in ("values", "changed")
                    if name in getattr(self, key)
                ]
                continue
            for value in new[name].values:
                listed = self.values.get(name, {}).get(value)
                if listed is not None and f"{name}={value}" in self.added:
                    problems.append(f"{name}={value} is added, and values makes it of {listed}")
                if listed == []:
                    problems.append(f"{name}={value} is made of nothing; list it under added")
                for (origin, part), count in Counter(self._made_of(name, value, old)).items():
                    if count > 1:
                        problems.append(f"{name}={value} is made of {part!r} twice")
                    if f"{origin}={part}" in self.removed:
                        others = "list a value that only has the same name under added too"
                        if len(origins) > 1:
                            others = "name those that it is made of under values"
                        problems.append(
                            f"{origin}={part} is removed, and {name}={value} of the new schema is "
                            f"made of it; {others}"
                        )
        return problems

    def _uncovered(self, plan: Plan) -> list[str]:
        problems = []
        for attribute in plan.new.attributes:
            name = attribute.name
            if name not in plan.sources and name not in self.added:
                problems.append(
                    f"the new attribute {name} comes from nowhere; name its old one under "
                    "attributes, or list it under added"
                )
            for value in attribute.values if name in plan.sources else ():
                if plan.kind(name, value) == "added" and f"{name}={value}" not in self.added:
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


def _old_values(text: str, origins: Sequence[str], old: Schema) -> list[tuple[str, str]]:
    """The (attribute, value) of those that a text names, `attribute=value` or `value` alone."""
    attribute, _, value = text.partition("=")
    named = attribute in origins and value in old[attribute].values
    alone = [(origin, text) for origin in origins if text in old[origin].values]
    return [(attribute, value)] if named and (len(origins) > 1 or not alone) else alone


def _require_none(origin: str, problems: list[str]) -> None:
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"{origin}: {problems[0]}{more}")
