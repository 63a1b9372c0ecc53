"""Scores as text for a terminal, and the words for the intervals behind them.

One line per attribute, best first, the mean last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attr_extractor.web.formats import figure

WIDTH = 100  # maximum columns
_MEAN = "mean over attributes"
_COLUMNS = (
    f"{'score':>5}  {'95 % interval':14}  {'most':>5}  {'given':>5}  {'beats':>5}  {'F1':>5}  "
    f"{'cover':>5}  {'right':>5}  {'photos':>7}"
)
_LEGEND = (
    "most, given: the most frequent value, overall and given the category; beats: significantly",
    "better than which of them; F1: macro; cover: share answered; right: score if answered",
)
_TIERS = (
    *("score_all", "applies_accuracy", "answered_accuracy", "coverage"),
    "recall_at_90_precision",
)
_TAGGERS_LEGEND = (
    "all: all known cells; apply: whether the attribute applies; value: score if answered; cover:",
    "share answered; rec90: recall at 90 % precision; unused: cells that give no answer",
)


def verdict(difference: Sequence[float]) -> str:
    """Return the verdict on the first of two runs, by the interval of their difference."""
    low, high = difference
    return "better" if low > 0 else "worse" if high < 0 else "not sure"


def beaten_baselines(figures: dict[str, Any]) -> str:
    """Return which baselines an attribute is significantly better than.

    Returns:
      both, none, `most` for the most frequent value, or `given` for that given the category.
    """
    beaten = [
        name
        for name, gain in (("most", "gain"), ("given", "gain_given_category"))
        if (figures[f"{gain}_interval"] or [0])[0] > 0
    ]
    return "both" if len(beaten) == 2 else "".join(beaten) or "none"


def format_scores(measured: dict[str, Any]) -> str:
    """Format the result of `evaluate`."""
    rows = sorted(measured["attributes"].items(), key=lambda item: -(item[1]["score"] or 0.0))
    width = _width([name for name, _ in rows], _COLUMNS)
    lines = [f"{'attribute':{width}}  {_COLUMNS}"]
    for name, a in rows:
        start = f"{_shortened(name, width):{width}}"
        if a["score"] is None:
            lines.append(f"{start}  no photo of this split has a value")
            continue
        lines.append(f"{start}  {_figures(a, beaten_baselines(a))}  {a['applicable']:7d}")
    mean = measured["mean"]
    if mean["score"] is not None:
        lines.append(f"{_MEAN:{width}}  {_figures(mean, '')}  {measured['photos']:7d}")
        lines += _LEGEND
        lines.append(
            f"of {mean['attributes_measured']} attributes, significantly better than the most "
            f"frequent value: {mean['attributes_beating_most_frequent']}, given the category: "
            f"{mean['attributes_beating_given_category']}"
        )
        lines.append(
            "accuracy of the best value, always answered: "
            f"{mean['accuracy']:.3f} {_interval(mean['accuracy_interval'])}"
        )
    if "without_near_duplicates" in measured:
        lines.append(_line_without(measured["without_near_duplicates"]))
    return "\n".join(lines)


def format_comparison(measured: dict[str, Any]) -> str:
    """Format this run compared with the other one, largest gain first."""
    compared = measured["comparison"]
    ours, theirs = measured["attributes"], compared["attributes"]
    names = [name for name, block in theirs.items() if block["difference"] is not None]
    names.sort(key=lambda name: -theirs[name]["difference"])
    columns = f"{'this':>5}  {'other':>5}  {'difference':>10}  95 % interval"
    width = _width(names, columns)
    lines = [f"{'attribute':{width}}  {columns}"]
    rows = [(name, ours[name], theirs[name]) for name in names]
    if names:
        rows.append((_MEAN, measured["mean"], compared["mean"]))
    for name, a, b in rows:
        low, high = b["difference_interval"]
        lines.append(
            f"{_shortened(name, width):{width}}  {_figure(a['score'])}  {_figure(b['score'])}  "
            f"{b['difference']:+10.3f}  [{low:+.3f}, {high:+.3f}]  "
            f"{verdict(b['difference_interval'])}"
        )
    return "\n".join([f"this run compared with {compared['run']}, same photos and draws:", *lines])


def format_taggers(compared: dict[str, Any]) -> str:
    """Format the result of `compare_answers.compare`, a line per tagger."""
    taggers = compared["taggers"]
    priced = any(tagger["price"] is not None for tagger in taggers)
    columns = (
        f"{'score':>5}  {'95 % interval':14}  {'all':>5}  {'apply':>5}  {'value':>5}  "
        f"{'cover':>5}  {'rec90':>5}  {'unused':>7}" + f"  {'cost':>8}" * priced
    )
    width = _width([tagger["name"] for tagger in taggers], columns, "tagger")
    lines = [f"{'tagger':{width}}  {columns}"]
    for tagger in taggers:
        mean, cost = tagger["mean"], tagger["mean"].get("cost_per_right_cell")
        cells = [
            _figure(mean["score"]),
            f"{'-' if mean['interval'] is None else _interval(mean['interval']):14}",
            *(_figure(mean[key]) for key in _TIERS),
            f"{sum(tagger.get('cells_not_used', {}).values()):7,}",
            *([f"{'-' if cost is None else format(cost, '.4g'):>8}"] if priced else []),
        ]
        lines.append(f"{_shortened(tagger['name'], width):{width}}  {'  '.join(cells)}")
    lines += _TAGGERS_LEGEND
    for tagger in taggers[1:]:
        difference, ends = (
            tagger["difference"]["mean"][key] for key in ("difference", "difference_interval")
        )
        if difference is not None:
            lines.append(
                f"{_shortened(taggers[0]['name'], 24)} minus {_shortened(tagger['name'], 24)}: "
                f"{difference:+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]"
            )
    return "\n".join(lines)


def _width(names: list[str], columns: str, last: str = _MEAN) -> int:
    return min(max(map(len, [last, *names])), WIDTH - 2 - len(columns))


def _shortened(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 3]}..."


def _figures(block: dict[str, Any], beats: str) -> str:
    return "  ".join(
        [
            _figure(block["score"]),
            _interval(block["interval"]),
            _figure(block["most_frequent"]),
            _figure(block["most_frequent_given_category"]),
            f"{beats:>5}",
            *(_figure(block[key]) for key in ("macro_f1", "coverage", "answered_accuracy")),
        ]
    )


def _figure(value: float | None) -> str:
    return f"{figure(value):>5}"


def _interval(ends: list[float]) -> str:
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]"


def _line_without(block: dict[str, Any]) -> str:
    mean, left_out = block["mean"], block["left_out"]
    if not left_out:
        return "no photo of this split resembles a training photo"
    start = f"without the {left_out:,} photos that resemble a training photo:"
    if mean["score"] is None:
        return f"{start} nothing left to measure"
    return (
        f"{start} {mean['score']:.3f} {_interval(mean['interval'])}, most "
        f"{mean['most_frequent']:.3f}, {block['photos']:,} photos"
    )
