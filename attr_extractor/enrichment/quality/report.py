"""catalogue_report.html: completeness before and after the model, and contradicted values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attr_extractor.html_page import (
    SCRIPT,
    Markup,
    escape,
    headline,
    line_chart,
    outlined,
    page,
    searched,
    table,
    track,
)
from attr_extractor.schema import Schema

MOST_CATEGORIES = 1000
STYLE = """
.track .good { background: var(--good) } .track .bad { background: var(--bad) }
.track .half { background: var(--half) } td .track { min-width: 7rem; margin-top: .15rem }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem;
  vertical-align: -.05rem; margin: 0 .2rem 0 .5rem }
.bars td:nth-child(2) { width: 26% } td:first-child { overflow-wrap: break-word }
section > p.muted { font-size: .84rem } .legend { white-space: nowrap }
#pairs-rows .scroll, #categories-rows .scroll, #sellers-rows .scroll { max-height: 38rem;
  overflow: auto }
#pairs-rows td { min-width: 6.5rem } #pairs-rows td:last-child { min-width: 12rem }
.scroll th { position: sticky; top: 0; z-index: 2; background: var(--paper) }
"""


def render(schema: Schema, found: dict[str, Any]) -> str:
    """Return the whole page as HTML.

    Args:
      found: the figures that `qualify.qualify` returns.
    """
    sections = [
        ("complete", "Before and after", _complete(schema, found)),
        ("judged", "Sellers' values", _judged(schema, found)),
        ("thresholds", "Thresholds", _thresholds(schema, found)),
        ("pairs", "Contradictions", _pairs(schema, found)),
        ("categories", "Categories", _categories(found)),
        ("sellers", "Sellers", _sellers(found)),
    ]
    links, shown = outlined(sections)
    title = f"{schema.name}: the catalogue, {found['rows']:,} products"
    body = [
        f"<h1>{escape(title)}</h1><p class=muted>{found['cells']:,} cells of "
        f"{len(schema.attributes)} attributes, only those that apply to a product's category; "
        f"schema {escape(schema.name)}, fingerprint {schema.fingerprint}</p>{links}",
        _headline(found["all"]),
        shown,
    ]
    return page(title, "".join(body), STYLE, SCRIPT)


def _headline(a: dict[str, Any] | None) -> Markup:
    if a is None:
        return Markup("<p>The file has no cells.</p>")
    shown = [
        (_percent(a["complete"]), "of cells were filled by sellers"),
        (_percent(a["complete_after"]), "are filled after the model"),
        (_percent(a["filled_share"]), f"of {a['empty']:,} empty cells filled"),
        (_percent(a["agreed_share"]), f"of {a['judged']:,} sellers' cells: the model agrees"),
        (_percent(a["contradicted_share"]), f"contradicted, {a['contradicted']:,} cells"),
        (_percent(a["doubtful_share"]), f"doubtful, {a['doubtful'] + a['unlisted']:,} cells"),
    ]
    unread = a["unjudged"] + a["unseen"]
    if unread:
        shown.append((f"{unread:,}", "cells of products without a readable photo"))
    return headline(shown)


def _complete(schema: Schema, found: dict[str, Any]) -> Markup:
    ordered = sorted(found["attributes"].items(), key=lambda item: item[1]["complete_after"])
    rows = [
        (
            schema[name].title(),
            track([("", a["complete"]), ("good", a["complete_after"] - a["complete"])]),
            _percent(a["complete"]),
            _percent(a["complete_after"]),
            a["given"] + a["empty"],
            a["empty"],
            a["filled"],
            _percent(a["filled_share"]),
            a["unanswered"],
            a["unseen"],
        )
        for name, a in ordered
    ]
    head = ("Attribute", "", "Before", "After", "Cells", "Empty", "Filled", "Share of empty")
    listed = table((*head, "No answer", "No photo"), rows, "sortable bars", numbers="--" + "n" * 8)
    return Markup(
        f"<p>The share of cells that have a value: {_key('bar', 'by sellers')} "
        f"{_key('good', 'by the model')}. The least complete first.</p>"
        + searched("complete-rows", "Search attributes", listed)
    )


def _judged(schema: Schema, found: dict[str, Any]) -> Markup:
    named = ((schema[name].title(), a) for name, a in found["attributes"].items())
    rows = [(*_verdicts(title, a), a["unlisted"]) for title, a in named]
    head = (*_verdicts_head("Attribute"), "Not in the schema")
    listed = table(head, rows, "sortable bars", numbers="--nnnnnn")
    return Markup(
        "<p>The model's verdict on cells that sellers filled, if a photo is readable: "
        f"{_key('bad', 'contradicted')} {_key('half', 'doubtful')} {_key('good', 'agreed')}. "
        "Contradicted: the model is sure of another value and scores the seller's value near 0. "
        "Values that are not in the schema are doubtful. A verdict does not prove a seller "
        "wrong.</p><p class=muted>90 % interval: interval of the contradicted share; small groups "
        "are shrunk towards the overall share. Here and below, rows are sorted by its lower end, "
        "the highest first.</p>" + searched("judged-rows", "Search attributes", listed)
    )


def _categories(found: dict[str, Any]) -> Markup:
    named = [(name or "unknown category", a) for name, a in found["categories"].items()]
    listed = _groups("Category", named[:MOST_CATEGORIES])
    text = searched("categories-rows", "Search categories", listed)
    return text + _left_out(len(named) - MOST_CATEGORIES, "categories")


def _sellers(found: dict[str, Any]) -> Markup:
    if not found["sellers"]:
        return Markup(
            "<p>The file does not name the sellers: run predict.py --cells --seller_column=NAME to "
            "take them from a column of the table.</p>"
        )
    named = [(name or "no seller named", a) for name, a in found["sellers"].items()]
    listed = _groups("Seller", named)
    text = searched("sellers-rows", "Search sellers", listed)
    return text + _left_out(found["sellers_left_out"], "sellers, all ranked better,")


def _groups(what: str, named: Iterable[tuple[str, dict[str, Any]]]) -> Markup:
    rows = [
        (*_verdicts(name, a), _percent(a["complete"]), _percent(a["complete_after"]), a["empty"])
        for name, a in named
    ]
    head = (*_verdicts_head(what), "Complete before", "After", "Empty cells")
    return table(head, rows, "sortable bars", numbers="--" + "n" * 8)


def _verdicts_head(what: str) -> tuple[str, ...]:
    return (what, "", "Contradicted", "90 % interval", "Doubtful", "Agreed", "Cells")


def _verdicts(title: str, a: dict[str, Any]) -> tuple[Any, ...]:
    shares = [(css, a[f"{key}_share"] or 0.0) for css, key in _COLOURS.items()]
    interval = f"{100 * a['low']:.1f} to {100 * a['high']:.1f} %" if a["judged"] else "-"
    return (
        title,
        track(shares) if a["judged"] else "",
        _percent(a["contradicted_share"]),
        interval,
        _percent(a["doubtful_share"]),
        _percent(a["agreed_share"]),
        a["judged"],
    )


_COLOURS = {"bad": "contradicted", "half": "doubtful", "good": "agreed"}


def _pairs(schema: Schema, found: dict[str, Any]) -> Markup:
    if not found["pairs"]:
        return Markup("<p>No cell is contradicted.</p>")
    rows = [
        (
            schema[pair["attribute"]].title(),
            pair["given"],
            pair["proposed"] or "none of them",
            pair["cells"],
            ", ".join(pair["products"]),
        )
        for pair in found["pairs"]
    ]
    head = ("Attribute", "Seller's value", "Model's value", "Cells", "Products, the surest first")
    text = Markup(
        "<p>Seller's values and the model's values that contradict them, the most frequent pairs "
        "first. The cells are in <code>contradictions.csv</code>, the surest first.</p>"
    )
    text += searched("pairs-rows", "Search values", table(head, rows, numbers="---n-"))
    return text + _left_out(found["pairs_left_out"], "pairs")


def _thresholds(schema: Schema, found: dict[str, Any]) -> Markup:
    costs = found["thresholds"]
    if costs is None:
        return Markup(
            "<p>Not computed: the share of wrong fills is estimated on a run's validation split; "
            "pass the run with --run_dir.</p>"
        )
    if not found["all"] or not found["all"]["empty"]:
        return Markup("<p>No cell is empty: there is nothing to fill.</p>")
    rows = [
        (
            f"{cost['threshold']:g}",
            cost["filled"],
            _percent(cost["share"]),
            _percent(cost["wrong"]),
            _interval(cost["interval"]),
            "-" if cost["wrong"] is None else f"{round(cost['wrong'] * cost['filled']):,}",
            cost["not_measured"],
        )
        for cost in costs
    ]
    head = ["Score above", "Filled", "Of the empty", "Wrong, expected", "95 % interval"]
    head += ["Wrong cells", "Not measured"]
    each = [
        (schema[name].title(), *(_cost(cost["attributes"][name]) for cost in costs))
        for name in schema.names
        if name in found["attributes"] and found["attributes"][name]["empty"]
    ]
    each_head = ("Attribute", *(f"above {cost['threshold']:g}" for cost in costs))
    return Markup(
        "<p>The effect of filling each empty cell with its best value if the score is above a "
        "threshold. The number of fills is counted in this catalogue. The expected share of wrong "
        f"fills is measured on the run's {found['validation_photos']:,} validation photos, for the "
        "same attribute above the same score. Cells that sellers left empty may be harder than "
        "those they filled, and the run's temperatures were chosen on validation: the share is a "
        "lower bound.</p>"
        + table(head, rows, numbers="nnnnnnn")
        + _chart(costs)
        + "<p class=muted>Share of wrong fills over the share of empty cells filled, one dot per "
        "threshold. Not measured: fills of attributes without a validation photo above the "
        "threshold; the share excludes them. The interval assumes that the errors of attributes "
        "are fully correlated.</p><h3>Attributes</h3><p>The share of empty cells filled, and the "
        "expected share of wrong fills.</p>"
        + searched("cost-rows", "Search attributes", table(each_head, each, numbers="-" + "n" * 9))
    )


def _chart(costs: list[dict[str, Any]]) -> Markup:
    points = [(c["share"], c["wrong"]) for c in costs if c["wrong"] is not None and c["filled"]]
    if len(points) < 2:
        return Markup()
    top = max(0.05, -(-max(wrong for _, wrong in points) // 0.05) * 0.05)
    y_ticks = [(y, f"{100 * y:.3g} %") for y in (0.0, top / 2, top)]
    x_ticks = [(0.0, "0"), (0.5, "50 % filled"), (1.0, "100 %")]
    title = "Wrong fills over the share of empty cells filled"
    return line_chart([("", points)], title, x_ticks, y_ticks, points)


def _cost(cost: dict[str, Any]) -> Markup:
    wrong = _percent(cost["wrong"]) + (" wrong" if cost["wrong"] is not None else "")
    return Markup(f"{_percent(cost['share'])}<br><span class=muted>{wrong}</span>")


def _key(colour: str, text: str) -> str:
    """Return a legend entry: a colour of the bars and its meaning."""
    swatch = f"<i class=key style='background:var(--{colour})'></i>"
    return f"<span class=legend>{swatch}{escape(text)}</span>"


def _left_out(count: int, what: str) -> Markup:
    return Markup(f"<p class=muted>{count:,} more {what} are not listed.</p>" if count > 0 else "")


def _interval(ends: list[float] | None) -> str:
    return "-" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
