"""Claims about `evaluation/evaluate.py` and `report.py`: what a person is shown."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from attr_extractor.evaluation import evaluate, report
from attr_extractor.evaluation.samples import Row, Sample
from attr_extractor.records.manifest import Manifest


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
    lines = evaluate.table(measured).splitlines()
    assert {line.split()[0] for line in lines[1:-2]} == set(schema.names)
    assert lines[-2].startswith("mean over attributes")


class Page(HTMLParser):
    """Collects what a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.outside: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "img":
            self.images.append(values["src"])
        for name in ("src", "href"):
            if name in values and not values[name].startswith("data:"):
                self.outside.append(values[name])
        if tag in ("script", "link", "iframe"):
            self.outside.append(tag)


def test_the_report_is_self_contained_with_photos_that_open(trained, measured):
    text = (trained.run / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.outside == [] and "http" not in text
    assert 0 < len(page.images) <= 24
    photo = Image.open(io.BytesIO(base64.b64decode(page.images[0].split(",")[1])))
    assert photo.size == (32, 32)
    assert "width=device-width" in text


def test_the_chart_is_sorted_by_score_and_shows_the_baseline(trained, measured, schema):
    text = (trained.run / "report.html").read_text()
    shown = re.findall(r"<div class=name>([^<]+)</div>", text)
    scores = {schema[n].title(): a["score"] or 0.0 for n, a in measured["attributes"].items()}
    assert [scores[name] for name in shown] == sorted(scores.values(), reverse=True)
    assert text.count("class=mark") == sum(
        a["score"] is not None for a in measured["attributes"].values()
    )


def test_names_and_values_from_a_catalogue_cannot_inject_html(schema, measured):
    rows = [Row("color", ["<script>x</script>"], ["<b>"], 0.9)]
    sample = Sample("<img src=x>", np.zeros([4, 4, 3], np.uint8), rows)
    text = report.render("<i>name</i>", schema, measured, [sample])
    for raw in ("<script>", "<i>", "<b>&", "<img src=x"):
        assert raw not in text.replace("<b>0", "").replace("<b>1", "")


@pytest.mark.parametrize(
    "answered, labelled, verdict",
    [
        (["red"], ["red"], "right"),
        (["red"], ["blue"], "wrong"),
        (["red"], [], "wrong"),
        (["red", "blue"], ["blue"], "partly right"),
        ([], ["blue"], "no answer"),
        ([], [], "right"),
        (["red"], None, "unknown"),
    ],
)
def test_verdicts(answered, labelled, verdict):
    assert Row("color", answered, labelled, 0.5).verdict == verdict
