"""Tables of the reference pages, made from the code and from figures.csv.

mkdocs-macros calls `define_env`; the pages call the macros as `{{ keys("config.DataConfig") }}`.
The meaning of a key or a column is the comment at its definition. Names of classes and variables
are relative to the package.
"""

from __future__ import annotations

import ast
import csv
import html
import importlib
import inspect
import io
import itertools
import json
import re
import sys
import textwrap
import tokenize
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pydantic
from absl import flags

import attr_extractor
from attr_extractor import cli

FIGURES = Path(__file__).with_name("figures.csv")


def define_env(env: Any) -> None:
    """Register the macros."""
    for macro in (keys, columns, features, docstring, programs, public, trunks, figures):
        env.macro(macro)


def keys(name: str, prefix: str = "", require_meaning: bool = False) -> str:
    """Return the table of a pydantic class: its keys with type, default and meaning.

    Args:
      prefix: of the keys, such as `data.`; keys of sections are left to their own tables.

    Raises:
      ValueError: if `require_meaning` and a key has no comment.
    """
    model = _resolve(name)
    schema = model.model_json_schema()
    meanings: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base is not pydantic.BaseModel and issubclass(base, pydantic.BaseModel):
            meanings |= _comments(inspect.getsource(base))
    rows = []
    for key, described in schema["properties"].items():
        if _is_section(model.model_fields[key]):
            continue
        if require_meaning and not meanings.get(key):
            raise ValueError(f"{name}.{key}: write its meaning in a comment at its definition")
        required = key in schema.get("required", ())
        default = "required" if required else _code(json.dumps(described.get("default")))
        rows.append((_code(prefix + key), _type(described), default, _text(meanings.get(key, ""))))
    if all(default == "required" for _, _, default, _ in rows):
        return _table(("key", "type", "meaning"), [(k, t, meaning) for k, t, _, meaning in rows])
    return _table(("key", "type", "default", "meaning"), rows)


def columns(name: str) -> str:
    """Return the table of an Arrow schema: its columns with type and meaning."""
    module, _, variable = name.rpartition(".")
    meanings = _comments(_source_of(module, variable))
    rows = [
        (_code(field.name), _code(str(field.type)), _text(meanings.get(field.name, "")))
        for field in _resolve(name)
    ]
    return _table(("column", "type", "meaning"), rows)


def features() -> str:
    """Return the table of a record's features."""
    meanings = _comments(_source_of("records.example", "FEATURES"))
    rows = [
        (_code(name), _code(spec.dtype.name), _text(meanings.get(name, "")))
        for name, spec in _resolve("records.example.FEATURES").items()
    ]
    return _table(("feature", "type", "meaning"), rows)


def docstring(name: str) -> str:
    """Return a module's docstring as it is written."""
    return f"```text\n{inspect.getdoc(_import(name))}\n```"


def programs() -> str:
    """Return the help and the flags of every verb, by stage."""
    parts = []
    for stage, verbs in cli.STAGES.items():
        parts.append(f"## {stage}")
        for verb in verbs:
            program, defined = _program(verb)
            text, _, example = (inspect.getdoc(program) or "").partition("Example:\n")
            rows = [
                (
                    _code(f"--{flag.name}"),
                    _text(flag.flag_type()),
                    _default(flag),
                    _text(flag.help.partition(";\n    repeat this option")[0]),
                )
                for flag in defined
            ]
            parts += [
                f"### {verb}",
                text.strip(),
                f"```bash\n{textwrap.dedent(example).strip()}\n```",
            ]
            parts.append(_table(("flag", "type", "default", "meaning"), rows))
    return "\n\n".join(parts)


def public() -> dict[str, str]:
    """Return the public names of the package, and where each is defined."""
    return {name: f"attr_extractor.{path}" for name, path in attr_extractor._PUBLIC.items()}


def trunks() -> str:
    """Return the table of the values of `model.trunk`."""
    packages = _resolve("model.trunks.pretrained.PACKAGES")
    files = _resolve("model.trunks.pretrained.KERAS_FILES")
    of_pytorch = _resolve("model.trunks.namings.FAMILIES")
    rows = []
    for name, trunk in _resolve("model.trunks.trunk.TRUNKS").items():
        source = f"Keras: {_code(files[name])}" if name in files else "none"
        source = f"package {_code(packages[name].name)}" if name in packages else source
        state_dict = "yes" if name in of_pytorch else "no"
        rows.append((_code(name), f"{trunk.min_size} px", source, state_dict))
    return _table(("trunk", "smallest photo", "ImageNet weights", "PyTorch's files"), rows)


