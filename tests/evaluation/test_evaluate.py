"""Claims about `evaluation/evaluate.py` and the table of scores."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from attr_extractor.config import DataConfig
from attr_extractor.errors import InputError
from attr_extractor.evaluation import evaluate, score_table
from attr_extractor.records import dataset, pixels
from attr_extractor.records.manifest import Manifest
from attr_extractor.training.run_dir import RunDir
from tests.evaluation.by_hand import by_hand
from tests.records.by_hand import labels_of, read_split


@pytest.fixture(scope="module")
def measured(trained):
    return evaluate.evaluate(trained.run, "test")


def test_metrics_json_keeps_the_training_section_and_gains_the_split(trained, measured):
    metrics = json.loads((trained.run / "metrics.json").read_text())
    assert metrics["test"] == measured
    assert metrics["training"]["epochs"] == 3


def test_the_training_beats_the_most_frequent_value_on_the_drawn_shop(measured, trained):
    assert measured["photos"] == Manifest.read(trained.records).splits["test"].photos
    assert measured["attributes"]["category"]["score"] > 0.5


def test_the_table_has_a_line_per_attribute_and_their_mean(measured, schema):
    lines = score_table.format_scores(measured).splitlines()
    count = len(schema.names)
    assert {line.split()[0] for line in lines[1 : 1 + count]} == set(schema.names)
    assert lines[1 + count].startswith("mean over attributes")


def test_the_table_is_at_most_100_columns_wide_whatever_the_names(measured):
    long = {
        **measured,
        "attributes": {f"{'long_' * 20}{n}": a for n, a in measured["attributes"].items()},
    }
    for shown in (measured, long):
        lines = score_table.format_scores(shown).splitlines()
        assert max(map(len, lines)) <= score_table.WIDTH
        shown_scores = {line.split("[")[0].split()[-1] for line in lines[1:5]}
        attributes = measured["attributes"].values()
        assert shown_scores == {f"{a['score']:.3f}" for a in attributes}


def test_the_guess_by_category_is_that_of_the_runs_training_photos(listed, schema, tmp_path):
    """Also where the split is of other records; where they are gone it is not known."""
    own = evaluate.evaluate(listed.run)["mean"]["most_frequent_given_category"]
    assert own is not None
    other = tmp_path / "other"
    shutil.copytree(listed.records, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["build"]["split_seed"] = 99
    (other / "manifest.json").write_text(json.dumps(manifest))
    there = evaluate.evaluate(listed.run, records=other)
    assert there["mean"]["most_frequent_given_category"] == own
    listed.records.rename(tmp_path / "moved")
    gone = evaluate.evaluate(listed.run, records=other)
    assert gone["mean"]["most_frequent_given_category"] is None
    assert " - " in score_table.format_scores(gone)


# Photos that resemble a training photo

HEADER = "split,product_id,image_index,image,distance,similar_product_id,similar_image\n"


@dataclass(frozen=True)
class Listed:
    """A copy of the trained shop whose records list some photos; what is to be left out."""

    run: Path
    records: Path
    similar: set[tuple[str, int]]


@pytest.fixture
def listed(trained, tmp_path) -> Listed:
    """Lists every fourth photo of the test split, and one of them as another split's."""
    records, run = tmp_path / "records", tmp_path / "run"
    shutil.copytree(trained.records, records)
    shutil.copytree(trained.run, run, ignore=shutil.ignore_patterns("checkpoints", "logs"))
    origin = json.loads((run / "records.json").read_text())
    (run / "records.json").write_text(json.dumps({**origin, "records": str(records)}))
    photos = [(e["product_id"].decode(), e["image/index"]) for e in read_split(records, "test")]
    similar = set(photos[::4])
    rows = [f"test,{product},{index},x.jpg,4,p,y.jpg\n" for product, index in similar]
    rows.append(f"validation,{photos[1][0]},{photos[1][1]},x.jpg,4,p,y.jpg\n")
    (records / "near_duplicates.csv").write_text(HEADER + "".join(rows))
    return Listed(run, records, similar)


def test_evaluation_knows_each_photo_by_its_product_and_place(trained):
    manifest, seen = Manifest.read(trained.records), set()
    for split in ("validation", "test"):
        stored = [(e["product_id"], e["image/index"]) for e in read_split(trained.records, split)]
        found = dataset.evaluation_batches(
            trained.records, manifest, DataConfig(image_size=32), split
        )
        photos = [zip(b["product_id"].numpy(), b["image_index"].numpy()) for b in found]
        assert [photo for batch in photos for photo in batch] == stored
        seen |= {index for _, index in stored}
    assert seen == {0, 1}  # a product with two photos is among them


