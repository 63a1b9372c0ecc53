"""Tests of learning curves: the power law, its intervals, and parts of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attr_extractor.errors import InputError
from attr_extractor.evaluation import evaluate, learning_curve
from attr_extractor.records.manifest import Manifest
from attr_extractor.training.run_dir import RunDir
from tests.conftest import require_bad_input, run_tool


def test_an_exact_power_law_is_fitted_with_a_narrow_interval():
    labels = [100, 200, 400, 800]
    fit = learning_curve.power_law(labels, [1 - 2 * n**-0.4 for n in labels], [10**12] * 4)
    assert fit["exponent"] == pytest.approx(0.4, abs=1e-4)
    assert fit["interval"] == pytest.approx([0.4, 0.4], abs=1e-4)
    twice = fit["gains"]["twice"]
    assert twice["labels"] == 800
    assert twice["gain"] == pytest.approx(2 * 800**-0.4 - 2 * 1600**-0.4, abs=1e-4)
    assert fit["gains"]["thousand"] is None  # beyond twice the labels


def test_the_interval_is_students_t_of_the_log_log_slope():
    labels, found = [500, 1000, 2000, 4000], [0.5, 0.62, 0.66, 0.75]
    fit = learning_curve.power_law(labels, found, [10**5] * 4)
    x, y = np.log(labels), np.log(1 - np.array(found))
    slope, intercept = np.polyfit(x, y, 1)
    residual = y - slope * x - intercept
    error = np.sqrt((residual**2).sum() / 2 / ((x - x.mean()) ** 2).sum())
    wide = 4.302653 * error  # t of 97.5 % with 2 degrees of freedom
    assert fit["interval"] == pytest.approx([-slope - wide, -slope + wide], abs=1e-4)
    at_last = np.exp(intercept + slope * x[-1])
    expected = [at_last * (1 - (5000 / 4000) ** -e) for e in (-slope - wide, -slope + wide)]
    assert fit["gains"]["thousand"]["interval"] == pytest.approx(expected, abs=1e-4)


def test_the_interval_covers_the_sampling_error_of_the_test_photos():
    """Compare with the exponents of scores on redrawn photos: about 95 % are within."""
    labels, photos = np.array([100, 200, 400, 800]), 300
    errors = 2 * labels**-0.4
    fit = learning_curve.power_law(labels, (1 - errors).tolist(), [photos] * 4)
    drawn = np.random.default_rng(0).binomial(photos, errors, [2000, 4]) / photos
    slopes = np.polyfit(np.log(labels), np.log(drawn).T, 1)[0]
    low, high = fit["interval"]
    assert ((low < -slopes) & (-slopes < high)).mean() == pytest.approx(0.95, abs=0.015)


def test_the_interval_includes_0_if_scores_do_not_rise():
    fit = learning_curve.power_law([100, 200, 400, 800], [0.5, 0.7, 0.4, 0.6], [500] * 4)
    low, high = fit["gains"]["twice"]["interval"]
    assert low < 0 < high


@pytest.mark.parametrize(
    "labels, found",
    [([0, 10, 20], [0.1, 0.2, 0.3]), ([10, 10, 20], [0.1, 0.2, 0.3]), ([1, 2, 3], [0.1, None, 1])],
)
def test_too_few_points_give_no_curve(labels, found):
    assert learning_curve.power_law(labels, found, [100] * 3) is None


def test_a_constant_score_has_no_gain():
    fit = learning_curve.power_law([100, 200, 400], [0.5] * 3, [50] * 3)
    assert fit["exponent"] == 0
    assert fit["gains"]["twice"]["gain"] == 0


def test_an_interval_does_not_go_below_a_score_of_0():
    fit = learning_curve.power_law([100, 200, 400], [0.2, 0.9, 0.3], [50] * 3)
    assert fit["gains"]["twice"]["interval"][0] >= fit["error"] - 1


def test_a_perfect_score_has_an_error_above_0():
    fit = learning_curve.power_law([100, 200, 400], [0.9, 0.95, 1.0], [50] * 3)
    assert 0 < fit["error"] < 0.05


@pytest.mark.slow
def test_parts_are_trained_once_measured_and_shown_in_the_report(trained, tmp_path):
    found = learning_curve.measure(trained.run, [0.4, 0.7], tmp_path / "parts")
    manifest = Manifest.read(trained.records)
    photos = [point["photos"] for point in found["points"]]
    assert photos == sorted(photos) and photos[-1] == manifest.splits["train"].photos
    for point in found["points"][:-1]:
        part = RunDir.read(point["run"])
        train = part.manifest().splits["train"]
        assert train.photos == point["photos"]
        labels = {n: a["labels"] for n, a in found["attributes"].items()}
        place = found["points"].index(point)
        assert {n: c.answered for n, c in train.labels.items()} == {
            n: counts[place] for n, counts in labels.items()
        }
    measured = evaluate.evaluate(trained.run)
    uncalibrated = {n: a["score"][-1] for n, a in found["attributes"].items()}
    if RunDir.read(trained.run).thresholds().split is None:
        assert uncalibrated == {n: a["score"] for n, a in measured["attributes"].items()}
    text = (trained.run / "report.html").read_text()
    assert '<section id="more_labels">' in text
    weights = [Path(point["run"]) / "weights.npz" for point in found["points"]]
    before = [path.stat().st_mtime_ns for path in weights]
    assert learning_curve.measure(trained.run, [0.7, 0.4], tmp_path / "parts") == found
    assert [path.stat().st_mtime_ns for path in weights] == before
    assert json.loads((trained.run / learning_curve.FILE).read_text()) == found
    assert learning_curve.read(RunDir.read(trained.run)) == found
    (trained.run / learning_curve.FILE).write_text(json.dumps({**found, "weights_digest": "0"}))
    assert learning_curve.read(RunDir.read(trained.run)) is None  # of other weights
    (trained.run / learning_curve.FILE).unlink()
    assert "mean over attributes" in learning_curve.table(found)


def test_invalid_fractions_are_bad_input(trained):
    for fractions in ([0.5], [0.5, 1.0], [0.0, 0.5]):
        with pytest.raises(InputError, match="two or more values between 0 and 1"):
            learning_curve.measure(trained.run, fractions)
    result = run_tool("learning_curve", f"--run_dir={trained.run}", "--fractions=0.1,half")
    require_bad_input(result, "half", "0.125,0.25,0.5")
