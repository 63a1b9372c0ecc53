"""YAML files read into checked, typed models: each mistake is one line naming file, key and cure.

Schema and configuration share it, so a misspelt key reads the same everywhere.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from attr_extractor.errors import InputError, did_you_mean, require_file


class Model(pydantic.BaseModel):
    """A section of a YAML file: unknown keys and values of another type are refused."""

    model_config = pydantic.ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )


M = TypeVar("M", bound=Model)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error, and `yes` or `on` stays a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if not isinstance(key, Hashable):
                break  # SafeLoader says so below
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that `_Loader` would not read back as text."""


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _yaml in (_Loader, _Dumper):
    # YAML 1.1 reads no, yes, on and off as booleans; as values of a garment they are words.
    _yaml.add_implicit_resolver(_BOOL, re.compile(r"^(true|True|false|False)$"), list("tTfF"))
    # YAML 1.1 reads 1e-3 as a word; here it is the number that everybody means.
    _yaml.add_implicit_resolver(
        _FLOAT,
        re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def load(text: str, origin: str) -> Any:
    """The plain objects in a YAML text; `origin` names it in errors."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: month 13, !!int of a word
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"{origin}{line}: not valid YAML: {problem}") from error


def read_mapping(path: str | Path, what: str) -> dict[str, Any]:
    """The top-level mapping of a YAML file; raises InputError where there is none."""
    path = require_file(path, what)
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: {what} cannot be read as UTF-8 text: {error}") from error
    content = load(text, str(path))
    if not isinstance(content, dict):
        raise InputError(f"{path}: {what} must be a mapping of keys to values")
    return content


def validate(model: type[M], content: dict[str, Any], origin: str) -> M:
    """`content` as a checked model; the first mistake as an InputError naming its key."""
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InputError(f"{origin}: {key}: {_say(model, first)}{more}") from error


def dump(model: Model, defaults: bool = True) -> str:
    """The YAML text of a model, with or without the keys that are at their default."""
    content = model.model_dump(mode="json", exclude_defaults=not defaults)
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _say(model: type[Model], error: Any) -> str:
    if error["type"] == "extra_forbidden":
        known = _keys_at(model, error["loc"][:-1])
        return "unknown key" + did_you_mean(str(error["loc"][-1]), known)
    if error["type"] == "missing":
        return "this key is required"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return message
    cure = "; write it in quotes" if error["type"] == "string_type" else ""
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        cure = did_you_mean(error["input"], re.findall(r"'([^']*)'", error["ctx"]["expected"]))
    return f"{message[0].lower()}{message[1:]}, not {error['input']!r}{cure}"


def _keys_at(model: Any, location: tuple[Any, ...]) -> list[str]:
    """The keys that the model allows at a place such as ("attributes", 3)."""
    for part in location:
        if isinstance(model, type) and issubclass(model, Model) and part in model.model_fields:
            model = model.model_fields[str(part)].annotation
        if typing.get_origin(model) is typing.Union:
            model = next(a for a in typing.get_args(model) if a is not type(None))
        if typing.get_origin(model) in (list, tuple, dict):
            model = typing.get_args(model)[-1 if typing.get_origin(model) is dict else 0]
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, Model) else []
