"""Value sections of the report: confusions with photos, and scores of each value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attr_extractor.evaluation.confused_photos import ConfusedPhotos, Photo
from attr_extractor.evaluation.words import figure
from attr_extractor.html_page import Markup, data_url, escape, searched, table, track
from attr_extractor.schema import Schema

MOST_CONFUSED = 15  # pairs of all attributes together, visible by default
WITH_PHOTOS = 5  # pairs of each attribute that have photos
MOST_BYTES = 2_500_000  # maximum of all photos of confusions
MOST_VALUES = 2000  # maximum per attribute
OPEN_UP_TO = 12  # maximum attributes, and values, for which a table is open by default

STYLE = """
.photo { display: inline-block; width: 72px; height: 72px; margin: 0 3px 0 0; border-radius: .2rem;
  background: #fff center / contain no-repeat; border: 1px solid var(--line) }
.pictures td { overflow-wrap: break-word } .pictures td:first-child { min-width: 15.5rem }
@media (max-width: 40rem) { .photo { width: 46px; height: 46px }
  .pictures td:first-child { min-width: 10.2rem } }
.values td:nth-child(2) { width: 22% } .values .track { height: .6rem; margin-top: .35rem }
"""
Pictures = dict[tuple[str, str, str], list[tuple[str, Photo]]]  # CSS class and photo of a pair


def choose(details: dict[str, Any], photos: ConfusedPhotos) -> Pictures:
    """Choose photos by attribute, true and answered value: most frequent pairs overall first."""
    of_rank = [
        (name, pair)
        for rank in range(WITH_PHOTOS)
        for name, a in details["attributes"].items()
        for pair in a["most_confused"][rank : rank + 1]
    ]
    pictures: Pictures = {}
    size = 0
    for name, pair in [*_pairs(details)[:MOST_CONFUSED], *of_rank]:
        key = (name, pair["true"], pair["answered"])
        if key in pictures:
            continue
        found = photos.of(*key)
        size += sum(len(photo.jpeg) for photo in found)
        if size > MOST_BYTES:
            break
        pictures[key] = [(f"c{len(pictures)}-{i}", photo) for i, photo in enumerate(found)]
    return pictures


def _pairs(details: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return attribute and pair of all confusions, the most frequent first."""
    pairs = [(n, pair) for n, a in details["attributes"].items() for pair in a["most_confused"]]
    return sorted(pairs, key=lambda item: -item[1]["count"])


def style(pictures: Pictures) -> str:
    """Return CSS that gives each photo's class its picture, so that each is embedded once."""
    rules = [
        f".{css}{{background-image:url({data_url(photo.jpeg)})}}"
        for found in pictures.values()
        for css, photo in found
    ]
    return "\n".join([STYLE, *rules])


def confusions(schema: Schema, details: dict[str, Any], pictures: Pictures) -> Markup:
    """Render the most frequent confusions of all attributes, then of each attribute."""
    pairs = _pairs(details)
    if not pairs:
        return Markup()
    head = ("Seller's value", "Answered", "Photos", "Share")

    def listed(some: Sequence[tuple[str, dict[str, Any]]], named: bool) -> Markup:
        rows = [_pair(schema, details, pictures, *pair, named) for pair in some]
        heads = (*["Attribute"] * named, *head)
        return table(heads, rows, "sortable pictures", "-" * named + "--nn")

    parts = [
        "<p>Attributes with one value: answers that differ from the seller's value. Some of these "
        "are the seller's mistakes: look at the photos (as the model sees them; hover to see the "
        "product). Share: of all photos with the seller's value.</p>",
        listed(pairs[:MOST_CONFUSED], named=True),
    ]
    by_attribute = []
    for name in schema.names:
        own = [(name, pair) for pair in details["attributes"][name]["most_confused"]]
        if own:
            count = sum(pair["count"] for _, pair in own)
            summary = f"{len(own)} most frequent confusions, {count:,} photos"
            inner = listed(own, named=False)
            by_attribute.append(_folded(schema[name].title(), summary, inner, False))
    parts.append(searched("confusions-rows", "Search confusions", Markup("".join(by_attribute))))
    if missed := details["confusion_counts_too_low_by_at_most"]:
        parts.append(f"<p class=muted>A count may be too low by at most {missed:,}.</p>")
    return Markup("".join(parts))


def _pair(
    schema: Schema,
    details: dict[str, Any],
    pictures: Pictures,
    name: str,
    pair: dict[str, Any],
    named: bool,
) -> tuple[Any, ...]:
    """Return a row; its photos are below the first cell, so that they fit a narrow screen."""
    true, answered, count = pair["true"], pair["answered"], pair["count"]
    support = details["attributes"][name]["values"][true]["support"]
    photos = "".join(
        f"<i class='photo {css}' role=img title='{escape(photo.product_id)}'></i>"
        for css, photo in pictures.get((name, true, answered), [])
    )
    cells = [*[schema[name].title()] * named, true, answered]
    first = Markup(f"{escape(cells[0])}<br>{photos}")
    return first, *cells[1:], count, f"{100 * count / support:.0f} %"


def values(schema: Schema, details: dict[str, Any]) -> Markup:
    """Render the scores of each value that occurs, by attribute."""
    head = ("Value", "", "F1", "Precision", "Recall", "Average precision", "Photos", "Answered")
    text = (
        "<p>Over known labels of this split, the most frequent values first. No answer: photos "
        "with the value whose attribute was not answered.</p>"
    )
    by_attribute = []
    for name in schema.names:
        counted = details["attributes"][name]["values"]
        seen = [(v, f) for v, f in counted.items() if f["support"] or f["predicted"]]
        seen.sort(key=lambda item: (-item[1]["support"], item[0]))
        rows = [
            (
                value,
                track([("", found["f1"] or 0.0)]),
                *(figure(found[k]) for k in ("f1", "precision", "recall", "average_precision")),
                *(found[key] for key in ("support", "predicted", "no_answer")),
            )
            for value, found in seen[:MOST_VALUES]
        ]
        summary = f"{len(seen):,} of {len(counted):,} values occur"
        if len(seen) > MOST_VALUES:
            summary += f", the {MOST_VALUES:,} most frequent are shown"
        inner = table((*head, "No answer"), rows, "sortable values", "--nnnnnnn")
        opened = len(schema.names) <= OPEN_UP_TO and len(seen) <= OPEN_UP_TO
        by_attribute.append(_folded(schema[name].title(), summary, inner, opened))
    return Markup(text) + searched("values-rows", "Search values", Markup("".join(by_attribute)))


def _folded(title: str, summary: str, inner: Markup, opened: bool) -> str:
    return (
        f"<details{' open' * opened}><summary>{escape(title)} <span class=muted>{summary}</span>"
        f"</summary>{inner}</details>"
    )
