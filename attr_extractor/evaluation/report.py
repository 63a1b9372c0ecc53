"""report.html: one self-contained page, readable on a phone; no server and no script needed.

This module orders the sections; each section is rendered by its own `report_*` module.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from attr_extractor.evaluation import (
    report_calibration,
    report_categories,
    report_curves,
    report_photos,
    report_scores,
    report_values,
)
from attr_extractor.evaluation.confused_photos import ConfusedPhotos
from attr_extractor.evaluation.report_photos import DrawHeat
from attr_extractor.evaluation.samples import Sample
from attr_extractor.html_page import SCRIPT, Markup, escape, headline, outlined, page
from attr_extractor.schema import Schema


class Found(NamedTuple):
    """Contents of a page other than the figures of `scores.measure`."""

    samples: list[Sample]
    confused: ConfusedPhotos
    calibration: dict[str, Any] | None = None  # section of metrics.json
    learning_curve: dict[str, Any] | None = None  # learning_curve.json
    heat: DrawHeat | None = None


def render(
    name: str, schema: Schema, measured: dict[str, Any], details: dict[str, Any], found: Found
) -> str:
    """Render the whole page as HTML text.

    Args:
      measured: the figures of `scores.measure`, and the `split`.
      details: the details of `scores.measure`.
    """
    title = f"{name}: {measured['split']} split, {measured['photos']:,} photos"
    calibration, curve = found.calibration, found.learning_curve
    pictures = report_values.choose(details, found.confused)
    sections = [
        ("scores", "Scores", report_scores.scores(schema, measured)),
        ("compared", "Comparison", report_scores.compared(schema, measured)),
        ("photos", "Photos", report_photos.photos(schema, found.samples, found.heat)),
        ("categories", "Categories", report_categories.categories(schema, details)),
        ("confusions", "Confusions", report_values.confusions(schema, details, pictures)),
        ("values", "Values", report_values.values(schema, details)),
        ("abstaining", "Abstention", report_curves.abstaining(schema, details)),
        ("calibration", "Calibration", report_calibration.calibration(schema, calibration)),
        ("labels", "More labels", report_curves.learning(schema, curve)),
    ]
    links, shown = outlined(section for section in sections if section[2])
    body = [
        f"<h1>{escape(title)}</h1><p class=muted>Schema {escape(schema.name)}, "
        f"{len(schema.attributes)} attributes, {schema.num_values:,} values, fingerprint "
        f"{schema.fingerprint}</p>{links}{_headline(measured)}",
        shown,
    ]
    style = report_scores.STYLE + report_photos.STYLE + report_values.style(pictures)
    return page(title, "".join(body), style, SCRIPT)


def _headline(measured: dict[str, Any]) -> Markup:
    mean = measured["mean"]
    if mean["score"] is None:
        return Markup("<p>No attribute of this split has a known value.</p>")
    low, high = mean["interval"]
    beaten, of = mean["attributes_beating_most_frequent"], mean["attributes_measured"]
    cells = [
        (f"{mean['score']:.3f}", f"mean score, 95 % interval {low:.3f} to {high:.3f}"),
        (f"{mean['most_frequent']:.3f}", "always the most frequent value"),
        (f"{beaten} of {of}", "attributes significantly better than that"),
        (f"{mean['accuracy']:.3f}", "accuracy of the best value"),
        (f"{mean['coverage']:.3f}", "share answered"),
        (f"{mean['score_all']:.3f}", "the paper's mean over all photos, applicable or not"),
    ]
    if mean["most_frequent_given_category"] is not None:
        usual = (f"{mean['most_frequent_given_category']:.3f}", "the same, given the true category")
        cells.insert(2, usual)
    if mean["answered_accuracy"] is not None:
        cells.append((f"{mean['answered_accuracy']:.3f}", "score over answered photos"))
    if "without_near_duplicates" in measured:
        cells.append(_without(measured["without_near_duplicates"]))
    return headline(cells)


def _without(block: dict[str, Any]) -> tuple[str, str]:
    """Return the score without photos that resemble a training photo, and its description."""
    mean, left_out = block["mean"], block["left_out"]
    if not left_out:
        return "0", "photos that resemble a training photo"
    text = f"mean score without the {left_out:,} photos that resemble a training photo"
    if mean["score"] is None:
        return "none", f"{text}: no known value is left"
    low, high = mean["interval"]
    return f"{mean['score']:.3f}", f"{text}, {low:.3f} to {high:.3f}"
