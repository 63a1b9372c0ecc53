"""Tests of the model card: it has the run's figures, and keeps the entries of a person."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from attr_extractor.errors import InputError
from attr_extractor.evaluation import calibrate, evaluate, model_card
from attr_extractor.records.manifest import Manifest
from attr_extractor.training.run_dir import RunDir


def copied(source, target):
    return shutil.copytree(source, target, ignore=shutil.ignore_patterns("checkpoints", "logs"))


@pytest.fixture
def run(trained, tmp_path):
    path = copied(trained.run, tmp_path / "run")
    (path / model_card.PAGE).unlink(missing_ok=True)
    (path / model_card.CARD).unlink(missing_ok=True)
    return path


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """A run evaluated on its test split."""
    path = copied(trained.run, tmp_path_factory.mktemp("evaluated") / "run")
    evaluate.evaluate(path)
    return path


def card_of(path):
    return json.loads((path / model_card.CARD).read_text()), (path / model_card.PAGE).read_text()


def test_the_card_has_the_figures_of_run_and_records(evaluated, trained, schema):
    measured = json.loads((evaluated / "metrics.json").read_text())["test"]
    card, page = card_of(evaluated)
    manifest = Manifest.read(trained.records)
    assert card["schema"]["fingerprint"] == schema.fingerprint and schema.fingerprint in page
    assert {n: s["photos"] for n, s in card["data"]["splits"].items()} == {
        n: s.photos for n, s in manifest.splits.items()
    }
    assert card["recipe"] == RunDir.read(evaluated).config.model_dump(mode="json")
    assert card["training"]["seconds"] > 0
    assert "CPU cores" in card["training"]["hardware"]
    assert card["training"]["hardware"] in page
    mean = card["scores"]["test"]["mean"]
    assert mean["score"] == measured["mean"]["score"]
    assert mean["interval"] == measured["mean"]["interval"]
    assert f"| mean | {mean['score']:.3f} |" in page
    for name, a in measured["attributes"].items():
        assert card["scores"]["test"]["attributes"][name]["interval"] == a["interval"]


def test_calibrate_rewrites_the_card(evaluated, tmp_path):
    run = copied(evaluated, tmp_path / "run")
    assert "Not calibrated" in card_of(run)[1] or card_of(run)[0]["calibration"]
    section = calibrate.calibrate(run)
    card, page = card_of(run)
    assert card["thresholds"] == section["thresholds"]
    assert card["calibration"]["validation"] == section["validation"]["mean"]
    assert "Chosen on validation" in page
    assert card["scores"]["test"]["photos"] > 0  # those of the evaluation stay
    stale = page.count("run attr-extractor evaluate again")
    assert stale == len(card["scores"])  # every split was measured before
    evaluate.evaluate(run)
    assert card_of(run)[1].count("run attr-extractor evaluate again") == stale - 1


def test_entries_of_a_person_are_kept_and_the_same_run_gives_the_same_card(run):
    opened = RunDir.read(run)
    model_card.write_card(opened)
    page = run / model_card.PAGE
    assert page.read_text().count(model_card.EMPTY) == len(model_card.ENTRIES)
    licence = "CC BY 4.0, see\n\n| a | table |\n| --- | --- |\nand <b>this</b>"
    asked = "<!-- entry: licence_of_photos -->\n"
    text = page.read_text().replace(f"{asked}_to fill in_", f"{asked}{licence}")
    page.write_text(text)
    for _ in range(2):
        card = model_card.write_card(opened)
        assert card["entries"]["licence_of_photos"] == licence
        assert card["entries"]["contact"] == ""
        assert page.read_text() == text
    page.unlink()  # the card has it as well
    model_card.write_card(opened)
    assert page.read_text() == text


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("<!-- end -->", "", 1),
        lambda text: text.replace("<!-- entry: contact -->", ""),
        lambda text: text.replace("entry: contact", "entry: contacts"),
    ],
)
def test_damaged_markers_are_bad_input_and_no_text_is_lost(run, damage):
    opened = RunDir.read(run)
    model_card.write_card(opened)
    page = run / model_card.PAGE
    damaged = damage(page.read_text())
    page.write_text(damaged)
    with pytest.raises(InputError, match="markers .* are damaged"):
        model_card.write_card(opened)
    assert page.read_text() == damaged


def test_the_card_keeps_its_data_section_if_the_records_are_gone(run, tmp_path):
    before = model_card.write_card(RunDir.read(run))
    origin = json.loads((run / "records.json").read_text())
    (run / "records.json").write_text(json.dumps({**origin, "records": str(tmp_path / "gone")}))
    assert model_card.write_card(RunDir.read(run))["data"] == before["data"]
    (run / model_card.CARD).unlink()
    assert "records are missing" in (model_card.write_card(RunDir.read(run)) and card_of(run)[1])


def test_names_from_a_catalogue_cannot_break_the_page(run):
    evil = "co|or `<b>` *x*\nnext # [a](b)"
    schema = yaml.safe_load((run / "schema.yaml").read_text())
    for attribute in schema["attributes"]:
        attribute["display_name"] = evil
    (run / "schema.yaml").write_text(yaml.safe_dump(schema))
    model_card.write_card(RunDir.read(run))
    page = (run / model_card.PAGE).read_text()
    escaped = r"co\|or \`\<b\>\` \*x\* next \# \[a\](b)"
    assert page.count(escaped) >= 2 * len(schema["attributes"])  # also in the table of thresholds
    assert "<b>" not in page
