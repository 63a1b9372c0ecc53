"""Test quality/qualify.py, its page and tools/qualify.py."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import pytest

from attr_extractor.enrichment import cells
from attr_extractor.enrichment.quality import qualify
from attr_extractor.errors import InputError
from tests.conftest import ROOT, require_bad_input, run_tool
from tests.enrichment.by_hand import cell, color, write_cells
from tests.enrichment.quality.test_counts import made_up
from tests.enrichment.quality.test_fill_costs import drawn, write_run


@pytest.fixture
def schema_file(shop):
    return shop.schema_file


def test_the_folder_contains_page_figures_and_list(schema, schema_file, tmp_path):
    rows = [*made_up(300), cell(151, product_id='<b>"x"\r', seller="<i>me</i>")]
    path = write_cells(tmp_path / "cells.parquet", rows)
    run = write_run(tmp_path / "run", schema, *drawn(schema))
    report = qualify.qualify(path, tmp_path / "out", schema_file, run_dir=run, most=20)
    folder = tmp_path / "out"
    assert sorted(p.name for p in folder.iterdir()) == [
        "catalogue_report.html",
        "contradictions.csv",
        "quality.json",
    ]
    figures = json.loads((folder / "quality.json").read_text())
    assert figures == json.loads(json.dumps(report.as_json()))
    with open(folder / "contradictions.csv", newline="", encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    assert len(listed) == 20
    gaps = [float(row["proposed_score"]) - float(row["given_score"]) for row in listed]
    assert gaps == pytest.approx(sorted(gaps, reverse=True), abs=2e-4)
    assert '<b>"x"\r' in [row["product_id"] for row in listed]
    text = (folder / "catalogue_report.html").read_text(encoding="utf-8")
    assert "&lt;i&gt;me&lt;/i&gt;" in text and "<i>me" not in text
    assert "http" not in text  # no external resource
    assert f"{100 * report.thresholds[0].wrong:.1f} %" in text
    assert f"{100 * report.all.complete:.1f} %" in text


def test_the_page_names_the_flags_of_missing_sections(schema_file, tmp_path):
    path = write_cells(tmp_path / "cells.parquet", [cell(1), color(2)])
    report = qualify.qualify(path, tmp_path / "out", schema_file)
    text = (tmp_path / "out" / "catalogue_report.html").read_text(encoding="utf-8")
    assert report.thresholds is None and "pass the run with --run_dir" in text
    assert report.sellers == {} and "--seller_column=NAME" in text


@pytest.mark.parametrize(
    "rows", [[], [cell(verdict=cells.UNSEEN, proposed=[], proposed_scores=[])]]
)
def test_a_file_without_judged_cells_has_a_page(schema, schema_file, tmp_path, rows):
    run = write_run(tmp_path / "run", schema, *drawn(schema))
    path = write_cells(tmp_path / "cells.parquet", rows)
    report = qualify.qualify(path, tmp_path / "out", schema_file, run_dir=run)
    assert report.cells == len(rows)
    assert report.summary().startswith(f"{len(rows)} products, {len(rows)} cells")
    text = (tmp_path / "out" / "catalogue_report.html").read_text(encoding="utf-8")
    assert "nan" not in text and "No cell is contradicted" in text


def test_a_folder_with_content_is_refused(schema_file, tmp_path):
    path = write_cells(tmp_path / "cells.parquet", [cell()])
    with pytest.raises(InputError, match="exists already"):
        qualify.qualify(path, tmp_path, schema_file)
    assert [p.name for p in tmp_path.iterdir()] == ["cells.parquet"]
    with pytest.raises(InputError, match="either --schema or --model"):
        qualify.qualify(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"verdict": "maybe"}, "not a cells file.*'maybe'"), ({"given": "polo"}, "schema.*'polo'")],
)
def test_invalid_cells_are_refused_and_nothing_is_written(schema_file, tmp_path, change, words):
    path = write_cells(tmp_path / "cells.parquet", [cell(**change)])
    with pytest.raises(InputError, match=words):
        qualify.qualify(path, tmp_path / "out", schema_file)
    assert [p.name for p in tmp_path.iterdir()] == ["cells.parquet"]


def test_the_program_prints_a_summary_or_one_line_of_bad_input(schema_file, tmp_path):
    flags = (f"--schema={schema_file}", f"--output_dir={tmp_path / 'out'}")
    result = run_tool("qualify", f"--cells={schema_file}", *flags)
    require_bad_input(result, "not a readable Parquet file")
    path = write_cells(tmp_path / "cells.parquet", [cell()])
    result = run_tool("qualify", f"--cells={path}", *flags)
    assert result.returncode == 0, result.stderr
    assert "1 products, 1 cells" in result.stdout and "catalogue_report.html" in result.stdout


@pytest.mark.slow
def test_qualify_with_a_model_and_its_run(exported, tmp_path):
    rows = [cell(i, verdict=cells.FILLED, given="", given_score=None) for i in range(1, 40)]
    path, run = write_cells(tmp_path / "cells.parquet", rows), tmp_path / "run"
    shutil.copytree(exported.run, run, ignore=shutil.ignore_patterns("checkpoints", "logs"))
    flags = (f"--cells={path}", f"--model={exported.model}", f"--run_dir={run}")
    assert run_tool("evaluate", f"--run_dir={run}", "--split=validation").returncode == 0
    found = run_tool("qualify", *flags, f"--output_dir={tmp_path / 'out'}")
    assert found.returncode == 0, found.stderr
    costs = json.loads((tmp_path / "out" / "quality.json").read_text())["thresholds"]
    assert costs[0]["filled"] == 39


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(schema_file, tmp_path):
    program = (
        "import sys, resource; from attr_extractor.enrichment.quality import qualify;"
        "qualify.qualify(*sys.argv[1:4], most=1000);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )

    def peak(times: int) -> float:
        """Return the peak memory of a process in MiB."""
        rows = made_up(5_000)
        path = write_cells(tmp_path / f"{times}.parquet", rows * times, row_group=20_000)
        command = (program, path, tmp_path / f"out{times}", schema_file)
        done = subprocess.run(
            [sys.executable, "-c", *map(str, command)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        return int(done.stdout) / 1024

    assert peak(60) < peak(12) + 30
