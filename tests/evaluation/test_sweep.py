"""Tests of the ablation sweep: its table, resumption and bad input."""

from __future__ import annotations

import json

import pytest

from attr_extractor.errors import InputError
from attr_extractor.evaluation import sweep
from tests.conftest import require_bad_input, run_tool


def row(name: str, catalogue: str, seed: int, accuracy: float) -> dict:
    return {
        "row": name,
        "catalogue": catalogue,
        "seed": seed,
        "accuracy": accuracy,
        "seconds": 60.0,
    }


def test_the_table_has_the_mean_over_seeds_and_a_dash_without_a_measurement():
    rows = [row("a", "x", 0, 0.5), row("a", "x", 1, 0.7), row("b", "y", 0, 0.25)]
    head, a, b = sweep.table(rows).splitlines()
    assert head.split() == ["row", "x", "y"]
    assert a.split() == ["a", "0.6000", "(0.5000", "0.7000)", "60s", "-"]
    assert b.split() == ["b", "-", "0.2500", "(0.2500)", "60s"]


def test_an_invalid_override_fails_before_training(built, tmp_path):
    (tmp_path / "rows.yaml").write_text("rows: {one: [train.epochs=1], two: [train.epoch=1]}")
    with pytest.raises(InputError, match=r"train\.epoch"):
        sweep.sweep(
            built.config, tmp_path / "rows.yaml", {"shop": built.records}, [0], tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_of_rows_is_bad_input(tmp_path):
    (tmp_path / sweep.ROWS).write_text('{"row": "a"}\n{"row": "b"')
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2: not a JSON file"):
        sweep.read_rows(tmp_path)


@pytest.mark.slow
def test_rows_are_trained_once_and_their_accuracy_equals_that_of_evaluate(built, tmp_path):
    (tmp_path / "rows.yaml").write_text("rows: {one: [train.epochs=1], two: [train.epochs=2]}")
    out = tmp_path / "out"
    flags = [
        *(f"--config={built.config}", f"--rows={tmp_path / 'rows.yaml'}"),
        *(f"--records=shop={built.records}", "--seeds=3", f"--output_dir={out}"),
    ]
    first = run_tool("sweep", *flags)
    assert first.returncode == 0, first.stderr
    rows = sweep.read_rows(out)
    assert [(r["row"], r["catalogue"], r["seed"]) for r in rows] == [
        ("one", "shop", 3),
        ("two", "shop", 3),
    ]
    again = run_tool("sweep", *flags)
    assert again.stdout == first.stdout and sweep.read_rows(out) == rows

    run = out / "runs" / "two-shop-3"
    evaluated = run_tool("evaluate", f"--run_dir={run}", "--split=validation")
    assert evaluated.returncode == 0, evaluated.stderr
    measured = json.loads((run / "metrics.json").read_text())["validation"]["attributes"]
    assert rows[1]["attributes"] == pytest.approx(
        {name: attribute["accuracy"] for name, attribute in measured.items()}, abs=1e-4
    )
    low, high = rows[1]["interval"]
    assert low <= rows[1]["accuracy"] <= high


def test_an_invalid_flag_is_bad_input(built, tmp_path):
    wrong = [
        f"--config={built.config}",
        f"--rows={tmp_path / 'r.yaml'}",
        f"--output_dir={tmp_path}",
    ]
    require_bad_input(run_tool("sweep", *wrong, "--records=nothing"), "NAME=FOLDER")
