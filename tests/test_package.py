"""Tests of the package as a whole: silent imports, the order of rooms, docstrings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import attr_extractor
from tests.conftest import ROOT

PACKAGE = ROOT / "attr_extractor"
FILES = sorted(PACKAGE.rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
# Rooms in the order in which data flows; a file may import from its own room and those before it.
ROOMS = [
    ("errors",),
    ("storage", "processor"),
    ("lease",),
    ("ownership",),
    ("files", "yaml_files"),
    ("working_copy",),
    ("web",),
    ("made_from",),
    ("schema",),
    ("labels",),
    ("config",),
    ("catalogue",),
    ("sources",),
    ("demo",),
    ("records",),
    ("model",),
    ("training",),
    ("evaluation",),
    ("serving",),
    ("enrichment",),
    ("api",),
    ("doctor",),
    ("programs",),
    ("cli",),
    ("__main__",),
]
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, room) for every import of this package, also within functions."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            assert parts[0] not in ("benchmarks", "tools"), f"line {node.lineno}: not installed"
            if parts[0] == "attr_extractor" and parts[1:] != ["__version__"]:
                assert len(parts) > 1, f"line {node.lineno}: imports the bare package"
                yield node.lineno, parts[1]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_importing_the_package_is_silent_and_loads_no_tensorflow(tmp_path):
    script = (
        "import sys; before = set(sys.modules); import attr_extractor\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "bad = new & {'tensorflow', 'keras', 'numpy', 'pandas', 'PIL', 'absl', 'pydantic'}\n"
        "sys.exit(f'imported {bad}' if bad or 'attr_extractor' not in new else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_first_rooms_load_no_tensorflow():
    rooms = [room for rooms in ROOMS[: FLOOR["labels"] + 1] for room in rooms]
    script = (
        "import importlib, sys\n"
        f"for room in {rooms}:\n"
        "    importlib.import_module(f'attr_extractor.{room}')\n"
        "    assert 'tensorflow' not in sys.modules, room"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == attr_extractor.__version__


def test_every_file_is_in_a_known_room():
    assert len(FILES) > 40
    assert {room_of(path) for path in FILES} - {"__init__"} == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_nothing_imports_upwards(path):
    imports = list(imported_rooms(parse(path)))
    if path == PACKAGE / "__init__.py":
        assert imports == []
        return
    floor = FLOOR[room_of(path)]
    upwards = [(line, room) for line, room in imports if FLOOR[room] > floor]
    assert upwards == []


def test_imported_rooms_detects_every_form_of_import():
    source = (
        "import attr_extractor.model.loss\n"
        "from attr_extractor import labels\n"
        "def f():\n    from attr_extractor.serving.export import export\n"
    )
    assert list(imported_rooms(ast.parse(source))) == [(1, "model"), (2, "labels"), (4, "serving")]


@pytest.mark.parametrize("path", FILES + BENCHMARKS, ids=relative)
def test_every_file_has_a_docstring(path):
    assert ast.get_docstring(parse(path))


@pytest.mark.parametrize("path", FILES + BENCHMARKS, ids=relative)
def test_no_exception_is_ignored_silently(path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"
            silent = all(isinstance(line, (ast.Pass, ast.Continue)) for line in node.body)
            assert not silent, f"line {node.lineno}: an exception is dropped"


def public_functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Yield public functions, classes and methods of a module, without nested functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if child.name.startswith("_"):
                continue
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public_functions(child, f"{child.name}.")


# Methods that Keras or PyYAML calls by these names: what they do is in the base class's docstring.
INHERITED = re.compile(
    r"on_\w+|build|call|get_config|from_config|compute_output_shape|construct_mapping"
    r"|train_step|test_step|update_state|reset_state|result|metrics"
)


@pytest.mark.parametrize("path", FILES + BENCHMARKS, ids=relative)
def test_every_public_function_has_a_docstring(path):
    bare = [
        name
        for name, node in public_functions(parse(path))
        if not ast.get_docstring(node)
        and not ("." in name and INHERITED.fullmatch(name.split(".")[-1]))
        and not (
            name == "main" and path.parent.name == "programs"
        )  # the module's docstring says it
    ]
    assert bare == []
