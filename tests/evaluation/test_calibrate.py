"""Claims about `evaluation/calibrate.py`: what a run is given, and what it is chosen on."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from attr_extractor import files
from attr_extractor.errors import InputError
from attr_extractor.evaluation import calibrate, evaluate
from attr_extractor.records import pixels
from attr_extractor.records.manifest import Manifest
from attr_extractor.training.run_dir import RunDir
from tests.evaluation.test_scores import by_hand
from tests.records.by_hand import labels_of, read_split


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run."""
    shutil.copytree(trained.run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    return tmp_path / "run"


def without(split: str, run, records) -> None:
    """Makes the run's records, copied, ones whose split is empty."""
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
    examples = read_split(run.records, split)
    images = [pixels.from_stored(e["image/encoded"], 32, "squeeze").numpy() for e in examples]
    network = run.load_network()
    return network.logits(np.stack(images)).numpy(), labels_of(examples)


def test_the_run_is_given_thresholds_and_figures_of_both_splits(run, trained):
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


def test_figures_of_the_answers_and_errors_are_those_of_a_slow_loop(run):
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


def test_evaluation_reads_the_scores_with_the_runs_thresholds_and_temperatures(run, schema):
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


def test_what_is_chosen_does_not_depend_on_test_and_again_is_the_same(run, tmp_path):
    first = calibrate.calibrate(run, per_value=True)
    again = calibrate.calibrate(run, per_value=True)
    assert again == first
    without("test", run, tmp_path / "records")
    blind = calibrate.calibrate(run, per_value=True)
    assert blind["thresholds"] == first["thresholds"] and "test" not in blind
    assert "test" not in calibrate.table(blind)


def test_a_run_whose_thresholds_are_damaged_is_calibrated_anew(run):
    (run / "thresholds.json").write_text('{"category": 0.5}')  # also what older runs hold
    with pytest.raises(InputError, match=r"calibrate.py rewrites the file"):
        RunDir.read(run).load_network()
    calibrate.calibrate(run)
    assert RunDir.read(run).thresholds().split == "validation"


def test_values_with_enough_labels_have_thresholds_of_their_own(run, trained, schema):
    section = calibrate.calibrate(run, per_value=True)
    present = Manifest.read(trained.records).present("validation")
    for name, where in schema.slices.items():
        enough = [v for v, n in zip(schema[name].values, present[where]) if n >= 10]
        assert list(section["thresholds"]["attributes"][name]["values"]) == enough
    assert any(a["values"] for a in section["thresholds"]["attributes"].values())
    assert "values have their own" in calibrate.table(section)


def test_a_floor_that_cannot_be_reached_leaves_no_answers_and_is_said(run):
    section = calibrate.calibrate(run, ["f1", "neck_type=precision:0.99"])
    assert section["thresholds"]["attributes"]["neck_type"]["threshold"] == 1.0
    for split in ("validation", "test"):
        found = section[split]["attributes"]["neck_type"]
        assert (found["coverage"], found["precision"]) == (0.0, None)
    lines = calibrate.table(section).splitlines()
    line = next(line for line in lines if line.startswith("neck_type"))
    assert "too few labels" in line and "299 are needed" in line and "no answers" in line


def test_without_a_photo_for_validation_nothing_is_chosen(run, tmp_path):
    without("validation", run, tmp_path / "records")
    before = (run / "thresholds.json").read_bytes()
    with pytest.raises(InputError, match="the split 'validation' of the records is empty"):
        calibrate.calibrate(run)
    assert (run / "thresholds.json").read_bytes() == before