def figures() -> str:
    """Return the measured figures: a heading and a table for each subject, in the file's order."""
    with FIGURES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    parts = []
    for subject, of_subject in itertools.groupby(rows, lambda row: row["subject"]):
        lines = []
        for command, measured in itertools.groupby(of_subject, lambda row: row["command"]):
            lines.append(f"<tr><th colspan=2>{_code(command)}</th></tr>")
            for row in measured:
                cells = (_html(row["measurement"]), _html(row["result"]))
                lines.append(f"<tr><td>{cells[0]}</td><td>{cells[1]}</td></tr>")
        table = "\n".join(["<table>", *lines, "</table>"])
        parts.append(f'## {subject}\n\n<div class="figures">\n{table}\n</div>')
    return "\n\n".join(parts)


def _import(name: str) -> Any:
    return importlib.import_module(f"attr_extractor.{name}")


def _resolve(name: str) -> Any:
    module, _, variable = name.rpartition(".")
    return getattr(_import(module), variable)


def _source_of(module: str, variable: str) -> str:
    """Return the source of the statement that assigns a module's variable."""
    source = inspect.getsource(_import(module))
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == variable for target in targets):
            return ast.get_source_segment(source, node) or ""
    raise LookupError(f"{module} does not assign {variable}")


def _comments(source: str) -> dict[str, str]:
    """Return the comment of every key, at the end of its line or on the lines before it.

    A key is an annotated name of a class, a key of a dict, or the text that begins a tuple.
    """
    trailing: dict[int, str] = {}
    alone: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            kind = alone if token.line.lstrip().startswith("#") else trailing
            kind[token.start[0]] = token.string.lstrip("# ")
    comments = {}
    for key, first, last in _keys(ast.parse(source)):
        before: list[str] = []
        while first - len(before) - 1 in alone:
            before.append(alone[first - len(before) - 1])
        comments[key] = " ".join([*reversed(before), trailing.get(last, "")]).strip()
    return comments


def _keys(tree: ast.AST) -> Iterable[tuple[str, int, int]]:
    """Yield each key with its first and its last line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node.lineno, node.end_lineno or node.lineno
        if isinstance(node, ast.Dict):
            for key in node.keys:
                if isinstance(key, ast.Constant):
                    yield str(key.value), key.lineno, key.lineno
        if isinstance(node, ast.Tuple) and node.elts and isinstance(node.elts[0], ast.Constant):
            yield str(node.elts[0].value), node.lineno, node.end_lineno or node.lineno


def _is_section(field: Any) -> bool:
    """Return whether a key holds a section that has a table of its own."""
    return inspect.isclass(field.annotation) and issubclass(field.annotation, pydantic.BaseModel)


def _type(schema: dict[str, Any]) -> str:
    """Return the type in a JSON schema in words, with its limits."""
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(map(_code, schema["enum"]))
    if "$ref" in schema:
        return _code(schema["$ref"].rpartition("/")[2])
    kind = schema.get("type", "any")
    if kind == "array":
        inner = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        return f"list of {_type(inner)}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"mapping to {_type(inner)}" if isinstance(inner, dict) else "mapping"
    names = {"integer": "int", "number": "float", "string": "text", "boolean": "bool"}
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    unlimited = (None, 2**53)  # the latter is JSON's limit
    limits = [
        f"{sign} {schema[key]:g}" for key, sign in signs.items() if schema.get(key) not in unlimited
    ]
    return ", ".join([names.get(kind, kind), *limits])


def _program(verb: str) -> tuple[Any, list[flags.Flag]]:
    """Return a program and its flags, and forget them: two programs may share a name."""
    name = f"attr_extractor.programs.{verb.replace('-', '_')}"
    sys.modules.pop(name, None)
    program = importlib.import_module(name)
    defined = list(flags.FLAGS.get_flags_for_module(name))
    flags.FLAGS.remove_flag_values([flag.name for flag in defined])
    return program, defined


def _default(flag: flags.Flag) -> str:
    if any(not validator.checker(None) for validator in flag.validators):
        return "required"
    if isinstance(flag.default, bool):
        return _code(str(flag.default).lower())
    default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
    return "" if default in (None, "") else _code(str(default))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table without its empty columns; "" without rows."""
    columns = [(name, *cells) for name, *cells in zip(header, *rows) if any(cells)]
    lines = list(zip(*columns))
    lines[1:1] = [("---",) * len(columns)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) if rows else ""


def _text(text: str) -> str:
    """Return text in which Markdown and HTML read nothing but code in backticks."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    for sign in "|*_[]":
        escaped = escaped.replace(sign, f"&#{ord(sign)};")
    return escaped


def _html(text: str) -> str:
    """Return text as HTML; what is in backticks becomes code."""
    return re.sub(r"`(.*?)`", r"<code>\1</code>", html.escape(text, quote=False))


def _code(text: str) -> str:
    escaped = html.escape(" ".join(text.split()), quote=False)
    for sign in "|*_[]\\`":
        escaped = escaped.replace(sign, f"&#{ord(sign)};")
    return f"<code>{escaped}</code>"
