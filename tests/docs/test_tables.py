"""Tests of docs/tables.py, the tables of the reference, and of links in the front pages."""

from __future__ import annotations

import csv
import html
import os
import re
import subprocess
import sys
from typing import Literal

import pytest
from pydantic import Field

from attr_extractor import yaml_files
from docs import tables
from tests.conftest import ROOT


class Sizes(yaml_files.Model):
    """A model with every way to write a meaning."""

    # how often; at least
    # once
    count: int = Field(default=3, ge=1)
    share: float = Field(gt=0, le=1)  # of a|b <all>
    kind: Literal["small", "large"] = "small"


class Whole(yaml_files.Model):
    """A model with a section."""

    name: str  # of the whole
    sizes: Sizes = Sizes(share=1)


@pytest.fixture(autouse=True)
def _models_of_this_file(monkeypatch):
    monkeypatch.setattr(tables, "_resolve", {"Sizes": Sizes, "Whole": Whole}.__getitem__)


def cells(table: str) -> list[list[str]]:
    """Return the texts of a Markdown table's cells."""
    lines = [line.strip("|").split("|") for line in re.sub("</?code>", "", table).splitlines()]
    return [[html.unescape(cell).strip() for cell in line] for line in lines]


def test_a_key_has_its_type_limits_default_and_the_comment_at_its_definition():
    assert cells(tables.keys("Sizes", "sizes.")) == [
        ["key", "type", "default", "meaning"],
        ["---", "---", "---", "---"],
        ["sizes.count", "int, ≥ 1", "3", "how often; at least once"],
        ["sizes.share", "float, > 0, ≤ 1", "required", "of a|b <all>"],
        ["sizes.kind", "small, large", '"small"', ""],
    ]


def test_sections_and_a_column_without_defaults_are_left_out():
    assert cells(tables.keys("Whole")) == [
        ["key", "type", "meaning"],
        ["---", "---", "---"],
        ["name", "text", "of the whole"],
    ]


def test_a_key_without_a_meaning_is_refused():
    with pytest.raises(ValueError, match=r"Sizes\.kind: write its meaning"):
        tables.keys("Sizes", require_meaning=True)


def test_flags_of_all_programs_although_they_share_names():
    """In a new process: flags are global."""
    command = [sys.executable, "-c", "from docs import tables; print(tables.programs())"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    sections = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", result.stdout, re.M | re.S))
    assert "attr-extractor export --run_dir=shop/run" in sections["export"]
    rows = {row[0]: row[1:] for row in cells(sections["export"]) if row[0].startswith("--")}
    assert rows["--run_dir"] == ["string", "required", "Run directory of attr-extractor train."]
    assert rows["--version"] == ["int", "", "Version number. Default: highest + 1."]
    assert rows["--parts"][:2] == ["int", "1"]
    assert "--run_dir" in sections["evaluate"]


def test_every_figure_has_its_command_and_its_subject_stands_once():
    with tables.FIGURES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row for row in rows if not all(row.values())] == []
    subjects = re.findall("^## (.*)", tables.figures(), re.M)
    assert sorted(subjects) == sorted({row["subject"] for row in rows})


@pytest.mark.parametrize("page", ["README.md", "BUILD_NOTES.md"])
def test_links_of_the_front_pages_lead_to_files(page):
    links = re.findall(r"\]\(([^)#:]+\.(?:md|csv))", (ROOT / page).read_text(encoding="utf-8"))
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).is_file()] == []
