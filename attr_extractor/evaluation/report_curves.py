"""Sections of the report with line charts: abstention, calibration and more labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Tuple

from attr_extractor.schema import Schema

OPEN_UP_TO = 12  # maximum attributes whose charts are visible by default
TARGETS = (0.9, 0.95, 0.98)  # accuracies of the answers
MIN_BIN = 5  # minimum photos of a bin that is drawn in a reliability diagram
Point = Tuple[float, float]  # x, y


class Chart(NamedTuple):
    """Arguments of the widget `line_chart`."""

    lines: list[tuple[str, list[Point]]]  # CSS class and points
    title: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    dots: list[Point]


# Abstention


class Reached(NamedTuple):
    """The share answered at the lowest cut-off that reaches a target accuracy."""

    coverage: float
    cut_off: float


class AbstentionRow(NamedTuple):
    """One attribute, or all of them."""

    title: str
    accuracy: float  # without a cut-off
    reached: list[Reached | None]  # of each target; None: never


@dataclass(frozen=True)
class Abstention:
    """Accuracy of the answers over the share answered."""

    targets: Sequence[float]
    rows: list[AbstentionRow]  # all attributes together, then each, the worst first
    chart: Chart  # of all attributes
    charts: list[Chart]


def abstention_section(schema: Schema, details: dict[str, Any]) -> Abstention | None:
    """Return the risk-coverage curves; None if no label is known."""
    cut_offs, pooled = details["cut_offs"], details["risk_coverage"]
    if pooled["coverage"][0] is None:
        return None
    curves = [
        (schema[name].title(), details["attributes"][name]["risk_coverage"])
        for name in schema.names
    ]
    known = [(title, curve) for title, curve in curves if curve["coverage"][0] is not None]
    by_accuracy = sorted(known, key=lambda item: item[1]["accuracy"][0])
    rows = [
        AbstentionRow(title, curve["accuracy"][0], targets_reached(curve, cut_offs))
        for title, curve in [("All attributes", pooled), *by_accuracy]
    ]
    chart = _risk_chart("All attributes together", pooled)
    return Abstention(TARGETS, rows, chart, [_risk_chart(*each) for each in known])


def targets_reached(curve: dict[str, Any], cut_offs: Sequence[float]) -> list[Reached | None]:
    """Return the coverage at the lowest cut-off that reaches each target accuracy."""
    reached: list[Reached | None] = []
    for target in TARGETS:
        enough = [i for i, share in enumerate(curve["accuracy"]) if share and share >= target]
        reached.append(
            Reached(curve["coverage"][enough[0]], cut_offs[enough[0]]) if enough else None
        )
    return reached


def _risk_chart(title: str, curve: dict[str, Any]) -> Chart:
    points = [p for p in zip(curve["coverage"], curve["accuracy"]) if p[1] is not None]
    lowest = min(0.9, math.floor(10 * min(share for _, share in points)) / 10)
    x_ticks = [(0.0, "0"), (0.5, "50 % answered"), (1.0, "100 %")]
    y_ticks = [(y, f"{100 * y:.0f} %") for y in (lowest, (lowest + 1) / 2, 1.0)]
    return Chart([("", points)], title, x_ticks, y_ticks, points)


# Calibration


class CalibrationRow(NamedTuple):
    """Measured figures and chosen thresholds of one attribute."""

    title: str
    measured: dict[str, Any]
    chosen: dict[str, Any]


@dataclass(frozen=True)
class Calibration:
    """Errors before and after calibration, temperatures and thresholds."""

    split: str  # of the errors
    chosen_on: str  # split
    mean: dict[str, Any]
    rows: list[CalibrationRow]
    min_photos: int  # of a bin in the diagrams
    diagrams: list[tuple[CalibrationRow, Chart]]
    opened: bool


def calibration_section(schema: Schema, calibration: dict[str, Any] | None) -> Calibration | None:
    """Return the results of attr-extractor calibrate; None if the run is not calibrated.

    Args:
      calibration: `thresholds`, `split`, and `measured`, the result of `calibrate.measure` on it.
    """
    if calibration is None:
        return None
    measured, thresholds = calibration["measured"], calibration["thresholds"]
    rows = [
        CalibrationRow(schema[n].title(), measured["attributes"][n], thresholds["attributes"][n])
        for n in schema.names
    ]
    return Calibration(
        calibration["split"],
        thresholds["split"],
        measured["mean"],
        rows,
        MIN_BIN,
        [
            (row, _reliability_diagram(row))
            for row in rows
            if row.measured["after"]["reliability"]["count"]
        ],
        len(rows) <= OPEN_UP_TO,
    )


def _reliability_diagram(row: CalibrationRow) -> Chart:
    lines = [("aim", [(0.0, 0.0), (1.0, 1.0)])]
    for key, css in (("before", "before"), ("after", "")):
        diagram = row.measured[key]["reliability"]
        bins = zip(diagram["score"], diagram["right"], diagram["count"])
        lines.append((css, [(x, y) for x, y, count in bins if count >= MIN_BIN]))
    ticks = [(0.0, "0"), (0.5, "0.5"), (1.0, "1")]
    return Chart(lines, row.title, ticks, ticks, lines[-1][1])


# More labels


class GainRow(NamedTuple):
    """Gain in score of one attribute from more labels, with its interval."""

    title: str
    twice: dict[str, Any]
    thousand: dict[str, Any] | None
    labels: int
    score: float


@dataclass(frozen=True)
class MoreLabels:
    """The learning curve, the largest gain first."""

    photos: list[int]  # of each training set
    rows: list[GainRow]
    charts: list[Chart]
    left_out: int  # attributes with too few labels
    opened: bool


def more_labels_section(schema: Schema, curve: dict[str, Any] | None) -> MoreLabels | None:
    """Return the gain from more labels per attribute; None if it was not measured."""
    if curve is None:
        return None
    rows, charts = [], []
    for name, points in curve["attributes"].items():
        if name not in schema.index or points["fit"] is None:
            continue
        title, gains = schema[name].title(), points["fit"]["gains"]
        now = (points["labels"][-1], points["score"][-1])
        rows.append(GainRow(title, gains["twice"], gains["thousand"], *now))
        charts.append(_learning_chart(title, points))
    rows.sort(key=lambda row: -row.twice["gain"])
    return MoreLabels(
        [point["photos"] for point in curve["points"]],
        rows,
        charts,
        len(curve["attributes"]) - len(rows),
        len(charts) <= OPEN_UP_TO,
    )


def _learning_chart(title: str, points: dict[str, Any]) -> Chart:
    labels, scores, fit = points["labels"], points["score"], points["fit"]
    ends = (labels[0], 2 * labels[-1])
    steps = [math.exp(math.log(ends[0]) + i / 24 * math.log(ends[1] / ends[0])) for i in range(25)]
    fitted = [(math.log(n), 1 - fit["error"] * (n / labels[-1]) ** -fit["exponent"]) for n in steps]
    measured = [point for point, n in zip(fitted, steps) if n <= labels[-1]]
    shown = [*scores, *(y for _, y in fitted)]
    low = max(0.0, math.floor(20 * min(shown)) / 20)
    high = min(1.0, math.ceil(20 * max(shown) + 1e-9) / 20)
    x_ticks = [(math.log(n), f"{n:,}") for n in ends]
    y_ticks = [(y, f"{y:.2f}") for y in (low, high)]
    lines = [("before dashed", fitted[len(measured) - 1 :]), ("before", measured)]
    return Chart(lines, title, x_ticks, y_ticks, list(zip(map(math.log, labels), scores)))
