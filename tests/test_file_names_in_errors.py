"""Claims about `errors.py`: one line, in which a file's name is as the file's name is."""

from __future__ import annotations

import pytest

from attr_extractor.errors import InputError, require_file
from tests.conftest import require_bad_input, run_tool


def test_a_file_name_keeps_its_own_spaces(tmp_path):
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
def test_several_lines_become_one(message, line):
    assert str(InputError(message)) == line
