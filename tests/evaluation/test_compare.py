"""Tests of comparing two runs on the same photos, with paired intervals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from attr_extractor.errors import InputError
from attr_extractor.evaluation import evaluate, predictions, score_table
from attr_extractor.records import pixels
from attr_extractor.schema import Schema
from attr_extractor.training.run_dir import RunDir
from tests.conftest import SCHEMA, require_bad_input, run_tool
from tests.evaluation.by_hand import by_hand, contender, measure
from tests.records.by_hand import read_split


def test_the_second_model_has_the_same_figures_as_when_measured_alone(made_up, schema):
    other = contender(schema, lambda logits: tf.sigmoid(logits[:, ::-1]))
    turned = (made_up[0][:, ::-1], *made_up[1:])
    compared, alone = measure(made_up, schema, 7, other=other), measure(turned, schema)
    both = compared.pop("comparison")
    assert compared == measure(made_up, schema, 7)
    blocks = [(both["mean"], compared["mean"], alone["mean"])]
    for name in schema.names:
        expected = by_hand(turned, schema, name)["score"]
        assert both["attributes"][name]["score"] == pytest.approx(expected, abs=1e-5)
        blocks.append([run["attributes"][name] for run in (both, compared, alone)])
    for found, ours, theirs in blocks:
        for key in ("score", "interval", "accuracy", "accuracy_interval"):
            assert found[key] == theirs[key]
        assert found["difference"] == pytest.approx(ours["score"] - theirs["score"], abs=2e-5)
        low, high = found["difference_interval"]
        assert low < found["difference"] < high


def test_the_interval_of_a_difference_is_paired(made_up, schema):
    same = measure(made_up, schema, other=contender(schema))["comparison"]
    for block in (same["mean"], *same["attributes"].values()):
        assert block["difference"] == 0 and block["difference_interval"] == [0, 0]

    logits, labels, products = made_up
    shift = np.zeros(schema.num_values, np.float32)
    shift[0] = 0.8  # some photos change category
    other = contender(schema, lambda z: tf.sigmoid(z + shift))
    found = measure(made_up, schema, other=other)["comparison"]["attributes"]["category"]
    where = schema.slices["category"]
    applies = (labels[:, where] == 1).any(axis=1)
    right = []
    for z in (logits[:, where], logits[:, where] + shift[where]):
        best = z.argmax(axis=1)
        hit = labels[np.arange(200), where.start + best] == 1
        right.append((z.max(axis=1) > 0) & hit)
    gained = right[0].astype(float) - right[1]
    generator = np.random.default_rng(1)
    groups = [[i for i in range(200) if products[i] == p] for p in sorted(set(products))]
    means = []
    for _ in range(2000):
        rows = np.concatenate([groups[g] for g in generator.integers(0, len(groups), len(groups))])
        means.append(gained[rows][applies[rows]].mean())
    np.testing.assert_allclose(
        found["difference_interval"], np.percentile(means, [2.5, 97.5]), atol=0.012
    )


@pytest.fixture(scope="module")
def two(trained, tmp_path_factory) -> tuple[Path, Path]:
    """Copies of the trained run, the second one for larger photos."""
    folder = tmp_path_factory.mktemp("two")
    for name in ("run", "large"):
        unwanted = shutil.ignore_patterns("checkpoints", "logs", "metrics.json")
        shutil.copytree(trained.run, folder / name, ignore=unwanted)
    config = (folder / "large" / "config.yaml").read_text()
    assert "image_size: 32" in config
    (folder / "large" / "config.yaml").write_text(config.replace("size: 32", "size: 48"))
    return folder / "run", folder / "large"


def test_runs_of_two_photo_sizes_are_measured_on_the_same_photos(two):
    run, large = (RunDir.read(path) for path in two)
    predicted = predictions.predict(run, "test")
    compared = predictions.predict(large, "test", run.records, home=run.path)
    assert (run.path / predictions.FOLDER / "test_compared").is_dir()
    assert predicted.product_ids == compared.product_ids
    examples = read_split(Path(run.records), "test")
    for one, found in ((run, predicted), (large, compared)):
        size = one.config.data.image_size
        photos = [pixels.from_stored(e["image/encoded"], size, "squeeze").numpy() for e in examples]
        expected = one.load_network().logits(np.stack(photos), training=False)
        np.testing.assert_allclose(found.logits, expected, atol=1e-4)


def test_the_program_shows_both_runs_and_exits_with_1_if_a_requirement_fails(two):
    run, large = two
    require = "--require=mean_average_accuracy>=0.99,mean.coverage<=1,regression<=1"
    result = run_tool("evaluate", f"--run_dir={run}", f"--compare={large}", require)
    assert result.returncode == 1, result.stderr
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    line = f"mean_average_accuracy is {metrics['mean']['score']:g}, at least 0.99 is required"
    assert metrics["failed_requirements"] == [line]
    assert f"failed: {line}" in result.stderr.splitlines()
    assert metrics["comparison"]["run"] == str(large)
    assert f"this run compared with {large}" in result.stdout
    lines = [line for line in result.stdout.splitlines() if str(run.parent) not in line]
    assert max(map(len, lines)) <= score_table.WIDTH
    details = json.loads((run / metrics["details"]).read_text())
    assert set(details["attributes"]) == set(metrics["attributes"])

    alone = evaluate.evaluate(large, require="mean.coverage<=1")
    assert alone["mean"]["score"] == metrics["comparison"]["mean"]["score"]
    assert alone["failed_requirements"] == []


def test_an_invalid_requirement_is_reported_before_measuring(two):
    before = (two[0] / "metrics.json").stat().st_mtime_ns
    result = run_tool("evaluate", f"--run_dir={two[0]}", "--require=attribute.colour>=0.1")
    require_bad_input(result, "unknown figure 'attribute.colour'; did you mean 'attribute.color'?")
    assert (two[0] / "metrics.json").stat().st_mtime_ns == before


def changed(run: Path, to: Path, **origin: str) -> Path:
    shutil.copytree(run, to)
    content = json.loads((to / "records.json").read_text())
    (to / "records.json").write_text(json.dumps({**content, **origin}))
    return to


def test_a_run_of_another_schema_or_other_records_is_bad_input(two, trained, tmp_path):
    run, large = two
    built_anew = changed(large, tmp_path / "anew", digest="0" * 16)
    with pytest.raises(InputError, match=r"in its training split; pass --records") as error:
        evaluate.evaluate(run, other_dir=built_anew)
    assert str(built_anew) in str(error.value)
    same = evaluate.evaluate(run, records=trained.records, other_dir=built_anew)
    assert same["comparison"]["run"] == str(built_anew)  # allowed: the records are named

    text = SCHEMA.replace("no neck", "polo neck")
    other = Schema.parse(text, "test")
    path = changed(large, tmp_path / "schema", fingerprint=other.fingerprint)
    (path / "schema.yaml").write_text(text)
    with pytest.raises(InputError, match=r"the run to compare with: made with another schema"):
        evaluate.evaluate(run, other_dir=path)
    with pytest.raises(InputError, match=r"not a run directory"):
        evaluate.evaluate(run, other_dir=tmp_path)
