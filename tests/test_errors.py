"""Claims about `errors.py`: a line has a bound, and what a parser raises is a line."""

from __future__ import annotations

import pytest

from attr_extractor.errors import LONGEST, InputError, one_line, parsing


def test_a_long_line_keeps_its_ends():
    line = str(InputError("shop/schema.yaml: not " + "x" * 10**6 + "; write it in quotes"))
    assert len(line) <= LONGEST
    assert line.startswith("shop/schema.yaml: not xxx") and line.endswith("xxx; write it in quotes")
    assert " … " in line


@pytest.mark.parametrize("length", [LONGEST - 1, LONGEST, LONGEST + 1])
def test_a_line_is_cut_beyond_its_bound_only(length: int):
    line = one_line("x" * length)
    assert (line == "x" * length) == (length <= LONGEST)
    assert len(line) <= LONGEST


def test_lines_are_joined_and_names_keep_their_spaces():
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
def test_whatever_a_parser_raises_is_one_line(raised: Exception, reason: str):
    with pytest.raises(InputError) as caught, parsing("f.json: not JSON"):
        raise raised
    assert str(caught.value).startswith(f"f.json: not JSON: {reason}".strip())
    assert caught.value.__cause__ is raised


def test_an_interruption_is_no_bad_input():
    with pytest.raises(KeyboardInterrupt), parsing("f.json: not JSON"):
        raise KeyboardInterrupt
