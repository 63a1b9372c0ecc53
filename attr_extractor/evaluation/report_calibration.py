"""Calibration section of the report: reliability diagrams before and after calibration."""

from __future__ import annotations

from typing import Any

from attr_extractor.evaluation.words import figure
from attr_extractor.html_page import Markup, escape, line_chart, searched, table
from attr_extractor.schema import Schema

OPEN_UP_TO = 12  # maximum attributes for which the diagrams are open by default
MIN_PHOTOS = 5  # minimum photos of a bin that is drawn
TICKS = [(0.0, "0"), (0.5, "0.5"), (1.0, "1")]


def calibration(schema: Schema, section: dict[str, Any] | None) -> Markup:
    """Render errors, temperatures and thresholds; empty if the run is not calibrated.

    Args:
      section: `thresholds`, `split`, and `measured`, the result of `calibrate.measure` on it.
    """
    if section is None:
        return Markup()
    found, chosen = section["measured"], section["thresholds"]["attributes"]
    rows, diagrams = [], []
    for name in schema.names:
        a, title = found["attributes"][name], schema[name].title()
        errors = [figure(a[key]["ece"]) for key in ("before", "after")]
        own = len(chosen[name]["values"])
        rows.append(
            (
                title,
                *errors,
                f"{chosen[name]['temperature']:.2f}",
                f"{chosen[name]['threshold']:.3f}" + (f" (own for {own} values)" if own else ""),
                chosen[name]["goal"] or "the schema's",
                *(figure(a[key]) for key in ("precision", "recall", "f1", "coverage")),
            )
        )
        if a["after"]["reliability"]["count"]:
            diagrams.append(
                f"<figure>{_diagram(a, title)}<figcaption>{escape(title)} <span class=muted>"
                f"{errors[0]} to {errors[1]}</span></figcaption></figure>"
            )
    mean = found["mean"]
    head = ("Attribute", "Error before", "Error after", "Temperature", "Threshold", "Goal")
    more = ("Precision", "Recall", "F1", "Answered")
    listed = table((*head, *more), rows, numbers="-nnnn-nnnn")
    opened = " open" * (len(schema.names) <= OPEN_UP_TO)
    return Markup(
        f"<p>Expected calibration error of the best value's score on {section['split']}: "
        f"{figure(mean['ece_before'])} before, {figure(mean['ece_after'])} after, the mean over "
        f"attributes. Temperatures and thresholds were chosen on "
        f"{section['thresholds']['split']}.</p>"
        + searched("calibration-rows", "Search attributes", listed)
        + f"<details{opened}><summary>Reliability diagrams</summary><p>Accuracy over score, "
        "before <i class=key style='background:var(--half)'></i> and after "
        "<i class=key style='background:var(--bar)'></i>; scores on the dashed line are perfectly "
        f"calibrated. Bins of fewer than {MIN_PHOTOS} photos are not drawn.</p>"
        f"<div class=multiples>{''.join(diagrams)}</div></details>"
    )


def _diagram(a: dict[str, Any], title: str) -> Markup:
    lines = [("aim", [(0.0, 0.0), (1.0, 1.0)])]
    for key, css in (("before", "before"), ("after", "")):
        diagram = a[key]["reliability"]
        bins = zip(diagram["score"], diagram["right"], diagram["count"])
        lines.append((css, [(x, y) for x, y, count in bins if count >= MIN_PHOTOS]))
    return line_chart(lines, title, TICKS, TICKS, lines[-1][1])
