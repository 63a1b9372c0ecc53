"""Tests of errors.py: error lines, their length, and exceptions of parsers."""

from __future__ import annotations

import tempfile

import pytest

from attr_extractor.errors import LONGEST, InputError, one_line, parsing, require_file
from tests.conftest import require_bad_input, run_tool


def test_a_long_line_keeps_its_start_and_end():
    line = str(InputError("shop/schema.yaml: not " + "x" * 10**6 + "; write it in quotes"))
    assert len(line) <= LONGEST
    assert line.startswith("shop/schema.yaml: not xxx") and line.endswith("xxx; write it in quotes")
    assert " … " in line


@pytest.mark.parametrize("length", [LONGEST - 1, LONGEST, LONGEST + 1])
def test_only_lines_beyond_the_limit_are_shortened(length: int):
    line = one_line("x" * length)
    assert (line == "x" * length) == (length <= LONGEST)
    assert len(line) <= LONGEST


def test_an_error_needs_no_folder_of_temporary_files(monkeypatch):
    def full() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "gettempdir", full)
    assert str(InputError("the disk is full")) == "the disk is full"


def test_lines_are_joined_and_spaces_within_names_are_kept():
    text = "a  b/c   d.csv:\n    not a table\r\n\n\u2028 at all \n"
    assert str(InputError(text)) == "a  b/c   d.csv: not a table at all"


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (ValueError("bad digit"), "bad digit"),
        (ValueError(), "ValueError: "),
        (KeyError("maybe"), "KeyError: 'maybe'"),
        (RecursionError("maximum recursion depth exceeded"), "it is nested too deeply"),
        (MemoryError(), "it does not fit in memory"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "'utf-8' codec can't decode"),
    ],
)
def test_any_exception_of_a_parser_becomes_one_line(raised: Exception, reason: str):
    with pytest.raises(InputError) as caught, parsing("f.json: not JSON"):
        raise raised
    assert str(caught.value).startswith(f"f.json: not JSON: {reason}".strip())
    assert caught.value.__cause__ is raised


def test_a_keyboard_interrupt_is_not_converted():
    with pytest.raises(KeyboardInterrupt), parsing("f.json: not JSON"):
        raise KeyboardInterrupt


def test_a_file_name_keeps_its_spaces(tmp_path):
    path = tmp_path / "my  shop   table.csv"
    with pytest.raises(InputError) as told:
        require_file(path, "the catalogue")
    assert str(told.value) == f"{path}: the catalogue does not exist"
    result = run_tool("infer_schema", f"--catalogue={path}", f"--output={tmp_path / 's.yaml'}")
    require_bad_input(result, f"{path}: the catalogue does not exist")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("a\n  b\r\n\tc", "a b c"),
        ("a\n\n \nb\n", "a b"),
        ("a\u2028b\x0bc", "a b c"),
        ("a  b", "a  b"),
    ],
)
def test_lines_become_one(message, line):
    assert str(InputError(message)) == line
