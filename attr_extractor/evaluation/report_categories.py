"""Categories section of the report: worst category first, with its weakest attributes."""

from __future__ import annotations

from typing import Any

from attr_extractor.evaluation.scores import MIN_PHOTOS
from attr_extractor.html_page import Markup, escape, searched, table
from attr_extractor.schema import Schema

MOST = 1000  # maximum categories on a page
WEAKEST = 3  # attributes listed per category


def categories(schema: Schema, details: dict[str, Any]) -> Markup:
    """Render the categories that have enough photos, and the others in a second table."""
    rows: dict[bool, list[Any]] = {True: [], False: []}  # by whether they have enough photos
    for name, found in details["categories"].items():
        row = (name, f"{found['score']:.3f}", found["photos"], _weakest(schema, found))
        rows[found["photos"] >= MIN_PHOTOS].append(row)
    enough, few = rows[True][:MOST], rows[False][:MOST]
    head = ("Category", "Score", "Photos", "Weakest attributes (score, photos)")
    text = (
        "<p>Equation 2 over all known labels of a category's photos, worst first. Only attributes "
        f"with at least {MIN_PHOTOS} photos are listed.</p>"
    )
    if enough:
        listed = table(head, enough, numbers="-nn")
        text += searched("categories-rows", "Search categories", listed)
    if few:
        summary = f"{len(rows[False]):,} categories of fewer than {MIN_PHOTOS} photos"
        text += f"<details><summary>{summary}</summary>{table(head, few, numbers='-nn')}</details>"
    left_out = sum(map(len, rows.values())) - len(enough) - len(few)
    if left_out:
        text += f"<p class=muted>{left_out:,} more are in the details file of metrics.json.</p>"
    return Markup(text) if enough or few else Markup()


def _weakest(schema: Schema, found: dict[str, Any]) -> Markup:
    enough = [(n, a) for n, a in found["attributes"].items() if a["photos"] >= MIN_PHOTOS]
    enough.sort(key=lambda item: item[1]["score"])
    return Markup(
        ", ".join(
            f"{escape(schema[name].title())} <span class=muted>{a['score']:.2f}, "
            f"{a['photos']:,}</span>"
            for name, a in enough[:WEAKEST]
        )
    )
