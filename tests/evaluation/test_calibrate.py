"""Tests of calibration: temperatures and errors against SciPy and loops, and files of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, special

from attr_extractor import files
from attr_extractor.errors import InputError
from attr_extractor.evaluation import calibrate, evaluate, predictions
from attr_extractor.evaluation.predictions import Predictions
from attr_extractor.model.scoring import Scoring
from attr_extractor.records import pixels
from attr_extractor.records.manifest import Manifest
from attr_extractor.schema import Schema
from attr_extractor.training.run_dir import RunDir
from tests.evaluation.by_hand import by_hand
from tests.records.by_hand import labels_of, read_split


def scoring_of(schema: Schema, softmax: bool) -> Scoring:
    exclusive = np.repeat([a.exclusive for a in schema.attributes], schema.sizes)
    ones = np.ones(schema.num_values, np.float32)
    return Scoring(schema, exclusive & softmax, ones, ones)


def made_up(schema: Schema, count: int = 300, sharpness: float = 2.0):
    """Return logits and labels; a fifth does not apply, a third is missing."""
    generator = np.random.default_rng(0)
    labels = np.zeros([count, schema.num_values], np.int8)
    for attribute, where in zip(schema.attributes, schema.slices.values()):
        size = len(attribute.values)
        labels[np.arange(count), where.start + generator.integers(0, size, count)] = 1
        labels[generator.random(count) < 0.2, where] = 0
        labels[generator.random(count) < 0.3, where] = -1
    color = schema.slices["color"]
    alone = generator.random([count, 3]) < 0.1  # `unlisted: missing`: of single values
    labels[:, color] = np.where(alone & (labels[:, color] == 0), -1, labels[:, color])
    logits = sharpness * (generator.normal(size=labels.shape) + 1.5 * (labels == 1) - 0.5)
    return logits.astype(np.float32), labels


def predictions_of(logits: np.ndarray, labels: np.ndarray) -> Predictions:
    return Predictions("validation", logits, labels, [""] * len(labels), np.zeros(len(labels), int))


def likelihood(b: float, z: np.ndarray, y: np.ndarray, softmax: bool) -> float:
    """Return the negative log likelihood of one attribute, in float64."""
    z = z.astype(np.float64) * b
    if not softmax:
        return float((np.logaddexp(0, z) - z * (y == 1))[y != -1].sum())
    applies = (y == 1).any(axis=1)
    return -float(special.log_softmax(z[applies], axis=1)[y[applies] == 1].sum())


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("sharpness", [0.6, 2.0, 4.0])
def test_temperatures_match_scipy_on_whole_arrays(schema, softmax, sharpness):
    logits, labels = made_up(schema, sharpness=sharpness)
    scoring = scoring_of(schema, softmax)
    fitted = calibrate.fit_temperatures(scoring, predictions_of(logits, labels), min_present=10)
    for name, found in zip(schema.names, fitted):
        where = schema.slices[name]
        one = (logits[:, where], labels[:, where], bool(scoring.softmax[where].all()))
        best = optimize.minimize_scalar(
            likelihood, bounds=(1 / 8, 4), args=one, method="bounded", options={"xatol": 1e-9}
        )
        assert 0.3 < found < 7.5
        assert found == pytest.approx(1 / best.x, rel=2e-5)


def test_the_fit_does_not_depend_on_the_size_of_blocks(schema, monkeypatch):
    scoring, predicted = scoring_of(schema, softmax=True), predictions_of(*made_up(schema))
    whole = calibrate.fit_temperatures(scoring, predicted, 10)
    monkeypatch.setattr(predictions, "_NUMBERS", 7 * schema.num_values)
    np.testing.assert_allclose(calibrate.fit_temperatures(scoring, predicted, 10), whole, rtol=1e-5)


@pytest.mark.parametrize("softmax", [False, True])
def test_the_factors_of_evidence_match_scipy(schema, softmax):
    logits, labels = made_up(schema)
    generator = np.random.default_rng(1)
    noise = generator.normal(scale=2, size=logits.shape)
    added = (noise + 1.2 * (labels == 1) - 0.4).astype(np.float32)
    temperatures = np.repeat([1.5, 0.8, 2.0, 1.2], schema.sizes).astype(np.float32)
    scoring = scoring_of(schema, softmax).with_temperatures(temperatures)
    fitted = calibrate.fit_trust(scoring, predictions_of(logits, labels), added)
    for name, found in zip(schema.names, fitted):
        where = schema.slices[name]
        z, y, e = (each[:, where] for each in (logits / temperatures, labels, added))
        is_softmax = bool(scoring.softmax[where].all())
        best = optimize.minimize_scalar(
            lambda a: likelihood(1.0, z + a * e, y, is_softmax),  # noqa: B023
            bounds=(0, 1.5),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert 0.01 < found < 1.49
        assert found == pytest.approx(best.x, abs=1e-4)


def test_temperatures_stay_within_their_range(schema):
    _, labels = made_up(schema)
    right = np.where(labels == 1, 3.0, -3.0).astype(np.float32)
    scoring = scoring_of(schema, softmax=False)
    fitted = calibrate.fit_temperatures(scoring, predictions_of(right, labels), 10)
    np.testing.assert_array_equal(fitted.round(5), 0.25)
    fitted = calibrate.fit_temperatures(scoring, predictions_of(-right, labels), 10)
    np.testing.assert_array_equal(fitted.round(5), 8.0)


def test_an_attribute_with_too_few_labels_keeps_temperature_1(schema):
    logits, labels = made_up(schema)
    where = schema.slices["neck_type"]
    present = np.flatnonzero((labels[:, where] == 1).any(axis=1))
    labels[present[9:], where] = -1
    scoring = scoring_of(schema, softmax=False)
    t = schema.index["neck_type"]
    fitted = calibrate.fit_temperatures(scoring, predictions_of(logits, labels), 10)
    assert fitted[t] == 1.0 and (np.delete(fitted, t) != 1.0).all()
    fitted = calibrate.fit_temperatures(scoring, predictions_of(logits, labels), 9)
    assert fitted[t] != 1.0


def test_the_calibration_error_matches_a_loop(schema):
    logits, labels = made_up(schema)
    scores = special.expit(logits)
    scores[0, :2] = [0.0, 1.0]
    marked = np.random.default_rng(1).random(labels.shape) < 0.7
    reliability = calibrate.Reliability(schema)
    for rows in (slice(0, 100), slice(100, 300)):
        reliability.add(scores[rows], labels[rows], marked[rows])
    for name, found in zip(schema.names, reliability.expected_error()):
        bins: dict[int, list[tuple[float, int]]] = {}
        for i in range(len(labels)):
            for v in range(schema.slices[name].start, schema.slices[name].stop):
                if marked[i, v] and labels[i, v] != -1:
                    place = next(m for m in range(15) if scores[i, v] < (m + 1) / 15 or m == 14)
                    bins.setdefault(place, []).append((float(scores[i, v]), labels[i, v] == 1))
        total = sum(len(content) for content in bins.values())
        gaps = [len(c) / total * abs(np.diff(np.mean(c, axis=0))[0]) for c in bins.values()]
        assert found == pytest.approx(sum(gaps), abs=1e-6)
        diagram = reliability.diagram(name)
        assert diagram["count"] == [len(bins[m]) for m in sorted(bins)]
        means = [np.mean(bins[m], axis=0) for m in sorted(bins)]
        np.testing.assert_allclose(
            np.transpose([diagram["score"], diagram["right"]]), means, atol=1e-5
        )


def test_an_attribute_without_a_known_label_has_no_calibration_error(schema):
    reliability = calibrate.Reliability(schema)
    labels = np.full([5, schema.num_values], -1, np.int8)
    reliability.add(np.full(labels.shape, 0.5, np.float32), labels, np.ones(labels.shape, bool))
    assert np.isnan(reliability.expected_error()).all()
    assert reliability.diagram("color") == {"score": [], "right": [], "count": []}


@pytest.fixture
def run(trained, tmp_path):
    """Copy the trained run."""
    shutil.copytree(trained.run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    return tmp_path / "run"


def without(split: str, run, records) -> None:
    """Replace the run's records by a copy whose split is empty."""
    shutil.copytree(files.read_json(run / "records.json", "")["records"], records)
    manifest = files.read_json(records / "manifest.json", "")
    manifest["splits"][split].update(photos=0, shards=[])
    for counts in manifest["splits"][split]["labels"].values():
        counts.update(answered=0, not_applicable=0, missing=0)
    (records / "manifest.json").write_text(json.dumps(manifest))
    origin = files.read_json(run / "records.json", "")
    origin.update(records=str(records), digest=Manifest.read(records).digest)
    (run / "records.json").write_text(json.dumps(origin))


