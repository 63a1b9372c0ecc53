"""Data of report.html; each section has a template in web/templates/evaluation.

The page is one self-contained file, readable on a phone; it needs no server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from attr_extractor.evaluation.example_photos import (
    AttributeAnswer,
    ConfusedPhoto,
    ConfusedPhotos,
    ExamplePhoto,
    encode_jpeg,
)
from attr_extractor.evaluation.report_curves import (
    abstention_section,
    calibration_section,
    more_labels_section,
)
from attr_extractor.evaluation.score_table import beaten_baselines, verdict
from attr_extractor.evaluation.scores import MIN_PHOTOS
from attr_extractor.records.manifest import Counts, Manifest
from attr_extractor.schema import Schema
from attr_extractor.web import pages

# uint8 [H, W, 3], an attribute and one of its values -> the photo with the heat over it, uint8
DrawHeat = Callable[[np.ndarray, str, str], np.ndarray]

OPEN_UP_TO = 12  # maximum attributes, or rows, that are visible by default
SIDE, HEAT_SIDE = 224, 160  # maximum side of a picture, in pixels
HEATED, HEATS = 12, 2  # photos with heat maps, and heat maps per photo
OUTCOMES = ("wrong", "partly right", "no answer", "right", "unknown")  # in the order of a card
MOST_CATEGORIES = 1000
WEAKEST = 3  # attributes listed per category
MOST_CONFUSED = 15  # pairs of all attributes together, visible by default
WITH_PHOTOS = 5  # pairs of each attribute that have photos
MOST_BYTES = 2_500_000  # maximum of all photos of confusions
MOST_VALUES = 2000  # maximum per attribute


class ReportExtras(NamedTuple):
    """Content of a report other than the figures of `scores.measure`."""

    examples: Sequence[ExamplePhoto]
    confused: ConfusedPhotos
    calibration: dict[str, Any] | None = None  # `thresholds`, `split`, and `measured` on it
    learning_curve: dict[str, Any] | None = None  # learning_curve.json
    heat: DrawHeat | None = None
    training: Manifest | None = None  # of the run's records, unless they have changed


def render(
    name: str,
    schema: Schema,
    measured: dict[str, Any],
    details: dict[str, Any],
    extras: ReportExtras,
) -> str:
    """Render the page as HTML text.

    Args:
      measured: the figures of `scores.measure`, and the `split`.
      details: the details of `scores.measure`.
    """
    photos = choose_confused_photos(details, extras.confused)
    content = {  # by the name of the template; a section without content is left out
        "scores": scores_section(schema, measured),
        "comparison": comparison_section(schema, measured),
        "photos": photos_section(extras.examples, extras.heat),
        "categories": categories_section(details),
        "confusions": confusions_section(schema, details, photos),
        "values": values_section(schema, details),
        "abstention": abstention_section(schema, details),
        "calibration": calibration_section(schema, extras.calibration),
        "more_labels": more_labels_section(schema, extras.learning_curve),
        "label_sources": label_sources_section(schema, extras.training),
    }
    titles = {key: key.replace("_", " ").capitalize() for key in content}
    return pages.render(
        "evaluation/report.html",
        title=f"{name}: {measured['split']} split, {measured['photos']:,} photos",
        folder="evaluation",
        sections=[(key, titles[key]) for key, section in content.items() if section],
        schema=schema,
        measured=measured,
        confused_photos=[photo for of_pair in photos.values() for photo in of_pair],
        **content,
    )


# Scores (the paper's figure 4) and comparison of two runs (figure 5)


class ScoreRow(NamedTuple):
    """One attribute in the section of scores."""

    title: str
    figures: dict[str, Any]
    beaten: str  # see `beaten_baselines`; empty if nothing was measured


def scores_section(schema: Schema, measured: dict[str, Any]) -> list[ScoreRow]:
    """Return a row per attribute, best first."""
    ordered = sorted(measured["attributes"].items(), key=lambda item: -(item[1]["score"] or 0.0))
    return [
        ScoreRow(schema[n].title(), a, "" if a["score"] is None else beaten_baselines(a))
        for n, a in ordered
    ]


class LabelSourcesRow(NamedTuple):
    """Training labels of one attribute."""

    title: str
    counts: Counts  # of the training photos
    by_source: dict[str, int]  # products by label source


def label_sources_section(schema: Schema, training: Manifest | None) -> list[LabelSourcesRow]:
    """Return a row per attribute with soft labels; none if the seller gave all labels."""
    if training is None:
        return []
    labels = training.splits["train"].labels
    return [
        LabelSourcesRow(schema[name].title(), counts, training.sources.get(name, {}))
        for name, counts in labels.items()
        if counts.soft
    ]


class ComparisonRow(NamedTuple):
    """One attribute of both runs."""

    title: str
    this: dict[str, Any]
    other: dict[str, Any]
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """This run and another one on the same photos, the largest gain first."""

    run: str
    mean: dict[str, Any]
    rows: list[ComparisonRow]


def comparison_section(schema: Schema, measured: dict[str, Any]) -> Comparison | None:
    """Return the comparison with another run; None if there is no other run."""
    if "comparison" not in measured:
        return None
    other = measured["comparison"]
    rows = [
        ComparisonRow(
            schema[name].title(), measured["attributes"][name], b, verdict(b["difference_interval"])
        )
        for name, b in other["attributes"].items()
        if b["difference"] is not None
    ]
    rows.sort(key=lambda row: -row.other["difference"])
    return Comparison(other["run"], other["mean"], rows)


# Photos: answers (figure 7) and heat maps (figure 6)


class HeatMap(NamedTuple):
    """The evidence for one answered value."""

    attribute: str
    value: str
    jpeg: bytes


@dataclass(frozen=True)
class PhotoCard:
    """One photo with its answers, wrong ones first."""

    product_id: str
    jpeg: bytes
    heat_maps: list[HeatMap]
    answers: list[AttributeAnswer]


@dataclass(frozen=True)
class Photos:
    """Cards of the first photos."""

    cards: list[PhotoCard]
    heated: int  # number of first cards that may have heat maps


def photos_section(examples: Sequence[ExamplePhoto], heat: DrawHeat | None) -> Photos | None:
    """Return a card per photo, the first ones with heat maps if `heat` is given."""
    if not examples:
        return None
    drawn: Counter[str] = Counter()  # heat maps per attribute, so that every attribute is shown
    cards = []
    for i, example in enumerate(examples):
        heat_maps = _heat_maps(example, heat, drawn) if heat is not None and i < HEATED else []
        shown = [each for each in example.answers if each.answered or each.labelled]
        shown.sort(key=lambda each: OUTCOMES.index(each.outcome))
        picture = encode_jpeg(example.pixels, SIDE)
        cards.append(PhotoCard(example.product_id, picture, heat_maps, shown))
    return Photos(cards, 0 if heat is None else HEATED)


def _heat_maps(example: ExamplePhoto, heat: DrawHeat, drawn: Counter[str]) -> list[HeatMap]:
    answered = [each for each in example.answers if each.answered]
    heat_maps = []
    for each in sorted(answered, key=lambda each: drawn[each.attribute])[:HEATS]:
        drawn[each.attribute] += 1
        picture = heat(example.pixels, each.attribute, each.answered[0])
        jpeg = encode_jpeg(picture, HEAT_SIDE)
        heat_maps.append(HeatMap(each.attribute, each.answered[0], jpeg))
    return heat_maps


# Categories


class CategoryRow(NamedTuple):
    """One category with its weakest attributes."""

    name: str
    score: float
    photos: int
    weakest: list[tuple[str, dict[str, Any]]]  # attribute; its score and photos


@dataclass(frozen=True)
class Categories:
    """Categories of at least, and of fewer than `min_photos` photos, worst first."""

    min_photos: int
    enough: list[CategoryRow]
    few: list[CategoryRow]
    number_of_few: int
    left_out: int


def categories_section(details: dict[str, Any]) -> Categories | None:
    """Return the categories; None if there are none."""
    enough: list[CategoryRow] = []
    few: list[CategoryRow] = []
    for name, category in details["categories"].items():
        known = [(n, a) for n, a in category["attributes"].items() if a["photos"] >= MIN_PHOTOS]
        known.sort(key=lambda item: item[1]["score"])
        row = CategoryRow(name, category["score"], category["photos"], known[:WEAKEST])
        (enough if category["photos"] >= MIN_PHOTOS else few).append(row)
    if not enough and not few:
        return None
    shown = (enough[:MOST_CATEGORIES], few[:MOST_CATEGORIES])
    left_out = len(enough) + len(few) - sum(map(len, shown))
    return Categories(MIN_PHOTOS, *shown, len(few), left_out)


# Confusions


class Pair(NamedTuple):
    """A value and a wrong answer."""

    attribute: str
    true: str
    answered: str


class StyledPhoto(NamedTuple):
    """A photo that a CSS class shows, so that it is embedded once."""

    css: str
    product_id: str
    jpeg: bytes


ChosenPhotos = dict[Pair, list[StyledPhoto]]


@dataclass(frozen=True)
class Confusion:
    """Photos of a value that have a wrong answer."""

    pair: Pair
    count: int
    support: int  # all photos of the value
    photos: list[StyledPhoto]


@dataclass(frozen=True)
class ConfusionTables:
    """The most frequent confusions of all attributes and of each attribute."""

    most_frequent: list[Confusion]
    by_attribute: list[list[Confusion]]
    missed: int  # a count may be too low by at most as many


def _pairs(details: dict[str, Any]) -> dict[str, list[tuple[Pair, int]]]:
    """Return pairs and counts of each attribute, the most frequent first."""
    return {
        name: [(Pair(name, p["true"], p["answered"]), p["count"]) for p in a["most_confused"]]
        for name, a in details["attributes"].items()
    }


def choose_confused_photos(details: dict[str, Any], confused: ConfusedPhotos) -> ChosenPhotos:
    """Choose photos of at most MOST_BYTES, for the most frequent pairs of all attributes first."""
    by_attribute = _pairs(details)
    counted = [each for pairs in by_attribute.values() for each in pairs]
    counted.sort(key=lambda item: -item[1])
    of_rank = [
        each
        for rank in range(WITH_PHOTOS)
        for pairs in by_attribute.values()
        for each in pairs[rank : rank + 1]
    ]
    chosen: ChosenPhotos = {}
    size = 0
    for pair, _ in [*counted[:MOST_CONFUSED], *of_rank]:
        if pair in chosen:
            continue
        photos: list[ConfusedPhoto] = confused.of_pair(*pair)
        size += sum(len(photo.jpeg) for photo in photos)
        if size > MOST_BYTES:
            break
        number = len(chosen)
        chosen[pair] = [StyledPhoto(f"c{number}-{i}", *photo) for i, photo in enumerate(photos)]
    return chosen


def confusions_section(
    schema: Schema, details: dict[str, Any], photos: ChosenPhotos
) -> ConfusionTables | None:
    """Return the confusions; None if there are none."""

    def support(pair: Pair) -> int:
        return details["attributes"][pair.attribute]["values"][pair.true]["support"]

    pairs = _pairs(details)
    by_attribute = [
        [Confusion(p, count, support(p), photos.get(p, [])) for p, count in pairs[name]]
        for name in schema.names
    ]
    counted = [each for confusions in by_attribute for each in confusions]
    if not counted:
        return None
    most_frequent = sorted(counted, key=lambda each: -each.count)[:MOST_CONFUSED]
    missed = details["confusion_counts_too_low_by_at_most"]
    return ConfusionTables(most_frequent, [each for each in by_attribute if each], missed)


# Values


@dataclass(frozen=True)
class ValueTable:
    """The values of one attribute that occur, the most frequent first."""

    title: str
    rows: list[tuple[str, dict[str, Any]]]  # value and its figures
    occurring: int
    total: int
    opened: bool


def values_section(schema: Schema, details: dict[str, Any]) -> list[ValueTable]:
    """Return a table per attribute, of at most MOST_VALUES values."""
    tables = []
    for name in schema.names:
        figures = details["attributes"][name]["values"]
        seen = [(value, f) for value, f in figures.items() if f["support"] or f["predicted"]]
        seen.sort(key=lambda item: (-item[1]["support"], item[0]))
        opened = len(schema.names) <= OPEN_UP_TO and len(seen) <= OPEN_UP_TO
        rows = seen[:MOST_VALUES]
        tables.append(ValueTable(schema[name].title(), rows, len(seen), len(figures), opened))
    return tables
