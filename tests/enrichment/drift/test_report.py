"""Test drift/report.py and the charts of drift.html on comparisons made by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from attr_extractor.enrichment.drift.compare import AUC, PSI, SHARE, Comparison, Level
from attr_extractor.enrichment.drift.delivery import ListedPhoto
from attr_extractor.enrichment.drift.embeddings import EmbeddingDistances, FarPhoto
from attr_extractor.enrichment.drift.report import DriftReport, render


def comparison(aspect: str = "labels", subject: str = "Color", **changes) -> Comparison:
    fields = {"measure": "values", "kind": PSI, "size": 0.5, "chance": 0.1, "p": 0.001}
    return Comparison(aspect, subject, **{**fields, "products": (100, 50), **changes})


def report_of(*comparisons: Comparison, distances: EmbeddingDistances | None = None) -> DriftReport:
    return DriftReport(
        schema_name="shop",
        schema="c07a",
        records="365c",
        rows=1200,
        products=1100,
        rejects={"no image named": 100},
        split="validation",
        cap_per_category=None,
        group_column=None,
        train_products=5000,
        sample=200,
        sample_trained_on=0,
        photos_inspected=200,
        photos_unreadable=0,
        seed=0,
        alpha=0.05,
        limits={PSI: 0.2, SHARE: 0.02, AUC: 0.2},
        comparisons=comparisons,
        distances=distances,
    )


def test_bars_are_as_long_as_their_shares_of_the_longest():
    levels = (Level("red", 0.5, 0.25), Level("blue", 0.1, 0.4))
    page = render(report_of(comparison(levels=levels, verdict="drifted")))
    cards = page[page.index('<section id="findings">') : page.index('<section id="labels">')]
    widths = re.findall(r'<i(?: class="records")? style="width:([\d.]+)%">', cards)
    assert widths == ["100.0", "50.0", "20.0", "80.0"]
    assert "50.0 &rarr; 25.0 %" in cards


def test_columns_of_numbers_are_as_high_as_their_shares_of_the_highest():
    levels = (Level("below 3", 0.5, 0.25), Level("3 and more", 0.5, 0.75))
    page = render(report_of(comparison("photos", "Width", levels=levels, ks=0.25)))
    heights = [float(height) for height in re.findall(r'<rect .* height="([\d.]+)"', page)]
    assert heights == [60, 30, 60, 90]


def test_only_the_values_with_the_largest_change_are_drawn():
    levels = tuple(Level(f"value{i}", 0.01, 0.02 + i / 1000) for i in range(15))
    page = render(report_of(comparison(levels=levels)))
    drawn = re.findall(r'<div class="name">(\w+)</div>', page)
    assert drawn == [f"value{i}" for i in range(14, 2, -1)]
    assert "3 values with smaller changes are not drawn" in page


def test_findings_are_sorted_by_verdict_aspect_and_size():
    page = render(
        report_of(
            comparison(subject="Look", verdict="look"),
            comparison("photos", "Width", verdict="drifted"),
            comparison(subject="Small", size=0.4, verdict="drifted"),
            comparison(subject="Large", size=0.9, verdict="drifted"),
            comparison(subject="Same"),
        )
    )
    findings = page[page.index('<section id="findings">') : page.index('<section id="labels">')]
    titles = re.findall(r"<h3><span>\w+: (\w+): values</span>", findings)
    assert titles == ["Large", "Small", "Width", "Look"]


@pytest.mark.parametrize(
    ("verdicts", "verdict", "text"),
    [
        (("same", "look", "drifted"), "drifted", "This delivery has drifted."),
        (("same", "look"), "look", "some comparisons are worth a look"),
        (("same",), "same", "No drift found."),
    ],
)
def test_the_verdict_of_a_report_is_the_most_severe(verdicts, verdict, text):
    report = report_of(*(comparison(verdict=each) for each in verdicts))
    assert report.verdict == verdict and report.drifted == (verdict == "drifted")
    assert text in render(report)


def test_the_scatter_plot_alternates_the_sides_within_its_frame(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    far = FarPhoto(ListedPhoto("p<1>", "a.jpg", []), (tmp_path / "a.jpg").read_bytes(), 0.5)
    points = np.array([[0.0, 0.0], [4.0, 1.0], [2.0, 2.0]])
    distances = EmbeddingDistances(0.2, 0.25, [far], points, points[:1])
    page = render(report_of(distances=distances))
    dots = re.findall(r'<circle class="(\w+)" cx="([\d.]+)" cy="([\d.]+)"', page)
    assert [side for side, *_ in dots] == ["records", "delivery", "records", "records"]
    assert [(float(x), float(y)) for _, x, y in dots] == [
        *((10, 10), (10, 10)),
        *((390, 105), (200, 200)),
    ]
    assert 'viewBox="0 0 400 210"' in page
    assert "p&lt;1&gt;" in page and "25.0 % of the delivered photos are farther" in page