def test_the_score_without_near_duplicates_is_that_of_the_other_photos(listed, schema):
    measured = evaluate.evaluate(listed.run)
    block = measured["without_near_duplicates"]
    examples = read_split(listed.records, "test")
    assert block["left_out"] == len(listed.similar) > 1
    assert block["photos"] == len(examples) - len(listed.similar)
    unlike = [
        e for e in examples if (e["product_id"].decode(), e["image/index"]) not in listed.similar
    ]
    images = [pixels.from_stored(e["image/encoded"], 32, "squeeze").numpy() for e in unlike]
    run = RunDir.read(listed.run)
    rest = (run.load_network().logits(np.stack(images)).numpy(), labels_of(unlike), None)
    expected = [by_hand(rest, schema, n, run.origin.most_frequent[n]) for n in schema.names]
    for ours, theirs in [("score", "score"), ("most_frequent", "base"), ("accuracy", "right")]:
        mean = np.mean([attribute[theirs] for attribute in expected])
        assert block["mean"][ours] == pytest.approx(mean, abs=1e-4)

    assert json.loads((listed.run / "metrics.json").read_text())["test"] == measured
    score, count = f"{block['mean']['score']:.3f}", len(listed.similar)
    last = score_table.format_scores(measured).splitlines()[-1]
    assert last.startswith(f"without the {count} photos that resemble a training photo: {score}")
    page = (listed.run / "report.html").read_text()
    assert f"<b>{score}</b>mean score without the {count} photos that resemble" in page


def test_a_list_without_photos_of_the_split_says_so(listed):
    (listed.records / "near_duplicates.csv").write_text(HEADER)
    measured = evaluate.evaluate(listed.run)
    assert measured["without_near_duplicates"]["left_out"] == 0
    assert measured["without_near_duplicates"]["mean"] == measured["mean"]
    line = score_table.format_scores(measured).splitlines()[-1]
    assert line == "no photo of this split resembles a training photo"


def test_the_block_is_left_out_where_it_is_not_known_what_resembles_a_training_photo(listed):
    training = evaluate.evaluate(listed.run, "train")
    assert "without_near_duplicates" not in training  # the list compares with this split

    manifest = json.loads((listed.records / "manifest.json").read_text())
    other = {**manifest, "build": {**manifest["build"], "split_seed": 99}}
    (listed.records / "manifest.json").write_text(json.dumps(other))
    anew = evaluate.evaluate(listed.run, "test", listed.records)
    assert "without_near_duplicates" not in anew  # the list of a build it was not trained on
    (listed.records / "manifest.json").write_text(json.dumps(manifest))
    same = evaluate.evaluate(listed.run, "test", listed.records)
    assert "without_near_duplicates" in same

    (listed.records / "near_duplicates.csv").unlink()
    old = evaluate.evaluate(listed.run)
    assert "without_near_duplicates" not in old
    last = score_table.format_scores(old).splitlines()[-1]
    assert last.startswith("accuracy of the best value")
    assert "resemble" not in (listed.run / "report.html").read_text()


def test_a_damaged_list_is_bad_input(listed):
    (listed.records / "near_duplicates.csv").write_text(HEADER + "test,p\n")
    with pytest.raises(InputError, match=r"near_duplicates.csv: line 2: "):
        evaluate.evaluate(listed.run)


def test_with_all_photos_left_out_no_score_is_shown(measured):
    nothing = {**measured["mean"], "score": None, "interval": None}
    block = {"photos": 0, "left_out": measured["photos"], "mean": nothing}
    shown = score_table.format_scores({**measured, "without_near_duplicates": block})
    assert shown.endswith("training photo: nothing left to measure")


def test_another_split_has_a_report_of_its_own_written_whole_or_not(listed, monkeypatch):
    evaluate.evaluate(listed.run)
    of_test = (listed.run / "report.html").read_bytes()
    measured = evaluate.evaluate(listed.run, split="validation")
    assert (listed.run / "report.html").read_bytes() == of_test
    own = listed.run / measured["report"]
    assert own.name == "report_validation.html" and "validation" in own.read_text()
    again = evaluate.evaluate(listed.run, split="test", records=listed.records)
    assert again["report"] == f"report_test_{listed.records.name}.html"
    assert (listed.run / "report.html").read_bytes() == of_test
    written = own.read_bytes()
    monkeypatch.setattr(evaluate.report, "render", lambda *_: "x")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(InputError, match="full"):
        evaluate.evaluate(listed.run, split="validation")
    assert own.read_bytes() == written
