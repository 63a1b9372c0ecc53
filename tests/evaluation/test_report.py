"""Tests of report.html: it shows all figures, escapes text, and is one small file."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attr_extractor.evaluation import (
    calibrate,
    evaluate,
    learning_curve,
    report,
    report_curves,
    scores,
)
from attr_extractor.evaluation.baselines import MostFrequent
from attr_extractor.evaluation.example_photos import (
    AttributeAnswer,
    ConfusedPhotos,
    ExamplePhoto,
    collect_examples,
)
from attr_extractor.evaluation.predictions import Predictions
from attr_extractor.evaluation.report import ReportExtras
from attr_extractor.model.answers import Answers, default_thresholds
from attr_extractor.schema import Schema
from attr_extractor.web import pages
from tests.conftest import ROOT, SCHEMA
from tests.evaluation.by_hand import measure_both

EVIL = "<script>alert('1')</script>"


class Page(HTMLParser):
    """Links and ids of a page, and the text of its tables by section."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.outside: list[str] = []
        self.ids: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.section = ""
        self.in_cell = False
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += filter(None, [values.get("id")])
        if tag == "img":
            self.images.append(values["src"])
        for name in ("src", "href"):
            if name in values and not values[name].startswith(("data:", "#")):
                self.outside.append(values[name])
        if tag in ("link", "iframe"):
            self.outside.append(tag)
        if tag == "section":
            self.section = values["id"]
        elif tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        elif tag == "td":
            self.rows[self.section][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        if tag == "td":
            self.in_cell = False

    def handle_data(self, data):
        if self.in_cell:
            self.rows[self.section][-1][-1] += data


@pytest.fixture(scope="module")
def figures(made_up, schema):
    """Figures and details of made-up samples."""
    measured, details = measure_both(made_up, schema)
    return {"split": "test", **measured}, details


def render(schema, figures, examples=()):
    return report.render("n", schema, *figures, ReportExtras(examples, ConfusedPhotos(schema)))


@pytest.fixture(scope="module")
def calibrated(trained, tmp_path_factory):
    """A calibrated and evaluated run, and the section `calibration` of its metrics."""
    run = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(trained.run, run, ignore=shutil.ignore_patterns("checkpoints", "logs"))
    section = calibrate.calibrate(run)
    evaluate.evaluate(run)
    return run, section


def test_the_report_of_a_run_is_one_file_with_photos(calibrated):
    run, _ = calibrated
    measured = json.loads((run / "metrics.json").read_text())["test"]
    text = (run / "report.html").read_text()
    page = Page(text)
    assert page.outside == [] and "http" not in text
    assert 24 < len(page.images) <= 24 + report.HEATED * report.HEATS
    photo = Image.open(io.BytesIO(base64.b64decode(page.images[0].split(",")[1])))
    assert photo.size == (32, 32)
    assert "width=device-width" in text
    assert len(set(page.ids)) == len(page.ids)
    assert f"{measured['mean']['score']:.3f}</b>mean score" in text


def test_scores_are_sorted_and_shown_with_their_baseline(figures, schema):
    measured, _ = figures
    page = Page(render(schema, figures))
    rows = [row for row in page.rows["scores"] if len(row) == 8]
    attributes = {schema[n].title(): a for n, a in measured["attributes"].items()}
    scored = [attributes[row[0]] for row in rows]
    assert [a["score"] for a in scored] == sorted((a["score"] for a in scored), reverse=True)
    for row, a in zip(rows, scored):
        ends = "{:.3f} to {:.3f}".format(*a["interval"])
        known = [f"{a['score']:.3f}", ends, f"{a['most_frequent']:.3f}"]
        assert row[2:5] == known and row[-1] == str(a["applicable"])


def test_an_attribute_without_a_known_value_has_no_bar(figures, schema):
    measured, details = figures
    nothing = dict.fromkeys(measured["attributes"]["color"])
    measured = {**measured, "attributes": {**measured["attributes"], "color": nothing}}
    rows = Page(render(schema, (measured, details))).rows["scores"]
    assert [row[1] for row in rows if row and row[0] == "color"] == ["no known value"]


def test_the_verdict_on_two_runs_follows_the_interval_of_their_difference(figures, schema):
    measured, details = figures
    names = list(schema.names)
    ends = dict(zip(names, ([0.01, 0.2], [-0.3, -0.1], [-0.1, 0.1], [0.0, 0.2])))
    other = {
        n: {"score": 0.4, "interval": [0.3, 0.5], "difference": 0.1, "difference_interval": e}
        for n, e in ends.items()
    }
    comparison = {"run": EVIL, "mean": other[names[0]], "attributes": other}
    text = render(schema, ({**measured, "comparison": comparison}, details))
    rows = {row[0]: row for row in Page(text).rows["comparison"] if row}
    told = [rows[schema[n].title()][4] for n in names]
    assert told == ["better", "worse", "not sure", "not sure"]
    assert EVIL not in text
    assert "comparison" not in Page(render(schema, figures)).rows


def test_the_share_answered_at_a_target_is_that_of_the_lowest_cut_off_that_reaches_it(
    figures, schema
):
    curve = {"coverage": [1.0, 0.8, 0.5, 0.0], "accuracy": [0.7, 0.92, 0.96, None]}
    cut_offs = [0.0, 0.3, 0.6, 0.9]
    assert report_curves.targets_reached(curve, cut_offs) == [(0.8, 0.3), (0.5, 0.6), None]
    measured, details = figures
    of_details = {"cut_offs": cut_offs + details["cut_offs"][4:], "risk_coverage": curve}
    text = render(schema, (measured, {**details, **of_details}))
    (row,) = (row for row in Page(text).rows["abstention"] if row[:1] == ["All attributes"])
    assert row[1:] == ["70.0 %", "80.0 % (0.3)", "50.0 % (0.6)", "never"]


def test_each_photo_of_a_confusion_is_shown_once(schema):
    labels = np.zeros([6, schema.num_values], np.int8)
    v_neck, round_neck = (schema.slices["neck_type"].start + i for i in (0, 1))
    labels[:, v_neck] = 1
    chosen = np.zeros(labels.shape, bool)
    chosen[:, round_neck] = True
    confused = ConfusedPhotos(schema)
    batch = {
        "pixels": tf.zeros([6, 8, 8, 3], tf.uint8),
        "product_id": tf.constant([f"p{i}" for i in range(6)]),
    }
    confused.add(batch, labels, chosen)
    pair = {"true": "v-neck", "answered": "round neck", "count": 6}
    counted = {v: {"support": 12} for v in schema["neck_type"].values}
    nothing = {"most_confused": [], "values": {}}
    details = {
        "confusion_counts_too_low_by_at_most": 0,
        "attributes": {
            **dict.fromkeys(schema.names, nothing),
            "neck_type": {"most_confused": [pair], "values": counted},
        },
    }
    photos = report.choose_confused_photos(details, confused)
    assert [photo.product_id for of_pair in photos.values() for photo in of_pair] == [
        "p0",
        "p1",
        "p2",
    ]
    section = report.confusions_section(schema, details, photos)
    text = pages.render("evaluation/confusions.html", schema=schema, confusions=section)
    assert "50.0 %" in text
    for i in range(6):  # among all attributes, and among those of the attribute
        assert text.count(f'title="p{i}"') == (2 if i < 3 else 0)


def test_heat_is_drawn_for_answered_values_and_every_attribute_has_its_turn(schema):
    drawn = []

    def heat(photo, attribute, value):
        drawn.append((attribute, value))
        return 255 - photo

    answers = [AttributeAnswer(n, [schema[n].values[0]], None, 0.9) for n in schema.names]
    answers[-1] = AttributeAnswer(schema.names[-1], [], ["x"], 0.0)
    examples = [ExamplePhoto(f"p{i}", np.zeros([8, 8, 3], np.uint8), answers) for i in range(3)]
    photos = report.photos_section(examples, heat)
    assert photos is not None
    shown = [(each.attribute, each.value) for card in photos.cards for each in card.heat_maps]
    assert len(drawn) == 3 * report.HEATS and shown == drawn
    assert {name for name, _ in drawn} == set(schema.names[:-1])
    assert all(value == schema[name].values[0] for name, value in drawn)
    text = pages.render("evaluation/photos.html", schema=schema, photos=photos)
    assert text.count("<img") == 3 + len(drawn)


def test_names_and_values_from_a_catalogue_cannot_inject_html(made_up):
    evil = Schema.parse(SCHEMA.replace("[red, green, blue]", f'[red, green, "{EVIL}"]'), "evil")
    measured, details = measure_both(made_up, evil)
    answers = [
        AttributeAnswer("color", [EVIL], [EVIL + "2"], 0.9),
        AttributeAnswer("color", [], [EVIL], 0.0),
    ]
    examples = [ExamplePhoto(EVIL, np.zeros([4, 4, 3], np.uint8), answers)]
    text = render(evil, ({"split": "test", **measured}, details), examples)
    assert EVIL not in text
    assert "&lt;span" not in text  # our own markup is not escaped


def test_calibration_shows_errors_and_thresholds(calibrated):
    run, section = calibrated
    rows = Page((run / "report.html").read_text()).rows["calibration"]
    by_title = {row[0]: row for row in rows if row}
    chosen = section["thresholds"]["attributes"]
    for name, of_attribute in section["test"]["attributes"].items():
        row = by_title[name]
        assert row[1:3] == [f"{of_attribute[k]['ece']:.3f}" for k in ("before", "after")]
        assert row[4] == f"{chosen[name]['threshold']:.3f}"


@pytest.fixture(scope="module")
def large():
    """49 attributes, 1,900 values, 100 photos with random scores."""
    schema = Schema.read(ROOT / "configs" / "schemas" / "flipkart49.yaml")
    generator, count = np.random.default_rng(0), 100
    labels = np.zeros([count, schema.num_values], np.int8)
    for where in schema.slices.values():
        value = generator.integers(where.start, where.stop, count)
        labels[np.arange(count), value] = 1
    logits = generator.normal(-3, 2, labels.shape) + 2 * labels
    products = [f"p{i}" for i in range(count)]
    logits = logits.astype(np.float32)
    predicted = Predictions("test", logits, labels, products, np.zeros(count, np.int64))
    batch = {
        "pixels": tf.constant(generator.integers(0, 255, [count, 96, 96, 3]), tf.uint8),
        "logits": tf.constant(logits),
        "labels": tf.constant(labels),
        "product_id": tf.constant(products),
    }
    answers = Answers(schema, default_thresholds(schema))
    usual = MostFrequent(np.array([w.start for w in schema.slices.values()], np.int32))
    confused = ConfusedPhotos(schema)
    contender = scores.Contender(tf.sigmoid, answers)
    measured, details = scores.measure(contender, [predicted], usual)
    confused.add(batch, labels, contender.answer(logits).chosen)
    examples = collect_examples(tf.sigmoid, [batch], answers)
    return schema, {"split": "test", **measured}, details, ReportExtras(examples, confused)


def test_a_page_of_1900_values_stays_small_and_folds_long_tables(large):
    schema, measured, details, extras = large
    curve = learning_curve.power_law([100, 200, 400], [0.5, 0.6, 0.7], [100] * 3)
    of_attribute = {"labels": [100, 200, 400], "score": [0.5, 0.6, 0.7], "fit": curve}
    learned = {
        "points": [{"photos": n} for n in (100, 200, 400)],
        "attributes": dict.fromkeys(schema.names, of_attribute),
    }
    extras = extras._replace(learning_curve=learned)
    text = report.render("name", schema, measured, details, extras)
    assert len(text) < 8e6  # noise is the worst a JPEG can have
    page = Page(text)
    listed = sum(len(row) == 9 for row in page.rows["values"])
    occurring = [
        f["support"] or f["predicted"]
        for a in details["attributes"].values()
        for f in a["values"].values()
    ]
    assert listed == np.count_nonzero(occurring) > 1500
    assert len(set(page.ids)) == len(page.ids)
    gains = [row[1] for row in page.rows["more_labels"] if row]
    twice = curve["gains"]["twice"]
    assert len(gains) == len(schema.names)
    assert set(gains) == {
        "{:+.1f} ({:+.1f} to {:+.1f})".format(
            *(100 * gain for gain in (twice["gain"], *twice["interval"]))
        )
    }
    assert "<details open>" not in text
    photos_in_page = re.findall(r"background-image: url\(data:image/jpeg;base64,([^)]*)", text)
    assert len(photos_in_page) > 100
    assert sum(map(len, photos_in_page)) < 1.4 * report.MOST_BYTES