def logits_and_labels(run: RunDir, split: str):
    examples = read_split(Path(run.records), split)
    images = [pixels.from_stored(e["image/encoded"], 32, "squeeze").numpy() for e in examples]
    network = run.load_network()
    return network.logits(np.stack(images)).numpy(), labels_of(examples)


def test_calibration_writes_thresholds_and_figures_of_both_splits(run, trained):
    before = json.loads((run / "metrics.json").read_text())
    section = calibrate.calibrate(run, ["f1", "color=precision:0.3"])
    found = RunDir.read(run).thresholds()
    assert found.model_dump() == section["thresholds"]
    manifest = Manifest.read(trained.records)
    assert (found.split, found.photos) == ("validation", manifest.splits["validation"].photos)
    assert {name: a.goal for name, a in found.attributes.items()} == {
        "category": "f1",
        "neck_type": "f1",
        "color": "precision:0.3",
        "closure": "f1",
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics == {**before, "calibration": json.loads(json.dumps(section))}
    assert section["test"]["photos"] == manifest.splits["test"].photos


def test_figures_and_calibration_errors_match_a_loop(run):
    section = calibrate.calibrate(run)
    opened = RunDir.read(run)
    schema, thresholds = opened.schema, opened.thresholds()
    for split in ("validation", "test"):
        logits, labels = logits_and_labels(opened, split)
        scaled = logits / thresholds.temperatures(schema)
        for name, where in schema.slices.items():
            found, limit = section[split]["attributes"][name], thresholds.attributes[name].threshold
            for key, z in (("before", logits), ("after", scaled)):
                known = (labels[:, where] != -1).any(axis=1)
                p = 1 / (1 + np.exp(-z[:, where][known]))
                score, best = p.max(axis=1), p.argmax(axis=1)
                right = labels[:, where][known][np.arange(len(p)), best] == 1
                place = np.minimum((score * 15).astype(int), 14)
                gaps = [abs((right - score)[place == m].sum()) for m in range(15)]
                assert found[key]["ece"] == pytest.approx(sum(gaps) / len(p), abs=1e-4)
            right = answered = present = 0
            agreement = []
            for s, y in zip(p, labels[:, where][known]):
                given = {int(v) for v in np.flatnonzero(s > np.float32(limit))}
                if schema[name].exclusive and given:
                    given = {int(np.argmax(s))}
                truth = {int(v) for v in np.flatnonzero(y == 1)}
                right += len(given & truth)
                answered += len(given)
                present += len(truth)
                both = given | truth
                agreement.append(len(given & truth) / len(both) if both else 1.0)
            assert found["precision"] == pytest.approx(right / answered, abs=1e-5)
            assert found["recall"] == pytest.approx(right / present, abs=1e-5)
            assert found["equation_2"] == pytest.approx(np.mean(agreement), abs=1e-5)


def test_evaluation_uses_the_runs_thresholds_and_temperatures(run, schema):
    calibrate.calibrate(run, ["equation_2"])
    measured = evaluate.evaluate(run)
    opened = RunDir.read(run)
    logits, labels = logits_and_labels(opened, "test")
    thresholds = opened.thresholds()
    for name in schema.names:
        # the loop answers above 0.5, which is a logit of 0
        a = thresholds.attributes[name]
        limit = np.log(max(a.threshold, 1e-9) / (1 - a.threshold))
        shifted = (logits / a.temperature - limit, labels, None)
        expected = by_hand(shifted, schema, name, opened.origin.most_frequent[name])
        assert measured["attributes"][name]["score"] == pytest.approx(expected["score"], abs=1e-4)


def test_the_choice_is_repeatable_and_independent_of_the_test_split(run, tmp_path):
    first = calibrate.calibrate(run, per_value=True)
    again = calibrate.calibrate(run, per_value=True)
    assert again == first
    without("test", run, tmp_path / "records")
    blind = calibrate.calibrate(run, per_value=True)
    assert blind["thresholds"] == first["thresholds"] and "test" not in blind
    assert "test" not in calibrate.table(blind)


def test_a_run_with_damaged_thresholds_can_be_calibrated_again(run):
    (run / "thresholds.json").write_text('{"category": 0.5}')  # also what older runs hold
    with pytest.raises(InputError, match=r"attr-extractor calibrate rewrites the file"):
        RunDir.read(run).load_network()
    calibrate.calibrate(run)
    assert RunDir.read(run).thresholds().split == "validation"


def test_values_with_enough_labels_have_their_own_thresholds(run, trained, schema):
    section = calibrate.calibrate(run, per_value=True)
    present = Manifest.read(trained.records).present("validation")
    for name, where in schema.slices.items():
        enough = [v for v, n in zip(schema[name].values, present[where]) if n >= 10]
        assert list(section["thresholds"]["attributes"][name]["values"]) == enough
    assert any(a["values"] for a in section["thresholds"]["attributes"].values())
    assert "values have their own" in calibrate.table(section)


def test_an_unreachable_precision_floor_gives_no_answers_and_a_note(run):
    section = calibrate.calibrate(run, ["f1", "neck_type=precision:0.99"])
    assert section["thresholds"]["attributes"]["neck_type"]["threshold"] == 1.0
    for split in ("validation", "test"):
        found = section[split]["attributes"]["neck_type"]
        assert (found["coverage"], found["precision"]) == (0.0, None)
    lines = calibrate.table(section).splitlines()
    line = next(line for line in lines if line.startswith("neck_type"))
    assert "too few labels" in line and "299 are needed" in line and "no answers" in line


def test_an_empty_validation_split_is_bad_input_and_changes_nothing(run, tmp_path):
    without("validation", run, tmp_path / "records")
    before = (run / "thresholds.json").read_bytes()
    with pytest.raises(InputError, match="the split 'validation' of the records is empty"):
        calibrate.calibrate(run)
    assert (run / "thresholds.json").read_bytes() == before
