"""Data of answers_SPLIT.html, which compares taggers; templates are in web/templates/answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from attr_extractor.evaluation.differing_photos import DifferingPhoto
from attr_extractor.evaluation.score_table import verdict
from attr_extractor.schema import Schema
from attr_extractor.web import pages

MOST_ISSUES = 50  # rows per tagger


class Score(NamedTuple):
    """A tagger's score of one attribute."""

    figures: dict[str, Any]
    verdict: str  # on this tagger, compared with the first one; "" for the first


@dataclass(frozen=True)
class AttributeRow:
    """The scores of all taggers for one attribute."""

    title: str
    applicable: int  # photos
    scores: list[Score]


@dataclass(frozen=True)
class Issues:
    """The cells of a table that were not used."""

    name: str
    totals: dict[str, int]  # cells by kind
    rows: list[dict[str, Any]]  # the most frequent ones, see `SourceIssue`


def render(schema: Schema, compared: dict[str, Any], photos: Sequence[DifferingPhoto]) -> str:
    """Render the page as HTML text.

    Args:
      compared: the result of `compare_answers.compare`.
      photos: photos on which taggers differ.
    """
    taggers = compared["taggers"]
    content = {  # by the name of the template; a section without content is left out
        "taggers": taggers,
        "attributes": attribute_rows(schema, taggers),
        "not_used": issues_of(taggers),
        "photos": photos,
    }
    titles = {
        "taggers": "Taggers",
        "attributes": "Attributes",
        "not_used": "Cells not used",
        "photos": "Photos on which they differ",
    }
    return pages.render(
        "answers/page.html",
        title=f"Taggers compared: {compared['split']} split, {compared['photos']:,} photos",
        folder="answers",
        sections=[(key, titles[key]) for key, section in content.items() if section],
        schema=schema,
        compared=compared,
        verdict=verdict,
        **content,
    )


def attribute_rows(schema: Schema, taggers: Sequence[dict[str, Any]]) -> list[AttributeRow]:
    """Return a row per attribute that was measured, in the order of the schema."""
    rows = []
    for name in schema.names:
        first = taggers[0]["attributes"][name]
        if first["score"] is None:
            continue
        scores = [Score(first, "")]
        for tagger in taggers[1:]:
            low, high = tagger["difference"]["attributes"][name]["difference_interval"]
            scores.append(Score(tagger["attributes"][name], verdict((-high, -low))))
        rows.append(AttributeRow(schema[name].title(), first["applicable"], scores))
    return rows


def issues_of(taggers: Sequence[dict[str, Any]]) -> list[Issues]:
    """Return the cells not used, of each table that has some."""
    return [
        Issues(tagger["name"], tagger["cells_not_used"], tagger["issues"][:MOST_ISSUES])
        for tagger in taggers
        if tagger.get("cells_not_used")
    ]
