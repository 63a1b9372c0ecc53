"""YAML files read into validated, typed models; each error is one line with file, key and fix.

Schema and configuration share it, so a misspelt key gives the same message everywhere.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
import yaml

from attr_extractor import storage
from attr_extractor.errors import InputError, did_you_mean, parsing, require_file

NESTING = 64  # maximum levels of lists and mappings, aliases followed
ALIASED = 1_000_000  # maximum characters added by aliases
LONGEST_NUMBER = 64  # maximum characters of a number
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


# files that come with the package: in it once installed, beside it in a checkout
_PACKAGE = Path(__file__).parent
_INSTALLED = _PACKAGE / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "configs"

Count = Annotated[int, pydantic.Field(ge=0, lt=2**53)]  # exact in every JSON reader


class Model(pydantic.BaseModel):
    """A section of a YAML file; unknown keys and values of another type are rejected."""

    model_config = pydantic.ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )


M = TypeVar("M", bound=pydantic.BaseModel)


class _Loader(yaml.SafeLoader):
    """Safe YAML loader that rejects duplicate keys and reads `yes` and `on` as words."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if not isinstance(key, Hashable):
                break  # SafeLoader raises below
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:  # SafeLoader checks no scalar
            if not isinstance(node, yaml.ScalarNode):
                raise
            kind = node.tag.rpartition(":")[2]
            problem = f"{node.value!r} is not a valid {kind}; write text in quotes"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


class _Dumper(yaml.SafeDumper):
    """Safe YAML dumper that quotes every text that `_Loader` would not read back as text."""


_BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _yaml in (_Loader, _Dumper):
    # YAML 1.1 reads no, yes, on and off as booleans; as values of an attribute they are words.
    _yaml.add_implicit_resolver(_BOOL, re.compile(r"^(true|True|false|False)$"), list("tTfF"))
    # YAML 1.1 reads 1e-3 as a word; here it is a number, as in Python.
    _yaml.add_implicit_resolver(
        _FLOAT,
        re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def load(text: str, origin: str) -> Any:
    """Parse YAML text into plain objects; `origin` names it in errors.

    Raises:
      InputError: if it is not YAML, or exceeds a limit on nesting, aliases or number length.
    """
    with _parsing(origin):
        loader = _Loader(text)
        node = loader.get_single_node()
    if node is None:
        return None
    _require_limits(node, origin, 2 * len(text) + ALIASED)
    with _parsing(origin):
        return loader.construct_document(node)


@contextmanager
def _parsing(origin: str) -> Iterator[None]:
    try:
        with parsing(f"{origin}: not valid YAML"):
            yield
    except InputError as error:
        cause = error.__cause__
        if not isinstance(cause, yaml.MarkedYAMLError):
            raise
        line = f", line {cause.problem_mark.line + 1}" if cause.problem_mark else ""
        raise InputError(f"{origin}{line}: not valid YAML: {cause.problem}") from cause


def _require_limits(root: yaml.Node, origin: str, most: int) -> None:
    """Raise InputError before building objects that a short text can expand without bound.

    A node that aliases repeat is one node of the graph; its characters count once per occurrence.

    Args:
      most: maximum characters of a node.
    """
    sizes: dict[int, tuple[float, int]] = {}  # by node: characters, levels of lists and mappings

    def measure(node: yaml.Node, level: int) -> tuple[float, int]:
        if id(node) in sizes:
            return sizes[id(node)]
        sizes[id(node)] = math.inf, 0  # until known; read only by a node that contains itself
        problem = ""
        if isinstance(node, yaml.ScalarNode):
            size, levels, problem = 1.0 + len(node.value), 0, _scalar_problem(node)
        elif level > NESTING:
            size, levels = 1.0, NESTING + 1
        else:
            children = [measure(child, level + 1) for child in _children(node)]
            size = 1 + sum(size for size, _ in children)
            levels = 1 + max((levels for _, levels in children), default=0)
        if levels > NESTING:
            problem = f"nested deeper than {NESTING} levels"
        elif size > most:
            problem = "its aliases repeat too much; write the content out"
        if problem:
            line = node.start_mark.line + 1
            raise InputError(f"{origin}, line {line}: not valid YAML: {problem}")
        sizes[id(node)] = size, levels
        return size, levels

    measure(root, 1)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value)


def _scalar_problem(node: yaml.ScalarNode) -> str:
    if node.tag in (_INT, _FLOAT) and len(node.value) > LONGEST_NUMBER:
        return f"a number of {len(node.value):,} characters"
    return "half of a surrogate pair" if _HALF_A_PAIR.search(node.value) else ""


def find(path: str | Path, folder: Path, what: str) -> str | Path:
    """Return the path of a YAML file: `path` itself, or the file of this name in a folder.

    Args:
      path: a path, or the name of a file in `folder` without `.yaml`.
      folder: CONFIGS, or a folder in it.
      what: names the file in the error ("the config").

    Raises:
      InputError: if `path` is a name that neither is a file nor names one.
    """
    if storage.is_remote(path):
        return path
    path = Path(path)
    if path.is_file() or path.suffix or len(path.parts) != 1:
        return path
    names = sorted(file.stem for file in folder.glob("*.yaml"))
    if path.name not in names:
        guess = did_you_mean(path.name, names)
        raise InputError(f"{path}: {what} is neither a file nor one of {', '.join(names)}{guess}")
    return folder / f"{path.name}.yaml"


def read_mapping(path: str | Path, what: str) -> dict[str, Any]:
    """Return the top-level mapping of a YAML file; raise InputError if there is none."""
    if not storage.is_remote(path):
        require_file(path, what)
    try:
        text = storage.read(path).decode()
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: {what} cannot be read as UTF-8 text: {error}") from error
    content = load(text, str(path))
    if not isinstance(content, dict):
        raise InputError(f"{path}: {what} must be a mapping of keys to values")
    return content


def validate(model: type[M], content: Any, origin: str) -> M:
    """Return `content` as a validated model; raise InputError with the key of the first mistake."""
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InputError(f"{origin}: {key}: {_describe_error(model, first)}{more}") from error


def dump(model: Model, defaults: bool = True) -> str:
    """Return the YAML text of a model, with or without keys at their default."""
    content = model.model_dump(mode="json", exclude_defaults=not defaults)
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _describe_error(model: type[pydantic.BaseModel], error: Any) -> str:
    if error["type"] == "extra_forbidden":
        known = _keys_at(model, error["loc"][:-1])
        return "unknown key" + did_you_mean(str(error["loc"][-1]), known)
    if error["type"] == "missing":
        return "this key is required"
    if error["type"] == "model_type":  # pydantic would name our class
        return f"a mapping of keys is required, not {error['input']!r}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return message
    fix = "; write it in quotes" if error["type"] == "string_type" else ""
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        fix = did_you_mean(error["input"], re.findall(r"'([^']*)'", error["ctx"]["expected"]))
    return f"{message[0].lower()}{message[1:]}, not {error['input']!r}{fix}"


def _keys_at(model: Any, location: tuple[Any, ...]) -> list[str]:
    """Return the keys that the model allows at a location such as ("attributes", 3)."""
    for part in location:
        if isinstance(model, type) and issubclass(model, Model) and part in model.model_fields:
            model = model.model_fields[str(part)].annotation
        if typing.get_origin(model) is typing.Union:
            model = next(a for a in typing.get_args(model) if a is not type(None))
        if typing.get_origin(model) in (list, tuple, dict):
            model = typing.get_args(model)[-1 if typing.get_origin(model) is dict else 0]
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, Model) else []
