"""Score sections of the report: per attribute (the paper's figure 4), and two runs (figure 5)."""

from __future__ import annotations

from typing import Any

from attr_extractor.evaluation.words import figure, interval, verdict
from attr_extractor.html_page import Markup, escape, searched, table
from attr_extractor.schema import Schema

STYLE = """
.track .bar, .track .range, .track .mark { position: absolute; background: var(--bar) }
.track .bar { inset: 0 auto 0 0; border-radius: .2rem } .track.other { height: .5rem }
.track.other .bar { background: var(--half) } td .track { min-width: 7rem; margin-top: .15rem }
.track .range { top: 42%; height: 16%; background: var(--text); opacity: .75 }
.track .mark { top: 0; bottom: 0; width: 3px; background: var(--half) }
.track .mark.given { background: var(--bad) } .bars td:nth-child(2) { width: 34% }
td:first-child { overflow-wrap: break-word }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem;
  vertical-align: -.05rem; margin-left: .5rem }
.right, .better { color: var(--good) } .wrong, .worse { color: var(--bad) }
.partly { color: var(--half) }
"""
_ALL = {
    "accuracy": "Accuracy of best value",
    "coverage": "Answered",
    "answered_accuracy": "Score if answered",
    "exact_match": "Exact match",
    "micro_precision": "Precision",
    "micro_recall": "Recall",
    "micro_f1": "F1",
    "macro_f1": "Macro F1",
    "micro_average_precision": "Average precision",
    "macro_average_precision": "Macro AP",
    "score_all": "Score, all photos",
    "most_frequent_all": "Most frequent, all photos",
}


def scores(schema: Schema, measured: dict[str, Any]) -> Markup:
    """Render a bar with its interval per attribute, best first, and a table of other figures."""
    ordered = sorted(measured["attributes"].items(), key=lambda item: -(item[1]["score"] or 0.0))
    rows, more = [], []
    for name, a in ordered:
        title = schema[name].title()
        if a["score"] is None:
            text = Markup("<span class=muted>no known value</span>")
            rows.append((title, text, "", "", "", "", "", 0))
            continue
        guesses = [("", a["most_frequent"]), (" given", a["most_frequent_given_category"])]
        marks = "".join(_mark(kind, share) for kind, share in guesses if share is not None)
        rows.append(
            (
                title,
                _bar(a["score"], a["interval"], marks),
                figure(a["score"]),
                interval(a["interval"]),
                figure(a["most_frequent"]),
                figure(a["most_frequent_given_category"]),
                _verdict(a["gain_interval"], a["gain_given_category_interval"]),
                a["applicable"],
            )
        )
        figures = [figure(a[key]) for key in _ALL]
        counts = [a[key] for key in ("known", "no_answer", "answered_not_applicable")]
        more.append((title, *figures, *counts))
    head = ("Attribute", "", "Score", "95 % interval", "Most frequent", "Given category")
    listed = table((*head, "Significantly beats", "Photos"), rows, "sortable bars", "--nnnn-n")
    counts_head = ("Known labels", "No answer", "Answered, not applicable")
    return Markup(
        "<p>Figure 4 of the paper. Equation 2 over photos to which the attribute applies and whose "
        "label is known; line: 95 % bootstrap interval. Baselines that ignore the photo: "
        "<i class=key style='background:var(--half)'></i> always the most frequent value, "
        "<i class=key style='background:var(--bad)'></i> the most frequent value of the true "
        "category.</p>"
        + searched("scores-rows", "Search attributes", listed)
        + "<details><summary>All other figures per attribute</summary>"
        + table(("Attribute", *_ALL.values(), *counts_head), more, numbers="-" + "n" * 15)
        + "<p class=muted>Precision, recall, F1 and average precision over all known labels, "
        "including photos to which the attribute does not apply; macro: the mean over values that "
        "occur.</p></details>"
    )


def compared(schema: Schema, measured: dict[str, Any]) -> Markup:
    """Render this run and another one on the same photos; empty if there is no other run."""
    if "comparison" not in measured:
        return Markup()
    other, ours = measured["comparison"], measured["attributes"]
    names = [name for name, b in other["attributes"].items() if b["difference"] is not None]
    names.sort(key=lambda name: -other["attributes"][name]["difference"])
    rows = [(schema[n].title(), *_compared(ours[n], other["attributes"][n])) for n in names]
    mean = ""
    if other["mean"]["difference"] is not None:
        low, high = other["mean"]["difference_interval"]
        mean = (
            f" Mean over attributes: {measured['mean']['score']:.3f} and "
            f"{other['mean']['score']:.3f}, difference {other['mean']['difference']:+.3f}, 95 % "
            f"interval {low:+.3f} to {high:+.3f}."
        )
    head = ("Attribute", "", "Difference", "95 % interval", "", "This", "Other", "Photos")
    listed = table(head, rows, "sortable bars", "--nn-nnn")
    return Markup(
        "<p>Figure 5 of the paper: the score of this run <i class=key "
        "style='background:var(--bar)'></i> and of <i class=key style='background:var(--half)'></i>"
        f" <code>{escape(other['run'])}</code>, on the same photos; the intervals are those of "
        f"paired differences.{mean}</p>" + searched("compared-rows", "Search attributes", listed)
    )


def _compared(a: dict[str, Any], b: dict[str, Any]) -> tuple[Any, ...]:
    low, high = b["difference_interval"]
    found = verdict(b["difference_interval"])
    bars = _bar(a["score"], a["interval"]) + _bar(b["score"], b["interval"], css=" other")
    return (
        bars,
        f"{b['difference']:+.3f}",
        f"{low:+.3f} to {high:+.3f}",
        Markup(f"<span class='{found}'>{found}</span>"),
        figure(a["score"]),
        figure(b["score"]),
        a["applicable"],
    )


def _bar(share: float, ends: list[float], marks: str = "", css: str = "") -> Markup:
    low, high = ends
    return Markup(
        f"<div class='track{css}'><div class=bar style='width:{100 * share:.1f}%'></div>"
        f"<div class=range style='left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%'></div>"
        f"{marks}</div>"
    )


def _mark(kind: str, share: float) -> str:
    return f"<div class='mark{kind}' style='left:calc({100 * share:.1f}% - 1.5px)'></div>"


def _verdict(gain: list[float] | None, given_category: list[float] | None) -> str:
    beaten = [
        name
        for name, ends in (("most frequent", gain), ("given category", given_category))
        if ends is not None and ends[0] > 0
    ]
    return "both" if len(beaten) == 2 else "".join(beaten) or "neither"
