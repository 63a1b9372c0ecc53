"""Abstention and learning curve sections of the report: curves, and figures read off them."""

from __future__ import annotations

import math
from typing import Any

from attr_extractor.html_page import Markup, escape, line_chart, searched, table
from attr_extractor.schema import Schema

TARGETS = (0.9, 0.95, 0.98)  # accuracies of the answers
OPEN_UP_TO = 12  # maximum attributes for which the curves are open by default
COVERAGE_TICKS = [(0.0, "0"), (0.5, "50 % answered"), (1.0, "100 %")]


def abstaining(schema: Schema, details: dict[str, Any]) -> Markup:
    """Render accuracy of the answers over coverage, and the coverage at each target accuracy."""
    cut_offs, curves = details["cut_offs"], details["attributes"]
    pooled = details["risk_coverage"]
    if pooled["coverage"][0] is None:
        return Markup()
    shown = {name: curves[name]["risk_coverage"] for name in schema.names}
    known = {name: curve for name, curve in shown.items() if curve["coverage"][0] is not None}
    rows = [("All attributes", *_targets(pooled, cut_offs))]
    rows += [
        (schema[name].title(), *_targets(curve, cut_offs))
        for name, curve in sorted(known.items(), key=lambda item: item[1]["accuracy"][0])
    ]
    head = ["Attribute", "Always answered"] + [f"{100 * t:.0f} % right" for t in TARGETS]
    small = "".join(
        f"<figure>{_risk_chart(curve, schema[name].title())}"
        f"<figcaption>{escape(schema[name].title())}</figcaption></figure>"
        for name, curve in known.items()
    )
    return Markup(
        "<p>The best value is answered only if its score is above a cut-off. A higher cut-off "
        "gives fewer answers, and a larger share of them is right. The table shows the share of "
        "photos answered at each target accuracy, with the cut-off in brackets. It is computed on "
        "this split; to choose thresholds, use calibrate.py instead.</p>"
        + _risk_chart(pooled, "All attributes together")
        + "<p class=muted>All attributes together: accuracy over share answered.</p>"
        + searched("abstaining-rows", "Search attributes", table(head, rows, numbers="-nnnn"))
        + f"<details><summary>A curve per attribute</summary><div class=multiples>{small}</div>"
        "</details>"
    )


def _targets(curve: dict[str, Any], cut_offs: list[float]) -> list[str]:
    """Return accuracy without a cut-off, and coverage at the lowest cut-off for each target."""
    cells = [f"{100 * curve['accuracy'][0]:.1f} %"]
    for target in TARGETS:
        reached = [i for i, share in enumerate(curve["accuracy"]) if share and share >= target]
        if not reached:
            cells.append("never")
            continue
        i = reached[0]
        cells.append(f"{100 * curve['coverage'][i]:.1f} % ({cut_offs[i]:g})")
    return cells


def _risk_chart(curve: dict[str, Any], title: str) -> Markup:
    points = [p for p in zip(curve["coverage"], curve["accuracy"]) if p[1] is not None]
    lowest = min(0.9, math.floor(10 * min(share for _, share in points)) / 10)
    ticks = [(y, f"{100 * y:.0f} %") for y in (lowest, (lowest + 1) / 2, 1.0)]
    return line_chart([("", points)], title, COVERAGE_TICKS, ticks, points)


def learning(schema: Schema, curve: dict[str, Any] | None) -> Markup:
    """Render the gain from more labels per attribute; empty if it was not measured."""
    if curve is None:
        return Markup()
    rows, charts = [], []
    for name, a in curve["attributes"].items():
        if name not in schema.index or a["fit"] is None:
            continue
        title = schema[name].title()
        gains = [_gain(a["fit"]["gains"][key]) for key in ("twice", "thousand")]
        cells = (a["labels"][-1], f"{a['score'][-1]:.3f}")
        rows.append((a["fit"]["gains"]["twice"]["gain"], (title, *gains, *cells)))
        charts.append(
            f"<figure>{_learning_chart(a, title)}<figcaption>{escape(title)}</figcaption></figure>"
        )
    rows.sort(key=lambda row: -row[0])
    head = ("Attribute", "Twice the labels", "1,000 more labels", "Labels now", "Score now")
    found = table(head, [cells for _, cells in rows], numbers="-nnnn")
    parts = ", ".join(f"{point['photos']:,}" for point in curve["points"])
    opened = " open" * (len(charts) <= OPEN_UP_TO)
    left_out = len(curve["attributes"]) - len(rows)
    note = f" {left_out} attributes have too few labels for a curve." if left_out else ""
    return Markup(
        f"<p>The same recipe trained on parts of the training products ({parts} photos), measured "
        "on the same photos with the thresholds of the schema. The table shows the gain in score "
        "from more labels, in points of 0.01, if the error keeps falling as a power of their "
        "number. It is estimated from few points, with the 95 % interval in brackets, and not "
        "beyond twice the labels. A part also trains for fewer steps, so some of the gain may come "
        f"from longer training.{note}</p>"
        + searched("labels-rows", "Search attributes", found)
        + f"<details{opened}><summary>A curve per attribute</summary>"
        f"<div class=multiples>{''.join(charts)}</div></details>"
    )


def _gain(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    low, high = (100 * end for end in found["interval"])
    return f"{100 * found['gain']:+.1f} ({low:+.1f} to {high:+.1f})"


def _learning_chart(a: dict[str, Any], title: str) -> Markup:
    labels, fit = a["labels"], a["fit"]
    ends = (labels[0], 2 * labels[-1])
    steps = [math.exp(math.log(ends[0]) + i / 24 * math.log(ends[1] / ends[0])) for i in range(25)]
    fitted = [(math.log(n), 1 - fit["error"] * (n / labels[-1]) ** -fit["exponent"]) for n in steps]
    known = [point for point, n in zip(fitted, steps) if n <= labels[-1]]
    scores = [*a["score"], *(y for _, y in fitted)]
    low = max(0.0, math.floor(20 * min(scores)) / 20)
    high = min(1.0, math.ceil(20 * max(scores) + 1e-9) / 20)
    x_ticks = [(math.log(n), f"{n:,}") for n in ends]
    y_ticks = [(y, f"{y:.2f}") for y in (low, high)]
    lines = [("before dashed", fitted[len(known) - 1 :]), ("before", known)]
    points = list(zip(map(math.log, labels), a["score"]))
    return line_chart(lines, title, x_ticks, y_ticks, points)
